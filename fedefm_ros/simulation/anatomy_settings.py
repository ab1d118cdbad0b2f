# Copyright 2026 fedefm_ros contributors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""What the beam meets besides devices: the anatomy section of config/simulation/*.yaml."""

from dataclasses import dataclass
from typing import Annotated

from fedefm_ros.simulation.ranges import LogRange, Range, Weights
from fedefm_ros.simulation.settings import Absorption, Chance, Factor, Number, Share, Size, Within

Strength = Annotated[LogRange, Within(0.001, 20.0)]


@dataclass(frozen=True)
class Body:
    """The trunk: its thickness and how uneven that is."""

    thickness: Absorption
    unevenness: Factor
    tilt: Factor
    """Standard deviation of the difference between opposite sides."""


@dataclass(frozen=True)
class Tissue:
    """Fine texture: lung vessels, fat, bowel wall."""

    strength: Absorption
    factor: Factor
    """Of the strength."""
    period_px: Size
    persistence: Share
    """Strength of each finer octave, of the one before."""


@dataclass(frozen=True)
class Ribs:
    """Fans of curved bands with dense rims."""

    factor: Factor
    """Of the strength."""
    scale: Annotated[Range, Within(0.1, 10.0)]
    fans: Number
    count: Number
    """In a fan."""
    gap_px: Size
    width: Share
    """Of the gap."""
    strength: Absorption
    rim: Absorption


@dataclass(frozen=True)
class Spine:
    """A column of vertebrae."""

    factor: Factor
    """Of the strength."""
    scale: Annotated[Range, Within(0.1, 10.0)]
    pitch_px: Size
    half_width: Annotated[Range, Within(0.1, 3.0)]
    """Of the pitch."""
    strength: Absorption
    plate: Absorption
    side: Absorption
    pedicle: Absorption
    process: Absorption


@dataclass(frozen=True)
class Dome:
    """A large dense region with a long border: diaphragm, heart shadow, liver."""

    strength: Absorption
    radius: Annotated[Range, Within(0.05, 10.0)]
    """Of the picture's side."""
    edge_px: Size


@dataclass(frozen=True)
class Regions:
    """Soft-edged brighter regions: lung, bowel gas."""

    count: Number
    strength: Absorption
    period_px: Size
    share: Share
    """Of the picture."""
    edge_px: Size


@dataclass(frozen=True)
class Mottle:
    """Grainy regions, darker or brighter."""

    count: Number
    strength: Absorption
    period_px: Size
    share: Share
    grain_px: Size


@dataclass(frozen=True)
class Shells:
    """Broad bony shells with sharp rims: skull base, pelvic ring."""

    count: Number
    period_px: Size
    strength: Absorption
    rim: Absorption


@dataclass(frozen=True)
class Bones:
    """A region's own bones, see bones.py."""

    chance: Chance
    """Of a picture of the region to show them, in place of shells."""
    scale: Annotated[Range, Within(0.1, 10.0)]
    strength: Absorption
    rim: Absorption
    """Of cortical bone at the borders."""
    edge_px: Size


@dataclass(frozen=True)
class Leads:
    """ECG leads on the skin."""

    chance: Chance
    count: Number
    ends: Chance
    """Of a lead that ends in a snap electrode."""
    radius_px: Size
    strength: Absorption


@dataclass(frozen=True)
class Marks:
    """Clips, sternal wires, screws: small dense things."""

    chance: Chance
    count: Number
    radius_px: Size
    strength: Absorption


@dataclass(frozen=True)
class Pacemaker:
    """A generator and a coiled lead."""

    chance: Chance
    generator: Absorption
    lead_px: Size
    lead: Absorption


@dataclass(frozen=True)
class FilledVessels:
    """Arteries full of contrast."""

    chance: Chance
    trees: Number
    strength: Strength


@dataclass(frozen=True)
class VesselWalls:
    """A tree of silicone or rendered vessels."""

    chance: Chance
    width: Factor
    """Of a coronary artery's."""
    strength: Absorption


@dataclass(frozen=True)
class Clutter:
    """What lies in and on a patient."""

    leads: Leads
    sternal_wires: Marks
    clips: Marks
    pacemaker: Pacemaker
    vessels: FilledVessels


@dataclass(frozen=True)
class Thorax:
    """What a chest shows."""

    ribs: Chance
    spine: Chance
    domes: Weights
    """The numbers are the keys."""
    lung: Regions


@dataclass(frozen=True)
class Abdomen:
    """What a belly shows."""

    spine: Chance
    gas: Regions


@dataclass(frozen=True)
class Human:
    """A patient."""

    regions: Weights
    """thorax, abdomen, pelvis, head."""
    body: Body
    tissue: Tissue
    ribs: Ribs
    spine: Spine
    dome: Dome
    thorax: Thorax
    abdomen: Abdomen
    shells: Shells
    """Of pelvis and head."""
    pelvis: Bones
    head: Bones
    clutter: Clutter


@dataclass(frozen=True)
class Animal:
    """A smaller body, of mottled tissue."""

    body: Body
    tissue: Tissue
    ribs_chance: Chance
    ribs: Ribs
    spine_chance: Chance
    spine: Spine
    mottle: Mottle
    dome_chance: Chance
    dome: Dome
    clutter: Clutter


@dataclass(frozen=True)
class Tubes:
    """Wide straight or bent tubes: a phantom's large vessels."""

    count: Number
    radius_px: Size
    lumen: Share
    """Inner radius, of the outer one."""
    strength: Absorption


@dataclass(frozen=True)
class Edges:
    """Borders and bars of acrylic."""

    count: Number
    strength: Absorption


@dataclass(frozen=True)
class Tubing:
    """A supply tube across the picture."""

    chance: Chance
    radius_px: Size
    strength: Absorption


@dataclass(frozen=True)
class Phantom:
    """Silicone vessels in a box."""

    thickness: Absorption
    unevenness: Factor
    ripple: Absorption
    tubes: Tubes
    vessels: VesselWalls
    edges: Edges
    tubing: Tubing
    screws: Marks
    clips: Marks


@dataclass(frozen=True)
class Simulation:
    """The clean look of rendered vessels."""

    background: Absorption
    shading_chance: Chance
    shading: Absorption
    vessels: VesselWalls
    spine_chance: Chance
    spine: Spine


ANATOMIES = {'human': Human, 'animal': Animal, 'phantom': Phantom, 'simulation': Simulation}
KINDS = tuple(ANATOMIES)

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

"""
What decides a kind of simulated fluoroscopy: the keys of config/simulation/*.yaml.

Sizes in pixels hold for an image of 512 pixels and grow with it; in a smaller one what the X-ray
chain does (blur, grain, edges of blades) and how devices wind and are braided stay as they are.
Attenuations are line integrals without unit. A chance is that of one scene, or of one device, 0 to
1.
"""

from dataclasses import dataclass
from typing import Annotated

from fedefm_ros.simulation.ranges import Count, LogRange, Mixture, Range, Weights


@dataclass(frozen=True)
class Within:
    """Bounds of a value, of both ends of a range, of each number of a list."""

    low: float
    high: float


Chance = Annotated[float, Within(0.0, 1.0)]
Share = Annotated[Range, Within(0.0, 1.0)]
Factor = Annotated[float, Within(0.0, 100.0)]
Absorption = Annotated[Range, Within(0.0, 20.0)]
Size = Annotated[Range, Within(0.1, 2000.0)]
Number = Annotated[Count, Within(0, 100)]


@dataclass(frozen=True)
class Collimator:
    """Where the beam ends: nowhere in the picture, at blades or, the rest, at a round field."""

    whole: Chance
    blades: Chance
    blade: Chance
    """Of each of the four sides to show a blade."""
    blade_depth: Share
    """How far a blade reaches in, of the picture's side."""
    blade_edge_px: Size
    radius: Annotated[Range, Within(0.3, 1.0)]
    """Of a round field, of the picture's side."""
    radius_edge_px: Size


@dataclass(frozen=True)
class Text:
    """What a console writes into the picture: names, numbers, a frame; see overlay.Overlay."""

    chance: Chance
    lines: Number
    """At most one of each sort is written."""
    height_px: Size
    """Of a capital letter."""
    frame: Chance
    """Of a line around the picture, or marks in its corners."""


@dataclass(frozen=True)
class Xray:
    """Settings of an acquisition, see detector.XrayChain."""

    scatter: Annotated[Range, Within(0.0, 10.0)]
    blur_px: Annotated[Range, Within(0.2, 20.0)]
    photons: Annotated[LogRange, Within(1.0, 1e9)]
    """Mean photons a pixel: the dose."""
    grain_px: Annotated[Mixture, Within(0.0, 10.0)]
    lag: Annotated[Mixture, Within(0.0, 0.98)]
    gamma_spread: Annotated[float, Within(0.0, 2.0)]
    """Standard deviation of the display exponent's logarithm."""
    black: Annotated[Range, Within(0.0, 0.8)]
    white: Annotated[Range, Within(0.2, 1.0)]
    sharpen: Annotated[Mixture, Within(0.0, 10.0)]
    border: Annotated[Mixture, Within(0.0, 1.0)]
    collimator: Collimator
    text: Text


@dataclass(frozen=True)
class Bands:
    """Marker bands near a catheter's end, at even gaps."""

    chance: Chance
    """Of a catheter to have them."""
    count: Number
    from_tip_mm: Annotated[Range, Within(0.0, 500.0)]
    """Of the one nearest to the tip."""
    gap_mm: Size
    """From the middle of one to the middle of the next."""
    length_mm: Size
    factor: Annotated[Range, Within(0.0, 50.0)]
    """Attenuation, of the shaft's."""


@dataclass(frozen=True)
class Transducer:
    """What makes a catheter one that images (IVUS, OCT): it runs over a wire that shows in it."""

    from_tip_mm: Annotated[Range, Within(0.0, 500.0)]
    length_mm: Size
    factor: Annotated[Range, Within(0.0, 50.0)]
    """Attenuation, of the shaft's."""
    shaft: Annotated[Range, Within(0.01, 10.0)]
    """Attenuation of the shaft, of another catheter's."""


@dataclass(frozen=True)
class CatheterRole:
    """One sort of catheter."""

    weight: Factor
    french: Annotated[Range, Within(0.5, 30.0)]
    bend: Factor
    """How much the shaft winds, radians per 100 pixels (standard deviation)."""
    shapes: Weights
    """Names of devices.CATHETER_SHAPES."""
    bands: Bands | None = None
    transducer: Transducer | None = None


@dataclass(frozen=True)
class Catheters:
    """Build of catheters."""

    roles: dict[str, CatheterRole]
    shaft: Annotated[Mixture, Within(0.0, 5.0)]
    """Length before the shaped part, of the picture's side."""
    attenuation: Annotated[LogRange, Within(0.001, 20.0)]
    wall: Annotated[Range, Within(0.01, 1.0)]
    """Thickness, of the radius."""
    filled: Chance
    """Of contrast agent in the lumen."""
    filling: Absorption
    tip_mm: Size
    """Length of a soft tip or a marker band."""
    tip_factor: Annotated[Mixture, Within(0.0, 20.0)]
    """Attenuation of the tip, of the shaft's."""
    braid: Annotated[Mixture, Within(0.0, 1.0)]
    braid_period_px: Size


@dataclass(frozen=True)
class Guidewires:
    """Build of guidewires."""

    thin: Chance
    thin_inch: Annotated[tuple[float, ...], Within(0.005, 0.2)]
    thick_inch: Annotated[tuple[float, ...], Within(0.005, 0.2)]
    shapes: Weights
    """Names of devices.GUIDEWIRE_SHAPES."""
    free: Annotated[Mixture, Within(0.0, 5.0)]
    """Length before the shaped tip, beyond a catheter or on its own, of the picture's side."""
    bend: Factor
    """How much it winds, radians per 100 pixels (standard deviation)."""
    attenuation: Annotated[LogRange, Within(0.001, 20.0)]
    """Of the radiopaque tip of a thin one."""
    thick_factor: Factor
    """That of a thick one, of a thin one's."""
    shaft: Annotated[Mixture, Within(0.01, 10.0)]
    """Attenuation of the shaft, of the tip's."""
    tip_mm: Size
    """Length of the radiopaque tip."""
    coil: Annotated[Mixture, Within(0.0, 1.0)]
    coil_period_px: Size
    seen_in_lumen: Chance
    """Of a wire that shows within its catheter."""


@dataclass(frozen=True)
class Visibility:
    """How plain a device must be to be labelled; it is made denser until it is."""

    deviations: Factor
    """Contrast over the surroundings' standard deviation in a pixel."""
    catheter: Factor
    """Least contrast in the logarithm."""
    guidewire: Factor
    faint_wire: Share
    """Share of both limits that is enough for a wire: an eye follows a line along its length."""
    denser: Annotated[float, Within(1.0, 1000.0)]
    """At most so many times."""


@dataclass(frozen=True)
class Devices:
    """What lies in a scene."""

    count: Weights
    """Catheters, and wires on their own; the numbers are the keys."""
    contrast: Factor
    """Attenuation of all devices, of what is said below."""
    lone_wire: Chance
    wire_in_catheter: Chance
    turned: Chance
    """Of a device whose shaped tip is turned about its shaft, out of the picture's plane."""
    catheter: Catheters
    guidewire: Guidewires
    visible: Visibility


@dataclass(frozen=True)
class Heart:
    """Where the heart lies and how it pulls at devices; beats only in sequences."""

    shift: Factor
    """Standard deviation of the displacement, of the picture's side."""
    radius: Share
    beats: Factor
    """Amplitude of the beat, 0: none."""
    rate_hz: Annotated[Range, Within(0.01, 10.0)]


@dataclass(frozen=True)
class Breath:
    """How far the moving layer goes up and down in sequences."""

    amplitude_px: Annotated[Range, Within(0.0, 200.0)]
    rate_hz: Annotated[Range, Within(0.01, 10.0)]


@dataclass(frozen=True)
class Insertion:
    """A wire comes out of the catheter and goes in again."""

    reach: Chance
    """Share of the wire's free length that is drawn in at most."""
    period_s: Annotated[Range, Within(0.1, 600.0)]


@dataclass(frozen=True)
class Retraction:
    """The whole set is drawn back along its path and put forward again, its shape kept."""

    chance: Chance
    reach_mm: Annotated[Range, Within(0.0, 500.0)]
    period_s: Annotated[Range, Within(0.1, 600.0)]


@dataclass(frozen=True)
class Rotation:
    """An operator turns a shaped tip about the shaft, to and fro."""

    chance: Chance
    angle_deg: Annotated[Range, Within(0.0, 360.0)]
    """Amplitude to either side."""
    period_s: Annotated[Range, Within(0.1, 600.0)]


@dataclass(frozen=True)
class Table:
    """The table moves under a fixed beam, to and fro along a line."""

    chance: Chance
    reach_mm: Annotated[Range, Within(0.0, 100.0)]
    """To either side."""
    period_s: Annotated[Range, Within(0.1, 600.0)]


@dataclass(frozen=True)
class Bolus:
    """Contrast agent runs down a vessel tree from the catheter's tip and washes out."""

    chance: Chance
    strength: Absorption
    """Of the trunk at its darkest."""
    start_s: Annotated[Range, Within(0.0, 600.0)]
    rise_s: Annotated[Range, Within(0.02, 60.0)]
    """From nothing to the darkest at one place."""
    flow_mm_s: Annotated[Range, Within(1.0, 2000.0)]
    width: Factor
    """Of the vessels, of a coronary artery's."""


@dataclass(frozen=True)
class Motions:
    """What moves in a sequence."""

    heart: Heart
    breath: Breath
    insertion: Insertion
    retraction: Retraction
    rotation: Rotation
    table: Table
    bolus: Bolus

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

"""What moves in a sequence: patient, operator, table and contrast agent."""

from fedefm_ros import labels
from fedefm_ros.simulation.config import SceneConfig
from fedefm_ros.simulation.ranges import happens
from fedefm_ros.simulation.scene import Pose, Scene

import numpy as np


class Manoeuvres:
    """
    What is done in a sequence now and then, each with its chance.

    Drawn before the scene, which must reach as far as its table moves, and from random numbers of
    its own: a scene is the same with and without, but for a table that moves.
    """

    def __init__(self, config: SceneConfig, rng: np.random.Generator, spacing_mm: float):
        """Draw them."""
        motions = config.motions
        self._back = self._turn = self._way = None
        self.margin = 0
        """How far the table moves, pixels."""
        if happens(rng, motions.retraction.chance):
            self._back = (motions.retraction.reach_mm.draw(rng) / spacing_mm,
                          motions.retraction.period_s.draw(rng))
        if happens(rng, motions.rotation.chance):
            self._turn = (np.deg2rad(motions.rotation.angle_deg.draw(rng)),
                          motions.rotation.period_s.draw(rng))
        if happens(rng, motions.table.chance):
            reach, angle = motions.table.reach_mm.draw(rng) / spacing_mm, rng.uniform(0, 2 * np.pi)
            self._way = (reach * np.array([np.cos(angle), np.sin(angle)]),
                         motions.table.period_s.draw(rng))
            self.margin = int(np.ceil(reach)) + 2
        self.bolus = happens(rng, motions.bolus.chance)
        """Whether contrast agent is injected."""

    def at(self, seconds: float) -> dict:
        """Return what they make of a pose."""
        pose = {'seconds': seconds}
        if self._back:
            reach, period = self._back
            swing = 0.5 - 0.5 * np.cos(2 * np.pi * seconds / period)
            pose['retracted_px'] = float(reach * swing)
        if self._turn:
            angle, period = self._turn
            pose['turn'] = float(angle * np.sin(2 * np.pi * seconds / period))
        if self._way:
            way, period = self._way
            pose['table_px'] = tuple((way * np.sin(2 * np.pi * seconds / period)).tolist())
        return pose


class Motion:
    """Breath, heart beat, an operator who puts a wire forward and back, and manoeuvres."""

    def __init__(self, rng: np.random.Generator, scene: Scene, manoeuvres: Manoeuvres):
        """Draw how a scene moves."""
        motions = scene.config.motions
        self._manoeuvres = manoeuvres
        self._breath = motions.breath.amplitude_px.draw(rng) * scene.size / 512
        self._breath_hz = motions.breath.rate_hz.draw(rng)
        self._beat_hz = motions.heart.rate_hz.draw(rng)
        self._beat = motions.heart.beats
        self._reach = [_free_length(device, motions.insertion) for device in scene.devices]
        self._period = motions.insertion.period_s.draw(rng)
        self._phase = rng.uniform(0, 1)

    def pose(self, seconds: float) -> Pose:
        """Return the pose at a time of the sequence."""
        breath = self._breath * np.sin(2 * np.pi * self._breath_hz * seconds)
        beat = self._beat * np.sin(2 * np.pi * self._beat_hz * seconds)
        # Triangle wave: in for half of the period, out for the other half.
        swing = abs(2.0 * ((seconds / self._period + self._phase) % 1.0) - 1.0)
        advance = tuple(float(int(swing * reach)) for reach in self._reach)
        return Pose((0.15 * breath, breath), float(beat), advance, **self._manoeuvres.at(seconds))


def _free_length(device, insertion):
    """Return how many pixels of a device may be drawn back."""
    if device.kind == labels.GUIDEWIRE:
        return insertion.reach * (len(device.points) - max(device.hidden_until, 8))
    return 0.0

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

"""The fluoroscopy simulator as a frame source: a procedure with ground truth, without an end."""

from collections.abc import Iterator

from fedefm_ros import labels
from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.carm import CArm
from fedefm_ros.imaging.frame import Frame
from fedefm_ros.simulation.config import find, SceneConfig
from fedefm_ros.simulation.motion import Manoeuvres, Motion
from fedefm_ros.simulation.scene import Scene

import numpy as np


class FluoroscopySimulator:
    """
    Simulated fluoroscopy of one kind of scene.

    A sequence is an endless procedure: breath and heart move, devices are advanced and drawn
    back, and every ``scene_seconds`` another patient lies on the table. What else moves (tips
    turned, the table, contrast agent) is up to the settings. Equal seeds give equal frames.
    """

    def __init__(self, kind: SceneConfig | str = 'human', size: int = 512, rate: float = 15.0,
                 seed: int = 0, scene_seconds: float = 8.0):
        """
        Make the source; rendering starts with iteration.

        :param kind: ``human``, ``animal``, ``phantom`` or ``simulation``; a .yaml file with
            settings, or such settings.
        :param size: width and height in pixels, 64 to 4096.
        :param rate: frames per second.
        :raises FedefmError: kind, size or rate out of range.
        """
        if not 64 <= size <= 4096:
            raise FedefmError(f'simulator size {size} is out of range 64 to 4096 pixels')
        if not 0.0 < rate <= 1000.0:
            raise FedefmError(f'simulator rate {rate} Hz is out of range 0 to 1000')
        self.config = find(kind)
        self.kind = self.config.kind
        self.name = f'simulator ({kind if isinstance(kind, str) else self.kind})'
        self.size = size
        self.rate = rate
        self.seed = seed
        self.scene_seconds = scene_seconds
        # A 20 cm intensifier field on 512 pixels, magnified 1.5 times.
        self.carm = CArm((205.0 / size, 205.0 / size), 1100.0, 733.0, 0.0, 0.0)
        self.frame_count = None

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames for ever."""
        spacing = self.carm.patient_spacing_mm[0]
        per_scene = max(1, int(self.scene_seconds * self.rate))
        index = 0
        while True:
            rng = np.random.default_rng((self.seed, index))
            others = np.random.default_rng((self.seed, index, 1))
            manoeuvres = Manoeuvres(self.config, others, spacing)
            scene = _scene_with_devices(self.config, rng, self.size, spacing, manoeuvres.margin)
            if manoeuvres.bolus:
                scene.inject(others)
            detector = scene.detector(rng)
            motion = Motion(rng, scene, manoeuvres)
            for step in range(per_scene):
                image, truth = scene.render(detector, motion.pose(step / self.rate))
                yield Frame(image, index, index / self.rate, truth)
                index += 1

    def close(self) -> None:
        """Do nothing: there is nothing to free."""

    def __enter__(self) -> 'FluoroscopySimulator':
        """Return itself."""
        return self

    def __exit__(self, *_) -> None:
        """Close."""
        self.close()


def _scene_with_devices(config, rng, size, spacing, margin):
    """Draw a scene with a catheter, a wire and their tips in view: this is a procedure."""
    scene = Scene(config, rng, size, spacing, device_count=1, margin=margin)
    for _ in range(60):
        in_view = ((scene.tips > 0.12 * size) & (scene.tips < 0.88 * size)).all()
        if in_view and len(scene.devices) == 2 and scene.devices[0].kind == labels.CATHETER:
            break
        scene.redraw_devices(rng, device_count=1)
    return scene

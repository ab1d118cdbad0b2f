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
Fluoroscopy of the robot's scene: what the C-arm sees of phantom, catheter and wire.

Devices are drawn and exposed by the same code as the simulator's other kinds (``devices``,
``detector``), with the widths, contrasts and acquisitions of the kind *phantom*; the silicone's
line integrals come from rays through the distance field, so that ostia are open.
"""

import cv2

from fedefm_ros import labels
from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.carm import CArm
from fedefm_ros.imaging.frame import Frame, GroundTruth
from fedefm_ros.simulation import config, devices
from fedefm_ros.simulation.curves import resample
from fedefm_ros.simulation.detector import Detector, random_chain
from fedefm_ros.simulation.fields import coordinates, noise_field, soft_step
from fedefm_ros.simulation.robot.phantom import Phantom, TARGETS
from fedefm_ros.simulation.robot.robot import RobotState
from fedefm_ros.simulation.robot.rod import Catheter, Guidewire
from fedefm_ros.simulation.robot.walls import DistanceField, VOXEL
from fedefm_ros.simulation.visibility import Background, bright_enough, seen_parts

import numpy as np

from scipy.interpolate import make_interp_spline
from scipy.ndimage import map_coordinates

#: Silicone's thickness and the spacing of samples along a ray, metres.
_WALL = 0.0015
_RAY_STEP = 0.0008
#: A catheter that leaves the introducer by less is drawn as one that does not.
_LEAST_OUT = 0.001
_KIND = 'phantom'


class Projection:
    """The C-arm as a pinhole camera that looks along z at the isocentre."""

    def __init__(self, size: int = 512, tilt_deg: tuple[float, float] = (0.0, 0.0)):
        """
        Set up as the fluoroscopy simulator does: a 20 cm field, magnified 1.5 times.

        :param size: width and height of the image in pixels, 64 to 4096.
        :param tilt_deg: turns about the image's y and x axes, degrees.
        """
        if not 64 <= size <= 4096:
            raise FedefmError(f'image size {size} is out of range 64 to 4096 pixels')
        self.size = size
        self.carm = CArm((205.0 / size, 205.0 / size), 1100.0, 733.0, tilt_deg[0], tilt_deg[1])
        self.spacing = self.carm.patient_spacing_mm[0] * 1e-3
        a, b = np.deg2rad(tilt_deg)
        about_y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
        about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
        self.rotation = about_x @ about_y

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Return where points (N, 3) in metres appear, (N, 2) x, y in pixels."""
        seen = points @ self.rotation.T
        focal = self.carm.focal_px[0]
        depth = seen[:, 2:] + self.carm.source_patient_mm * 1e-3
        return focal * seen[:, :2] / depth + (self.size - 1) / 2.0

    def rays(self, stride: int, depths: np.ndarray) -> np.ndarray:
        """Return points (D, H, W, 3) on the rays of every ``stride``-th pixel, metres."""
        at = np.arange(stride / 2 - 0.5, self.size, stride) - (self.size - 1) / 2.0
        x, y = np.meshgrid(at, at)
        away = (depths + self.carm.source_patient_mm * 1e-3) / self.carm.focal_px[0]
        seen = np.stack(np.broadcast_arrays(
            x * away[:, None, None], y * away[:, None, None], depths[:, None, None]), axis=-1)
        return seen @ self.rotation


class RobotCamera:
    """One acquisition of one phantom; ``frame`` for every state of the robot."""

    def __init__(self, phantom: Phantom, wire: Guidewire = Guidewire(),
                 catheter: Catheter = Catheter(), *, seed: int = 0, size: int = 512,
                 field: DistanceField | None = None):
        """
        Choose the view, the materials and the X-ray chain, and draw what does not move.

        :param seed: equal seeds give equal images.
        :param size: width and height in pixels, 64 to 4096.
        :param field: the phantom's, where it is there already.
        """
        rng = np.random.default_rng((seed, 0xC0))
        self.projection = Projection(size, tuple(rng.uniform(-4.0, 4.0, 2)))
        self._phantom = phantom
        self._static = _silicone(self.projection, field or DistanceField(phantom), rng) \
            + _box(rng, size)
        self._chain = self._covering_chain(rng)
        self._detector = Detector(self._chain, rng)
        spacing_mm = self.projection.spacing * 1e3
        # Drawn back: its tip is where the introducer ends, its shaft comes from below the image.
        self._parked = self._plain(devices.Device(
            labels.CATHETER, self._introducer_points(),
            0.5 * catheter.diameter / self.projection.spacing, wall=rng.uniform(0.3, 0.5),
            attenuation=rng.uniform(0.5, 0.9), tip_length_px=2.0 / spacing_mm, tip_factor=1.3))
        self._wire = self._plain(devices.Device(
            labels.GUIDEWIRE, self.route(TARGETS[0]),
            max(0.5e3 * wire.diameter / spacing_mm, 0.55), wall=1.0,
            attenuation=rng.uniform(0.5, 0.9), tip_length_px=30.0 / spacing_mm,
            tip_factor=rng.uniform(1.0, 1.3)))
        self._with_parked = self._static.copy()
        devices.draw_attenuation(self._parked, self._with_parked)
        self._index = 0

    def route(self, target: str) -> np.ndarray:
        """Return the way to an artery as an angiogram would show it, (N, 2) pixels, 1 px apart."""
        return resample(self.projection.pixels(self._phantom.route(target)), 1.0)

    def frame(self, state: RobotState) -> Frame:
        """Return the X-ray frame of a state with its exact truth."""
        catheter = self._catheter(state)
        if catheter is self._parked:
            attenuation = self._with_parked.copy()
        else:
            attenuation = self._static.copy()
            devices.draw_attenuation(catheter, attenuation)
        inside = self._wire.moved(np.vstack([self._introducer_points(), self.wire_curve(state)]))
        devices.draw_attenuation(inside, attenuation)
        image = self._detector.expose(attenuation)
        frame = Frame(image, self._index, state.time, self._truth(state, catheter))
        self._index += 1
        return frame

    def wire_curve(self, state: RobotState, start: float = 0.0) -> np.ndarray:
        """
        Return the wire in the image, (N, 2) pixels, 1 px apart.

        :param start: metres of wire beyond the introducer where it begins.
        """
        return self._seen(state.nodes, start)

    def _seen(self, nodes, start=0.0):
        """Return a smooth curve through nodes (M, 3) in the image, (N, 2) pixels, 1 px apart."""
        arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(nodes, axis=0), axis=1))])
        kept = np.concatenate([[True], np.diff(arc) > 1e-5])
        smooth = make_interp_spline(arc[kept], nodes[kept], k=min(3, int(kept.sum()) - 1))
        fine = smooth(np.linspace(start, arc[-1], max(16, int((arc[-1] - start) / 0.0005))))
        return resample(self.projection.pixels(fine), 1.0)

    def _catheter(self, state):
        """Return the catheter as a device, ``_parked`` itself while it is not out."""
        if state.catheter_inserted < _LEAST_OUT:
            return self._parked
        # It has play in the introducer: bridge the last 3 mm, or a kink would show at its end.
        play = int(0.003 / self.projection.spacing)
        return self._parked.moved(resample(
            np.vstack([self._parked.points[:-play], self._seen(state.catheter)[1:]]), 1.0))

    def _truth(self, state, catheter):
        size = self.projection.size
        mask = np.zeros((size, size), np.uint8)
        visible = [catheter]
        # A wire that is drawn back into the catheter is not told apart from it.
        if state.inserted > state.catheter_inserted + _LEAST_OUT:
            visible.insert(0, self._wire.moved(
                self.wire_curve(state, state.catheter_inserted)))
        # The catheter last: it covers what is in it.
        for device in visible:
            devices.draw_label(device, mask)
        mask[self._chain.field < 0.25] = labels.BACKGROUND
        return GroundTruth(mask, tuple(
            one for device in visible for one in seen_parts(
                device.kind, device.points, self._chain.field, self.projection.spacing * 1e3)))

    def _plain(self, device):
        """Return a device as dense as it must be to be seen along its points."""
        return bright_enough(device, config.find(_KIND).devices.visible, self._chain,
                             Background(self._static), 0)

    def _introducer_points(self):
        entry = self._phantom.entry
        # From below the image; the axis is that of the wire's straight part.
        below = entry + np.array([0.0, 0.06, 0.0])
        return resample(self.projection.pixels(np.linspace(below, entry, 200)), 1.0)

    def _covering_chain(self, rng):
        """Return the settings of a random acquisition that shows the way to every artery."""
        size = self.projection.size
        # What is wanted in view: each artery up to 25 mm past its ostium.
        wanted = np.vstack([self.projection.pixels(vessel.points[vessel.ostium:][:50])
                            for name, vessel in self._phantom.vessels.items()
                            if name in TARGETS])
        cells = np.rint(wanted).astype(int)
        cells = cells[((cells >= 0) & (cells < size)).all(axis=1)]
        while True:
            chain = random_chain(rng, _KIND, (size, size))
            if chain.field[cells[:, 1], cells[:, 0]].min() > 0.6:
                return chain


def _silicone(projection, field, rng):
    """Return the line integrals of the phantom's walls (H, W) float32."""
    depths = np.arange(-0.024, 0.024, _RAY_STEP)
    stride = max(1, projection.size // 256)
    cells = (projection.rays(stride, depths) - field.origin) / VOXEL
    distance = map_coordinates(field.grid, np.moveaxis(cells, -1, 0), order=1, cval=-1.0)
    soft = 0.0008
    shell = np.clip(0.5 - distance / soft, 0.0, 1.0) \
        * np.clip(0.5 + (distance + _WALL) / soft, 0.0, 1.0)
    # 12 mm of silicone where a ray grazes the arch's wall.
    density = rng.uniform(0.1, 0.3) / 0.012
    thickness = shell.sum(axis=0).astype(np.float32) * np.float32(_RAY_STEP * density)
    return cv2.resize(thickness, (projection.size, projection.size),
                      interpolation=cv2.INTER_CUBIC)


def _box(rng, size):
    """Return the line integrals of the water box around the phantom (H, W) float32."""
    scale = size / 512.0
    layer = rng.uniform(0.3, 1.2) + 0.06 * noise_field(rng, (size, size), 350 * scale)
    layer += rng.uniform(0.0, 0.015) * noise_field(rng, (size, size), 40 * scale, 3)
    x, y = coordinates((size, size))
    for axis in (x, y):
        if rng.random() < 0.5:
            edge = rng.choice((0.04, 0.96)) * size + rng.normal(0.0, 0.01) * size
            layer += rng.uniform(0.05, 0.3) * soft_step(
                rng.uniform(3, 8) * scale - np.abs(axis - edge), 1.0)
    return layer.astype(np.float32)

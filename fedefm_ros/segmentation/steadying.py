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

"""Tips that do not tremble: each is followed from frame to frame, without lag in steady motion."""

from dataclasses import dataclass, replace

import cv2

from fedefm_ros.segmentation.instrument import Instrument

import numpy as np

# Chosen on simulated sequences; less gain trembles less, and follows a quick wire too late.
_POSITION_GAIN = 0.8
_SPEED_GAIN = 0.2
#: What is farther from where it was expected, in pixels of an image of 512, is a jump: believed.
_GATE = 8.0
#: Centreline points that go along with the tip, less and less.
_CARRIED = 5
#: Frames that follow each other faster, in seconds, say no more of the speed: the error of the
#: position would be divided by next to nothing.
_SHORTEST = 0.01
#: Cells along a side in which instruments are looked for: what moved by less than one is near.
_CELLS = 32
#: Share of the instruments of the frame before that must be near, or it was another scene.
_NEAR_SHARE = 0.5


def is_same_scene(mask: np.ndarray, previous: tuple[Instrument, ...]) -> bool:
    """
    Return whether a mask can be of the frame after one with these instruments.

    It can where half of their length is near to some instrument of the mask, 1/32 of the image at
    least: from one frame to the next they move by less, whatever breath, heart or table do.

    :param mask: (H, W) uint8 of ``labels`` values.
    """
    return bool(previous) and lies_near(
        mask, np.concatenate([instrument.centerline for instrument in previous]))


def lies_near(mask: np.ndarray, points: np.ndarray) -> bool:
    """
    Return whether half of the points are near to something in a mask, see ``is_same_scene``.

    :param mask: (H, W) uint8, 0 where there is nothing.
    :param points: (N, 2) x, y in pixels.
    """
    # In pixels, rounded up: the last cells may reach beyond the image.
    height, width = (-(-side // _CELLS) for side in mask.shape)
    whole = cv2.copyMakeBorder(mask, 0, _CELLS * height - mask.shape[0],
                               0, _CELLS * width - mask.shape[1], cv2.BORDER_CONSTANT)
    # A cell is marked where any of its pixels is: no line is too thin.
    bands = whole.reshape(_CELLS, height, -1).max(axis=1)
    cells = bands.reshape(_CELLS, _CELLS, width).max(axis=2)
    cells = cv2.dilate(cells, np.ones((3, 3), np.uint8))
    columns, rows = np.clip((points + 0.5) / (width, height), 0, _CELLS - 1).astype(np.intp).T
    return np.count_nonzero(cells[rows, columns]) >= _NEAR_SHARE * len(points)


@dataclass
class _Track:
    kind: int
    tip: np.ndarray
    speed: np.ndarray
    """Pixels a second."""


class TipFilter:
    """
    An alpha-beta filter for each visible tip: where it is expected, plus a part of the error.

    It changes where tips are by less than the gate, adds no instrument and takes none away.
    """

    def __init__(self):
        """Know of no tip."""
        self._tracks: list[_Track] = []

    def reset(self) -> None:
        """Forget the frames so far: the next one does not follow them."""
        self._tracks = []

    def __call__(self, instruments: tuple[Instrument, ...], shape: tuple[int, int],
                 elapsed: float = 1 / 15) -> tuple[Instrument, ...]:
        """
        Return the instruments of the next frame with steadied tips.

        :param shape: height and width of the image in pixels.
        :param elapsed: seconds since the frame before; where stamps are unknown, frames all count
            alike.
        """
        gate = _GATE * max(1.0, max(shape) / 512.0)
        known, self._tracks, steadied = self._tracks, [], []
        for instrument in instruments:
            if instrument.tip_visible:
                track = _nearest(known, instrument, gate, elapsed)
                if track is None:
                    track = _Track(instrument.kind, instrument.tip.copy(), np.zeros(2))
                else:
                    known = [other for other in known if other is not track]
                    expected = track.tip + elapsed * track.speed
                    error = instrument.tip - expected
                    track = _Track(track.kind, expected + _POSITION_GAIN * error,
                                   track.speed + _SPEED_GAIN * error / max(elapsed, _SHORTEST))
                    limit = np.array([shape[1] - 1.0, shape[0] - 1.0])
                    track.tip = np.clip(track.tip, np.minimum(instrument.tip, 0.0),
                                        np.maximum(instrument.tip, limit))
                    instrument = _with_tip(instrument, track.tip)
                self._tracks.append(track)
            steadied.append(instrument)
        return tuple(steadied)


def _nearest(tracks, instrument, gate, elapsed):
    """Return the track of the same kind that expects a tip here, or None."""
    distances = [
        (float(np.hypot(*(track.tip + elapsed * track.speed - instrument.tip))), index)
        for index, track in enumerate(tracks) if track.kind == instrument.kind]
    distance, index = min(distances, default=(gate, -1))
    return tracks[index] if distance < gate else None


def _with_tip(instrument: Instrument, tip: np.ndarray) -> Instrument:
    """Return an instrument whose centreline bends to another tip over its last points."""
    carried = min(_CARRIED, len(instrument.centerline) - 1)
    share = np.linspace(0.0, 1.0, carried + 1)[1:, None]
    line = instrument.centerline.copy()
    line[-carried:] += share * (tip - line[-1])
    return replace(instrument, centerline=line)

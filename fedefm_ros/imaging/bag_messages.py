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

"""Frames as serialised messages for bags, without ROS."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

from fedefm_ros.imaging.bag_types import (
    CAMERA_INFO, COMPRESSED_IMAGE, IMAGE, INSTRUMENTS, typestore)
from fedefm_ros.imaging.carm import CArm
from fedefm_ros.imaging.messages import fill_camera_info, fill_compressed, fill_image
from fedefm_ros.segmentation.instrument import Instrument

import numpy as np

_FLOAT_LISTS = ('d', 'k', 'r', 'p')


class Encoder:
    """Makes messages that share a station's frame_id."""

    def __init__(self, frame_id: str):
        """Take the frame_id of all headers."""
        self._frame_id = frame_id
        self._store = typestore()

    def image(self, stamp: int, image: np.ndarray) -> bytes:
        """Return a sensor_msgs/Image, mono8 or mono16; ``stamp`` in nanoseconds."""
        fields = SimpleNamespace()
        fill_image(fields, image, f'mono{8 * image.itemsize}')
        return self._serialised(IMAGE, stamp, **_with_array(fields))

    def compressed(self, stamp: int, image: np.ndarray) -> bytes:
        """Return a sensor_msgs/CompressedImage, PNG without loss."""
        fields = SimpleNamespace()
        fill_compressed(fields, image)
        return self._serialised(COMPRESSED_IMAGE, stamp, **_with_array(fields))

    def camera_info(self, stamp: int, carm: CArm, width: int, height: int) -> bytes:
        """Return a sensor_msgs/CameraInfo."""
        fields = SimpleNamespace()
        fill_camera_info(fields, carm, width, height)
        values = {name: np.array(value, np.float64) if name in _FLOAT_LISTS else value
                  for name, value in vars(fields).items()}
        region = self._store.types['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False)
        return self._serialised(CAMERA_INFO, stamp, **values, binning_x=0, binning_y=0, roi=region)

    def instruments(self, stamp: int, shape: tuple[int, int],
                    instruments: tuple[Instrument, ...],
                    spacing_mm: tuple[float, float] | None) -> bytes:
        """
        Return a fedefm_ros/InstrumentArray.

        :param shape: height and width of the image in pixels.
        :param spacing_mm: pixel pitch at the patient (row, column).
        """
        row, column = spacing_mm or (math.nan, math.nan)
        return self._serialised(
            INSTRUMENTS, stamp, height=shape[0], width=shape[1], pixel_spacing_x_mm=column,
            pixel_spacing_y_mm=row, model_id='', processing_time=0.0,
            instruments=[self._instrument(each) for each in instruments])

    def _instrument(self, found: Instrument) -> Any:
        point = self._store.types['geometry_msgs/msg/Point32']
        points = [point(x, y, 0.0) for x, y in found.centerline.tolist()]
        return self._store.types['fedefm_ros/msg/Instrument'](
            kind=found.kind, confidence=float(found.confidence),
            centerline_px=points, tip_px=points[-1], tip_heading=found.heading,
            tip_visible=bool(found.tip_visible), length_px=found.length_px,
            length_mm=float(found.length_mm))

    def _serialised(self, msgtype: str, stamp: int, **values: Any) -> bytes:
        time = self._store.types['builtin_interfaces/msg/Time'](*divmod(stamp, 10**9))
        header = self._store.types['std_msgs/msg/Header'](time, self._frame_id)
        message = self._store.types[msgtype](header=header, **values)
        return bytes(self._store.serialize_cdr(message, msgtype))


def instruments_from(message: Any) -> tuple[Instrument, ...]:
    """Return the instruments of a decoded fedefm_ros/InstrumentArray."""
    return tuple(Instrument(
        kind=int(found.kind), confidence=float(found.confidence),
        tip_visible=bool(found.tip_visible), length_mm=float(found.length_mm),
        centerline=np.array([(point.x, point.y) for point in found.centerline_px], np.float64))
        for found in message.instruments)


def _with_array(fields: SimpleNamespace) -> dict[str, Any]:
    """Return fields with the data as rosbags wants it."""
    return {**vars(fields), 'data': np.frombuffer(fields.data, np.uint8)}

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

"""Instruments as messages and back, and the label table as a message."""

import importlib
import json
import math

from fedefm_ros import labels
from fedefm_ros.msg import Instrument as InstrumentMessage
from fedefm_ros.msg import InstrumentArray
from fedefm_ros.segmentation.instrument import Instrument

from geometry_msgs.msg import Point
from geometry_msgs.msg import Point32
from geometry_msgs.msg import Pose
from geometry_msgs.msg import PoseArray
from geometry_msgs.msg import PoseStamped
from geometry_msgs.msg import Quaternion

import numpy as np

from std_msgs.msg import Header
from std_msgs.msg import String

Spacing = tuple[float, float] | None


def instruments_to_message(header: Header, shape: tuple[int, int],
                           instruments: tuple[Instrument, ...], *, spacing_mm: Spacing = None,
                           model_id: str = '', processing_time: float = 0.0) -> InstrumentArray:
    """
    Return an InstrumentArray.

    :param shape: height and width of the image in pixels.
    :param spacing_mm: pixel pitch at the patient (row, column) in millimetres.
    :param processing_time: seconds.
    """
    row, column = spacing_mm or (math.nan, math.nan)
    return InstrumentArray(
        header=header, height=shape[0], width=shape[1], pixel_spacing_x_mm=column,
        pixel_spacing_y_mm=row, model_id=model_id, processing_time=processing_time,
        instruments=[_instrument_to_message(instrument) for instrument in instruments])


def _instrument_to_message(instrument: Instrument) -> InstrumentMessage:
    points = [Point32(x=x, y=y) for x, y in instrument.centerline.tolist()]
    return InstrumentMessage(
        kind=instrument.kind, confidence=float(instrument.confidence), centerline_px=points,
        tip_px=points[-1], tip_heading=instrument.heading,
        tip_visible=bool(instrument.tip_visible), length_px=instrument.length_px,
        length_mm=float(instrument.length_mm))


def instruments_from_message(message: InstrumentArray) -> tuple[Instrument, ...]:
    """Return what ``instruments_to_message`` was given, to the precision of float32."""
    return tuple(Instrument(
        kind=found.kind, confidence=found.confidence, tip_visible=found.tip_visible,
        length_mm=found.length_mm,
        centerline=np.array([(point.x, point.y) for point in found.centerline_px], np.float64))
        for found in message.instruments)


def tip_to_message(header: Header, instrument: Instrument) -> PoseStamped:
    """Return the tip in pixels; the pose's x axis points where the tip points."""
    message = PoseStamped(header=header)
    x, y = instrument.tip.tolist()
    message.pose = Pose(position=Point(x=x, y=y), orientation=_turned(instrument.heading))
    return message


def centerline_to_message(header: Header, instrument: Instrument | None) -> PoseArray:
    """Return the centreline in pixels; each pose's x axis points on along it. Empty for None."""
    message = PoseArray(header=header)
    if instrument is None:
        return message
    line = instrument.centerline
    steps = np.diff(line, axis=0, append=line[-1:])
    steps[-1] = steps[-2]
    angles = np.arctan2(steps[:, 1], steps[:, 0])
    message.poses = [Pose(position=Point(x=x, y=y), orientation=_turned(angle))
                     for (x, y), angle in zip(line.tolist(), angles.tolist())]
    return message


def _turned(angle: float) -> Quaternion:
    """Return a turn about z, from x towards y. Radians."""
    return Quaternion(z=math.sin(angle / 2), w=math.cos(angle / 2))


def label_info_type() -> type:
    """Return vision_msgs/LabelInfo where that package is installed, else std_msgs/String."""
    try:
        return importlib.import_module('vision_msgs.msg').LabelInfo
    except (ImportError, AttributeError):
        return String


def label_info_to_message(header: Header) -> object:
    """Return the label table; as JSON where vision_msgs is not installed."""
    kind = label_info_type()
    if kind is String:
        table = [{'class_id': value, 'class_name': name, 'colour_rgb': labels.COLOURS[value]}
                 for value, name in enumerate(labels.NAMES)]
        return String(data=json.dumps({'class_map': table}))
    vision_class = importlib.import_module('vision_msgs.msg').VisionClass
    return kind(header=header, class_map=[vision_class(class_id=value, class_name=name)
                                          for value, name in enumerate(labels.NAMES)])

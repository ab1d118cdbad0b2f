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

import json
import math

from fedefm_ros import labels
from fedefm_ros.nodes import conversion
from fedefm_ros.segmentation.instrument import Instrument

import numpy as np

import pytest

from rclpy.serialization import deserialize_message, serialize_message

from std_msgs.msg import Header, String

HEADER = Header(frame_id='fluoroscopy_optical')
LINE = np.array([[0.0, 10.5], [2.0, 10.5], [4.0, 12.5], [4.0, 14.5]])
WIRE = Instrument(labels.GUIDEWIRE, LINE, confidence=0.75, tip_visible=True, length_mm=3.5)


def angle(pose):
    return 2 * math.atan2(pose.orientation.z, pose.orientation.w)


def test_instruments_survive_the_wire():
    hidden = Instrument(labels.CATHETER, LINE[:2], 0.5, False)
    message = conversion.instruments_to_message(
        HEADER, (480, 640), (WIRE, hidden), spacing_mm=(0.3, 0.2), model_id='0123456789abcdef',
        processing_time=0.01)
    message = deserialize_message(serialize_message(message), type(message))
    assert (message.width, message.height) == (640, 480)
    assert message.pixel_spacing_x_mm == pytest.approx(0.2)
    assert message.pixel_spacing_y_mm == pytest.approx(0.3)
    assert message.header == HEADER and message.model_id == '0123456789abcdef'
    wire, other = conversion.instruments_from_message(message)
    np.testing.assert_allclose(wire.centerline, LINE)
    assert (wire.kind, wire.confidence, wire.tip_visible, wire.length_mm) == (2, 0.75, True, 3.5)
    assert message.instruments[0].length_px == pytest.approx(WIRE.length_px)
    assert message.instruments[0].tip_heading == pytest.approx(WIRE.heading)
    assert (message.instruments[0].tip_px.x, message.instruments[0].tip_px.y) == (4.0, 14.5)
    assert not other.tip_visible and math.isnan(other.length_mm)


def test_unknown_spacing_is_nan():
    message = conversion.instruments_to_message(HEADER, (4, 4), ())
    assert math.isnan(message.pixel_spacing_x_mm) and math.isnan(message.pixel_spacing_y_mm)


def test_the_tip_pose_points_where_the_tip_points():
    message = conversion.tip_to_message(HEADER, WIRE)
    assert (message.pose.position.x, message.pose.position.y) == (4.0, 14.5)
    assert angle(message.pose) == pytest.approx(WIRE.heading)


def test_centerline_poses_point_along_the_line():
    message = conversion.centerline_to_message(HEADER, WIRE)
    assert [(pose.position.x, pose.position.y) for pose in message.poses] == \
        [tuple(point) for point in LINE]
    assert [angle(pose) for pose in message.poses] == pytest.approx(
        [0.0, math.pi / 4, math.pi / 2, math.pi / 2])
    assert conversion.centerline_to_message(HEADER, None).poses == []


def test_the_label_table_tells_every_class():
    message = conversion.label_info_to_message(HEADER)
    if isinstance(message, String):
        table = json.loads(message.data)['class_map']
        names = [(entry['class_id'], entry['class_name']) for entry in table]
    else:
        names = [(entry.class_id, entry.class_name) for entry in message.class_map]
    assert names == list(enumerate(labels.NAMES))

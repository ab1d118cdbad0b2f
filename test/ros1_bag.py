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

"""A bag as a ROS 1 station recorded it, written by rosbags alone."""

import numpy as np

from rosbags.rosbag1 import Writer
from rosbags.typesys import get_typestore
from rosbags.typesys import Stores

STORE = get_typestore(Stores.ROS1_NOETIC)


def write_ros1_bag(path, topics, start, step=100_000_000):
    """
    Write images as a ROS 1 bag.

    :param topics: (H, W) uint8 images by topic; None: no message at that time.
    :param start: stamp of the first ones in nanoseconds; messages are recorded 5 ms after it.
    :param step: nanoseconds between two.
    """
    make = STORE.types
    with Writer(path) as writer:
        for topic, images in topics.items():
            connection = writer.add_connection(topic, 'sensor_msgs/msg/Image', typestore=STORE)
            for number, image in enumerate(images):
                if image is None:
                    continue
                stamp = start + number * step
                header = make['std_msgs/msg/Header'](
                    number, make['builtin_interfaces/msg/Time'](*divmod(stamp, 10**9)), 'c_arm')
                message = make['sensor_msgs/msg/Image'](
                    header, *image.shape, 'mono8', 0, image.shape[1],
                    np.ascontiguousarray(image).reshape(-1))
                writer.write(connection, stamp + 5_000_000,
                             STORE.serialize_ros1(message, message.__msgtype__))
    return path

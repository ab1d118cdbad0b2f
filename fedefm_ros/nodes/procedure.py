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

"""Images without anything in them: all that tells a federation node of a procedure."""

from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data

from sensor_msgs.msg import Image


class Procedure:
    """A station's images, one at a time: what stops its federation."""

    def __init__(self, node: Node, topic: str, side: int = 512):
        """Publish on a topic, best effort as a source does."""
        self._publisher = node.create_publisher(Image, topic, qos_profile_sensor_data)
        self._image = Image(width=side, height=side, encoding='mono8', step=side)
        self._image.data.frombytes(bytes(side * side))

    def image(self) -> None:
        """Publish an image."""
        self._publisher.publish(self._image)

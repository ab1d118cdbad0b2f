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

"""Counts images and how old they are on arrival; prints one line of JSON when interrupted."""

import argparse
import json
import sys

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy
from rclpy.time import Time

from sensor_msgs.msg import Image


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--topic', default='fluoroscopy/image_raw')
    parser.add_argument('--reliable', action='store_true', help='default: best effort')
    options = parser.parse_args(arguments)
    latencies = []
    try:
        with rclpy.init():
            node = rclpy.create_node('image_reader')

            def on_image(message):
                age = node.get_clock().now() - Time.from_msg(message.header.stamp)
                latencies.append(age.nanoseconds * 1e-9)

            node.create_subscription(Image, options.topic, on_image, QoSProfile(
                depth=5, reliability=ReliabilityPolicy.RELIABLE if options.reliable
                else ReliabilityPolicy.BEST_EFFORT))
            rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    print(json.dumps({'latencies': latencies}), flush=True)
    return 0


if __name__ == '__main__':
    sys.exit(main())

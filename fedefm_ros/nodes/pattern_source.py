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
A publisher with an even clock for benchmarks: frames are rendered before the first is sent.

``python -m fedefm_ros.nodes.pattern_source --size 512 --rate 30 --frames 900`` waits for a reader,
publishes, and prints one line of JSON: how many frames went out and how late the latest was.
"""

import argparse
import json
import sys
import time

from fedefm_ros.imaging.messages import fill_image
from fedefm_ros.memory import keep_freed_memory
from fedefm_ros.simulation.fluoroscopy import FluoroscopySimulator

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.qos import QoSProfile, ReliabilityPolicy

from sensor_msgs.msg import Image

#: Distinct frames, shown again and again: enough that no two neighbours are alike.
FRAMES_IN_LOOP = 30


def messages(size: int, seed: int) -> list[Image]:
    """Return simulated frames as messages that lack only their stamp."""
    simulator = FluoroscopySimulator('human', size, 30.0, seed)
    made = []
    for frame, _ in zip(simulator, range(FRAMES_IN_LOOP)):
        message = Image()
        message.header.frame_id = 'fluoroscopy_optical'
        fill_image(message, frame.image, 'mono8')
        made.append(message)
    return made


def publish(node, publisher, frames: list[Image], rate: float, count: int) -> dict:
    """Publish ``count`` frames at an even ``rate``; return what was done."""
    start = time.monotonic() + 0.05
    latest = 0.0
    for index in range(count):
        due = start + index / rate
        wait = due - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        latest = max(latest, time.monotonic() - due)
        message = frames[index % len(frames)]
        message.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(message)
    return {'published': count, 'latest_ms': 1e3 * latest}


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument('--topic', default='fluoroscopy/image_raw')
    parser.add_argument('--size', type=int, default=512, help='width and height in pixels')
    parser.add_argument('--rate', type=float, default=30.0, help='frames per second')
    parser.add_argument('--frames', type=int, default=900)
    parser.add_argument('--seed', type=int, default=1000)
    parser.add_argument('--reliable', action='store_true', help='default: best effort')
    parser.add_argument('--wait', type=float, default=30.0, help='seconds to wait for a reader')
    options = parser.parse_args(arguments)
    keep_freed_memory()
    frames = messages(options.size, options.seed)
    try:
        with rclpy.init():
            node = rclpy.create_node('pattern_source')
            publisher = node.create_publisher(Image, options.topic, QoSProfile(
                depth=1, reliability=ReliabilityPolicy.RELIABLE if options.reliable
                else ReliabilityPolicy.BEST_EFFORT))
            deadline = time.monotonic() + options.wait
            while not publisher.get_subscription_count():
                if time.monotonic() > deadline:
                    print(f'nobody subscribed to {options.topic} within {options.wait} s',
                          file=sys.stderr)
                    return 1
                rclpy.spin_once(node, timeout_sec=0.05)
            # Both ends have to know of each other; then the transport has to be set up.
            settled = time.monotonic() + 1.0
            while time.monotonic() < settled:
                rclpy.spin_once(node, timeout_sec=0.05)
            print(json.dumps(publish(node, publisher, frames, options.rate, options.frames)),
                  flush=True)
            # Fast DDS drops what has not been sent when its process ends.
            settled = time.monotonic() + 1.0
            while time.monotonic() < settled:
                rclpy.spin_once(node, timeout_sec=0.05)
    except (KeyboardInterrupt, ExternalShutdownException):
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())

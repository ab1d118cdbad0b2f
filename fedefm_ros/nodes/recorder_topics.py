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

"""Types and QoS of topics that a recorder or a player meets: found by name, as rosbag2 does."""

import importlib

from fedefm_ros.errors import FedefmError

from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy
from rclpy.topic_endpoint_info import TopicEndpointInfo

from rosbags.interfaces import Qos
from rosbags.interfaces import QosDurability
from rosbags.interfaces import QosHistory
from rosbags.interfaces import QosLiveliness
from rosbags.interfaces import QosReliability
from rosbags.interfaces import QosTime

#: Messages that may wait in the middleware while Python is busy: some 3 s of fluoroscopy.
DEPTH = 100


def message_class(msgtype: str) -> type:
    """Return the class of ``package/msg/Name``; FedefmError where it is not installed."""
    try:
        package, _, name = msgtype.split('/')
        return getattr(importlib.import_module(f'{package}.msg'), name)
    except (ImportError, AttributeError, ValueError):
        raise FedefmError(f'message type {msgtype} is not installed here') from None


def subscription_qos(publishers: list[TopicEndpointInfo]) -> QoSProfile:
    """Return a profile that matches all publishers and asks for as much as they all offer."""
    profiles = [publisher.qos_profile for publisher in publishers]
    reliable = all(each.reliability == ReliabilityPolicy.RELIABLE for each in profiles)
    latched = all(each.durability == DurabilityPolicy.TRANSIENT_LOCAL for each in profiles)
    return QoSProfile(
        depth=DEPTH,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE)


def offered_profiles(publishers: list[TopicEndpointInfo]) -> tuple[Qos, ...]:
    """Return the profiles of all publishers as bags store them."""
    return tuple(Qos(
        QosHistory(int(each.history)), each.depth, QosReliability(int(each.reliability)),
        QosDurability(int(each.durability)), _time(each.deadline), _time(each.lifespan),
        QosLiveliness(int(each.liveliness)), _time(each.liveliness_lease_duration),
        each.avoid_ros_namespace_conventions)
        for each in (publisher.qos_profile for publisher in publishers))


def _time(duration) -> QosTime:
    return QosTime(*divmod(duration.nanoseconds, 10**9))

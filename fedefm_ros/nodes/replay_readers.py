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
Waiting until those who read a topic are connected, so that its first messages are not lost.

A publisher learns of a reader before that reader learns of it, and what is sent in between is
lost to best-effort readers. DDS tells what a process has in the order in which it was made: who
has answered a call from here knows every publisher and subscription that was made before the
call's client. ROS nodes answer ``get_parameters``, unless they were made without.
"""

import math
import time

from rcl_interfaces.srv import GetParameters

from rclpy.node import Node
from rclpy.publisher import Publisher

#: Seconds without a new reader or answer after which no more are expected.
_SETTLED = 1.0
#: Seconds after which a node of which no such service is known is taken for one without.
_SILENT = 3.0
_PERIOD = 0.05


def wait_for_readers(node: Node, publisher: Publisher, *, patience: float, count: int = 0,
                     alone: float = math.inf, mask: str = '') -> bool:
    """
    Wait until all who are known to read a topic know of its publisher; return whether they do.

    Another thread has to spin the node. What readers are to know is made before the call.

    :param patience: seconds at most.
    :param count: so many readers at least.
    :param alone: give up after so many seconds if nobody reads by then.
    :param mask: topic of what one of the readers makes of it; from half of the patience on
        anybody who makes it will do (a chain of nodes).
    """
    started = time.monotonic()
    calls = _Calls(node, patience / 2)
    before, since = None, started
    try:
        while (now := time.monotonic()) < started + patience:
            readers = node.get_subscriptions_info_by_topic(publisher.topic_name)
            makers = node.get_publishers_info_by_topic(mask) if mask else []
            silent = calls.unanswered({_name(each) for each in (*readers, *makers)})
            seen = {bytes(each.endpoint_gid) for each in (*readers, *makers)}, silent
            if seen != before:
                before, since = seen, now
            if len(readers) >= max(1, count) and not silent and now - since > _SETTLED and \
                    publisher.get_subscription_count() >= len(readers) and \
                    (not mask or _makes(readers, makers, now < started + patience / 2)):
                return True
            if not readers and now > started + alone:
                return False
            time.sleep(_PERIOD)
        return False
    finally:
        calls.close()


def _makes(readers, makers, strict) -> bool:
    """Return whether a reader (any node, where not strict) makes what is waited for."""
    names = {_name(each) for each in makers}
    return bool(names & {_name(each) for each in readers} if strict else names)


def _name(endpoint) -> str:
    return f'{endpoint.node_namespace.rstrip("/")}/{endpoint.node_name}'


class _Calls:
    """One call to each node that is met; an answer tells that it knows what was made before."""

    def __init__(self, node: Node, patience: float):
        self._node = node
        self._patience = patience
        self._clients = {}
        self._met = {}
        self._answers = {}

    def unanswered(self, names: set[str]) -> set[str]:
        """Return the nodes whose answer is still to be waited for; calls those that are new."""
        return {name for name in names if self._is_silent(name, time.monotonic())}

    def close(self) -> None:
        """Forget the calls."""
        for client in self._clients.values():
            self._node.destroy_client(client)

    def _is_silent(self, name, now) -> bool:
        met = self._met.setdefault(name, now)
        if 'UNKNOWN' in name:  # its name has not come yet, or it is not of ROS
            return now < met + _SILENT
        if name not in self._clients:
            self._clients[name] = self._node.create_client(
                GetParameters, f'{name}/get_parameters')
        client = self._clients[name]
        if name not in self._answers:
            if not client.service_is_ready():
                return now < met + _SILENT
            self._answers[name] = client.call_async(GetParameters.Request())
        return not self._answers[name].done() and now < met + self._patience

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
A Foxglove WebSocket server of one station, for machines without ``foxglove_bridge``.

Messages go out as they arrive, undecoded, with the definition of their type. A topic is
subscribed to only while somebody looks at it, so that what is made on demand (the overlay) is
not made for nobody, and the segmentation has no more readers than it needs. Nothing can be
published or called through it.
"""

from collections.abc import Callable
from functools import partial
import threading

from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.bag_types import definition
from fedefm_ros.nodes.recorder import station_topics
from fedefm_ros.nodes.recorder_topics import message_class
from fedefm_ros.nodes.recorder_topics import subscription_qos

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSProfile

#: What a recording leaves out and people look at.
_MORE_TOPICS = ('segmentation/overlay', 'robot/joint_states', 'robot/contact_force',
                'navigation/status', 'navigation/way')
_LOOK_PERIOD = 0.25
#: Messages that may wait for a browser; older ones are dropped, so that it shows the newest.
_BACKLOG = 8


def import_foxglove():
    """Return the module; raises FedefmError where it is not installed."""
    try:
        import foxglove
        import foxglove.websocket
    except ImportError as error:
        raise FedefmError(
            f'the Foxglove server needs foxglove-sdk ({error}); install it with '
            'pip install "fedefm_ros[foxglove]" or pip install foxglove-sdk, or use '
            'foxglove_bridge of a ROS 2 distribution') from None
    return foxglove


class FoxgloveServer:
    """Offers a station's topics to Foxglove; ``close`` it at the end."""

    def __init__(self, node: Node, namespace: str, host: str = '127.0.0.1', port: int = 8765):
        """
        Serve; the node has to be spun.

        :param namespace: the station's.
        :param host: address to serve on. There is no token: whoever reaches it sees the images.
        :param port: 0 takes a free one; ``port`` tells it.
        :raises FedefmError: foxglove-sdk is missing, or the port is taken.
        """
        self._foxglove = import_foxglove()
        self._node = node
        station = '/' + namespace.strip('/') if namespace.strip('/') else ''
        self._names = {*station_topics(namespace).names,
                       *(f'{station}/{name}' for name in _MORE_TOPICS)}
        self._channels = {}
        self._subscriptions = {}
        self._refused: set[str] = set()
        self._latecomers: set[str] = set()
        self._lock = threading.Lock()
        self._context = self._foxglove.Context()
        try:
            self._server = self._foxglove.start_server(
                name=f'station {namespace}', host=host, port=port, capabilities=[],
                context=self._context, message_backlog_size=_BACKLOG,
                server_listener=_Listener(self._on_joined))
        except (OSError, RuntimeError) as error:
            raise FedefmError(f'cannot serve on {host} port {port}: {error}; '
                              'choose another port') from error
        self._timer = node.create_timer(_LOOK_PERIOD, self._look)

    @property
    def port(self) -> int:
        """Return the TCP port it serves on."""
        return self._server.port

    def close(self) -> None:
        """Stop serving."""
        self._node.destroy_timer(self._timer)
        for _, subscription in self._subscriptions.values():
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()
        self._server.stop()

    def _on_joined(self, topic: str) -> None:
        """Note that a browser began to look at a topic; called by a thread of the server's."""
        with self._lock:
            self._latecomers.add(topic)

    def _look(self) -> None:
        """Offer topics that are new; subscribe where somebody looks, and no longer."""
        for name, types in self._node.get_topic_names_and_types():
            if name in self._names and name not in self._channels | dict.fromkeys(self._refused):
                self._offer(name, types[0])
        with self._lock:
            latecomers, self._latecomers = self._latecomers, set()
        for name, channel in self._channels.items():
            kept = self._subscriptions.get(name)
            wanted = channel.has_sinks() and self._qos(name)
            # A latched message comes with the subscription: anew for who came later.
            late = kept and name in latecomers \
                and kept[0].durability == DurabilityPolicy.TRANSIENT_LOCAL
            if kept and (late or kept[0] != wanted):
                self._node.destroy_subscription(self._subscriptions.pop(name)[1])
                kept = None
            if wanted and not kept:
                self._subscriptions[name] = wanted, self._node.create_subscription(
                    message_class(channel.schema_name()), name,
                    partial(_pass_on, channel), wanted, raw=True)

    def _qos(self, name: str) -> QoSProfile | None:
        """Return a profile that all publishers match; None while there are none."""
        publishers = self._node.get_publishers_info_by_topic(name)
        if not publishers:
            return None
        qos = subscription_qos(publishers)
        qos.depth = _BACKLOG
        return qos

    def _offer(self, name: str, msgtype: str) -> None:
        try:
            message_class(msgtype)
            text, _ = definition(msgtype)
        except FedefmError as error:
            self._refused.add(name)
            self._node.get_logger().warning(f'{name} is not offered: {error}')
            return
        self._channels[name] = self._foxglove.Channel(
            name, message_encoding='cdr', context=self._context,
            schema=self._foxglove.Schema(name=msgtype, encoding='ros2msg', data=text.encode()))


def _pass_on(channel, data: bytes) -> None:
    channel.log(bytes(data))


class _Listener:
    """What the server tells of its clients; no base class, since that may not be installed."""

    def __init__(self, joined: Callable[[str], None]):
        self._joined = joined

    def on_subscribe(self, client, channel) -> None:
        """Tell which topic somebody began to look at."""
        self._joined(channel.topic)

    def __getattr__(self, name):
        """Take all other calls and do nothing: they would command."""
        if not name.startswith('on_'):
            raise AttributeError(name)
        return lambda *arguments: None

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

"""The Foxglove server: a client gets a station's messages as they are, and can command nothing."""

import asyncio
import json
import struct
import subprocess
import sys

from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.messages import image_to_array
from fedefm_ros.nodes.foxglove_server import FoxgloveServer
from fedefm_ros.nodes.foxglove_server import import_foxglove
from fedefm_ros.nodes.session import named
from fedefm_ros.nodes.session import spinning

from harness import BEST_EFFORT, LATCHED, PATIENCE, wait_until

import numpy as np

import pytest

from rclpy.serialization import deserialize_message

from sensor_msgs.msg import Image

from std_msgs.msg import Bool

NEW_MESSAGE = 1


def test_without_the_package_the_mend_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'foxglove', None)
    with pytest.raises(FedefmError, match=r'fedefm_ros\[foxglove\]'):
        import_foxglove()


@pytest.fixture(scope='module')
def served(harness):
    """Return the harness with a server of its station and publishers of images and a latch."""
    pytest.importorskip('foxglove', reason='foxglove-sdk is not installed')
    harness.pictures = harness.node.create_publisher(Image, 'fluoroscopy/image_raw', BEST_EFFORT)
    active = harness.node.create_publisher(Bool, 'procedure_active', LATCHED)
    active.publish(Bool(data=True))
    with spinning(named('foxglove')) as node:
        harness.server = FoxgloveServer(node, harness.namespace, port=0)
        yield harness
        harness.server.close()


class Client:
    """Speaks the protocol of a Foxglove browser."""

    def __init__(self, socket):
        self.socket = socket
        self.capabilities, self.channels, self.messages = None, {}, {}

    async def until(self, condition, between=lambda: None):
        """Take what comes until a condition holds."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                between()
                try:
                    async with asyncio.timeout(0.2):
                        self._take(await self.socket.recv())
                except TimeoutError:
                    continue

    def _take(self, data):
        if isinstance(data, bytes):
            if data[0] == NEW_MESSAGE:
                number, = struct.unpack_from('<I', data, 1)
                self.messages.setdefault(number, []).append(data[13:])
            return
        told = json.loads(data)
        if told['op'] == 'serverInfo':
            self.capabilities = told['capabilities']
        elif told['op'] == 'advertise':
            self.channels |= {each['topic']: each for each in told['channels']}

    async def look_at(self, number, topic):
        await self.until(lambda: topic in self.channels)
        await self.socket.send(json.dumps({'op': 'subscribe', 'subscriptions': [
            {'id': number, 'channelId': self.channels[topic]['id']}]}))


def talk(served, conversation):
    """Have a conversation with the server as a client."""
    from websockets.asyncio.client import connect

    async def whole():
        async with connect(f'ws://127.0.0.1:{served.server.port}', max_size=None,
                           subprotocols=['foxglove.sdk.v1']) as socket:
            return await conversation(Client(socket))
    return asyncio.run(whole())


def test_an_image_arrives_as_it_was_published_and_only_while_it_is_looked_at(served):
    topic = f'/{served.namespace}/fluoroscopy/image_raw'
    picture = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)

    async def look(client):
        await client.look_at(7, topic)
        await client.until(lambda: 7 in client.messages,
                           lambda: served.node.send(picture))
        return client
    assert served.node.count_subscribers(topic) == 0
    client = talk(served, look)
    channel = client.channels[topic]
    assert channel['encoding'] == 'cdr' and channel['schemaEncoding'] == 'ros2msg'
    assert channel['schemaName'] == 'sensor_msgs/msg/Image'
    assert 'uint32 height' in channel['schema']
    message = deserialize_message(client.messages[7][0], Image)
    assert np.array_equal(image_to_array(message), picture)
    # Nobody looks any more: the node is subscribed to no longer.
    wait_until(lambda: served.node.count_subscribers(topic) == 0, 'the end of the subscription')


def test_a_latched_message_reaches_everybody_who_comes_later(served):
    topic = f'/{served.namespace}/procedure_active'

    async def look(client):
        await client.look_at(3, topic)
        await client.until(lambda: 3 in client.messages)
        assert deserialize_message(client.messages[3][0], Bool).data is True

        async def look_too(other):
            await other.look_at(4, topic)
            await other.until(lambda: 4 in other.messages)
        from websockets.asyncio.client import connect
        async with connect(f'ws://127.0.0.1:{served.server.port}', max_size=None,
                           subprotocols=['foxglove.sdk.v1']) as socket:
            await look_too(Client(socket))
    talk(served, look)


def test_nothing_can_be_commanded_and_no_other_topic_is_offered(served):
    async def look(client):
        await client.until(lambda: client.capabilities is not None and client.channels)
        return client
    client = talk(served, look)
    assert not {'clientPublish', 'services', 'parameters', 'assets'} & set(client.capabilities)
    assert all(topic.startswith((f'/{served.namespace}/', '/diagnostics', '/federation/'))
               for topic in client.channels)


def test_a_port_that_is_taken_is_named(served):
    with spinning(named('other')) as node:
        with pytest.raises(FedefmError, match='choose another port'):
            FoxgloveServer(node, served.namespace, port=served.server.port)


def test_the_command_serves_and_ends_by_ctrl_c(served):
    import signal
    process = subprocess.Popen(
        [sys.executable, '-m', 'fedefm_ros.cli', 'foxglove', '--station', served.namespace,
         '--port', '0'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    line = ''
    while 'ws://localhost' not in line:
        line = process.stdout.readline()
        assert line, 'it ended'
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 0

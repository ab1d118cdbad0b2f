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
One end of a model's way between two stations, without rounds: for benchmarks.

``python -m fedefm_ros.nodes.courier offer FOLDER BYTES CHUNK`` offers so many random bytes as
station `sender`, prints their SHA-256 as JSON, and serves them until standard input ends.
``... fetch FOLDER BYTES CHUNK SHA256 [TIMES]`` has them sent to station `receiver`, and prints the
seconds that it took, those of each further time and by how many bytes the process grew.
"""

import json
import os
from pathlib import Path
import sys
import tempfile
import threading
import time

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.station.inbox import Inbox
from fedefm_ros.federation.transfer.outbox import Chunk
from fedefm_ros.federation.transfer.outbox import Outbox
from fedefm_ros.federation.trust.manifest import Manifest
from fedefm_ros.files import warm_page_cache
from fedefm_ros.memory import peak_bytes
from fedefm_ros.nodes.federation_transport import RosTransport
from fedefm_ros.nodes.session import spinning

from rclpy.node import Node

STATIONS = ('sender', 'receiver')
_TIMEOUT = 5.0
#: As that of the federation node.
_TICK = 0.02
_PATIENCE = 60.0


class Courier:
    """What RosTransport asks of a member, and no more."""

    def __init__(self, outbox: Outbox | None = None):
        self.outbox = outbox
        self.done = threading.Event()
        self.inbox: Inbox | None = None

    def serve(self, sha256: str, index: int) -> Chunk:
        """Return a chunk."""
        return self.outbox.chunk(sha256, index)

    def heard(self, manifest: Manifest) -> None:
        """Do nothing: the manifest is told by other means."""

    def refuse(self, refused: FedefmError, peer: str) -> None:
        """Raise what was refused."""
        raise refused

    def chunk(self, *answer) -> None:
        """Take a chunk."""
        if self.inbox.chunk(*answer):
            self.pump()

    def pump(self) -> None:
        """Ask for what is due; `done` is set when all has come."""
        if self.inbox is None:
            return
        complete, failed = self.inbox.pump()
        if failed:
            raise failed[0][1]
        if complete:
            self.done.set()

    def no_chunk(self, *answer) -> None:
        """Take a refusal."""
        self.inbox.no_chunk(*answer)


class CourierNode(Node):
    """A node with a transport and a courier; pumps its inbox by a timer."""

    def __init__(self, name: str, courier: Courier, context):
        """Begin to serve."""
        super().__init__('federation', namespace=name, context=context)
        self.transport = RosTransport(self, name, STATIONS, _TIMEOUT)
        self.courier = courier
        self.transport.serve(courier)
        self.create_timer(_TICK, courier.pump)
        self._begun = self.create_guard_condition(courier.pump)

    def fetch(self, manifest: Manifest, folder: Path) -> None:
        """Begin to fetch; the courier's ``done`` is set when all has come and was hashed."""
        self.courier.done.clear()
        inbox = Inbox(folder, self.transport, _TIMEOUT, 0)
        inbox.expect('it', manifest)
        self.courier.inbox = inbox
        self._begun.trigger()

    def can_ask(self) -> bool:
        """Return whether the sender's service is there."""
        return self.transport.can_ask('sender')


def manifest_of(sha256: str, size: int, chunk_size: int) -> Manifest:
    """Return a manifest of what is offered; nobody has signed it."""
    return Manifest.new(
        round=0, owner='sender', sender='sender', recipients=('receiver',), purpose='aggregate',
        architecture_hash='0' * 64, codec='safetensors', size=size, chunk_size=chunk_size,
        sha256=sha256)


def offer(folder: Path, size: int, chunk_size: int) -> None:
    """Offer bytes until standard input ends."""
    outbox = Outbox(folder, 2 * size + 1)
    offered = outbox.put(os.urandom(size), chunk_size)
    with spinning(lambda context: CourierNode('sender', Courier(outbox), context)):
        print(json.dumps({'sha256': offered.sha256}), flush=True)
        sys.stdin.read()


def fetch(folder: Path, size: int, chunk_size: int, sha256: str, times: str = '1') -> None:
    """Fetch what is offered, and tell what it cost."""
    with spinning(lambda context: CourierNode('receiver', Courier(), context)) as node:
        deadline = time.monotonic() + _PATIENCE
        while not node.can_ask():
            if time.monotonic() > deadline:
                raise FedefmError(f'the sender was not discovered within {_PATIENCE:.0f} s')
            time.sleep(0.01)
        folder.mkdir(parents=True, exist_ok=True)
        before, seconds, processor_seconds = peak_bytes(), [], []
        for _ in range(int(times)):
            with tempfile.TemporaryDirectory(dir=folder) as place:
                warm_page_cache(folder, size)
                began, worked = time.monotonic(), time.process_time()
                node.fetch(manifest_of(sha256, size, chunk_size), Path(place))
                if not node.courier.done.wait(10 * _PATIENCE):
                    raise FedefmError(f'the fetch did not end within {10 * _PATIENCE:.0f} s')
                seconds.append(time.monotonic() - began)
                processor_seconds.append(time.process_time() - worked)
        print(json.dumps({'seconds': seconds[0], 'again': seconds[1:],
                          'grown': peak_bytes() - before,
                          'processor_seconds': processor_seconds[-1]}))


def main(arguments: list[str]) -> int:
    """Be one end."""
    end, folder, size, chunk_size, *what = arguments
    try:
        {'offer': offer, 'fetch': fetch}[end](Path(folder), int(size), int(chunk_size), *what)
    except FedefmError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))

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

"""Stations with keys, announcements and chunks for the tests of trust and transfer."""

import hashlib
from pathlib import Path
import subprocess
import sys

from fedefm_ros.federation.transfer.chunk_table import payload_sha256
from fedefm_ros.federation.transfer.outbox import Outbox
from fedefm_ros.federation.trust.identity import Identity
from fedefm_ros.federation.trust.manifest import Manifest
from fedefm_ros.federation.trust.peers import Peers

CHUNK = 64 << 10


def station(folder, name):
    """Return a new identity."""
    return Identity.create(folder / name, name)


def peers_of(folder, *identities):
    """Return an allow-list with these on it."""
    peers = Peers.read(folder)
    for number, identity in enumerate(identities):
        file = folder / f'handed-over-{number}'
        folder.mkdir(exist_ok=True)
        identity.write_public(folder).rename(file)
        peers.add(file)
        file.unlink()
    return peers


def sha256_of(payload):
    """Return the SHA-256 of a payload in chunks of CHUNK bytes."""
    return payload_sha256(b''.join(hashlib.sha256(payload[start:start + CHUNK]).digest()
                                   for start in range(0, len(payload), CHUNK)))


def manifest_of(sender='alpha', offered=None, payload=b'x', **changes):
    """Return an unsigned manifest for what an outbox offers, or for a payload."""
    values = {
        'round': 3, 'owner': sender, 'sender': sender, 'recipients': ('beta',),
        'purpose': 'overseas', 'architecture_hash': 'a' * 64, 'codec': 'safetensors',
        'size': len(payload), 'chunk_size': CHUNK, 'sha256': sha256_of(payload)}
    if offered is not None:
        values |= {'size': offered.size, 'chunk_size': offered.chunk_size,
                   'sha256': offered.sha256}
    return Manifest.new(**{**values, **changes})


def offer(folder, payload, key=None):
    """Return an outbox with a payload, and its manifest."""
    outbox = Outbox(folder, 1 << 30)
    return outbox, manifest_of(offered=outbox.put(payload, CHUNK, key))


def answer(outbox, manifest, index):
    """Return what a sender answers: the chunk and its hash."""
    data, sha256 = outbox.chunk(manifest.sha256, index)
    return bytes(data), sha256


def fetch_all(fetch, outbox):
    """Do all that is left of a transfer; return how many chunks were asked for."""
    asked = 0
    for index in range(fetch.manifest.chunks):
        fetch.failed(index, 'asked before and never answered')
    while not fetch.done:
        wanted = fetch.wanted()
        assert wanted, 'it is not done, but asks for nothing'
        for index in wanted:
            asked += 1
            fetch.take(index, *answer(outbox, fetch.manifest, index))
    return asked


def start_python(code, *arguments):
    """Start code in a process of its own, where the package is found; its output is a pipe."""
    root = Path(__file__).resolve().parents[2]
    head = f'import sys; sys.path[:0] = [{str(root)!r}, {str(Path(__file__).parent)!r}]\n'
    return subprocess.Popen([sys.executable, '-c', head + code, *map(str, arguments)],
                            stdout=subprocess.PIPE, text=True)

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

"""`bench transfer`: a model from one station's process to another's, beside a raw TCP copy."""

import hashlib
import json
import os
from pathlib import Path
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Annotated

from fedefm_ros.commands import output
from fedefm_ros.errors import FedefmError
from fedefm_ros.files import warm_page_cache

import typer

_MEGABYTE = 1_000_000
_BLOCK = 1 << 20


def transfer(
    megabytes: Annotated[str, typer.Option(help='Sizes, by comma.')] = '10,100,400',
    repeats: Annotated[int, typer.Option(min=1, help='Of each size.')] = 3,
    chunk_size: Annotated[int, typer.Option(help='Bytes of a chunk.')] = 1 << 20,
    json_file: output.JsonOption = None,
):
    """
    Measure how fast weights travel: chunks over ROS services, hashed, written to a file.

    Beside it the same bytes over a loopback TCP connection between two processes, hashed and
    written likewise, into memory that the machine has at hand in both cases. They take turns. Each
    pair of processes sends twice: once as processes that have just begun, and once as those of a
    station that runs for days, which is what the ratio is of.
    """
    from fedefm_ros.station import dds_environment
    os.environ.update(dds_environment())
    sizes = [int(float(size) * _MEGABYTE) for size in megabytes.split(',')]
    rows = []
    with output.progress('measuring', len(sizes) * repeats) as advance:
        for size in sizes:
            ours, tcp, peak = [], [], 0.0
            for repeat in range(repeats):
                with tempfile.TemporaryDirectory() as folder:
                    ours.append(_ours(Path(folder), size, chunk_size))
                with tempfile.TemporaryDirectory() as folder:
                    tcp.append(_tcp(Path(folder), size))
                peak = max(peak, ours[-1][1])
                advance(sizes.index(size) * repeats + repeat + 1, f'{size / 1e6:.0f} MB')
            first, seconds = (statistics.median(run[0][turn] for run in ours) for turn in (0, 1))
            first_tcp, reference = (statistics.median(run[turn] for run in tcp)
                                    for turn in (0, 1))
            rows.append({'megabytes': size / _MEGABYTE, 'seconds': seconds,
                         'tcp_seconds': reference, 'speed_ratio': reference / seconds,
                         'first_seconds': first, 'first_tcp_seconds': first_tcp,
                         'first_speed_ratio': first_tcp / first,
                         'peak_memory_ratio': peak / size,
                         'receiver_processor_seconds': statistics.median(
                             run[2] for run in ours),
                         'all_seconds': [run[0] for run in ours], 'all_tcp_seconds': tcp})
    output.table(f'weights between two stations, median of {repeats}', [
        'MB', 'seconds', 'TCP seconds', 'speed / TCP', 'the first time', 'receiver memory / size'],
        [[row['megabytes'], row['seconds'], row['tcp_seconds'], row['speed_ratio'],
          row['first_speed_ratio'], row['peak_memory_ratio']] for row in rows])
    output.write_json({'rows': rows, 'chunk_size': chunk_size}, json_file)


def _ours(folder: Path, size: int, chunk_size: int) -> tuple[list[float], float, float]:
    """Return two fetches' seconds, how much the receiver grew, its processor time at last."""
    courier = [sys.executable, '-m', 'fedefm_ros.nodes.courier']
    told = [str(size), str(chunk_size)]
    sender = subprocess.Popen([*courier, 'offer', str(folder / 'outbox'), *told],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        line = sender.stdout.readline()
        if not line:
            raise FedefmError('the sending process ended; see above')
        receiver = subprocess.run(
            [*courier, 'fetch', str(folder / 'inbox'), *told, json.loads(line)['sha256'], '2'],
            stdout=subprocess.PIPE, text=True, timeout=900)
        if receiver.returncode:
            raise FedefmError('the receiving process failed; see above')
        result = json.loads(receiver.stdout)
        return [result['seconds'], *result['again']], result['grown'], \
            result['processor_seconds']
    finally:
        sender.stdin.close()
        sender.wait(20)


def _tcp(folder: Path, size: int) -> list[float]:
    """Return the seconds of two copies over loopback from a process, hashed and written."""
    server = socket.create_server(('127.0.0.1', 0))
    port = server.getsockname()[1]
    code = ('import os, socket, sys\n'
            'data = os.urandom(int(sys.argv[2]))\n'
            "line = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
            'while line.recv(1):\n'
            '    line.sendall(data)\n')
    sender = subprocess.Popen([sys.executable, '-c', code, str(port), str(size)])
    line, _ = server.accept()
    buffer, seconds = memoryview(bytearray(_BLOCK)), []
    for _ in range(2):
        warm_page_cache(folder, size)
        digest, left = hashlib.sha256(), size
        with open(folder / 'copy', 'wb', buffering=0) as file:
            began = time.monotonic()
            line.sendall(b'.')
            while left and (count := line.recv_into(buffer)):
                digest.update(buffer[:count])
                file.write(buffer[:count])
                left -= count
            seconds.append(time.monotonic() - began)
        (folder / 'copy').unlink()
        if left:
            raise FedefmError('the TCP copy ended early')
    line.close()
    server.close()
    sender.wait(20)
    return seconds

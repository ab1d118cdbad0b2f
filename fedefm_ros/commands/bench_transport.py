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

"""`bench transport`: images alone, from one process to another."""

import json
from pathlib import Path
import sys
import tempfile
from typing import Annotated

from fedefm_ros.commands import output
from fedefm_ros.commands.processes import Processes
from fedefm_ros.errors import FedefmError
from fedefm_ros.evaluation.timing import milliseconds

import typer


def transport(
    sizes: Annotated[str, typer.Option(help='Image sides in pixels, by comma.')] = '512,1024',
    rates: Annotated[str, typer.Option(help='Images a second, by comma.')] = '30',
    seconds: Annotated[float, typer.Option(help='Length of each measurement.')] = 10.0,
    plain: Annotated[bool, typer.Option(
        help="Also measure the middleware's default transport, beside the package's.")] = True,
    json_file: output.JsonOption = None,
):
    """
    Measure how many images arrive and how late, without any segmentation.

    With the transport that the package sets, and with the default that it replaces.
    """
    rows = []
    cases = [(transport, reliable, int(size), float(rate))
             for transport in (('package', 'default') if plain else ('package',))
             for reliable in (False, True) for size in sizes.split(',')
             for rate in rates.split(',')]
    with output.progress('measuring', len(cases)) as advance:
        for number, case in enumerate(cases, 1):
            rows.append(_measure(*case, seconds))
            advance(number, '{transport}, {size} px'.format(**rows[-1]))
    output.table(f'image published -> received, {seconds:g} s each', [
        'transport', 'qos', 'size', 'rate', 'published', 'received', 'p50 ms', 'p99 ms'],
        [[row['transport'], row['qos'], row['size'], row['rate'], row['published'],
          row['received'], row['latency_ms']['p50'], row['latency_ms']['p99']] for row in rows])
    output.write_json({'rows': rows}, json_file)


def _measure(transport, reliable, size, rate, seconds):
    from fedefm_ros.station import dds_environment
    variables = dds_environment() if transport == 'package' else {}
    frames = int(seconds * rate)
    qos = ['--reliable'] if reliable else []
    topic = ['--topic', '/bench/image']
    with tempfile.TemporaryDirectory() as logs, Processes(Path(logs)) as processes:
        reader = processes.start('reader', [
            sys.executable, '-m', 'fedefm_ros.nodes.image_reader', *topic, *qos], variables)
        publisher = processes.start('publisher', [
            sys.executable, '-m', 'fedefm_ros.nodes.pattern_source', *topic, *qos,
            '--size', str(size), '--rate', str(rate), '--frames', str(frames)], variables)
        publisher.wait(seconds + 60.0)
        if publisher.returncode:
            raise FedefmError(f'the publisher failed:\n{processes.tail("publisher")}')
        published = json.loads(processes.tail('publisher', 1))['published']
        # The publisher has stayed for a second after its last frame: nothing is under way.
        processes.stop()
        if reader.returncode:
            raise FedefmError(f'the reader failed:\n{processes.tail("reader")}')
        latencies = json.loads(processes.tail('reader', 1))['latencies']
    return {'transport': transport, 'qos': 'reliable' if reliable else 'best effort',
            'size': size, 'rate': rate, 'published': published, 'received': len(latencies),
            'latency_ms': milliseconds(latencies)}

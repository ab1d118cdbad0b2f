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

"""`record`: write what a station says into a bag."""

from contextlib import contextmanager
from datetime import datetime
import os
from pathlib import Path
import re
import signal
import threading
import time
from typing import Annotated

from fedefm_ros.commands import output
from fedefm_ros.errors import FedefmError

import typer

_MIB = 2**20


def record(
    out: Annotated[Path | None, typer.Option(
        '-o', '--out', metavar='DIR', help='Folder of the bag, which must not exist; by default '
        'bag_ and the time.')] = None,
    namespace: Annotated[str, typer.Option(
        '--namespace', '--station', help="The station's namespace.")] = 'station',
    topics: Annotated[str, typer.Option(
        help='Record these instead: full names with commas between, or a regular expression that '
        'matches whole names.')] = '',
    compressed: Annotated[bool, typer.Option(
        '--compressed', help='Record the images as PNG (fluoroscopy/image_raw/compressed).')
    ] = False,
    storage: Annotated[str, typer.Option(help='mcap or sqlite3.')] = 'mcap',
    split_size: Annotated[float, typer.Option(
        min=0.0, metavar='MIB', help='Begin a new file after so many MiB; 0: never.')] = 0.0,
    split_seconds: Annotated[float, typer.Option(
        min=0.0, help='Begin a new file after so many seconds; 0: never.')] = 0.0,
    seconds: Annotated[float, typer.Option(
        min=0.0, help='Stop after so many seconds; 0: when asked to (Ctrl-C).')] = 0.0,
    keep_free: Annotated[float, typer.Option(
        min=0.0, metavar='MIB', help='Stop when less than so many MiB are free on the disk.')
    ] = 64.0,
    queue: Annotated[float, typer.Option(
        min=1.0, metavar='MIB', help='Memory for messages that wait for the disk.')] = 256.0,
    json_file: output.JsonOption = None,
):
    """
    Record a station into a rosbag2 folder.

    Images, camera, masks, instruments, ground truth, diagnostics and the federation's status, as
    their publishers appear. `ros2 bag record` of a distribution records the same topics. What was
    written survives a kill of this process: any reader gets it up to the last half second.
    """
    from fedefm_ros import station
    from fedefm_ros.imaging.bag_storage import STORAGES
    from fedefm_ros.imaging.bag_writer import BagWriter

    if storage not in STORAGES:
        raise FedefmError(f'storage {storage!r} is unknown; known: {", ".join(STORAGES)}')
    os.environ.update(station.dds_environment())
    out = out or Path(datetime.now().strftime('bag_%Y_%m_%d-%H_%M_%S'))
    writer = BagWriter(
        out, storage, split_bytes=int(split_size * _MIB), split_seconds=split_seconds,
        keep_free=int(keep_free * _MIB))
    summary, failure = _record(
        writer, _choice(namespace, topics, compressed), seconds, int(queue * _MIB))
    output.table(f'{out}', ['topic', 'messages', 'dropped', 'lost on the way'], [
        [name, *summary['topics'][name].values()] for name in sorted(summary['topics'])])
    output.write_json(summary, json_file)
    if summary['dropped']:
        output.say(f'{summary["dropped"]} messages were dropped: the disk is slower than the '
                   f'topics, and more than {queue:g} MiB had to wait for it (--queue)')
    if failure:
        raise failure
    if not summary['messages']:
        raise FedefmError(f'nothing was recorded: nobody publishes '
                          f'{topics or "the topics of /" + namespace.strip("/")}')


def _choice(namespace, topics, compressed):
    from fedefm_ros.nodes.recorder import Choice
    from fedefm_ros.nodes.recorder import station_topics
    if not topics:
        return station_topics(namespace, compressed)
    try:
        re.compile(topics)
    except re.error as error:
        raise FedefmError(f'--topics {topics!r} is neither a list of names nor a regular '
                          f'expression: {error}') from None
    return Choice(tuple(name.strip() for name in topics.split(',')), topics)


def _record(writer, choice, seconds, queue_bytes):
    """Record until the time is over, somebody asks or the disk is full; return the figures."""
    from fedefm_ros.nodes.recorder import Recorder
    from fedefm_ros.nodes.session import named
    from fedefm_ros.nodes.session import spinning

    with _asked_to_end() as asked, \
            spinning(named('recorder')) as node:
        recorder = Recorder(node, writer, choice, queue_bytes)
        started = time.monotonic()
        output.say(f'recording into {writer.path}; Ctrl-C ends it')
        try:
            with output.progress('seconds', int(seconds) or None) as advance:
                while not recorder.failure:
                    gone = time.monotonic() - started
                    advance(int(gone), _live(recorder))
                    left = seconds - gone if seconds else 1.0
                    if left <= 0 or asked.wait(min(left, 0.5)):
                        break
        finally:
            recorder.close()
    counts = writer.counts
    names = {*recorder.topics, *counts}
    return {
        'bag': str(writer.path), 'files': [str(path) for path in writer.files],
        'seconds': time.monotonic() - started, 'messages': counts.total(),
        'dropped': recorder.dropped.total(), 'lost': recorder.lost.total(),
        'queue_fullest': recorder.fullest, 'refused': recorder.refused,
        'topics': {name: {'messages': counts[name], 'dropped': recorder.dropped[name],
                          'lost': recorder.lost[name]} for name in sorted(names)},
    }, recorder.failure


def _live(recorder):
    text = f'{len(recorder.topics)} topics, {recorder.received.total()} messages'
    dropped = recorder.dropped.total()
    return f'{text}, {dropped} dropped: the disk is too slow' if dropped else text


@contextmanager
def _asked_to_end():
    """Yield an event that SIGINT and SIGTERM set; the bag has to be completed after them."""
    asked = threading.Event()
    before = {number: signal.signal(number, lambda *_: asked.set())
              for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

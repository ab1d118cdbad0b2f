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

from pathlib import Path
import signal
import subprocess
import sys

from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.bag_reader import open_bag
from fedefm_ros.imaging.bag_storage import Topic
from fedefm_ros.imaging.bag_writer import BagWriter

import pytest

from rosbags.highlevel import AnyReader

import yaml

STRING = 'std_msgs/msg/String'
DATA = b'\0\1\0\0' + (20_000).to_bytes(4, 'little') + b'x' * 19_999 + b'\0'

# Writes until something fails, telling what is flushed.
WRITE = """
import resource, sys
from pathlib import Path
from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.bag_storage import Topic
from fedefm_ros.imaging.bag_writer import BagWriter
folder, storage, limit = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
data = b'\\0\\1\\0\\0' + (20_000).to_bytes(4, 'little') + b'x' * 19_999 + b'\\0'
try:
    writer = BagWriter(folder, storage, flush_seconds=1e9)
    writer.add_topic(Topic('/text', 'std_msgs/msg/String'))
    for number in range(10**6):
        writer.write('/text', 10**9 + number, data)
        if number % 7 == 6:
            writer.flush()
            print(number + 1, flush=True)
except FedefmError as error:
    print(error, file=sys.stderr)
    sys.exit(3)
"""

both = pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])


def writing(folder, storage, limit=0):
    return subprocess.Popen([sys.executable, '-c', WRITE, folder, storage, str(limit)],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            cwd=Path(__file__).parents[2])


def times_in(path):
    with open_bag(path) as reader:
        return [message.time - 10**9 for message in reader.messages()]


@both
def test_a_full_disk_leaves_a_valid_bag_of_what_was_flushed(tmp_path, storage):
    # The ballast of 1 MiB has to fit; a limit on file sizes stands for the end of the disk.
    process = writing(tmp_path / 'bag', storage, 3 * 2**20)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 3, error
    assert 'cannot be written on' in error and 'recording has stopped' in error
    flushed = int(out.split()[-1])
    with AnyReader([tmp_path / 'bag']) as reader:
        times = [time - 10**9 for _, time, _ in reader.messages()]
        assert reader.message_count == len(times)
    assert times == list(range(len(times)))
    assert len(times) >= flushed > 50
    assert f'the {len(times)} messages in it are whole' in error
    assert not list((tmp_path / 'bag').glob('.*'))


@both
def test_what_was_flushed_survives_a_kill(tmp_path, storage):
    process = writing(tmp_path / 'bag', storage)
    for _ in range(20):
        flushed = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    times = times_in(tmp_path / 'bag')
    assert times == list(range(len(times)))
    assert len(times) >= flushed


def test_it_stops_when_less_than_asked_is_left_on_the_disk(tmp_path):
    writer = BagWriter(tmp_path / 'bag', keep_free=2**60)
    writer.add_topic(Topic('/text', STRING))
    writer.write('/text', 1, DATA)
    with pytest.raises(FedefmError, match='are left on the disk .* the 1 messages in it'):
        writer.flush()
    assert writer.closed
    assert len(times_in(tmp_path / 'bag')) == 1


@both
def test_time_alone_flushes(tmp_path, storage):
    now = [0.0]
    writer = BagWriter(tmp_path / 'bag', storage, flush_seconds=0.5, clock=lambda: now[0])
    writer.add_topic(Topic('/text', STRING))
    writer.write('/text', 1, DATA)
    assert writer.counts.total() == 0
    now[0] = 0.6
    writer.flush_if_due()
    assert writer.counts.total() == 1
    writer.close()


@both
def test_files_are_split_and_metadata_has_them_all(tmp_path, storage):
    with BagWriter(tmp_path / 'bag', storage, split_bytes=100_000) as writer:
        writer.add_topic(Topic('/text', STRING))
        for number in range(20):
            writer.write('/text', 10**9 + number, DATA)
    info = yaml.safe_load((tmp_path / 'bag' / 'metadata.yaml').read_text())[
        'rosbag2_bagfile_information']
    assert [each['message_count'] for each in info['files']] == [5, 5, 5, 5]
    assert info['message_count'] == 20
    assert info['starting_time']['nanoseconds_since_epoch'] == 10**9
    assert info['duration']['nanoseconds'] == 19
    assert info['files'][1]['starting_time']['nanoseconds_since_epoch'] == 10**9 + 5
    assert info['topics_with_message_count'][0]['message_count'] == 20


def test_a_bag_that_exists_is_not_touched(tmp_path):
    with pytest.raises(FedefmError, match='exists; name a new bag'):
        BagWriter(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_type_that_nobody_knows_is_refused(tmp_path):
    with BagWriter(tmp_path / 'bag') as writer, \
            pytest.raises(FedefmError, match='other_msgs/msg/Thing is not known here'):
        writer.add_topic(Topic('/thing', 'other_msgs/msg/Thing'))

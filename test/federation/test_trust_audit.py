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

"""The audit log: whole lines in a chain, of bounded size, that never stops a station."""

import json
import os
import signal

from couriers import start_python

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.trust.audit import AuditLog
from fedefm_ros.federation.trust.audit import START

import pytest


def filled(path, count=5):
    log = AuditLog(path)
    for number in range(count):
        assert log.write('refused', 'beta', 'replayed', round=number)
    return log


def test_lines_say_what_happened_and_are_chained(tmp_path):
    log = filled(tmp_path / 'audit.jsonl')
    entries = [json.loads(line) for line in (tmp_path / 'audit.jsonl').read_text().splitlines()]
    assert [entry['number'] for entry in entries] == [0, 1, 2, 3, 4]
    assert {(e['event'], e['peer'], e['reason']) for e in entries} == {
        ('refused', 'beta', 'replayed')}
    assert entries[0]['previous'] == START and entries[4]['hash'] == log.head
    assert [e['previous'] for e in entries[1:]] == [e['hash'] for e in entries[:-1]]
    assert log.verify() == 5 and [e['round'] for e in log.entries()] == [0, 1, 2, 3, 4]


def test_a_restart_goes_on_with_the_chain(tmp_path):
    head = filled(tmp_path / 'audit.jsonl').head
    log = AuditLog(tmp_path / 'audit.jsonl')
    assert log.head == head
    log.write('accepted')
    assert log.verify() == 6 and list(log.entries())[-1]['number'] == 5


@pytest.mark.parametrize('spoil', [
    lambda lines: [lines[0].replace('beta', 'gama'), *lines[1:]],
    lambda lines: [*lines[:4], lines[4].replace('beta', 'gama')],
    lambda lines: [*lines[:2], *lines[3:]],
    lambda lines: [lines[1], lines[0], *lines[2:]],
    lambda lines: [*lines[:3], lines[2], *lines[3:]],
    lambda lines: [*lines[:3], 'null', *lines[3:]],
    lambda lines: [*lines[:3], '', *lines[3:]]])
def test_later_edits_show(tmp_path, spoil):
    path = tmp_path / 'audit.jsonl'
    log = filled(path)
    path.write_text('\n'.join(spoil(path.read_text().splitlines())) + '\n')
    with pytest.raises(FedefmError, match='chain is broken'):
        log.verify()
    assert AuditLog(path).write('started') is True  # and the station goes on all the same


def test_its_size_is_bounded_and_the_chain_goes_over_the_seam(tmp_path):
    path = tmp_path / 'audit.jsonl'
    log = AuditLog(path, max_bytes=8 << 10)
    for number in range(100):
        log.write('refused', 'beta', 'x' * 2000, number_of=number)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ['audit.jsonl', 'audit.jsonl.1']
    assert sum(file.stat().st_size for file in files) <= 8 << 10
    entries = list(log.entries())
    assert entries[-1]['number'] == 99 and entries[0]['number'] > 80
    assert AuditLog(path, max_bytes=8 << 10).verify() == len(entries)


def test_a_torn_last_line_is_cut_off_and_that_is_said(tmp_path):
    path = tmp_path / 'audit.jsonl'
    filled(path)
    os.truncate(path, path.stat().st_size - 30)
    log = AuditLog(path)
    log.write('accepted')
    entries = list(log.entries())
    assert [entry['event'] for entry in entries[-3:]] == ['refused', 'log_repaired', 'accepted']
    assert [entry['number'] for entry in entries] == list(range(6))


def test_a_killed_writer_leaves_a_whole_chain(tmp_path):
    path = tmp_path / 'audit.jsonl'
    child = start_python("""
from pathlib import Path
from fedefm_ros.federation.trust.audit import AuditLog
log = AuditLog(Path(sys.argv[1]))
for number in range(10 ** 9):
    log.write('refused', 'beta', 'replayed')
    if number == 50:
        print('going', flush=True)
""", path)
    child.stdout.readline()
    child.send_signal(signal.SIGKILL)
    child.wait()
    log = AuditLog(path)
    log.write('started')
    assert log.verify() > 50


def test_a_full_disk_stops_nothing_and_is_counted(tmp_path):
    child = start_python("""
import resource
from pathlib import Path
from fedefm_ros.federation.trust.audit import AuditLog
log = AuditLog(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, -1))
print([log.write('refused', 'beta', 'replayed') for _ in range(10)].count(False), log.failed)
resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
print(log.write('accepted'), log.verify())
""", tmp_path / 'audit.jsonl')
    lost, said = child.communicate(timeout=60)[0].splitlines()
    count, failed = map(int, lost.split())
    assert 0 < count < 10 and failed == count
    assert said == f'True {10 - count + 1}'


def test_a_log_that_cannot_be_opened_stops_nothing(tmp_path):
    (tmp_path / 'file').touch()
    log = AuditLog(tmp_path / 'file/audit.jsonl')
    assert log.write('refused') is False and log.failed >= 1 and log.verify() == 0


def test_odd_details_are_written_as_text(tmp_path):
    log = AuditLog(tmp_path / 'audit.jsonl')
    assert log.write('refused', 'ä\n"', '\ud800', path=tmp_path, data=b'\xff', nan=float('nan'))
    assert log.verify() == 1

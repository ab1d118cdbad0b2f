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
What an operator has to know at once, judged from a snapshot, and kept until it was seen.

Level ``alarm``: do not trust the picture or the masks now. ``warning``: they are worse than they
should be. Both stay after their cause has gone until somebody acknowledges them.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
import time

from fedefm_ros.console.network import Network
from fedefm_ros.console.view import Snapshot

ALARM, WARNING = 'alarm', 'warning'

GONE_SECONDS = 3.0
"""Diagnostics come once a second; a node that misses three is gone or hangs."""
QUIET_SECONDS = 30.0
"""The same while no frames come: a node that loads a model answers nothing else."""
START_SECONDS = 8.0
"""So long a station may take to appear after the console."""
SKIPPED_SHARE = 0.1
"""More skipped frames than this are worth a warning."""


@dataclass(frozen=True)
class Condition:
    """Something that is wrong now."""

    key: str
    level: str
    title: str
    text: str


@dataclass(frozen=True)
class Entry:
    """A condition and what became of it; times are monotonic seconds."""

    condition: Condition
    since: float
    ended: float | None = None
    acknowledged: bool = False
    times: int = 1

    @property
    def active(self) -> bool:
        """Return whether it is still so."""
        return self.ended is None

    @property
    def loud(self) -> bool:
        """Return whether it should blink and sound."""
        return self.active and not self.acknowledged and self.condition.level == ALARM


def conditions(snapshot: Snapshot, deadline: float, network: Network | None = None,
               busy: str = '', picture_failure: str = '') -> list[Condition]:
    """
    Return all that is wrong.

    :param deadline: seconds that may pass without a mask while frames come.
    :param busy: the command under way; a node that it names may be silent meanwhile.
    :param picture_failure: why the newest frame could not be drawn; empty: it could.
    """
    return [*_nodes(snapshot, busy), *_masks(snapshot, deadline), *_frames(snapshot),
            *_picture(picture_failure), *_subsystems(snapshot),
            *(_federation(network) if network else ())]


def _nodes(snapshot: Snapshot, busy: str) -> Iterable[Condition]:
    age = snapshot.heard.get('segmentation')
    if age is None and snapshot.running > START_SECONDS:
        yield Condition('gone segmentation', ALARM, 'No segmentation node',
                        'It has not said a word since this console started.')
    for node, silent in snapshot.heard.items():
        patience = GONE_SECONDS if snapshot.flowing else QUIET_SECONDS
        if silent > patience and not busy.endswith(node):
            yield Condition(f'gone {node}', ALARM, f'{node} is gone',
                            f'It has said nothing for {silent:.0f} s: it ended, hangs, or the '
                            'network is cut.')


def _masks(snapshot: Snapshot, deadline: float) -> Iterable[Condition]:
    if not snapshot.flowing:
        return
    state = snapshot.states.get('segmentation')
    if state in ('unconfigured', 'inactive'):
        yield Condition('inactive', ALARM, 'Frames are not segmented',
                        f'Frames come, but the segmentation is {state}.')
    elif snapshot.mask_age is None:
        if snapshot.running > START_SECONDS:
            yield Condition('stale', ALARM, 'No mask', 'Frames come, but there was never a mask.')
    elif snapshot.mask_age > deadline:
        yield Condition('stale', ALARM, 'Mask is stale',
                        f'The newest mask came {snapshot.mask_age:.1f} s ago; the deadline is '
                        f'{deadline:g} s. Do not act on what the picture shows.')
    elif snapshot.latency_ms > 1e3 * deadline:
        yield Condition('late', ALARM, 'Masks come late',
                        f'They are {snapshot.latency_ms:.0f} ms old on arrival, more than the '
                        f'deadline of {1e3 * deadline:.0f} ms; or the clocks differ.')


def _frames(snapshot: Snapshot) -> Iterable[Condition]:
    if snapshot.refused_lately:
        reason = snapshot.value('segmentation: frames', 'last_refusal') or 'it does not say why'
        yield Condition('refused', ALARM, 'Frames are refused',
                        f'{snapshot.refused_lately} in the last seconds, lately because: '
                        f'{reason}')
    if snapshot.flowing and snapshot.skipped_share > SKIPPED_SHARE:
        yield Condition('degraded', WARNING, 'Degraded',
                        f'{100 * snapshot.skipped_share:.0f} % of the frames are skipped: the '
                        'machine is too slow for their rate, or busy with something else.')


def _picture(failure: str) -> Iterable[Condition]:
    if failure:
        yield Condition('picture', ALARM, 'The picture cannot be drawn',
                        f'{failure}. What is shown is an older frame.')


def _subsystems(snapshot: Snapshot) -> Iterable[Condition]:
    for name, diagnosis in snapshot.diagnoses.items():
        if snapshot.heard.get(name.partition(':')[0], 9.0) > GONE_SECONDS:
            continue
        # Warnings about frames are judged above, with the knowledge whether frames should come.
        if diagnosis.level >= 2 or (diagnosis.level and name != 'segmentation: frames'):
            yield Condition(f'diagnosis {name}', ALARM if diagnosis.level >= 2 else WARNING,
                            name, diagnosis.message)


def _federation(network: Network) -> Iterable[Condition]:
    for name, station in network.stations.items():
        if station.refused_lately:
            yield Condition(f'federation refused {name}', WARNING,
                            f'{name} refused a model', station.last_refusal)


class AlarmBoard:
    """Keeps what was wrong until it was seen, and a log of it."""

    def __init__(self, log_length: int = 200):
        """Start with nothing wrong."""
        self._entries: dict[str, Entry] = {}
        self.log: deque[tuple[float, str, Condition]] = deque(maxlen=log_length)
        """Unix time, ``began`` or ``ended``, and what; newest first."""

    def update(self, found: Iterable[Condition], now: float) -> None:
        """Take in all that is wrong now."""
        found = {condition.key: condition for condition in found}
        for key, condition in found.items():
            known = self._entries.get(key)
            risen = known is not None and condition.level == ALARM != known.condition.level
            if known is None or not known.active or risen:
                # Who acknowledged a warning has not seen the alarm that it became.
                self.log.appendleft((time.time(), 'began', condition))
                times = known.times + 1 if known else 1
                self._entries[key] = Entry(condition, now, times=times)
            elif known.condition != condition:
                self._entries[key] = replace(known, condition=condition)
        for key, known in list(self._entries.items()):
            if key in found or not known.active:
                continue
            self.log.appendleft((time.time(), 'ended', known.condition))
            if known.acknowledged:
                del self._entries[key]
            else:
                self._entries[key] = replace(known, ended=now)

    def acknowledge(self) -> int:
        """Take what has ended off the board and quiet the rest; return how many."""
        waiting = [key for key, entry in self._entries.items() if not entry.acknowledged]
        for key in waiting:
            if self._entries[key].active:
                self._entries[key] = replace(self._entries[key], acknowledged=True)
            else:
                del self._entries[key]
        return len(waiting)

    def entries(self) -> list[Entry]:
        """Return what is on the board, the most urgent first."""
        return sorted(self._entries.values(), key=lambda entry: (
            not entry.active, entry.condition.level != ALARM, entry.since))

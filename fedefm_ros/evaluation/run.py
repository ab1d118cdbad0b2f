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

"""Put frames before the contestants and keep the score; few frames are in memory at a time."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass, field
import time

from fedefm_ros import labels
from fedefm_ros.evaluation import metrics
from fedefm_ros.evaluation import rows
from fedefm_ros.evaluation.cases import Case
from fedefm_ros.evaluation.contestants import Answer
from fedefm_ros.evaluation.contestants import Contestant
from fedefm_ros.evaluation.contestants import derived
from fedefm_ros.evaluation.contestants import follows_on
from fedefm_ros.evaluation.overlap import ahead
from fedefm_ros.evaluation.published import Published
from fedefm_ros.evaluation.temporal import Steadiness

import numpy as np

#: Frames that are answered while one is scored: the network waits for memory more than it
#: computes, so scoring beside it is half free.
_AHEAD = 2

Watcher = Callable[[Case, Sequence[tuple[Answer | None, dict]]], None]
"""Is shown every frame with each contestant's answer and its row of figures."""


@dataclass
class Record:
    """What one contestant has done."""

    name: str
    facts: dict
    table: rows.FrameTable = field(default_factory=rows.FrameTable)
    published: Published = field(default_factory=Published)
    seconds: float = 0.0
    """Work on the frames."""
    missing: int = 0
    """Frames without an answer."""
    masks_scored: bool = False
    identical: int = 0
    """Masks that equal the first contestant's."""


@dataclass
class Outcome:
    """All that was measured."""

    records: list[Record]
    truth_table: rows.FrameTable = field(default_factory=rows.FrameTable)
    """Temporal measures of the truth itself."""
    sequences: list[str] = field(default_factory=list)
    sequence_of: list[int] = field(default_factory=list)
    """Of each frame."""
    alone: list[bool] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    scored: int = 0
    """Frames that have a truth."""
    derived_truth: int = 0
    """Frames whose true centrelines were taken from their mask."""
    seconds: float = 0.0
    """Wall time, all included."""

    @property
    def frames(self) -> int:
        """Return how many frames were seen."""
        return len(self.sequence_of)


def run(cases: Iterable[Case], contestants: Sequence[Contestant],
        watchers: Sequence[Watcher] = (), common: bool = False) -> Outcome:
    """
    Score all contestants on all frames.

    :param common: only on those for which each has something; models are not even shown the
        others, as a station was not that skipped them.
    """
    outcome = Outcome([Record(each.name, each.facts) for each in contestants])
    steadiness = [Steadiness() for _ in (*contestants, 'truth')]
    numbers: dict[str, int] = {}
    last = None
    started = time.perf_counter()
    for case, answers in ahead(_answered(cases, contestants, common), _AHEAD):
        if last is None or not follows_on(last, case):
            for each in steadiness:
                each.reset()
        last = case
        if case.mask is not None and case.instruments is None:
            case = _with_derived(case)
            outcome.derived_truth += 1
        outcome.sequence_of.append(numbers.setdefault(case.sequence, len(numbers)))
        outcome.alone.append(case.alone)
        outcome.times.append(case.time)
        outcome.scored += case.has_truth
        shown = [(answer, _record(record, answer, case, steady)) for record, answer, steady in zip(
            outcome.records, answers, steadiness)]
        for record, answer in zip(outcome.records[1:], answers[1:]):
            if answers[0] is not None and answer is not None:
                record.identical += np.array_equal(answer.mask, answers[0].mask)
        outcome.truth_table.add(
            steadiness[-1].add(case.mask, case.instruments or ())
            if case.mask is not None and not case.alone else {})
        for watcher in watchers:
            watcher(case, shown)
    outcome.sequences = list(numbers)
    outcome.seconds = time.perf_counter() - started
    return outcome


def _answered(cases, contestants, common):
    # Models last: they are asked only where all the others have something.
    order = sorted(range(len(contestants)), key=lambda i: contestants[i].is_model)
    for case in cases:
        answers = [None] * len(contestants)
        for number in order:
            answers[number] = contestants[number].answer(case)
            if common and answers[number] is None:
                answers = [None] * len(contestants)
                break
        yield case, answers


def _record(record: Record, answer: Answer | None, case: Case, steady: Steadiness) -> dict:
    """Add a frame to a contestant's record; return its row."""
    if answer is None:
        record.missing += 1
        steady.reset()
        row = {'missing': 1.0}
        record.table.add(row)
        return row
    row, tips = {'missing': 0.0, 'instruments': float(len(answer.instruments))}, []
    if answer.seconds is not None:
        record.seconds += answer.seconds
        row['work_ms'] = 1e3 * answer.seconds
    if answer.latency_ms is not None:
        row['latency_ms'] = answer.latency_ms
    if not case.alone:
        row |= steady.add(answer.mask, answer.instruments)
    if case.mask is not None:
        record.masks_scored = True
        counts = metrics.confusion(answer.mask, case.mask)
        record.published.add(counts)
        row |= rows.confusion_row(counts) | rows.shape_row(answer.mask, case.mask)
    if case.instruments is not None:
        row |= rows.line_row(answer.instruments, case.instruments)
        tips = metrics.tip_errors(answer.instruments, case.instruments)
        row['tip_error_px'] = max(tips, default=float('nan'))
    _leave_out_unmarked(row, case.classes)
    spacing = float(np.sqrt(np.prod(case.spacing_mm))) if case.spacing_mm else float('nan')
    record.table.add(row, tips, spacing)
    return row


def _leave_out_unmarked(row, classes):
    """Take out what the truth cannot say: it marks one class only."""
    unmarked = [name for label, name in enumerate(labels.NAMES) if label and label not in classes]
    for key in [key for key in row if key.split('_')[0] in unmarked]:
        del row[key]
    if unmarked:
        for key in ('line_right', 'line_near'):
            row.pop(key, None)


def _with_derived(case):
    from dataclasses import replace
    return replace(case, instruments=derived(case.mask, case))

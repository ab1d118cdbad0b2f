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

"""From an outcome to its figures: per contestant, per sequence, and between contestants."""

from dataclasses import dataclass

from fedefm_ros.evaluation import bootstrap
from fedefm_ros.evaluation import measures
from fedefm_ros.evaluation.run import Outcome
from fedefm_ros.evaluation.run import Record
from fedefm_ros.evaluation.scoring import summarise
from fedefm_ros.evaluation.timing import milliseconds

import numpy as np


@dataclass(frozen=True)
class Summary:
    """Figures as trees of plain values."""

    contestants: list[dict]
    comparisons: list[dict]
    """Each contestant after the first against the first."""
    measures: tuple[measures.Measure, ...]
    """Those that some contestant has, in the order of the tables."""
    units: bootstrap.Units
    truth_temporal: dict
    """Temporal measures of the truth; empty where it is not known frame after frame."""


def summary_of(outcome: Outcome, resamples: int = bootstrap.RESAMPLES,
               seed: int = bootstrap.SEED) -> Summary:
    """Return all figures of an outcome; the same seed gives the same intervals."""
    tables = [record.table for record in outcome.records]
    used = tuple(measure for measure in measures.ALL
                 if any(measure.in_table(table) for table in tables))
    sequence_of = np.array(outcome.sequence_of, int)
    units = bootstrap.units_of(np.where(outcome.alone, -1, sequence_of), np.array(outcome.times))
    samples = bootstrap.resample(tables, used, units, resamples=resamples, seed=seed)
    contestants = [_of_record(outcome, record, used, sequence_of, sampled)
                   for record, sampled in zip(outcome.records, samples)]
    comparisons = [_comparison(outcome, other, used, samples, units, resamples, seed)
                   for other in range(1, len(outcome.records))]
    truth = [m for m in measures.CONSISTENCY if m.in_table(outcome.truth_table)]
    return Summary(contestants, comparisons, used, units,
                   measures.values(outcome.truth_table, truth))


def _of_record(outcome: Outcome, record: Record, used, sequence_of, samples) -> dict:
    # What the truth cannot tell stays in the tree as nothing, so that programs find the names.
    expected = measures.AGAINST_TRUTH if outcome.scored else ()
    figures = {measure.key: float('nan') for measure in expected}
    figures |= measures.values(record.table, used)
    answered = record.table.rows - record.missing
    tree = {'name': record.name, **record.facts}
    tree |= summarise(figures, outcome.scored or answered, len(record.table.tips[0]))
    tree |= {
        'frames_answered': answered, 'frames_missing': record.missing,
        'fps': answered / record.seconds if record.seconds else float('nan'),
        'ci95': {measure.key: bootstrap.interval(sample)
                 for measure, sample in zip(used, samples)},
        'as_published': record.published.values() if record.masks_scored else None,
        'sequences': _of_sequences(outcome, record, used, sequence_of)}
    if 'work_ms' in record.table:
        tree['work_ms'] = _durations(record.table.column('work_ms'))
    if 'latency_ms' in record.table:
        latency = record.table.column('latency_ms')
        tree['latency_ms'] = _durations(latency)
        steps = np.abs(np.diff(latency))
        tree['jitter_ms'] = _durations(steps)
    return tree


def _of_sequences(outcome, record, used, sequence_of):
    found = []
    for number, name in enumerate(outcome.sequences):
        chosen = sequence_of == number
        found.append({'name': name, 'frames': int(chosen.sum()),
                      **measures.values(record.table, used, chosen)})
    return found


def _comparison(outcome, other, used, samples, units, resamples, seed):
    """Return the differences on the frames that both have answered."""
    first, second = outcome.records[0], outcome.records[other]
    samples = samples[[0, other]]
    both = _answered(first) & _answered(second)
    # What looks back needs the two frames before it, too.
    in_a_row = both & np.roll(both, 1) & np.roll(both, 2)
    rows = [in_a_row if measure.key.startswith('temporal.') else both for measure in used]
    if not both.all():
        samples = bootstrap.resample([first.table, second.table], used, units,
                                     resamples=resamples, seed=seed, rows=rows)
    found = []
    values = [{measure.key: measures.values(record.table, [measure], chosen)[measure.key]
               for measure, chosen in zip(used, rows)} for record in (first, second)]
    for number, measure in enumerate(used):
        a, b = (of_one[measure.key] for of_one in values)
        with np.errstate(invalid='ignore'):
            difference = float(np.subtract(b, a))
        better = None
        if measure.higher_is_better is not None and np.isfinite(difference) and difference:
            better = second.name if (difference > 0) == measure.higher_is_better else first.name
        found.append({'key': measure.key, 'title': measure.title, 'first': a, 'second': b,
                      'difference': difference, 'better': better,
                      **bootstrap.paired_difference(samples[0, number], samples[1, number])})
    return {'first': first.name, 'second': second.name, 'identical_masks': second.identical,
            'frames': int(both.sum()), 'measures': found}


def _answered(record):
    return record.table.column('missing') == 0.0


def _durations(values):
    return milliseconds(values[~np.isnan(values)] / 1e3)

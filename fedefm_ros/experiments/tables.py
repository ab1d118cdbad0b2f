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

"""An experiment: all runs of a preset, and the rows of its table."""

from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path

from fedefm_ros.experiments.engines import engine_of
from fedefm_ros.experiments.engines import InProcess
from fedefm_ros.experiments.foundation_task import foundation_data
from fedefm_ros.experiments.presets import Preset
from fedefm_ros.experiments.run import Job
from fedefm_ros.experiments.run import run_job

import numpy as np

#: Of these figures a row has the mean and the standard deviation over seeds.
_SPREAD = ('accuracy', 'accuracy_foundation', 'accuracy_worst', 'accuracy_own', 'accuracy_unseen')
#: Of these the mean.
_MEANS = ('unseen_reached', 'megabytes', 'transfers', 'gradient_steps', 'cycle_ms',
          'seconds_per_round', 'rounds', 'model_megabytes', 'teacher_weight')


def jobs_of(preset: Preset, seeds: Sequence[int], folder: Path) -> list[Job]:
    """Return all runs, seed by seed: one that is stopped has whole tables of fewer seeds."""
    return [Job(preset, entry, seed, folder) for seed in seeds for entry in preset.entries]


def run_jobs(jobs: Sequence[Job], workers: int = 1,
             progress: Callable[[int, str], None] | None = None,
             engine: str = 'auto') -> list[dict]:
    """
    Return the figures of all runs, in order.

    :param workers: processes; each computes with one thread, so the figures do not depend on it.
    :param progress: called with the rounds done in all and what runs.
    :param engine: a name of engine_of.
    """
    chosen = engine_of(engine, workers)
    tell = progress or (lambda done, note: None)
    done = 0

    def finished(index):
        nonlocal done
        done += jobs[index].preset.plan.rounds
        tell(done, jobs[index].entry.name)

    def followed(job):
        return run_job(job, lambda number: tell(done + number,
                                                f'{job.entry.name}, seed {job.seed}'))

    return chosen.compute(followed if isinstance(chosen, InProcess) else run_job, jobs, finished)


def prepare_data(preset: Preset, progress: Callable[[int, int], None] | None = None) -> None:
    """Make the preset's images, once for all runs."""
    foundation_data(preset.data, progress=progress)


def rows_of(figures: Sequence[dict]) -> list[dict]:
    """Return a row for each method and unseen share: means and standard deviations over seeds."""
    groups: dict[tuple, list[dict]] = {}
    for entry in figures:
        groups.setdefault((entry['method'], entry['unseen']), []).append(entry)
    rows = []
    for (method, unseen), group in groups.items():
        row = {'scenario': group[0]['scenario'], 'method': method, 'unseen': unseen,
               'seeds': len(group)}
        for name in _SPREAD:
            values = np.array([entry[name] for entry in group], float)
            row[f'{name}_mean'] = float(values.mean())
            row[f'{name}_std'] = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        for name in _MEANS:
            values = [entry[name] for entry in group if entry[name] is not None]
            row[name] = float(np.mean(values)) if values else None
        rows.append(row)
    return rows

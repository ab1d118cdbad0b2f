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
from concurrent.futures import as_completed
from concurrent.futures import ProcessPoolExecutor
import multiprocessing
from pathlib import Path

from fedefm_ros.experiments.foundation_task import foundation_data
from fedefm_ros.experiments.presets import Preset
from fedefm_ros.experiments.run import Job
from fedefm_ros.experiments.run import run_job

import numpy as np

import torch

#: Of these figures a row has the mean and the standard deviation over seeds.
_SPREAD = ('accuracy', 'accuracy_foundation', 'accuracy_worst', 'accuracy_own', 'accuracy_unseen')
#: Of these the mean.
_MEANS = ('unseen_reached', 'megabytes', 'transfers', 'gradient_steps', 'cycle_ms',
          'seconds_per_round', 'rounds', 'model_megabytes', 'teacher_weight')


def jobs_of(preset: Preset, seeds: Sequence[int], folder: Path) -> list[Job]:
    """Return all runs, seed by seed: one that is stopped has whole tables of fewer seeds."""
    return [Job(preset, entry, seed, folder) for seed in seeds for entry in preset.entries]


def run_jobs(jobs: Sequence[Job], workers: int = 1,
             progress: Callable[[int, str], None] | None = None) -> list[dict]:
    """
    Return the figures of all runs, in order.

    :param workers: processes; each computes with one thread, so the figures do not depend on it.
    :param progress: called with the rounds done in all and what runs.
    """
    done = 0
    if workers == 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            results = []
            for job in jobs:
                def on_round(number, job=job, done=done):
                    if progress:
                        progress(done + number, f'{job.entry.name}, seed {job.seed}')
                results.append(run_job(job, on_round))
                done += job.preset.plan.rounds
            return results
        finally:
            torch.set_num_threads(threads)
    with ProcessPoolExecutor(workers, multiprocessing.get_context('spawn'), _one_thread) as pool:
        futures = {pool.submit(run_job, job): job for job in jobs}
        try:
            for future in as_completed(futures):
                future.result()
                done += futures[future].preset.plan.rounds
                if progress:
                    progress(done, futures[future].entry.name)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        return [future.result() for future in futures]


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


def _one_thread() -> None:
    torch.set_num_threads(1)

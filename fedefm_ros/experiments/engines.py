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
Where the runs of an experiment are computed: in this process, in several, or on a Ray cluster.

The unit is a run (a method and a seed), not a silo: a trip is one step after the other, silos of a
round would wait for the slowest, and their weights would go to other processes and back five
times a second. A table has dozens of runs, which need nothing of each other. Each computes with
one thread wherever it is, so its figures are the same bit for bit.
"""

from abc import ABC
from abc import abstractmethod
from collections.abc import Callable
from collections.abc import Sequence
from concurrent.futures import as_completed
from concurrent.futures import ProcessPoolExecutor
import multiprocessing
import os
from typing import TypeVar

from fedefm_ros.errors import FedefmError

import torch

T = TypeVar('T')
R = TypeVar('R')


class Engine(ABC):
    """Something that computes runs."""

    @abstractmethod
    def compute(self, work: Callable[[T], R], items: Sequence[T],
                on_done: Callable[[int], None] = lambda index: None) -> list[R]:
        """
        Return the results of all items, in their order.

        :param work: a function of a module, so that other processes find it.
        :param on_done: called with the index of each item that is done.
        :raises Exception: what an item raised; those not begun are left out.
        """


class InProcess(Engine):
    """One after the other, here."""

    def compute(self, work, items, on_done=lambda index: None):
        """See Engine."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            results = []
            for index, item in enumerate(items):
                results.append(work(item))
                on_done(index)
            return results
        finally:
            torch.set_num_threads(threads)


class Processes(Engine):
    """Several processes of this machine."""

    def __init__(self, workers: int):
        """Take the number of processes."""
        self._workers = workers

    def compute(self, work, items, on_done=lambda index: None):
        """See Engine."""
        with ProcessPoolExecutor(self._workers, multiprocessing.get_context('spawn'),
                                 _one_thread) as pool:
            futures = {pool.submit(work, item): index for index, item in enumerate(items)}
            try:
                for future in as_completed(futures):
                    future.result()
                    on_done(futures[future])
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
            return [future.result() for future in futures]


class Ray(Engine):
    """
    A Ray cluster: that of RAY_ADDRESS, or else one of this machine's.

    All its machines need this package and, at the same path, the experiment's folder: there runs
    leave what they go on from, and the weights that later runs start from.
    """

    def __init__(self, workers: int):
        """
        Connect.

        :param workers: runs at a time where the cluster is this machine's own.
        :raises FedefmError: Ray is not installed.
        """
        try:
            import ray
        except ImportError:
            raise FedefmError('engine ray needs Ray, which is not installed; pip install '
                              '"fedefm_ros[ray]", or choose another --engine') from None
        self._ray = ray
        if not ray.is_initialized():
            local = {} if os.environ.get('RAY_ADDRESS') else {
                'num_cpus': workers, 'include_dashboard': False}
            ray.init(log_to_driver=False, **local)

    def compute(self, work, items, on_done=lambda index: None):
        """See Engine."""
        ray = self._ray
        remote = ray.remote(num_cpus=1)(_alone)
        tasks = {remote.remote(work, item): index for index, item in enumerate(items)}
        results: dict[int, object] = {}
        waiting = list(tasks)
        try:
            while waiting:
                done, waiting = ray.wait(waiting)
                for task in done:
                    results[tasks[task]] = ray.get(task)
                    on_done(tasks[task])
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error
        finally:
            for task in waiting:
                ray.cancel(task)
        return [results[index] for index in range(len(items))]


def engine_of(name: str, workers: int = 1) -> Engine:
    """
    Return an engine by its name: in-process, processes, ray, or auto.

    :param name: auto is in-process for one worker and processes for more.
    :raises FedefmError: another name, or one that is not installed.
    """
    if name == 'auto':
        name = 'in-process' if workers == 1 else 'processes'
    if name == 'in-process':
        return InProcess()
    if name == 'processes':
        return Processes(workers)
    if name == 'ray':
        return Ray(workers)
    raise FedefmError(f'unknown engine {name!r}; expected auto, in-process, processes or ray')


def _alone(work, item):
    _one_thread()
    return work(item)


def _one_thread() -> None:
    torch.set_num_threads(1)

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

"""The process that trains: jobs as JSON lines on standard input, results on standard output."""

import json
import os
from pathlib import Path
import signal
import sys

from fedefm_ros.errors import FedefmError


def main(arguments: list[str]) -> int:
    """
    Work until standard input ends.

    :param arguments: folder, and a JSON table with `task` (of TaskPlan), `threads`,
        `learning_rate`, `momentum`, `niceness`, `send_clip` and `send_noise`.
    """
    folder, settings = Path(arguments[0]), json.loads(arguments[1])
    _end_with_parent()
    # A terminal's Ctrl-C goes to all processes; the parent ends this one by closing its input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(settings['niceness'])
    answers = os.fdopen(os.dup(1), 'w', encoding='utf-8')
    os.dup2(2, 1)  # what a library prints must not look like an answer
    work = None
    for line in sys.stdin:
        job = json.loads(line)
        try:
            if work is None:
                work = _work(folder, settings)
            answer = {'result': getattr(work, job['do'])(**job['with'])}
        except FedefmError as error:
            answer = {'error': str(error), 'reason': getattr(error, 'reason', '')}
        except (MemoryError, OSError) as error:
            answer = {'error': f'{type(error).__name__}: {error}', 'reason': ''}
        print(json.dumps({'id': job['id'], **answer}), file=answers, flush=True)
    return 0


def _work(folder, settings):
    import cv2
    import torch
    from fedefm_ros.federation.station.plan import TaskPlan
    from fedefm_ros.federation.station.task import make_task
    from fedefm_ros.federation.station.work import Work
    cv2.setNumThreads(1)
    torch.set_num_threads(settings['threads'])
    task = make_task(TaskPlan.from_json(json.dumps(settings['task'])))
    return Work(task, folder, settings['learning_rate'], settings['send_clip'],
                settings['send_noise'], settings['momentum'])


def _end_with_parent() -> None:
    """Ask Linux to kill this process when its parent dies, also while it is stopped."""
    import ctypes
    pr_set_pdeathsig = 1
    parent = os.getppid()
    try:
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    except (OSError, AttributeError):
        return  # not Linux: the end of standard input must do
    if os.getppid() != parent:
        os._exit(1)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))

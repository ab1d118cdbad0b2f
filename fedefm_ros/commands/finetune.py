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

"""`finetune`: train a model further on a data set of one's own."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from fedefm_ros.commands import output
from fedefm_ros.commands.devices import check_device
from fedefm_ros.errors import FedefmError

import typer


def finetune(
    config: Annotated[Path, typer.Argument(
        metavar='CONFIG', help='YAML file of the run; config/finetune_*.yaml are examples.')],
    out: Annotated[Path, typer.Option(
        '-o', '--out', help='Folder for the run; one that holds a stopped run goes on.')],
    checkpoint: Annotated[str, typer.Option(
        metavar='MODEL', help='Start from this .safetensors file or shipped model (foundation, '
        'realtime), whatever the plan says.')] = '',
    threads: Annotated[int, typer.Option(min=1, help='CPU threads of the training.')] = 2,
    workers: Annotated[int, typer.Option(min=0, help='Processes that read images.')] = 0,
    device: Annotated[str, typer.Option(help='cpu or cuda.')] = 'cpu',
    json_file: output.JsonOption = None,
):
    """
    Fine-tune a model: instrument masks, or the labels of RANZCR chest radiographs.

    Patients or sequences are divided into training and validation by the seed, never single
    frames. DIR gets model.safetensors (the best averaged weights), state.pt, log.jsonl,
    config.yaml, samples.png and tensorboard/. Stop it at will: the same command goes on, and
    ends with the same weights.
    """
    import torch

    from fedefm_ros.learning.finetune import Finetuner
    from fedefm_ros.learning.plan import read_plan
    from fedefm_ros.learning.plan import shipped

    check_device(device)
    torch.set_num_threads(threads)
    plan = read_plan(config)
    if checkpoint:
        # A checkpoint says backbone and configuration itself.
        start = Path(checkpoint) if Path(checkpoint).exists() else shipped(checkpoint)
        plan = replace(plan, checkpoint=str((start or Path(checkpoint)).resolve()), config={},
                       pretrained='')
    try:
        run = Finetuner(plan, out, device, workers)
        output.say(f'{len(run.task.training)} images to train on, {len(run.task.validation)} to '
                   'validate')
        if run.task.pretrained and not run.step:
            output.say(str(run.task.pretrained))
        if run.step:
            output.say(f'goes on from step {run.step} in {out}')
        with output.progress('fine-tuning', plan.steps, run.step) as advance:
            run.run(lambda step, loss: advance(step, f'loss {loss:.3f}'))
    except OSError as error:
        raise FedefmError(f'{error.filename or out}: {error.strerror or error}') from error
    if run.stopped_early and run.step < plan.steps:
        output.say(f'stopped at step {run.step}: no better {run.task.score} in '
                   f'{plan.patience} validations')
    best = run.best
    output.table(f'best averaged weights, step {best["step"]}', ['measure', 'value'],
                 [[name, value] for name, value in best.items() if name != 'step'])
    output.say(f'wrote {out / "model.safetensors"} and {out / "samples.png"}')
    output.write_json({
        'model': out / 'model.safetensors', 'steps': run.step, 'stopped_early': run.stopped_early,
        'training_images': len(run.task.training), 'validation_images': len(run.task.validation),
        **best, 'best_step': best['step'], 'pictures': [out / 'samples.png']}, json_file)

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

"""`train`: make a segmentation model from simulated frames."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from fedefm_ros.commands import output, train_config
from fedefm_ros.commands.devices import check_device
from fedefm_ros.errors import FedefmError

import typer


def train(
    out: Annotated[Path, typer.Option(
        '-o', '--out', help='Folder for the run; one that holds a stopped run goes on.')],
    config_file: Annotated[Path | None, typer.Option(
        '--config', metavar='FILE', is_eager=True, callback=train_config.set_defaults,
        help='config.yaml of a run, or one of your own: names of these options and their values. '
             'What is given here wins.')] = None,
    backbone: Annotated[str, typer.Option(help='Architecture.')] = 'compact',
    steps: Annotated[int, typer.Option(min=1, help='Optimiser steps in all.')] = 8000,
    batch: Annotated[int, typer.Option(min=1, help='Crops a step.')] = 6,
    crop: Annotated[int, typer.Option(min=64, max=512, help='Side of a crop in pixels.')] = 384,
    learning_rate: Annotated[float, typer.Option(help='Peak learning rate.')] = 2e-3,
    optimiser: Annotated[str, typer.Option(
        help='adamw, or muon: more learnt a step, which takes a tenth longer.')] = 'adamw',
    decay_share: Annotated[float, typer.Option(
        min=0, max=1, help='Last share of the steps in which the rate falls to zero.')] = 0.35,
    start_from: Annotated[Path | None, typer.Option(
        '--from', help='Model whose weights and batch statistics it starts from (and a third '
                       'faster on a CPU); default: random weights.')] = None,
    encoder_convs: Annotated[str, typer.Option(
        help='Convolutions a level of the compact network from 1/2 to 1/32 of the resolution, '
             'such as 2,3,4,4,4: more than the model of --from has are added to it.')] = '',
    decoder_convs: Annotated[str, typer.Option(
        help='The same on the way up, from 1/2 to 1/16, such as 2,3,4,4.')] = '',
    add: Annotated[Path | None, typer.Option(
        help="Data set in AIOZ's layout, 512 x 512, whose training images come in between; "
             '`./run collect` makes one.')] = None,
    add_share: Annotated[float, typer.Option(
        min=0, max=1, help='How often such an image comes.')] = 0.15,
    scenes: Annotated[list[Path] | None, typer.Option(
        metavar='FILE', help="Settings of a kind of simulated frames in place of that kind's "
        'own, such as config/simulation/training/human.yaml; give one for each kind.')] = None,
    foreground_weight: Annotated[float, typer.Option(
        min=0.1, help='Weight of instrument pixels in the cross-entropy.')] = 4.0,
    centreline_share: Annotated[float, typer.Option(
        min=0, max=1, help='Share of clDice in the loss.')] = 0.0,
    class_entropy_weight: Annotated[float, typer.Option(
        min=0, help='Weight of the cross-entropy between catheter and guidewire alone, where '
        'there is one.')] = 0.0,
    scenes_at_once: Annotated[int | None, typer.Option(
        min=1, help='Scenes that take turns in the order of the samples; default: four times the '
                    'batch (the batch, if over 8), so that no two samples of a batch show the '
                    'same patient.')] = None,
    crops_per_frame: Annotated[int | None, typer.Option(
        min=1, help='Samples of one frame; default: 2, of whole frames 1.')] = None,
    patience: Annotated[int, typer.Option(
        min=0, help='Stop after so many validations without a better mean Dice and keep the best '
                    'weights instead of the last; 0: never.')] = 0,
    seed: Annotated[int, typer.Option(min=0, help='Decides frames, order and first weights.')] = 1,
    workers: Annotated[int, typer.Option(min=0, help='Processes that simulate frames.')] = 1,
    threads: Annotated[int, typer.Option(min=1, help='CPU threads of the training.')] = 2,
    device: Annotated[str, typer.Option(help='cpu or cuda.')] = 'cpu',
    check_every: Annotated[int, typer.Option(min=1, help='Steps between validations, which also '
                                             'write the state a killed run goes on from.')] = 500,
    validation_frames: Annotated[int, typer.Option(
        min=1, help='Frames never trained on that validations are of.')] = 64,
    from_id: Annotated[str, typer.Option(hidden=True)] = '',
    add_hash: Annotated[str, typer.Option(hidden=True)] = '',
    json_file: output.JsonOption = None,
    context: typer.Context = None,
):
    """
    Train a network on simulated fluoroscopy.

    Frames are made while training and never repeat. DIR gets config.yaml (`--config` of it takes
    the run again), state.pt, log.jsonl, samples.png, tensorboard/, and in the end
    model.safetensors. Stop it at will: the same command goes on, and ends with the same weights.
    """
    if crop % 32:
        raise FedefmError(f'--crop {crop} must be a multiple of 32')
    import torch

    from fedefm_ros.backbones import registry
    from fedefm_ros.backbones.checkpoint import load_checkpoint
    from fedefm_ros.learning.datasets import open_dataset
    from fedefm_ros.learning.trainer import Trainer, TrainingPlan
    from fedefm_ros.memory import keep_freed_memory

    check_device(device)
    keep_freed_memory()  # of a step's maps, which are larger than images
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    parent = load_checkpoint(start_from) if start_from else None
    config = dict(parent.spec.config) if parent else {}
    for name, text in (('encoder_convs', encoder_convs), ('decoder_convs', decoder_convs)):
        if text:
            config[name] = _numbers(text, name)
    if parent:
        backbone, network = parent.spec.backbone, _of_parent(parent, config)
    else:
        network = registry.create(backbone, **config)
    added = open_dataset('aioz', add) if add else ()
    settings, scene_hashes = train_config.settings_of(scenes)
    order = TrainingPlan.default_order(batch, crop)
    plan = TrainingPlan(
        steps=steps, batch=batch, crop=crop, learning_rate=learning_rate, optimiser=optimiser,
        decay_share=decay_share, foreground_weight=foreground_weight,
        centreline_share=centreline_share, class_entropy_weight=class_entropy_weight,
        parent=parent.model_id if parent else '', freeze_norms=parent is not None, seed=seed,
        added_images=len(added), added_share=add_share if add else 0.0,
        added=train_config.hash_of_images(added),
        scenes=scene_hashes,
        scenes_at_once=scenes_at_once or order['scenes_at_once'],
        crops_per_frame=crops_per_frame or order['crops_per_frame'],
        patience=patience, validation_frames=validation_frames)
    train_config.refuse_others(context, 'start_from', start_from, plan.parent, from_id)
    train_config.refuse_others(context, 'add', add, plan.added, add_hash)
    trainer = Trainer(network, plan, out, device, workers, added, settings)
    train_config.write(
        out, plan, trainer.earlier, dict(zip((one.kind for one in settings), scenes or ())), {
            'backbone': backbone, 'from': start_from, 'encoder_convs': encoder_convs,
            'decoder_convs': decoder_convs, 'add': add, 'check_every': check_every,
            'threads': threads, 'device': device})
    if trainer.step:
        output.say(f'goes on from step {trainer.step} in {out}')
    if trainer.earlier and trainer.earlier[-1]['until_step'] == trainer.step:
        before, after = trainer.earlier[-1]['plan'], asdict(plan)
        output.say('with another plan than so far: ' + ', '.join(
            f'{name} {before.get(name)} -> {value}' for name, value in after.items()
            if before.get(name) != value))
    with output.progress('training', steps, trainer.step) as advance:
        trainer.run(lambda step, loss: advance(step, f'loss {loss:.3f}'), check_every)
    if trainer.finished and trainer.step < steps:
        output.say(f'stopped at step {trainer.step}: no better mean Dice in {patience} '
                   'validations')
    kept = trainer.keep_best()
    result = trainer.validate()
    model_id = trainer.export(out / 'model.safetensors', backbone, result, config, kept)
    picture = trainer.picture()
    output.table(f'averaged weights of step {kept} on frames never trained on',
                 ['measure', 'value'], [[name, value] for name, value in result.items()])
    output.say(f'wrote {out / "model.safetensors"} and {picture}')
    output.write_json({'model': out / 'model.safetensors', 'model_id': model_id,
                       'plan': asdict(plan), 'steps': trainer.step, 'step_kept': kept, **result,
                       'pictures': [picture]}, json_file)


def _numbers(text, name):
    try:
        return [int(part) for part in text.split(',')]
    except ValueError:
        raise FedefmError(f'--{name.replace("_", "-")} {text!r} is not a list of whole numbers '
                          'such as 2,3,4,4') from None


def _of_parent(parent, config):
    """Return a network with a parent's weights; deeper where the configuration says so."""
    if config == parent.spec.config:
        return parent.network()
    from fedefm_ros.backbones import registry
    from fedefm_ros.backbones.compact import CompactUNet
    from fedefm_ros.backbones.inheritance import deepened
    network = registry.create(parent.spec.backbone, **config)
    if not isinstance(network, CompactUNet):
        raise FedefmError(f'only a compact network can be deepened, not a {parent.spec.backbone}')
    return deepened(parent.network(), network)

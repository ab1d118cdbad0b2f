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

"""The config.yaml of a training run: what it was made of, and how it is made again."""

import hashlib
from pathlib import Path

from fedefm_ros.errors import FedefmError
from fedefm_ros.files import write_atomically
from fedefm_ros.yaml_files import read_table

import typer

import yaml

# Of the plan, by the names that their options have.
_PLANNED = ('steps', 'batch', 'crop', 'learning_rate', 'optimiser', 'decay_share',
            'foreground_weight', 'centreline_share', 'class_entropy_weight', 'scenes_at_once',
            'crops_per_frame', 'patience', 'validation_frames', 'seed')
# Of what is not a property of the run.
_ELSEWHERE = {'config', 'out', 'json', 'help'}


def set_defaults(context: typer.Context, path: Path | None) -> Path | None:
    """
    Take the options that are not on the command line from a YAML file.

    Keys are the long names of the options with underscores; paths are relative to the file.

    :raises FedefmError: no such file, no table, an unknown key, or a list where none can be.
    """
    if path is None:
        return None
    values = {str(key): value for key, value in read_table(path).items()}
    parameters = {_key(one): one for one in context.command.params}
    unknown = sorted(values.keys() - parameters.keys() | values.keys() & _ELSEWHERE)
    if unknown:
        known = ', '.join(sorted(parameters.keys() - _ELSEWHERE))
        raise FedefmError(f'{path}: {", ".join(unknown)} is not known; known are {known}')
    for key, value in values.items():
        if key == 'scenes':
            files = [value] if isinstance(value, str) else value or []
            if not isinstance(files, list):
                raise FedefmError(f'{path}: scenes is {value!r}; a list of files was expected')
            values[key] = [str(path.parent / str(one)) for one in files]
        elif key.endswith('_convs') and isinstance(value, list):
            values[key] = ','.join(map(str, value))
        elif isinstance(value, (list, dict)):
            raise FedefmError(f'{path}: {key} is {value!r}; one value was expected')
        elif key in ('from', 'add') and value:
            values[key] = str(path.parent / str(value))
    context.default_map = {parameters[key].name: value for key, value in values.items()}
    return path


def write(folder: Path, plan, earlier: list[dict], scenes: dict[str, Path],
          others: dict[str, object]) -> None:
    """
    Write the config.yaml of a run, and copies of the settings of its scenes beside it.

    :param plan: the TrainingPlan.
    :param earlier: other plans that the run followed before, see ``Trainer.earlier``.
    :param scenes: kind -> file.
    :param others: option -> value, of options that are not in the plan. The number of threads is
        one: with another, sums have another order, and weights other last digits.
    """
    values = {key: value for key, value in others.items() if value}
    for key, name, content in (('from', 'from_id', plan.parent), ('add', 'add_hash', plan.added)):
        if values.get(key):
            values |= {key: str(values[key].resolve()), name: content}
    if plan.added:
        values['add_share'] = plan.added_share
    copies = []
    for kind, path in scenes.items():
        copy = Path('scenes') / f'{kind}.yaml'
        write_atomically(folder / copy, path.read_bytes())
        copies.append(str(copy))
    if copies:
        values['scenes'] = copies
    # What is as it suits batch and crop is left out: it will suit others that are given.
    order = plan.default_order(plan.batch, plan.crop)
    values |= {name: getattr(plan, name) for name in _PLANNED
               if getattr(plan, name) != order.get(name)}
    what = '# ./run train --config THIS -o DIR takes the run again.\n'
    if earlier:
        steps = ', '.join(str(one['until_step']) for one in earlier)
        what = f'# Of the last part of a run that followed other plans until step {steps}: it ' \
            'cannot be\n# taken again by this alone. The model file has the other plans.\n'
    write_atomically(folder / 'config.yaml',
                     (what + yaml.safe_dump(values, sort_keys=False)).encode())


def hash_of_scene(path: Path) -> str:
    """Return a hash of a file's keys and values; comments may change."""
    return hashlib.sha256(repr(read_table(path)).encode()).hexdigest()[:16]


def settings_of(scenes: list[Path] | None) -> tuple[tuple, tuple[str, ...]]:
    """Return the ``SceneConfig`` and 'kind hash' of each file; FedefmError if two are alike."""
    from fedefm_ros.simulation.config import read
    settings = tuple(read(path) for path in scenes or ())
    if len({one.kind for one in settings}) < len(settings):
        raise FedefmError('--scenes: two files are of one kind')
    return settings, tuple(f'{one.kind} {hash_of_scene(path)}'
                           for one, path in zip(settings, scenes or ()))


def hash_of_images(added) -> str:
    """Return a hash of pairs of images and masks, '' of none."""
    if not len(added):
        return ''
    digest = hashlib.sha256()
    for image, mask in added:
        for pixels in (image, mask):
            digest.update(f'{pixels.shape} {pixels.dtype}'.encode() + pixels.tobytes())
    return digest.hexdigest()[:16]


def refuse_others(context: typer.Context | None, name: str, path: Path | None, found: str,
                  expected: str) -> None:
    """
    Raise FedefmError where a file or folder is not the one that a config.yaml was of.

    One that is named on the command line may be another.

    :param name: of the parameter that the path is of.
    """
    if not context or context.get_parameter_source(name).name == 'COMMANDLINE':
        return
    option = {'start_from': '--from', 'add': '--add'}[name]
    if expected and found != expected:
        raise FedefmError(f'{option} {path} is {found or "none"}, and the run to be taken again '
                          f'had {expected}: name that one, or give {option} to take another')


def _key(parameter):
    return max(parameter.opts, key=len).lstrip('-').replace('-', '_')

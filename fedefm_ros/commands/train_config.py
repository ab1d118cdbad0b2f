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

import typer

import yaml

# Of the plan, by the names that their options have.
_PLANNED = ('steps', 'batch', 'crop', 'learning_rate', 'optimiser', 'decay_share',
            'foreground_weight', 'centreline_share', 'scenes_at_once', 'crops_per_frame',
            'patience', 'validation_frames', 'seed')
# Of what is not a property of the run.
_ELSEWHERE = {'config', 'out', 'json', 'help'}


def set_defaults(context: typer.Context, path: Path | None) -> Path | None:
    """
    Take the options that are not on the command line from a YAML file.

    Keys are the long names of the options with underscores; paths are relative to the file.

    :raises FedefmError: no such file, no table, or an unknown key.
    """
    if path is None:
        return None
    values = _read(path)
    parameters = {_key(one): one for one in context.command.params}
    unknown = sorted(values.keys() - parameters.keys() | values.keys() & _ELSEWHERE)
    if unknown:
        known = ', '.join(sorted(parameters.keys() - _ELSEWHERE))
        raise FedefmError(f'{path}: {", ".join(unknown)} is not known; known are {known}')
    for key in ('from', 'add'):
        if values.get(key):
            values[key] = str(path.parent / str(values[key]))
    if 'scenes' in values:
        values['scenes'] = [str(path.parent / str(one)) for one in values['scenes'] or ()]
    context.default_map = {parameters[key].name: value for key, value in values.items()}
    return path


def write(folder: Path, plan, backbone: str, start_from: Path | None, encoder_convs: str,
          decoder_convs: str, add: Path | None, scenes: dict[str, Path], check_every: int,
          threads: int) -> None:
    """
    Write the config.yaml of a run, and copies of the settings of its scenes beside it.

    :param plan: the TrainingPlan.
    :param scenes: kind -> file.
    :param threads: with another number sums have another order, and weights other last digits.
    """
    values = {'backbone': backbone}
    if start_from:
        values |= {'from': str(start_from.resolve()), 'from_id': plan.parent}
    for name, text in (('encoder_convs', encoder_convs), ('decoder_convs', decoder_convs)):
        if text:
            values[name] = text
    if add:
        values |= {'add': str(add.resolve()), 'add_hash': plan.added,
                   'add_share': plan.added_share}
    copies = []
    for kind, path in scenes.items():
        copy = Path('scenes') / f'{kind}.yaml'
        write_atomically(folder / copy, path.read_bytes())
        copies.append(str(copy))
    if copies:
        values['scenes'] = copies
    values |= {name: getattr(plan, name) for name in _PLANNED}
    values |= {'check_every': check_every, 'threads': threads}
    text = '# ./run train --config THIS -o DIR takes the run again.\n' \
        + yaml.safe_dump(values, sort_keys=False)
    write_atomically(folder / 'config.yaml', text.encode())


def hash_of_scene(path: Path) -> str:
    """Return a hash of a file's keys and values; comments may change."""
    values = yaml.safe_load(path.read_text(encoding='utf-8'))
    return hashlib.sha256(repr(values).encode()).hexdigest()[:16]


def hash_of_images(added) -> str:
    """Return a hash of pairs of images and masks, '' of none."""
    if not len(added):
        return ''
    digest = hashlib.sha256()
    for image, mask in added:
        for pixels in (image, mask):
            digest.update(f'{pixels.shape} {pixels.dtype}'.encode() + pixels.tobytes())
    return digest.hexdigest()[:16]


def refuse_others(path: Path | None, found: str, expected: str, option: str) -> None:
    """Raise FedefmError where a file or folder is not the one that a config.yaml was of."""
    if expected and found != expected:
        raise FedefmError(f'{option} {path} is {found or "none"}, and the run to be taken again '
                          f'had {expected}: name that one, or leave {option[2:]}'
                          f'{"_id" if option == "--from" else "_hash"} out of the file')


def _key(parameter):
    return max(parameter.opts, key=len).lstrip('-').replace('-', '_')


def _read(path):
    try:
        values = yaml.safe_load(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise FedefmError(f'{path}: cannot be read: {error.strerror or error}') from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FedefmError(f'{path}: is no YAML: {" ".join(str(error).split())}') from error
    if not isinstance(values, dict):
        raise FedefmError(f'{path}: a table of options and values was expected')
    return {str(key): value for key, value in values.items()}

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

"""What decides the result of a fine-tuning run, read from one YAML file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
import math
from pathlib import Path
import types
import typing

from fedefm_ros.errors import FedefmError
from fedefm_ros.yaml_files import read_table

import yaml

TASKS = ('segmentation', 'classification')


@dataclass(frozen=True)
class FinetunePlan:
    """Everything that decides the result; the keys of the YAML file."""

    root: str
    """Folder of the data."""
    layout: str = 'folder'
    """aioz, cathaction, folder, guide3d; ranzcr for classification."""
    options: dict = field(default_factory=dict)
    """Of the layout, such as {part: train, domains: [phantom]}."""
    task: str = 'segmentation'
    checkpoint: str = ''
    """Model (.safetensors, or a shipped name such as foundation) whose weights it starts from;
    empty: random ones."""
    backbone: str = 'compact'
    """Where no checkpoint is given."""
    config: dict = field(default_factory=dict)
    """Of the backbone."""
    pretrained: str = ''
    """CLIP, SAM or LVM-Med file for the transformer of a new vit or transunet."""
    size: int = 512
    """Side of the network's square input; longer sides of images are scaled to it."""
    crop: int = 384
    """Side of the training crops (segmentation)."""
    validation_share: float = 0.2
    """Of the patients or sequences."""
    steps: int = 2000
    batch: int = 6
    learning_rate: float = 5e-4
    weight_decay: float = 1e-2
    optimiser: str = 'adamw'
    """One of optimisers.OPTIMISERS."""
    warmup_steps: int = 50
    decay_share: float = 0.5
    """Last share of the steps in which the learning rate falls to zero."""
    ema: float = 0.99
    """Decay of the averaged weights, which are what is kept."""
    centreline_share: float = 0.0
    """Of clDice in the loss (segmentation)."""
    foreground_weight: float = 4.0
    """Of instrument pixels in the cross-entropy (segmentation)."""
    check_every: int = 200
    """Steps between validations, which also write the state a killed run goes on from."""
    patience: int = 0
    """Validations without a better score after which it stops; 0: never."""
    mixed_precision: bool = False
    """Compute in bf16 where torch does so safely, on graphics cards and CPUs that have it."""
    seed: int = 1

    def __post_init__(self):
        """Refuse what cannot be: raises FedefmError."""
        for name, low, high in (
                ('size', 32, 4096), ('crop', 32, self.size), ('steps', 1, 10**9),
                ('batch', 1, 4096), ('learning_rate', 1e-9, 10.0), ('weight_decay', 0.0, 10.0),
                ('warmup_steps', 0, 10**9), ('decay_share', 0.0, 1.0), ('ema', 0.0, 0.999999),
                ('centreline_share', 0.0, 1.0), ('foreground_weight', 0.01, 1000.0),
                ('check_every', 1, 10**9), ('patience', 0, 10**9), ('seed', 0, 2**31),
                ('validation_share', 0.001, 0.999)):
            value = getattr(self, name)
            if not (math.isfinite(value) and low <= value <= high):
                raise FedefmError(f'{name} is {value}; {low} to {high} was expected')
        if self.size % 32 or self.crop % 32:
            raise FedefmError(f'size {self.size} and crop {self.crop} must be multiples of 32')
        if self.task not in TASKS:
            raise FedefmError(f'task {self.task!r} is not known; known are {", ".join(TASKS)}')
        if (self.task == 'classification') != (self.layout == 'ranzcr'):
            raise FedefmError(f'task {self.task} does not go with layout {self.layout!r}: ranzcr '
                              'has labels of whole images, all others have masks')
        if self.checkpoint and (self.pretrained or self.config):
            raise FedefmError('checkpoint already says backbone, config and weights; leave out '
                              'config and pretrained')

    def to_yaml(self) -> str:
        """Return the file that makes this plan."""
        return yaml.safe_dump(asdict(self), sort_keys=False)


def read_plan(path: Path) -> FinetunePlan:
    """
    Return the plan in a YAML file; relative paths in it are relative to its folder.

    :raises FedefmError: no such file, not YAML, an unknown key, or a value of another type or
        out of range; it names the key.
    """
    values = read_table(path)
    kinds = typing.get_type_hints(FinetunePlan)
    unknown = sorted(map(str, values.keys() - kinds.keys()))
    if unknown:
        raise FedefmError(f'{path}: {", ".join(unknown)} is not known; known are '
                          f'{", ".join(one.name for one in fields(FinetunePlan))}')
    if 'root' not in values:
        raise FedefmError(f'{path}: root is missing, the folder of the data')
    try:
        checked = {name: _as(kinds[name], name, value) for name, value in values.items()}
        for name in ('root', 'checkpoint', 'pretrained'):
            if checked.get(name):
                checked[name] = str(_found(path.parent, checked[name]))
        return FinetunePlan(**checked)
    except FedefmError as error:
        raise FedefmError(f'{path}: {error}') from error


def shipped(name: str) -> Path | None:
    """Return the file of a shipped model, `foundation` or `models/foundation`; None if none."""
    from fedefm_ros.paths import models_dir
    plain = name.removeprefix('models/')
    if not plain or Path(plain).suffix or len(Path(plain).parts) != 1:
        return None
    file = models_dir() / f'{plain}.safetensors'
    return file if file.is_file() else None


def _found(folder: Path, name: str) -> Path:
    path = (folder / name).resolve()
    return path if path.exists() else shipped(name) or path


def _as(kind: type | types.GenericAlias, name: str, value):
    if kind is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            return float(value)  # YAML 1.1 reads 2e-3 as text
        except ValueError:
            pass
    if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
        raise FedefmError(f'{name} is {value!r}; {kind.__name__} was expected')
    return value

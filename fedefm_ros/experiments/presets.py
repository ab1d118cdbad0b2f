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

"""Presets of experiments: YAML files in config/experiments, checked when they are read."""

from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from dataclasses import fields
from dataclasses import replace
from pathlib import Path
from typing import Any

from fedefm_ros.errors import FedefmError
from fedefm_ros.experiments.foundation_task import FoundationRecipe
from fedefm_ros.federation.distillation import DistillationOptions
from fedefm_ros.federation.emd import EmdOptions
from fedefm_ros.federation.methods import FedefmOptions
from fedefm_ros.federation.methods import method_names
from fedefm_ros.federation.rounds import RunPlan
from fedefm_ros.federation.silo import StepOptions
from fedefm_ros.paths import config_dir

import yaml


@dataclass(frozen=True)
class Entry:
    """One line of a result table."""

    method: str
    #: What tells it from other lines of the same method; empty for the method as it is.
    label: str = ''
    #: Share of unseen kinds; None for the preset's.
    unseen: float | None = None
    #: Arguments of the method; FedEFM's are fields of FedefmOptions, with `distillation` and
    #: within it `score` nested.
    options: dict[str, Any] = field(default_factory=dict)
    #: Fields of StepOptions that this line has otherwise than the preset.
    step: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return method and label."""
        return f'{self.method} {self.label}'.strip()

    def arguments(self) -> dict:
        """Return the keyword arguments for create_method."""
        if not self.method.startswith('fedefm') or not self.options:
            return self.options
        options = dict(self.options)
        distillation = dict(options.pop('distillation', {}))
        score = EmdOptions(**distillation.pop('score', {}))
        options['distillation'] = DistillationOptions(score=score, **distillation)
        return {'options': FedefmOptions(**options)}


@dataclass(frozen=True)
class Preset:
    """What decides an experiment, but for its seeds."""

    entries: tuple[Entry, ...]
    seeds: int
    data: FoundationRecipe
    network: dict[str, Any]
    silos: int
    unseen: float
    #: Gradient steps of a silo's model in a round, and images in a step.
    steps: int
    batch: int
    plan: RunPlan
    #: Where the silos are, for cycle times: the first so many of a shipped network.
    places: str = 'gaia'
    #: What a gradient step takes, for cycle times by the model.
    step_ms: float = 10.0

    def plan_of(self, entry: Entry) -> RunPlan:
        """Return the plan of a line of the table."""
        return replace(self.plan, step=replace(self.plan.step, **entry.step))

    def identity(self) -> dict:
        """Return plain values of all that decides a run, but for its entry and seed."""
        values = asdict(self)
        return {key: value for key, value in values.items() if key not in ('entries', 'seeds')}


def preset_names(experiment: str) -> list[str]:
    """Return the names of an experiment's presets."""
    return sorted(path.stem.removeprefix(f'{experiment}-')
                  for path in _folder().glob(f'{experiment}-*.yaml'))


def experiment_names() -> list[str]:
    """Return the names of the experiments that have presets."""
    return sorted({path.stem.partition('-')[0] for path in _folder().glob('*-*.yaml')})


def load_preset(experiment: str, name: str) -> Preset:
    """Return a preset; raises FedefmError for an unknown one or a bad file, naming the field."""
    path = _folder() / f'{experiment}-{name}.yaml'
    if not path.is_file():
        raise FedefmError(
            f'no preset {name!r} of experiment {experiment!r}; there are experiments '
            f'{", ".join(experiment_names())}, and presets of it: '
            f'{", ".join(preset_names(experiment)) or "none"}')
    try:
        return read_preset(yaml.safe_load(path.read_text(encoding='utf-8')))
    except (yaml.YAMLError, TypeError, ValueError, AttributeError) as error:
        raise FedefmError(f'{path}: {error}') from error


def read_preset(values: dict) -> Preset:
    """Return the preset of a mapping as in the files; raises TypeError or FedefmError."""
    values = dict(values)
    known = {made.name for made in fields(Preset)}
    if set(values) - known:
        raise FedefmError(f'unknown field {sorted(set(values) - known)[0]!r}; expected '
                          f'{", ".join(sorted(known))}')
    plan = dict(values.pop('plan'))
    plan = RunPlan(step=StepOptions(**plan.pop('step', {})), **plan)
    entries = tuple(Entry(entry) if isinstance(entry, str) else Entry(**entry)
                    for entry in values.pop('entries'))
    for entry in entries:
        if entry.method not in method_names():
            raise FedefmError(f'unknown method {entry.method!r}; expected '
                              f'{", ".join(method_names())}')
        entry.arguments()
        StepOptions(**entry.step)
    if len({(entry.name, entry.unseen) for entry in entries}) < len(entries):
        raise FedefmError('two entries have the same method, label and unseen share')
    return Preset(entries=entries, plan=plan, data=FoundationRecipe(**values.pop('data')),
                  **values)


def _folder() -> Path:
    return config_dir() / 'experiments'

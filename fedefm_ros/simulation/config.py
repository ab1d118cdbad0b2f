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
Read what decides a kind of simulated fluoroscopy: config/simulation/*.yaml.

A file of one's own may leave out what is as in the default file of its kind.
"""

from dataclasses import dataclass, fields, is_dataclass, MISSING
from functools import lru_cache
import math
from pathlib import Path
from types import UnionType
import typing
from typing import Annotated, Any

from fedefm_ros.errors import FedefmError
from fedefm_ros.paths import config_dir
from fedefm_ros.simulation.anatomy_settings import ANATOMIES, KINDS
from fedefm_ros.simulation.ranges import Count, LogRange, Mixture, Range, Weights
from fedefm_ros.simulation.settings import Devices, Motions, Within, Xray
from fedefm_ros.yaml_files import read_table


@dataclass(frozen=True)
class SceneConfig:
    """All that decides a kind; one object a file."""

    kind: str
    """What lies on the table: one of KINDS."""
    spacing_mm: Annotated[LogRange, Within(0.02, 5.0)]
    """Width of a pixel at the patient, of 512 in a row; sequences have the C-arm's."""
    anatomy: Any
    """One of anatomy_settings.ANATOMIES."""
    devices: Devices
    xray: Xray
    motions: Motions


def find(kind: 'SceneConfig | str') -> SceneConfig:
    """
    Return the settings of a kind or in a file.

    :param kind: a name of KINDS, a path that ends in .yaml or .yml, or settings as they are.
    :raises FedefmError: neither known nor such a path, or see ``read``.
    """
    if isinstance(kind, SceneConfig):
        return kind
    if kind in KINDS:
        return _default(kind)
    if kind.endswith(('.yaml', '.yml')):
        return read(Path(kind).expanduser())
    raise FedefmError(f'simulator kind {kind!r} is unknown; known: {", ".join(KINDS)}, or a '
                      '.yaml file with settings')


def read(path: Path) -> SceneConfig:
    """
    Return the settings in a file; what it leaves out is as in the default file of its kind.

    :raises FedefmError: no such file, no YAML, an unknown key, a value of another type or out of
        range; it names file and key.
    """
    values = read_table(path)
    kind = values.get('kind')
    if kind not in KINDS:
        raise FedefmError(f'{path}: kind is {kind!r}; expected one of {", ".join(KINDS)}')
    return _checked(path, values, _default(kind))


@lru_cache
def _default(kind: str) -> SceneConfig:
    path = config_dir() / 'simulation' / f'{kind}.yaml'
    return _checked(path, read_table(path), None)


def _checked(path, values, base):
    try:
        config = _build(SceneConfig, values, base, '', {'anatomy': ANATOMIES.get(values['kind'])})
        _check_whole(config)
        return config
    except FedefmError as error:
        raise FedefmError(f'{path}: {error}') from error


def _check_whole(config):
    """Refuse what no single value shows."""
    from fedefm_ros.simulation.devices import CATHETER_SHAPES, GUIDEWIRE_SHAPES
    wires, roles = config.devices.guidewire, config.devices.catheter.roles
    for place, table, known in (
            ('devices.guidewire.shapes', wires.shapes, GUIDEWIRE_SHAPES),
            *((f'devices.catheter.roles.{name}.shapes', role.shapes, CATHETER_SHAPES)
              for name, role in roles.items()),
            *((('anatomy.regions', config.anatomy.regions,
                ('thorax', 'abdomen', 'pelvis', 'head')),) if config.kind == 'human' else ())):
        strange = [str(value) for value in table.values if value not in known]
        if strange:
            raise FedefmError(f'{place}: {", ".join(strange)} is not known; known are '
                              f'{", ".join(known)}')
    if not any(role.weight for role in roles.values()):
        raise FedefmError('devices.catheter.roles: the weights are all 0')
    counts = [('devices.count', config.devices.count)]
    if config.kind == 'human':
        counts.append(('anatomy.thorax.domes', config.anatomy.thorax.domes))
    for place, table in counts:
        if not all(type(value) is int and 0 <= value <= 20 for value in table.values):
            raise FedefmError(f'{place} has the keys {table.values}; expected numbers 0 to 20')
    if config.xray.black.high + 0.2 > config.xray.white.high:
        raise FedefmError('xray.white must end 0.2 above the end of xray.black, or more')
    if config.xray.collimator.whole + config.xray.collimator.blades > 1.0:
        raise FedefmError('xray.collimator: whole and blades add up to more than 1')


def _build(cls, values, base, place, kinds=None):
    """Return a dataclass of a table; ``kinds``: types of fields that depend on other values."""
    if not isinstance(values, dict):
        raise FedefmError(f'{place} is {values!r}; a table was expected')
    known = {field.name for field in fields(cls)}
    unknown = sorted(str(key) for key in values.keys() - known)
    if unknown:
        raise FedefmError(f'{_join(place, unknown[0])} is not known; known here are '
                          f'{", ".join(field.name for field in fields(cls))}')
    hints = {**typing.get_type_hints(cls, include_extras=True), **(kinds or {})}
    made = {}
    for field in fields(cls):
        name = field.name
        inner = _join(place, name)
        old = getattr(base, name, None)
        if name in values:
            made[name] = _value(hints[name], values[name], old, inner)
        elif base is not None:
            made[name] = old
        elif field.default is MISSING:
            raise FedefmError(f'{inner} is missing')
    return cls(**made)


def _value(hint, value, base, place):
    within = Within(-math.inf, math.inf)
    if isinstance(hint, UnionType):  # a table that may be left out
        hint = typing.get_args(hint)[0]
    if typing.get_origin(hint) is Annotated:
        hint, within = typing.get_args(hint)
    if is_dataclass(hint) and hint not in (Range, LogRange, Count):
        return _build(hint, value, base, place)
    if typing.get_origin(hint) is dict:
        if not isinstance(value, dict) or not value:
            raise FedefmError(f'{place} is {value!r}; a table was expected')
        kind = typing.get_args(hint)[1]
        return {str(key): _value(kind, one, (base or {}).get(str(key)), _join(place, key))
                for key, one in value.items()}
    if hint is str:
        return value
    if hint is float:
        return _number(value, within, place)
    if typing.get_origin(hint) is tuple:
        return tuple(_number(one, within, place) for one in _list(value, place))
    if hint is Weights:
        return _weights(value, place)
    if hint is Mixture:
        return _mixture(value, within, place)
    return _range(hint, value, within, place)


def _range(kind, value, within, place):
    ends = [_number(one, within, place) for one in _list(value, place)]
    if len(ends) != 2 or ends[0] > ends[1]:
        raise FedefmError(f'{place} is {value!r}; expected [lowest, highest]')
    if kind is Count:
        if not all(end.is_integer() for end in ends):
            raise FedefmError(f'{place} is {value!r}; expected two whole numbers')
        ends = [int(end) for end in ends]
    return kind(*ends)


def _mixture(value, within, place):
    parts = []
    for one in _list(value, place):
        if not isinstance(one, dict) or set(one) != {'share', 'range'}:
            raise FedefmError(f'{place} has {one!r}; expected {{share: NUMBER, range: [lowest, '
                              'highest]}')
        parts.append((_number(one['share'], Within(0.0, 1e6), f'{place}: share'),
                      _range(Range, one['range'], within, f'{place}: range')))
    if not sum(share for share, _ in parts):
        raise FedefmError(f'{place}: the shares are all 0')
    return Mixture(parts)


def _weights(value, place):
    if not isinstance(value, dict) or not value:
        raise FedefmError(f'{place} is {value!r}; a table of weights was expected')
    weights = {key: _number(one, Within(0.0, 1e6), _join(place, key))
               for key, one in value.items()}
    if not sum(weights.values()):
        raise FedefmError(f'{place}: the weights are all 0')
    return Weights(weights)


def _number(value, within, place):
    if isinstance(value, str):  # YAML 1.1 reads 2e3 as text
        try:
            value = float(value)
        except ValueError:
            pass
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise FedefmError(f'{place} is {value!r}; a number was expected')
    if not (math.isfinite(value) and within.low <= value <= within.high):
        raise FedefmError(f'{place} has {value}; {within.low:g} to {within.high:g} was expected')
    return float(value)


def _list(value, place):
    if not isinstance(value, list) or not value:
        raise FedefmError(f'{place} is {value!r}; a list of numbers was expected')
    return value


def _join(place, name):
    return f'{place}.{name}' if place else str(name)

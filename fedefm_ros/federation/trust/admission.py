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

"""Whether weights that came from a peer may be used at all: form, numbers, size."""

import math

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.trust.clipping import is_weight
from fedefm_ros.federation.trust.clipping import tensor_distance
from fedefm_ros.federation.trust.clipping import tensor_length
from fedefm_ros.federation.trust.limits import Limits
from fedefm_ros.federation.trust.refusal import Refused
from fedefm_ros.federation.weights import check_state
from fedefm_ros.federation.weights import MOMENTUM
from fedefm_ros.federation.weights import State


def admit(state: State, reference: State, own: State, limits: Limits = Limits(),
          longest_momentum: float = math.inf) -> State:
    """
    Return the state if it fits, is finite and not too far from the own weights.

    This stops broken, foreign and absurd weights; weights that are plausible but bad are for the
    held-out check, and clip_difference bounds what is left.

    :param reference: names, shapes and types; its values do not matter.
    :param own: the station's own weights, of the same form.
    :param longest_momentum: of all tensors together; gradients that are clipped to a length c
        leave no momentum m longer than c / (1 - m).
    :raises Refused: 'wrong_shape', 'not_finite' or 'norm'.
    """
    try:
        check_state(state, reference, 'what a peer sent')
    except FedefmError as error:
        reason = 'not_finite' if _fits(state, reference) else 'wrong_shape'
        raise Refused(reason, str(error)) from error
    weights = [key for key, value in own.items() if is_weight(key, value)]
    if not any(state[key].any() for key in weights):
        raise Refused('norm', 'what a peer sent is zero everywhere; nothing was trained there')
    lengths = {key: tensor_length(own[key]) for key in weights}
    whole = sum(length ** 2 for length in lengths.values()) ** 0.5
    entries = sum(own[key].numel() for key in weights)
    average = whole / max(entries, 1) ** 0.5  # of an entry
    moved = 0.0
    for key in weights:
        way = tensor_distance(state[key], own[key])
        moved += way ** 2
        usual = max(lengths[key], average * own[key].numel() ** 0.5)
        _check(key, way, limits.tensor_ratio, usual)
    _check('all weights together', moved ** 0.5, limits.whole_ratio, whole)
    for key, value in state.items():
        if (value.is_floating_point() and not is_weight(key, value) and value.numel()
                and not key.startswith(MOMENTUM)):
            _check_statistics(key, value, own[key], limits.statistics_ratio)
    momentum = sum(tensor_length(value) ** 2 for key, value in state.items()
                   if key.startswith(MOMENTUM)) ** 0.5
    if not momentum <= longest_momentum:
        raise Refused('norm', f'the momentum that a peer sent is {momentum:.3g} long; honest '
                      f'steps leave at most {longest_momentum:.3g}')
    return state


def _fits(state: State, reference: State) -> bool:
    return state.keys() == reference.keys() and all(
        value.shape == reference[key].shape and value.dtype == reference[key].dtype
        for key, value in state.items())


def _check(what: str, way: float, ratio: float, usual: float) -> None:
    if way > ratio * usual:
        raise Refused('norm', f'{what}: what a peer sent is {way:.3g} from the own weights, whose '
                      f'length is {usual:.3g}; at most {ratio:g} times that is taken')


def _check_statistics(key: str, value, own, ratio: float) -> None:
    if key.endswith('running_var') and value.lt(0).any():
        raise Refused('norm', f'{key} has negative variances')
    largest, usual = float(value.abs().max()), max(1.0, float(own.abs().max()))
    if largest > ratio * usual:
        raise Refused('norm', f'{key} goes to {largest:.3g}, the own one to {usual:.3g}; at most '
                      f'{ratio:g} times that is taken')

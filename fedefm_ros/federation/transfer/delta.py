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
Differences to weights that both sides have: the greatest entries, and what was not sent.

Top-k with error feedback: Stich, Cordonnier and Jaggi, Sparsified SGD with memory, NeurIPS 2018.
Entries are those of all floating-point tensors, sorted by name, one after the other.
"""

from pathlib import Path

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.transfer.layout import Table
from fedefm_ros.federation.trust.refusal import Refused
from fedefm_ros.federation.weights import State
from fedefm_ros.files import write_atomically

from safetensors import SafetensorError
from safetensors.torch import load
from safetensors.torch import save

import torch

_INDEX, _VALUE, _WHOLE = 'topk/index', 'topk/value', 'whole/'


class ErrorFeedback:
    """
    What top-k left out so far; it is added to the next difference, so that nothing is lost.

    One for each receiver and purpose. It is for updates to a base that changes from message to
    message (a visitor that was trained here). Where the base is what the receiver made of the
    last message, the difference has what was left out in it already; then use none.
    """

    def __init__(self):
        self.left_out: torch.Tensor | None = None
        """Of all entries, float32; None: nothing yet."""

    def save(self, path: Path) -> None:
        """Write it, to survive a restart; raises FedefmError."""
        left = self.left_out if self.left_out is not None else torch.zeros(0)
        try:
            write_atomically(path, save({'left_out': left}))
        except OSError as error:
            raise FedefmError(f'{path} cannot be written: {error.strerror or error}') from error

    @classmethod
    def load(cls, path: Path) -> 'ErrorFeedback':
        """Read it; a missing or damaged file is an empty one, which costs only what it held."""
        made = cls()
        try:
            left = load(path.read_bytes()).get('left_out')
        except (OSError, SafetensorError):
            return made
        if left is not None and left.dtype == torch.float32 and left.numel():
            made.left_out = left.reshape(-1)
        return made


def delta_table(reference: State, topk: int, dtype: torch.dtype) -> Table:
    """Return what a difference looks like: the number of entries is always the same."""
    total = sum(value.numel() for _, value in _floats(reference))
    if total >= 1 << 31:
        raise FedefmError(f'{total} weights are too many for a +topk codec; use it without')
    count = -(-total * topk // 1000)
    whole = {_WHOLE + key: (value.dtype, tuple(value.shape))
             for key, value in reference.items() if not value.is_floating_point()}
    return {_INDEX: (torch.int32, (count,)), _VALUE: (dtype, (count,)), **whole}


def difference(state: State, base: State, topk: int, dtype: torch.dtype,
               feedback: ErrorFeedback | None) -> dict[str, torch.Tensor]:
    """Return the tensors of delta_table; feedback learns what they leave out."""
    table = delta_table(state, topk, dtype)
    parts = [(value.float() - base[key].float()).reshape(-1) for key, value in _floats(state)]
    flat = torch.cat(parts) if parts else torch.zeros(0)
    if not flat.isfinite().all():
        raise FedefmError('the difference to the base is not finite; the training diverged')
    if feedback is not None and feedback.left_out is not None:
        if feedback.left_out.shape != flat.shape:
            raise FedefmError('the error feedback is of another network; start with a new one')
        flat += feedback.left_out
    index = flat.abs().topk(table[_INDEX][1][0], sorted=False).indices.sort().values
    value = flat[index].to(dtype)
    if feedback is not None:
        flat[index] -= value.float()
        feedback.left_out = flat
    # Distances, not places: small numbers, which zstd shrinks.
    steps = index.diff(prepend=torch.tensor([-1])).to(torch.int32)
    return {_INDEX: steps, _VALUE: value, **{
        _WHOLE + key: entry for key, entry in state.items() if not entry.is_floating_point()}}


def apply(tensors: dict[str, torch.Tensor], base: State) -> State:
    """Return base + difference; raises Refused where it points outside."""
    steps, value = tensors[_INDEX], tensors[_VALUE]
    index = steps.cumsum(0, dtype=torch.int64) - 1
    total = sum(entry.numel() for _, entry in _floats(base))
    if len(index) and (steps.min() < 1 or index[-1] >= total):
        raise Refused('malformed', 'a difference points outside of the weights, or twice at one')
    made, start = {}, 0
    for key, entry in _floats(base):
        first, last = torch.searchsorted(index, torch.tensor([start, start + entry.numel()]))
        flat = entry.detach().clone(memory_format=torch.contiguous_format).reshape(-1)
        flat[index[first:last] - start] += value[first:last].to(flat.dtype)
        made[key] = flat.reshape(entry.shape)
        start += entry.numel()
    return {key: made[key] if key in made else tensors[_WHOLE + key] for key in base}


def _floats(state: State) -> list[tuple[str, torch.Tensor]]:
    return sorted((key, value) for key, value in state.items() if value.is_floating_point())

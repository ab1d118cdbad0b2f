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
The safetensors layout in one buffer: written without a second copy, read without believing it.

The safetensors library reads what pack writes, and unpack what the library writes. Its own save
makes a copy more than a station has memory for, and its load believes the header; here every
name, type, shape and offset must be the expected one before a tensor is made.
"""

import json

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.trust.refusal import Refused

import torch

_TYPES = {torch.float64: 'F64', torch.float32: 'F32', torch.float16: 'F16',
          torch.bfloat16: 'BF16', torch.int64: 'I64', torch.int32: 'I32', torch.int16: 'I16',
          torch.int8: 'I8', torch.uint8: 'U8', torch.bool: 'BOOL'}
#: name -> type and shape.
Table = dict[str, tuple[torch.dtype, tuple[int, ...]]]


def data_bytes(table: Table) -> int:
    """Return how many bytes the tensors of a table have."""
    return sum(_bytes(*entry) for entry in table.values())


def header_bound(table: Table) -> int:
    """Return the greatest length of a header for a table: JSON may escape every character."""
    return 4096 + sum(256 + 12 * len(name) + 24 * len(shape)
                      for name, (_, shape) in table.items())


def pack(tensors: dict[str, torch.Tensor], table: Table) -> memoryview:
    """Return tensors as bytes; those of another type than the table's are converted on the way."""
    places, header = _places(table)
    buffer = torch.empty(len(header) + data_bytes(table), dtype=torch.uint8)
    whole = memoryview(buffer.numpy())
    whole[:len(header)] = header
    for name, (dtype, _) in table.items():
        start, end = (len(header) + offset for offset in places[name])
        if end > start:
            buffer[start:end].view(dtype).copy_(tensors[name].detach().reshape(-1))
    return whole


def unpack(payload: memoryview, table: Table, owned: bool) -> dict[str, torch.Tensor]:
    """
    Return the tensors of a table, which must be exactly what is there.

    :param owned: the memory is writable and nobody else's, so the tensors may lie in it.
    :raises Refused: 'malformed' or 'wrong_shape'.
    """
    header, start = _header(payload, table)
    if header.keys() != table.keys():
        odd = sorted(header.keys() ^ table.keys())[0]
        raise Refused('wrong_shape', f'{odd[:80]!r} is {"missing" if odd in table else "unknown"} '
                      'in what a peer sent; expected the names of this architecture')
    spans = {name: _span(name, header[name], *table[name]) for name in table}
    end = 0
    for first, last in sorted(spans.values()):
        if first != end:
            raise Refused('malformed', 'the tensors in what a peer sent overlap or leave gaps')
        end = last
    if start + end != len(payload):
        raise Refused('malformed', f'what a peer sent has {len(payload)} bytes, its header says '
                      f'{start + end}')
    return {name: _tensor(payload[start + first:start + last], *table[name], owned)
            for name, (first, last) in spans.items()}


def _places(table: Table) -> tuple[dict[str, tuple[int, int]], bytes]:
    """Return where each tensor's bytes are, and the header; wide types first, for alignment."""
    for name, (dtype, _) in table.items():
        if dtype not in _TYPES:
            raise FedefmError(f'{name} is {dtype}, which weights on the wire cannot be')
    places, end = {}, 0
    for name in sorted(table, key=lambda key: (-table[key][0].itemsize, key)):
        places[name] = (end, end := end + _bytes(*table[name]))
    text = json.dumps({name: {'dtype': _TYPES[table[name][0]], 'shape': list(table[name][1]),
                              'data_offsets': place} for name, place in places.items()},
                      separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 8)
    return places, len(text).to_bytes(8, 'little') + text


def _header(payload: memoryview, table: Table) -> tuple[dict, int]:
    """Return the parsed header without metadata, and where the data begins."""
    length = int.from_bytes(payload[:8], 'little')
    if not 2 <= length <= min(len(payload) - 8, header_bound(table)):
        raise Refused('malformed', f'what a peer sent ({len(payload)} bytes) is not safetensors, '
                      'or cut off; pickles and archives are never opened')
    try:
        header = json.loads(bytes(payload[8:8 + length]), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise Refused('malformed', f'the header of what a peer sent is damaged: {error}'
                      ) from error
    if not isinstance(header, dict):
        raise Refused('malformed', 'the header of what a peer sent names no tensors')
    header.pop('__metadata__', None)
    return header, 8 + length


def _unique(pairs: list) -> dict:
    if len(dict(pairs)) != len(pairs):
        raise ValueError('a name occurs twice')
    return dict(pairs)


def _span(name: str, entry, dtype: torch.dtype, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return where a tensor's bytes are, from its entry in the header."""
    if not isinstance(entry, dict) or (entry.get('dtype'), entry.get('shape')) != (
            _TYPES.get(dtype), list(shape)):
        raise Refused('wrong_shape', f'{name} is {str(entry)[:80]} in what a peer sent; expected '
                      f'{_TYPES.get(dtype)}{list(shape)}')
    span = entry.get('data_offsets')
    if (not isinstance(span, list) or [type(place) for place in span] != [int, int]
            or not 0 <= span[0] <= span[1] or span[1] - span[0] != _bytes(dtype, shape)):
        raise Refused('malformed', f'{name} is at {str(span)[:80]} in what a peer sent; expected '
                      f'{_bytes(dtype, shape)} bytes')
    return span[0], span[1]


def _tensor(data: memoryview, dtype: torch.dtype, shape: tuple[int, ...], owned: bool,
            ) -> torch.Tensor:
    if not len(data):
        return torch.empty(shape, dtype=dtype)
    if owned:
        flat = torch.frombuffer(data, dtype=torch.uint8)
        if flat.data_ptr() % dtype.itemsize == 0:
            return flat.view(dtype).reshape(shape)
    made = torch.empty(len(data), dtype=torch.uint8)
    memoryview(made.numpy())[:] = data
    return made.view(dtype).reshape(shape)


def _bytes(dtype: torch.dtype, shape: tuple[int, ...]) -> int:
    count = dtype.itemsize
    for side in shape:
        count *= side
    return count

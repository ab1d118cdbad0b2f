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
Weights <-> payload, by the codecs that codec_name describes.

What comes in is a stranger's: it is compared with what is expected before memory is spent on it,
nothing in it is run, and it grows by decompression no further than the weights that it should be.
"""

from collections.abc import Iterator
from contextlib import contextmanager
import hashlib
import mmap
from pathlib import Path

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.transfer import delta
from fedefm_ros.federation.transfer import layout
from fedefm_ros.federation.transfer.codec_name import CodecName
from fedefm_ros.federation.transfer.codec_name import parse_codec
from fedefm_ros.federation.trust.refusal import Refused
from fedefm_ros.federation.weights import State

import torch

import zstandard

MAX_BYTES = 1 << 30
#: Fast: weights hardly shrink (by a tenth), only differences do.
_ZSTD_LEVEL = 1
_ZSTD_WINDOW = 8 << 20


def encode(state: State, codec: str, base: State | None = None,
           feedback: delta.ErrorFeedback | None = None) -> memoryview:
    """
    Return weights as the bytes of a payload.

    :param base: for +topk: weights that the receiver has, too.
    :param feedback: for +topk: takes what is left out, and gives what earlier calls left out.
    :raises FedefmError: unknown codec, a base that is missing or does not fit, weights that
        float16 cannot hold.
    """
    name = parse_codec(codec)
    table = _table(state, name)
    tensors = state
    if name.topk is not None:
        _check_base(base, state)
        value = torch.float16 if name.fp16 else torch.float32
        tensors = delta.difference(state, base, name.topk, value, feedback)
    payload = layout.pack(tensors, table)
    if name.fp16:
        _check_half(layout.unpack(payload, table, owned=True))
    if not name.zstd:
        return payload
    return memoryview(zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(payload))


def decode(payload, codec: str, reference: State, base: State | None = None,
           max_bytes: int = MAX_BYTES) -> State:
    """
    Return the weights of a payload; their values are for admission.admit to judge.

    :param payload: bytes-like, or the Path of a file, which is mapped, not read: the weights lie
        in the mapping (private, so changing them leaves the file alone), and there is no second
        copy. The file may be removed afterwards, but not be changed.
    :param reference: names, shapes and types that are expected; its values do not matter.
    :param base: for +topk: the weights the payload is a difference to.
    :param max_bytes: of the payload and of the weights in it, each.
    :raises Refused: 'bad_codec', 'malformed', 'wrong_shape', 'too_large', 'no_base'.
    """
    name = parse_codec(codec)
    table = _table(reference, name)
    if name.topk is not None:
        if base is None:
            raise Refused('no_base', f'codec {codec} is a difference to weights that are not '
                          'here; ask for them whole')
        _check_base(base, reference)
    if layout.data_bytes(table) > max_bytes:
        raise Refused('too_large', f'weights of {layout.data_bytes(table)} bytes; at most '
                      f'{max_bytes} are taken')
    with _bytes_of(payload) as (data, owned):
        if len(data) > max_bytes + layout.header_bound(table):
            raise Refused('too_large', f'a payload of {len(data)} bytes; at most {max_bytes} are '
                          'taken')
        if name.zstd:
            data, owned = _decompressed(data, table), True
        tensors = layout.unpack(data, table, owned)
    if name.topk is not None:
        return delta.apply(tensors, base)
    return {key: tensors[key].to(value.dtype) for key, value in reference.items()}


def state_digest(state: State) -> str:
    """
    Return the SHA-256 (hex) of weights: names, types, shapes and values.

    It is what a manifest's base_sha256 means: of the weights as the receiver has them, so of what
    decode returned, where the codec loses something.
    """
    digest = hashlib.sha256()
    for key, value in sorted(state.items()):
        digest.update(f'{key}\0{value.dtype}{list(value.shape)}\0'.encode())
        flat = value.detach().cpu().contiguous().reshape(-1)
        if flat.numel():
            digest.update(memoryview(flat.view(torch.uint8).numpy()))
    return digest.hexdigest()


def _table(state: State, name: CodecName) -> layout.Table:
    """Return what the uncompressed payload of a codec has in it."""
    if name.topk is not None:
        return delta.delta_table(state, name.topk,
                                 torch.float16 if name.fp16 else torch.float32)
    return {key: (torch.float16 if name.fp16 and value.is_floating_point() else value.dtype,
                  tuple(value.shape)) for key, value in state.items()}


def _check_base(base: State | None, state: State) -> None:
    if base is None:
        raise FedefmError('a +topk codec needs the weights that the difference is to')
    if {key: value.shape for key, value in base.items()} != {
            key: value.shape for key, value in state.items()}:
        raise FedefmError('the base of a +topk codec is of another network')


def _check_half(tensors: dict[str, torch.Tensor]) -> None:
    for key, value in tensors.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise FedefmError(f'{key} has numbers that are not finite, or above 65504, where '
                              'float16 ends; send it without +fp16')


@contextmanager
def _bytes_of(payload) -> Iterator[tuple[memoryview, bool]]:
    """Yield the bytes of a payload, and whether they are writable and nobody else's."""
    if not isinstance(payload, Path):
        yield memoryview(payload).cast('B'), False
        return
    try:
        with payload.open('rb') as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    except ValueError as error:  # an empty file cannot be mapped
        raise Refused('malformed', f'{payload} is empty') from error
    except OSError as error:
        raise FedefmError(f'{payload} cannot be read: {error.strerror or error}') from error
    yield memoryview(mapped), True  # it is unmapped when the last tensor in it is gone


def _decompressed(data: memoryview, table: layout.Table) -> memoryview:
    """Return the plain bytes, no more than the table can have; the rest is never made."""
    bound = 8 + layout.header_bound(table) + layout.data_bytes(table)
    try:
        told = zstandard.get_frame_parameters(bytes(data[:32])).content_size
        if told not in (zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR):
            _check_growth(told, bound)
            bound = told
        # Not filled in: memory that no byte comes for is never taken from the system.
        buffer = memoryview(torch.empty(bound + 1, dtype=torch.uint8).numpy())
        reader = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).stream_reader(
            data, read_across_frames=False)
        filled = 0
        while filled <= bound and (got := reader.readinto(buffer[filled:])):
            filled += got
    except zstandard.ZstdError as error:
        raise Refused('malformed', f'what a peer sent is not zstd: {error}') from error
    _check_growth(filled, bound)
    return buffer[:filled]


def _check_growth(size: int, bound: int) -> None:
    if size > bound:
        raise Refused('too_large', f'what a peer sent grows to more than {bound} bytes when '
                      'decompressed; its weights have less')

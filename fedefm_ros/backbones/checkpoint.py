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
Checkpoints: weights as safetensors with a description, checked before anything is used.

A file may come from a stranger. It is read once into memory, hashed, and believed only where
the header, the description, the keys, shapes and dtypes fit and every number is finite. Nothing
is ever unpickled. torch is imported only by the functions that make tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from fedefm_ros import labels
from fedefm_ros.backbones import registry
from fedefm_ros.backbones.spec import ModelSpec, Normalisation
from fedefm_ros.errors import FedefmError
from fedefm_ros.files import write_atomically

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ['Checkpoint', 'CheckpointFile', 'ModelSpec', 'Normalisation', 'check',
           'load_checkpoint', 'read_description', 'read_file', 'save_checkpoint',
           'segmentation_models']

FORMAT_VERSION = 1
MAX_BYTES = 2 << 30
_KEY = 'fedefm_ros'
_PICKLES = (b'PK', b'\x80\x02', b'\x80\x03', b'\x80\x04', b'\x80\x05')
_MISMATCHES_SHOWN = 3


@dataclass(frozen=True)
class CheckpointFile:
    """A file's bytes, not yet believed."""

    path: Path
    data: bytes
    sha256: str
    """64 hex digits."""

    @property
    def model_id(self) -> str:
        """Return the first 16 hex digits of the file's SHA-256."""
        return self.sha256[:16]


@dataclass(frozen=True)
class Checkpoint:
    """A checked model."""

    spec: ModelSpec
    state: dict[str, torch.Tensor]
    model_id: str
    """First 16 hex digits of the file's SHA-256."""
    path: Path
    sha256: str

    def network(self) -> nn.Module:
        """Return a new network with these weights, in evaluation mode."""
        network = registry.create(self.spec.backbone, **self.spec.config)
        network.load_state_dict(self.state)
        return network.eval()


def save_checkpoint(path: str | Path, network: nn.Module, spec: ModelSpec) -> str:
    """
    Write a network's weights; return the model id.

    The file appears whole or not at all, even if the machine stops meanwhile, and its bytes
    depend only on weights and description. Raises FedefmError where the network is not what the
    description says, has numbers that are not finite, or the file cannot be written.
    """
    from safetensors.torch import save
    path = Path(path)
    state = {key: tensor.detach().cpu().contiguous()
             for key, tensor in network.state_dict().items()}
    _check_table(path, registry.state_table(state), registry.shapes(spec.backbone, spec.config))
    _check_finite(path, state)
    # One metadata key: safetensors writes several in random order, and the id is a content hash.
    metadata = {_KEY: json.dumps({
        'version': FORMAT_VERSION,
        'architecture': registry.architecture_hash(network, spec.backbone, spec.config),
        'spec': spec.to_json()}, sort_keys=True)}
    data = save(state, metadata)
    try:
        write_atomically(path, data)
    except OSError as error:
        raise FedefmError(f'{path} cannot be written: {error.strerror or error}') from error
    return hashlib.sha256(data).hexdigest()[:16]


def load_checkpoint(path: str | Path, max_bytes: int = MAX_BYTES) -> Checkpoint:
    """Return the checked model of a file; raises FedefmError that names the file and reason."""
    return check(read_file(path, max_bytes))


def read_file(path: str | Path, max_bytes: int = MAX_BYTES) -> CheckpointFile:
    """
    Return a file's bytes and hash; refuse what plainly is no checkpoint.

    Needs no torch. Raises FedefmError.
    """
    path = Path(path)
    if path.suffix.lower() in ('.pt', '.pth', '.pkl', '.ckpt'):
        raise FedefmError(f'{path} is a pickle by its name; such files can run code and are never '
                          'loaded. Save the weights as .safetensors instead')
    try:
        if not path.is_file():
            raise FedefmError(f'{path} is not a file; a model (.safetensors) was expected')
        with path.open('rb') as file:
            size = os.fstat(file.fileno()).st_size
            if size > max_bytes:
                raise FedefmError(f'{path} has {size} bytes; models may have at most {max_bytes}')
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise FedefmError(f'{path} cannot be read: {error.strerror or error}') from error
    # A safetensors file begins with its header's length, which may look like a pickle by chance.
    if data[:2] in _PICKLES and not _has_header(data):
        raise FedefmError(f'{path} is a pickle or zip archive (torch.save); such files can run '
                          'code and are never loaded. Save the weights as .safetensors')
    return CheckpointFile(path, data, hashlib.sha256(data).hexdigest())


def segmentation_models(folder: Path) -> tuple[str, ...]:
    """Return the names of a folder's models that find instruments; others are to start from."""
    return tuple(path.stem for path in sorted(folder.glob('*.safetensors'))
                 if tuple(read_description(read_file(path))[0].labels) == labels.NAMES)


def check(file: CheckpointFile) -> Checkpoint:
    """Return the model in a file's bytes once everything about it fits; raises FedefmError."""
    spec, architecture = read_description(file)
    from safetensors import SafetensorError
    from safetensors.torch import load
    try:
        state = load(file.data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise FedefmError(f'{file.path} is damaged: {error}') from error
    expected = registry.shapes(spec.backbone, spec.config)
    _check_table(file.path, registry.state_table(state), expected)
    _check_finite(file.path, state)
    actual = registry.table_hash(expected, spec.backbone, spec.config)
    if architecture != actual:
        raise FedefmError(f'{file.path} says architecture {architecture[:16]!r}, but its contents '
                          f'are {actual[:16]!r}; the file was changed after it was saved')
    return Checkpoint(spec, state, file.model_id, file.path, file.sha256)


def _has_header(data: bytes) -> bool:
    length = int.from_bytes(data[:8], 'little')
    return 2 <= length <= len(data) - 8 and data[8:9] == b'{'


def read_description(file: CheckpointFile) -> tuple[ModelSpec, str]:
    """Return a file's specification and architecture hash, not yet believed; needs no torch."""
    path, data = file.path, file.data
    if not _has_header(data):
        raise FedefmError(f'{path} ({len(data)} bytes) is not a whole safetensors file: its '
                          'header is missing or longer than the file')
    length = int.from_bytes(data[:8], 'little')
    try:
        text = json.loads(data[8:8 + length])['__metadata__'][_KEY]
    except (ValueError, TypeError, RecursionError) as error:
        raise FedefmError(f'{path} has a damaged safetensors header: {error}') from error
    except KeyError:
        raise FedefmError(f'{path} is a safetensors file without the description of a fedefm_ros '
                          'model; write models with save_checkpoint') from None
    try:
        description = json.loads(text)
        version = description['version']
        spec_text, architecture = description['spec'], description['architecture']
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise FedefmError(f'{path} has a damaged model description: {error!r}') from error
    if version != FORMAT_VERSION:
        raise FedefmError(f'{path} is of format version {version!r}; this program reads '
                          f'{FORMAT_VERSION}. Use the fedefm_ros that wrote it, or convert it')
    try:
        return ModelSpec.from_json(spec_text), str(architecture)
    except FedefmError as error:
        raise FedefmError(f'{path}: {error}') from error


def _check_table(path, found: dict, expected: dict) -> None:
    if found == expected:
        return
    problems = [f'{key} is missing' for key in sorted(expected.keys() - found.keys())]
    problems += [f'{key} is not known' for key in sorted(found.keys() - expected.keys())]
    problems += [f'{key} is {_describe(found[key])}, not {_describe(expected[key])}'
                 for key in sorted(expected.keys() & found.keys()) if found[key] != expected[key]]
    more = len(problems) - _MISMATCHES_SHOWN
    raise FedefmError(
        f'{path} does not have the weights of its architecture: '
        + '; '.join(problems[:_MISMATCHES_SHOWN]) + (f'; and {more} more' if more > 0 else ''))


def _describe(entry) -> str:
    shape, dtype = entry
    return f'{dtype}{list(shape)}'


def _check_finite(path, state: dict) -> None:
    for key, tensor in state.items():
        bad = tensor.numel() - int(tensor.isfinite().sum())
        if bad:
            raise FedefmError(f'{path} has {bad} of {tensor.numel()} numbers in {key} that are '
                              'not finite (NaN or infinite); the training diverged or the file '
                              'is damaged')

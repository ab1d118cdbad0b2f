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

"""Tensors out of other people's files, without running what the files may contain."""

from __future__ import annotations

from pathlib import Path
import pickle
import zipfile

from fedefm_ros.errors import FedefmError

import torch

MAX_BYTES = 8 << 30
_PICKLES = ('.pt', '.pth', '.torch', '.bin', '.ckpt')
#: Where training programs put the weights among other things.
_WRAPPERS = ('state_dict', 'model', 'model_state', 'model_state_dict')

_CONVERT = ('such archives hold code beside the weights. On a machine where you trust it, convert '
            'it once: python -c "import torch, safetensors.torch as s; '
            "s.save_file({k: v.contiguous() for k, v in torch.jit.load('FILE.pt', "
            "map_location='cpu').state_dict().items()}, 'FILE.safetensors')\"")


def read_tensors(path: Path, max_bytes: int = MAX_BYTES) -> dict[str, torch.Tensor]:
    """
    Return name -> tensor of a checkpoint: safetensors, or torch.save of a state dictionary.

    torch.save files are read with ``weights_only=True``, which makes tensors and plain values
    and nothing else. Raises FedefmError that names the file and the mend.
    """
    try:
        if not path.is_file():
            raise FedefmError(f'{path} is not a file; a checkpoint was expected')
        size = path.stat().st_size
    except OSError as error:
        raise FedefmError(f'{path} cannot be read: {error.strerror or error}') from error
    if size > max_bytes:
        raise FedefmError(f'{path} has {size} bytes; checkpoints may have at most {max_bytes}')
    if path.suffix.lower() == '.safetensors':
        contents = _safetensors(path)
    elif path.suffix.lower() in _PICKLES:
        contents = _weights_only(path)
    else:
        raise FedefmError(f'{path}: .safetensors, {", ".join(_PICKLES)} can be read')
    tensors = {name.removeprefix('module.'): value for name, value in _unwrapped(contents).items()
               if isinstance(name, str) and isinstance(value, torch.Tensor)}
    if not tensors:
        raise FedefmError(f'{path} holds no tensors by name')
    return tensors


def _safetensors(path):
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise FedefmError(f'{path} is damaged: {error}') from error


def _weights_only(path):
    if _is_torchscript(path):
        raise FedefmError(f'{path} is a TorchScript archive, as OpenAI publishes CLIP; '
                          f'{_CONVERT}')
    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        reason = ' '.join(str(error).split())[:200]
        raise FedefmError(f'{path} holds more than tensors and plain values and is not read, '
                          f'since that could run code ({reason}). Save its state dictionary '
                          'alone, as .safetensors, on a machine where you trust it') from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise FedefmError(f'{path} is damaged or no torch.save file: '
                          f'{" ".join(str(error).split())[:200]}') from error


def _is_torchscript(path):
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith('/constants.pkl') or '/code/' in name
                       for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False


def _unwrapped(contents):
    for _ in range(2):
        if not isinstance(contents, dict):
            return {}
        inner = next((contents[key] for key in _WRAPPERS
                      if isinstance(contents.get(key), dict)), None)
        if inner is None:
            break
        contents = inner
    return contents

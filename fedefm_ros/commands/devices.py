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

"""Where commands compute."""

from fedefm_ros.errors import FedefmError


def check_device(device: str) -> None:
    """Raise FedefmError where ``--device`` names CUDA and torch finds none."""
    import torch

    if device.startswith('cuda') and not torch.cuda.is_available():
        raise FedefmError(f'--device {device}: this torch finds no CUDA device; use --device cpu')

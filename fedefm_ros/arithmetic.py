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

"""What a device computes in bf16 itself; others imitate it, at a multiple of the time of f32."""

import torch


def has_bf16(device: str) -> bool:
    """
    Return whether torch has instructions for bf16 there.

    On a CPU with AVX2 and no more, a training step in bf16 takes four times as long as in f32, and
    a product of matrices a hundred times.

    :param device: 'cpu' or 'cuda', with or without a number.
    """
    if torch.device(device).type == 'cuda':
        return torch.cuda.is_available() and torch.cuda.get_device_capability(device)[0] >= 8
    # Older versions of torch cannot tell: f32 is right everywhere.
    known = getattr(torch.cpu, 'get_capabilities', dict)()
    return any(known.get(name) for name in ('avx512_bf16', 'amx_bf16', 'bf16'))

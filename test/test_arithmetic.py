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

"""Arithmetic: bf16 only where a processor has instructions for it."""

from pathlib import Path

from fedefm_ros.arithmetic import has_bf16

import pytest

import torch


def test_bf16_of_the_cpu_is_as_the_kernel_says():
    flags = Path('/proc/cpuinfo').read_text(encoding='utf-8').split()
    if 'avx2' not in flags:
        pytest.skip('not an x86 processor')
    assert has_bf16('cpu') == bool({'avx512_bf16', 'amx_bf16'} & set(flags))


@pytest.mark.parametrize('known, has', [
    ({'avx2': True, 'avx512_f': True}, False),
    ({'avx512_bf16': False, 'amx_bf16': False}, False),
    ({'avx512_bf16': True}, True), ({'amx_bf16': True}, True), ({'bf16': True}, True)])
def test_any_kind_of_instructions_will_do(monkeypatch, known, has):
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: known)
    assert has_bf16('cpu') is has


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a CUDA device')
def test_a_cuda_device_that_is_not_there_has_none():
    assert not has_bf16('cuda')
    assert not has_bf16('cuda:1')

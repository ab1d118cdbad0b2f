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
The exported network: one ONNX graph for every runtime, and its file in the cache.

The graph takes ``image`` (1, 1, S, S) uint8 and ``grey`` (2,) float32, a and b of
a * image + b, and gives ``labels`` and ``probability`` of any instrument, both (1, 1, S, S)
uint8. Clipping, network and the choice of the label are inside.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
import hashlib
import json
import zlib

from fedefm_ros.backbones.spec import ModelSpec
from fedefm_ros.errors import FedefmError

import numpy as np

#: Changes whenever the same checkpoint would give another graph; old cache entries then rest.
GRAPH_VERSION = 1

_MAGIC = b'fedefm_ros graph %d\n' % GRAPH_VERSION
_DIGEST_LENGTH = 64


@dataclass(frozen=True)
class Graph:
    """A network ready for any runtime; that it exists means that its checkpoint was checked."""

    onnx: bytes
    spec: ModelSpec
    checkpoint_sha256: str
    reference: np.ndarray
    """(S, S) uint8: the labels that torch in f32 gives to the test picture."""

    def to_bytes(self) -> bytes:
        """Return the graph as the contents of a file, with a checksum."""
        head = json.dumps({
            'spec': self.spec.to_json(),
            'checkpoint_sha256': self.checkpoint_sha256,
            'reference': base64.b85encode(zlib.compress(self.reference.tobytes())).decode()})
        body = head.encode() + b'\n' + self.onnx
        return _MAGIC + hashlib.sha256(body).hexdigest().encode() + body

    @classmethod
    def from_bytes(cls, data: bytes) -> Graph:
        """Return the graph in a file's contents; raises FedefmError where it is damaged."""
        start = len(_MAGIC) + _DIGEST_LENGTH
        digest, body = data[len(_MAGIC):start], data[start:]
        if not data.startswith(_MAGIC) or hashlib.sha256(body).hexdigest().encode() != digest:
            raise FedefmError('the exported graph is damaged: its checksum does not fit')
        head, _, onnx = body.partition(b'\n')
        values = json.loads(head)
        spec = ModelSpec.from_json(values['spec'])
        pixels = zlib.decompress(base64.b85decode(values['reference']))
        reference = np.frombuffer(pixels, np.uint8).reshape(spec.input_size, spec.input_size)
        return cls(onnx, spec, values['checkpoint_sha256'], reference)


def grey_coefficients(low: float, high: float) -> np.ndarray:
    """Return the graph's ``grey`` that shows the levels low and high as 0 and 1, (2,) float32."""
    return np.array([1.0 / (high - low), -low / (high - low)], np.float32)

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

"""What a checkpoint says about its weights: architecture, labels, input, where it comes from."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
import json
import math

from fedefm_ros import labels
from fedefm_ros.errors import FedefmError


@dataclass(frozen=True)
class Normalisation:
    """
    How grey levels become the network's input; ``segmentation.grey`` does it.

    Two percentiles of the middle of the image become 0 and 1; what lies beyond goes on linearly
    up to the clipping.
    """

    low_percentile: float = 1.0
    high_percentile: float = 99.0
    margin: float = 0.125
    """Share of the image on each side that is not looked at: blades, text, black borders."""
    clip_low: float = -0.5
    clip_high: float = 1.5

    def __post_init__(self):
        """Refuse what cannot be: raises FedefmError."""
        values = asdict(self)
        if not all(isinstance(v, (int, float)) and math.isfinite(v) for v in values.values()):
            raise FedefmError(f'normalisation {values} must be finite numbers')
        if not (0 <= self.low_percentile < self.high_percentile <= 100
                and 0 <= self.margin < 0.5 and self.clip_low <= 0 < 1 <= self.clip_high):
            raise FedefmError(f'normalisation {values} must have 0 <= low_percentile < '
                              'high_percentile <= 100, 0 <= margin < 0.5 and '
                              'clip_low <= 0 < 1 <= clip_high')


@dataclass(frozen=True)
class ModelSpec:
    """Everything that is needed to use weights, beside the weights."""

    backbone: str
    """A name of ``backbones.registry``."""
    config: dict = field(default_factory=dict)
    """Keyword arguments of the backbone; JSON values."""
    labels: tuple[str, ...] = labels.NAMES
    """Name of each output channel."""
    input_size: int = 512
    """Side of the square input in pixels, a multiple of 32."""
    normalisation: Normalisation = Normalisation()
    min_confidence: float = 0.0
    """Connected foreground of a lower mean probability is left out: chosen on validation frames,
    since networks differ in how sure they are. Of a judge: see ``segmentation.judgement``."""
    provenance: dict = field(default_factory=dict)
    """For people: how it was trained, on what, by whom; JSON values. A judge's says for which
    models it was made."""

    def __post_init__(self):
        """Refuse what cannot be: raises FedefmError."""
        if not isinstance(self.backbone, str) or not isinstance(self.config, dict):
            raise FedefmError('a model needs a backbone name and a configuration table, not '
                              f'{self.backbone!r} and {self.config!r}')
        if not isinstance(self.normalisation, Normalisation):
            raise FedefmError(f'normalisation {self.normalisation!r} must be a Normalisation')
        size = self.input_size
        if not isinstance(size, int) or size % 32 or not 32 <= size <= 4096:
            raise FedefmError(f'input size {size!r} must be a multiple of 32 from 32 to 4096')
        least = self.min_confidence
        if not isinstance(least, (int, float)) or not 0 <= least < 1:
            raise FedefmError(f'min_confidence {least!r} must be a number from 0 to below 1')
        if not isinstance(self.provenance, dict):
            raise FedefmError(f'provenance {self.provenance!r} must be a table')
        if len(self.labels) < 2 or not all(isinstance(name, str) for name in self.labels):
            raise FedefmError(f'labels {self.labels!r} must be two or more names')

    def to_json(self) -> str:
        """Return one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Return the specification of a ``to_json`` text; raises FedefmError where it is not."""
        try:
            values = json.loads(text)
            values['labels'] = tuple(values['labels'])
            values['normalisation'] = Normalisation(**values['normalisation'])
            return cls(**values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise FedefmError(
                f'the model description cannot be read ({error!r}): {text[:80]!r}') from error

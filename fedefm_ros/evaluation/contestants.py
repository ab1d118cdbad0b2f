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

"""Who is scored: a model that runs now, or masks that were made before."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
import time
from typing import Protocol

from fedefm_ros.errors import FedefmError
from fedefm_ros.evaluation.cases import Case
from fedefm_ros.evaluation.truth import MaskFolderTruth
from fedefm_ros.imaging.bag_topics import recording_times
from fedefm_ros.imaging.bag_topics import StampedTopic
from fedefm_ros.imaging.bag_topics import topic_ending
from fedefm_ros.segmentation.engine import SegmentationEngine
from fedefm_ros.segmentation.frame_before import FrameBefore
from fedefm_ros.segmentation.instrument import Instrument
from fedefm_ros.segmentation.postprocess import SpeckParameters

import numpy as np


@dataclass(frozen=True)
class Answer:
    """What a contestant makes of one frame."""

    mask: np.ndarray
    """(H, W) uint8 labels."""
    instruments: tuple[Instrument, ...]
    seconds: float | None = None
    """Work for this frame, where it was done now."""
    latency_ms: float | None = None
    """From the image's recording to the mask's, in a bag."""


class Contestant(Protocol):
    """Gives an answer to each frame, in their order."""

    name: str
    facts: dict
    """For the report: model, runtime, ..."""
    is_model: bool
    """It works on the frame now."""

    def answer(self, case: Case) -> Answer | None:
        """Return what it makes of a frame, None where it has nothing."""
        ...

    def close(self) -> None:
        """Close files."""
        ...


class EngineContestant:
    """A model on the engine that the node runs, with what the node remembers of the last frame."""

    is_model = True

    def __init__(self, model: str, runtime: str, precision: str = 'auto',
                 min_confidence: float | None = None, judge: str = 'auto'):
        """Load the model; without a ``min_confidence`` it has its own, see the engine."""
        self._engine = SegmentationEngine.open(
            model, runtime=runtime, precision=precision, judge=judge,
            specks=SpeckParameters(min_confidence=min_confidence))
        info = self._engine.info
        self.name = Path(model).stem
        self.facts = {'model': model, 'model_id': info.model_id, 'runtime': info.runtime,
                      'precision': info.precision,
                      'min_confidence': self._engine.min_confidence,
                      'judge_id': info.judge_id or 'none'}
        self._before = FrameBefore()
        self._sequence: str | None = None

    def answer(self, case: Case) -> Answer | None:
        """Segment a frame; None where the node would refuse it, too."""
        start = time.perf_counter()
        if case.alone or case.sequence != self._sequence:
            self._before.forget()
        self._sequence = case.sequence
        stamp = round(1e9 * case.time)
        try:
            raw = self._before.infer(self._engine, case.image, stamp)
        except FedefmError as error:
            self.facts['refused'] = self.facts.get('refused', 0) + 1
            self.facts['last_refusal'] = str(error)
            return None
        found = self._before.instruments(self._engine, raw, case.spacing_mm, stamp)
        return Answer(raw.mask, found, time.perf_counter() - start)

    def close(self) -> None:
        """Do nothing."""


class BagContestant:
    """The masks that a station published, matched by stamp."""

    is_model = False

    def __init__(self, path: Path, images: Path, image_topic: str, name: str,
                 mask_topic: str = ''):
        """
        Open the bag.

        :param images: the bag with the images.
        :param mask_topic: the masks' whole name; by default found.
        """
        mask = mask_topic or topic_ending(path, 'segmentation/mask', 'mask', near=image_topic)
        if mask is None or mask.endswith('ground_truth/mask'):
            raise FedefmError(f'{path}: has no topic segmentation/mask; name another with '
                              '--mask-topic')
        instruments = topic_ending(path, f'{mask.rpartition("/")[0].strip("/")}/instruments')
        self.name = name
        self.facts = {'masks': f'{path} {mask}'}
        self._masks = StampedTopic(path, mask)
        self._instruments = StampedTopic(path, instruments) if instruments else None
        self._arrived = recording_times(images, image_topic) if path == images else {}

    def answer(self, case: Case) -> Answer | None:
        """Return what was recorded for a frame."""
        if case.stamp is None:
            return None
        found = self._masks.mask(case.stamp)
        instruments = self._instruments.instruments(case.stamp) if self._instruments else None
        if found is None:
            return None
        mask, recorded = found
        if mask.shape != case.image.shape:
            raise FedefmError(
                f'{self._masks.topic} at {case.stamp}: the mask is {mask.shape[1]} x '
                f'{mask.shape[0]}, its image {case.image.shape[1]} x {case.image.shape[0]}')
        arrived = self._arrived.get(case.stamp)
        return Answer(np.array(mask), instruments[0] if instruments else derived(mask, case),
                      latency_ms=None if arrived is None else (recorded - arrived) / 1e6)

    def close(self) -> None:
        """Close the bag."""
        self._masks.close()
        if self._instruments:
            self._instruments.close()


class FolderContestant:
    """What `./run segment` left in a folder, or any masks named as the frames are."""

    is_model = False

    def __init__(self, folder: Path):
        """Find the masks."""
        self.name = folder.name
        self.facts = {'masks': str(folder)}
        self._masks = MaskFolderTruth(folder)

    def answer(self, case: Case) -> Answer | None:
        """Return what the folder has for a frame."""
        known = self._masks.of(case.file, case.index, None, case.image.shape)
        if known is None:
            return None
        lines = self._masks.lines
        found = lines.instruments(case.file, case.index) if lines else None
        return Answer(known[1], derived(known[1], case) if found is None else found)

    def close(self) -> None:
        """Do nothing."""


def follows_on(last: Case, case: Case) -> bool:
    """Return whether a frame is the next one of the same sequence."""
    return not case.alone and last.sequence == case.sequence and case.index == last.index + 1


def derived(mask: np.ndarray, case: Case) -> tuple[Instrument, ...]:
    """Return the instruments in a mask that comes without any, by the engine's own geometry."""
    from fedefm_ros.segmentation.geometry import analyse
    sure = np.where(mask > 0, np.uint8(255), np.uint8(0))
    return analyse(mask, sure, spacing_mm=case.spacing_mm).instruments

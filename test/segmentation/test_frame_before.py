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

"""The frame before is remembered for half a second, at one size, spacing and model."""

from types import SimpleNamespace

from fedefm_ros.labels import GUIDEWIRE
from fedefm_ros.segmentation.engine import RawSegmentation
from fedefm_ros.segmentation.frame_before import FrameBefore
from fedefm_ros.segmentation.instrument import Instrument
from fedefm_ros.segmentation.judgement import Opinion

import numpy as np
import pytest

SIZE = (48, 64)


class Engine:
    """Finds another wire in every frame, and keeps what it was told of the frame before."""

    def __init__(self):
        self.found, self.previous, self.elapsed = (), (), None
        self.said = self.told = ()

    def infer(self, image, opinions):
        self.told = opinions
        mask = np.zeros(image.shape, np.uint8)
        self.said = (Opinion(np.zeros((2, 2)), np.ones(3), np.ones((2, 3)),
                             np.ones(2, bool)),)
        return RawSegmentation(mask, mask, self.info.model_id, 0.0, 0.0, mask,
                               opinions=self.said)

    def instruments(self, raw, spacing_mm=None, *, previous=(), elapsed=None):
        self.previous, self.elapsed = previous, elapsed
        self.found = (Instrument(GUIDEWIRE, np.array([[4.0, 8.0], [20.0, 8.0]])),)
        return self.found


@pytest.fixture
def follows():
    """Return a function that says whether a frame is told of the instruments of the last one."""
    engine, before = Engine(), FrameBefore()

    def ask(seconds, shape=SIZE, spacing=(0.2, 0.2), model='one', forget=False):
        expected = engine.found
        if forget:
            before.forget()
        mask = np.zeros(shape, np.uint8)
        raw = RawSegmentation(mask, mask, model, 0.0, 0.0, mask)
        assert before.instruments(engine, raw, spacing, round(1e9 * seconds)) is engine.found
        assert engine.previous == () or engine.previous is expected
        return bool(engine.previous)
    ask.engine = engine
    return ask


def test_a_frame_follows_for_half_a_second_and_not_backward(follows):
    assert [follows(second) for second in (3.0, 3.1, 3.5, 4.0, 4.0, 3.9, 4.3)] == [
        False, True, True, False, False, False, True]
    assert follows.engine.elapsed == pytest.approx(0.4)


@pytest.mark.parametrize('other', [
    {'shape': (1024, 1024)}, {'shape': SIZE[::-1]}, {'spacing': None}, {'spacing': (0.2, 0.21)},
    {'model': 'two'}])
def test_a_frame_of_another_kind_does_not_follow_but_is_remembered(follows, other):
    assert not follows(1.0) and follows(1.1)
    assert not follows(1.2, **other) and follows(1.3, **other)
    assert not follows(1.4)


def test_a_spacing_may_tremble_or_be_unknown(follows):
    assert not follows(1.0) and follows(1.1, spacing=(0.2001, 0.2))
    assert not follows(1.2, spacing=None) and follows(1.3, spacing=None)


def test_what_is_forgotten_is_not_followed(follows):
    assert not follows(1.0) and not follows(1.1, forget=True) and follows(1.2)


@pytest.fixture
def judged():
    """Return a function that says whether a frame is told what was said of the last one."""
    engine, before = Engine(), FrameBefore()

    def ask(seconds, shape=SIZE, model='one', forget=False):
        expected = engine.said
        engine.info = SimpleNamespace(model_id=model)
        if forget:
            before.forget()
        raw = before.infer(engine, np.zeros(shape, np.uint8), round(1e9 * seconds))
        assert raw.opinions is engine.said
        assert engine.told == () or engine.told is expected
        return bool(engine.told)
    return ask


def test_what_was_said_of_a_frame_is_remembered_as_long(judged):
    assert [judged(second) for second in (3.0, 3.1, 3.5, 4.0, 4.0, 3.9, 4.3)] == [
        False, True, True, False, False, False, True]
    assert not judged(4.4, shape=(64, 48)) and judged(4.5, shape=(64, 48))
    assert not judged(4.6) and not judged(4.7, model='two') and judged(4.8, model='two')
    assert not judged(4.9, model='two', forget=True)

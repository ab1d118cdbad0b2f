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

"""Straightened strips."""

import cv2

from fedefm_ros.labels import CATHETER, GUIDEWIRE
from fedefm_ros.segmentation.instrument import Instrument
from fedefm_ros.segmentation.preprocess import prepare
from fedefm_ros.segmentation.strips import BEYOND
from fedefm_ros.segmentation.strips import CHANNELS
from fedefm_ros.segmentation.strips import FACTS
from fedefm_ros.segmentation.strips import HALF
from fedefm_ros.segmentation.strips import LENGTH
from fedefm_ros.segmentation.strips import OF_FIRST_END
from fedefm_ros.segmentation.strips import OF_LAST_END
from fedefm_ros.segmentation.strips import STEPS
from fedefm_ros.segmentation.strips import strips

import numpy as np

import pytest

ANGLES = np.linspace(0.2, 1.9, 60)
ARC = np.stack([130 + 90 * np.cos(ANGLES), 110 + 90 * np.sin(ANGLES)], 1)


def seen(*pieces, size=256):
    """Return the strips and facts of pieces, dark lines of 5 px on a bright ground."""
    image = np.full((size, size), 200, np.uint8)
    image[:, ::4] = 190  # a grey range of its own
    mask = np.zeros((size, size), np.uint8)
    for piece in pieces:
        line = [np.rint(piece.centerline * 16).astype(np.int32)]
        cv2.polylines(image, line, False, 60, 5, cv2.LINE_AA, 4)
        cv2.polylines(mask, line, False, piece.kind, 5, cv2.LINE_8, 4)
    return strips(prepare(image, size), mask, np.where(mask > 0, np.uint8(240), np.uint8(0)),
                  pieces)


def straight(*ends, kind=GUIDEWIRE, **more):
    return Instrument(kind, np.linspace(*np.array(ends, float), 40), **more)


def test_a_bent_line_is_straight_in_its_strip():
    strip, _ = seen(Instrument(CATHETER, ARC))
    assert strip.shape == (1, CHANNELS, 2 * HALF + 1, LENGTH) and strip.dtype == np.uint8
    columns = int((strip[0, 0, 0] > 0).sum())
    assert columns == round(90 * (ANGLES[-1] - ANGLES[0])) + 2 * BEYOND + 1
    inside = strip[0, -1, 0] > 0
    assert inside.sum() == pytest.approx(columns - 2 * BEYOND, abs=3)
    assert not strip[0, :, :, columns:].any()
    middle = range(BEYOND + 8, columns - BEYOND - 8)
    for place, step in enumerate(STEPS):
        grey, probability, wire = strip[0, 3 * place:3 * place + 3]
        profile = grey[:, middle].mean(1)
        dark = np.clip(np.median(profile) - profile, 0, None)
        assert dark @ np.arange(len(dark)) / dark.sum() == pytest.approx(HALF, abs=0.5)
        # The line is as wide as it was drawn, whichever the step.
        found = (probability[:, middle] > 120).sum(0).mean() * step
        assert found == pytest.approx(6.5, abs=0.7 + step)
        assert not wire.any()


def test_only_what_is_called_a_guidewire_is_marked_as_one():
    strip, facts = seen(straight((40, 60), (200, 60)),
                        straight((40, 160), (200, 160), kind=CATHETER))
    assert strip[0, 2].max() == 255
    assert not strip[1, 2].any()
    assert facts[0, 7] == 1 and facts[1, 7] == 0


def test_a_piece_turned_around_is_the_strip_turned_around():
    piece = straight((40, 60), (200, 90), kind=CATHETER)
    other = straight((220, 20), (220, 90))
    there, facts = seen(piece, other)
    back, facts_back = seen(Instrument(CATHETER, piece.centerline[::-1]), other)
    length = int((there[0, 0, 0] > 0).sum())
    turned = back[0, :, ::-1, :length][:, :, ::-1].astype(int)
    assert np.abs(turned - there[0, :, :, :length]).mean() < 1
    first, last = list(OF_FIRST_END), list(OF_LAST_END)
    facts_back[0][first + last] = facts_back[0][last + first]
    assert facts[0] == pytest.approx(facts_back[0], abs=1e-5)
    assert facts[0, first[0]] != facts[0, last[0]] and facts[0, first[1]] != facts[0, last[1]]


def test_facts_tell_where_a_piece_is_and_what_else_there_is():
    wire = straight((40, 60), (200, 60), confidence=0.7, tip_visible=False)
    catheter = straight((210, 60), (250, 60), kind=CATHETER, confidence=0.9)
    _, facts = seen(wire, catheter)
    assert facts.shape == (2, FACTS) and facts.dtype == np.float32
    assert facts[0, :9] == pytest.approx(
        [0, 160 / 512, 0.7, 40 / 512, 55 / 512, 1, 10 / 64, 1, 0], abs=0.01)
    assert facts[0, 11:] == pytest.approx([0.25, 40 / 512, 0.9, 0, 1, 0], abs=0.01)
    _, alone = seen(wire)
    assert alone[0, 5:7] == pytest.approx([1, 1]) and not alone[0, 11:].any()


def test_a_line_that_is_too_long_is_compressed():
    zigzag = np.array([(10, 20), (240, 30), (240, 60), (10, 70), (10, 110), (240, 120)], float)
    strip, facts = seen(Instrument(GUIDEWIRE, zigzag))
    assert (strip[0, 0] > 0).all()
    length = np.hypot(*np.diff(zigzag, axis=0).T).sum() + 2 * BEYOND
    assert 1 + facts[0, 0] == pytest.approx(length / (LENGTH - 1), rel=1e-4)


@pytest.mark.parametrize('ends', [((0, 0), (255, 255)), ((-3, 10), (4, 10)), ((9, 9), (9, 9))])
def test_lines_at_the_border_and_without_length_have_strips(ends):
    piece = Instrument(CATHETER, np.array(ends, float))
    strip, facts = seen(piece)
    assert np.isfinite(facts).all() and (strip[0, 0, 0] > 0).sum() > 2 * BEYOND


def test_an_image_of_one_grey_level_has_strips():
    image = np.full((64, 64), 7, np.uint8)
    empty = np.zeros((64, 64), np.uint8)
    strip, facts = strips(prepare(image, 64), empty, empty, [straight((5, 30), (60, 30))])
    assert np.isfinite(facts).all() and strip[0, 0].any()


def test_no_pieces_are_no_strips():
    strip, facts = seen()
    assert strip.shape == (0, CHANNELS, 2 * HALF + 1, LENGTH) and facts.shape == (0, FACTS)

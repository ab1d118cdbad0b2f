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


"""A wire is whole whatever the labels of its parts are: its width and its catheter's tell."""

from fedefm_ros import labels
from fedefm_ros.segmentation.geometry import extract_instruments

from known_curves import draw
from known_curves import Known
from known_curves import line

import numpy as np

import pytest


def mask_of(*known):
    """Return a mask, (512, 512)."""
    mask = np.zeros((512, 512), np.uint8)
    for instrument in known:
        draw(mask, instrument)
    return mask


def catheter_and_wire(wire_width=3.0, catheter_width=9.0):
    """Return a mask in which a wire, (256, 360) to (256, 100), leaves a catheter from below."""
    return mask_of(Known(line((256, 511.5), (256, 360)), catheter_width, labels.CATHETER),
                   Known(line((256, 360), (256, 100)), wire_width, labels.GUIDEWIRE))


@pytest.mark.parametrize('rows', [(100, 230), (100, 130), (180, 300), (230, 355), (150, 345)])
def test_a_narrow_stretch_called_catheter_belongs_to_the_wire_that_left_a_wide_one(rows):
    mask = catheter_and_wire()
    part = mask[slice(*rows)]
    part[part > 0] = labels.CATHETER
    wire, catheter = extract_instruments(mask)
    assert (wire.kind, catheter.kind) == (labels.GUIDEWIRE, labels.CATHETER)
    assert np.linalg.norm(wire.tip - (256, 100)) < 2.5
    assert np.linalg.norm(wire.centerline[0] - (256, 360)) < 5.0
    assert np.linalg.norm(catheter.tip - (256, 360)) < 5.0


def test_a_microcatheter_wider_than_its_wire_stays_one():
    mask = catheter_and_wire(wire_width=2.0)
    draw(mask, Known(line((256, 360), (256, 200)), 5.0, labels.CATHETER))
    wire, catheter = extract_instruments(mask)
    assert np.linalg.norm(wire.centerline[0] - (256, 200)) < 5.0
    assert np.linalg.norm(catheter.tip - (256, 200)) < 5.0


def test_without_a_wider_catheter_the_labels_decide():
    mask = mask_of(Known(line((256, 511.5), (256, 300)), 3.0, labels.CATHETER),
                   Known(line((256, 300), (256, 100)), 3.0, labels.GUIDEWIRE))
    wire, catheter = extract_instruments(mask)
    assert np.linalg.norm(wire.centerline[0] - (256, 300)) < 5.0
    assert catheter.length_px == pytest.approx(211, abs=6)


def test_no_wire_leads_from_a_catheter_into_another():
    mask = catheter_and_wire()
    # What is called a catheter comes out wider than the wire that it is.
    draw(mask, Known(line((256, 230), (256, 100)), 7.0, labels.CATHETER))
    wire, catheter = extract_instruments(mask)
    assert np.linalg.norm(wire.tip - (256, 100)) < 3.0
    assert np.linalg.norm(catheter.tip - (256, 360)) < 5.0


@pytest.mark.parametrize('rows', [(100, 230), (100, 290), (200, 352)])
def test_it_belongs_to_the_wire_also_where_that_is_a_line_of_its_own(rows):
    mask = catheter_and_wire()
    # Wide enough a step aside that the two are not traced as one line.
    mask[:352] = np.roll(mask[:352], 9, axis=1)
    mask[352:358] = 0
    part = mask[slice(*rows)]
    part[part > 0] = labels.CATHETER
    wire, catheter = extract_instruments(mask)
    assert (wire.kind, catheter.kind) == (labels.GUIDEWIRE, labels.CATHETER)
    assert np.linalg.norm(wire.tip - (265, 100)) < 2.5


@pytest.mark.parametrize('end', [0, -1])
def test_a_little_of_a_long_wire_called_catheter_does_not_turn_it_round(end):
    mask = mask_of(Known(line((256, 511.5), (256, 100)), 3.0, labels.GUIDEWIRE))
    part = mask[:140] if end else mask[-40:]
    part[part > 0] = labels.CATHETER
    wire, = extract_instruments(mask)
    assert wire.kind == labels.GUIDEWIRE and wire.tip_visible
    assert np.linalg.norm(wire.tip - (256, 100)) < 2.5

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

"""What looks like an instrument and is none, where it lies, that it shows and has no label."""

from dataclasses import replace

import cv2

from fedefm_ros.simulation import clutter
from fedefm_ros.simulation.config import find
from fedefm_ros.simulation.detector import Detector
from fedefm_ros.simulation.detector import random_chain
from fedefm_ros.simulation.ranges import Count
from fedefm_ros.simulation.ranges import Range
from fedefm_ros.simulation.scene import Scene

import numpy as np

import pytest

SIZE = 192
SCALE = SIZE / 512
SEEDS = range(6)
PATIENT = ('leads', 'sternal_wires', 'clips', 'pacemaker', 'vessels')
PHANTOM = ('tubes', 'vessels', 'edges', 'tubing', 'screws', 'clips')


def only(part, **changes):
    """Return a patient's clutter of one sort, which is always there."""
    ranges = find('human').anatomy.clutter
    return replace(ranges, **{name: replace(getattr(ranges, name), chance=0.0)
                              for name in PATIENT if name != part},
                   **{part: replace(getattr(ranges, part), chance=1.0, **changes)})


def only_phantom(part, **changes):
    """Return a phantom whose only part is one, which is always there."""
    anatomy, none = find('phantom').anatomy, {}
    for name in PHANTOM:
        ranges = getattr(anatomy, name)
        none[name] = replace(ranges, **({'chance': 0.0} if hasattr(ranges, 'chance')
                                        else {'count': Count(0, 0)}))
    there = getattr(anatomy, part)
    if hasattr(there, 'chance'):
        changes['chance'] = 1.0
    if hasattr(there, 'count'):
        changes.setdefault('count', Count(6, 6) if part == 'clips' else Count(1, 1))
    return replace(anatomy, **{**none, part: replace(there, **changes)})


def added(ranges, seed, scale=SCALE):
    """Return what is added to the layer that stays and to the one that moves."""
    fixed, moving = np.zeros((2, SIZE, SIZE), np.float32)
    clutter.add_patient_clutter(np.random.default_rng(seed), ranges, fixed, moving, scale)
    return fixed, moving


def added_to_phantom(part, seed, **changes):
    layer = np.zeros((SIZE, SIZE), np.float32)
    clutter.add_phantom_parts(np.random.default_rng(seed), only_phantom(part, **changes), layer,
                              SCALE)
    return layer


def pieces(layer):
    """Return what is dense: a row of x, y, width, height, area for each connected piece."""
    return cv2.connectedComponentsWithStats((layer > 0.02).astype(np.uint8))[2][1:]


def picture(layer):
    chain = replace(random_chain(np.random.default_rng(0), 'simulation', layer.shape),
                    photons=1e7, scatter=0.0, blur_px=0.3, grain_px=0.0, sharpen=0.0, gamma=1.0,
                    black=0.0, white=1.0)
    beam = layer + np.float32(1.5)
    beam[:8] = np.linspace(0.0, 4.0, SIZE, dtype=np.float32)  # fixes the display's range
    return Detector(chain, np.random.default_rng(1)).expose(beam)[12:].astype(int)


def darkens(layer):
    """Return whether the picture is darker where a layer is dense, and as it was where it ends."""
    image = picture(layer)
    around = np.median(image[layer[12:] == 0])
    return np.mean(image[layer[12:] > 0.15] < around - 3) > 0.95 \
        and np.mean(np.abs(image[layer[12:] == 0] - around) <= 3) > 0.95


@pytest.mark.parametrize('part', PATIENT)
def test_a_part_darkens_the_picture_where_it_lies(part):
    strong = {} if part == 'pacemaker' else {'strength': Range(0.6, 0.6)}
    for seed in SEEDS:
        fixed, moving = added(only(part, **strong), seed)
        layer, other = (moving, fixed) if part in ('pacemaker', 'vessels') else (fixed, moving)
        assert not other.any()
        assert np.isfinite(layer).all() and layer.min() >= 0 and layer.max() > 0.1
        assert darkens(layer)


@pytest.mark.parametrize('part', PHANTOM)
def test_a_phantom_part_darkens_the_picture_where_it_lies(part):
    layers = [added_to_phantom(part, seed, strength=Range(0.6, 0.6)) for seed in range(12)]
    for layer in layers:
        assert np.isfinite(layer).all() and layer.min() >= 0
    # A tube may pass beside the picture, a box fill it.
    seen = [layer for layer in layers
            if (layer[12:] > 0.15).sum() > 5 and (layer[12:] == 0).mean() > 0.1]
    assert len(seen) >= 6 and all(darkens(layer) for layer in seen)


@pytest.mark.parametrize('part', PATIENT)
def test_a_part_is_labelled_as_nothing(part):
    config = find('human')
    config = replace(config, anatomy=replace(config.anatomy, clutter=only(part)))
    scene = Scene(config, np.random.default_rng(0), 96, 1.0, device_count=0)
    image, truth = scene.render(scene.detector(np.random.default_rng(0)))
    assert not truth.mask.any() and not truth.instruments


@pytest.mark.parametrize('part', PHANTOM)
def test_a_phantom_part_is_labelled_as_nothing(part):
    config = replace(find('phantom'), anatomy=only_phantom(part))
    scene = Scene(config, np.random.default_rng(0), 96, 1.0, device_count=0)
    image, truth = scene.render(scene.detector(np.random.default_rng(0)))
    assert not truth.mask.any() and not truth.instruments


def test_what_has_no_chance_is_not_there_and_takes_no_random_numbers():
    ranges = only('clips')
    rng = np.random.default_rng(5)
    layers = np.zeros((2, SIZE, SIZE), np.float32)
    clutter.add_patient_clutter(rng, replace(ranges, clips=replace(ranges.clips, chance=0.0)),
                                *layers, SCALE)
    assert not layers.any() and rng.random() == np.random.default_rng(5).random()


def test_leads_come_from_the_edge_and_may_end_in_a_snap():
    def lead(ends, seed):
        return added(only('leads', count=Count(1, 1), ends=ends, radius_px=Range(2, 2),
                          strength=Range(0.05, 0.05)), seed)[0]
    through, ending = ([lead(ends, seed) for seed in SEEDS] for ends in (0.0, 1.0))
    for layer in (*through, *ending):
        border = np.r_[layer[0], layer[-1], layer[:, 0], layer[:, -1]]
        assert border.max() > 0.02
    assert max(layer.max() for layer in through) < 0.11
    # An electrode has a dense middle in a paler disc; it may lie beside the picture.
    discs = [layer[layer > 0.06] for layer in ending if layer.max() > 0.11]
    assert len(discs) >= 4 and sum(np.ptp(disc) > 0.12 for disc in discs) >= 3


def test_sternal_wires_are_small_loops_one_above_the_other():
    lengths = []
    for seed in SEEDS:
        layer, _ = added(only('sternal_wires', count=Count(3, 3), strength=Range(0.8, 0.8),
                              radius_px=Range(3, 3)), seed)
        x, y = np.nonzero(layer > 0.1)[::-1]
        assert np.ptp(x) < 80 and np.ptp(y) > 1.3 * np.ptp(x)
        lengths += [area / np.hypot(width, height) for _, _, width, height, area in pieces(layer)]
    # As much of a straight wire of 2 px would be 3 px for each pixel of its extent.
    assert np.median(lengths) > 3.8


def test_clips_are_short_and_as_many_as_is_said():
    for seed in SEEDS:
        layer, _ = added(only('clips', count=Count(4, 4), strength=Range(1, 1)), seed)
        there = pieces(layer)
        assert 1 <= len(there) <= 4  # clips may lie on each other, or at the edge
        assert max(np.hypot(width, height) for _, _, width, height, _ in there) < 4 * 14 * SCALE


def test_a_pacemaker_is_a_generator_in_an_upper_corner_and_a_lead_into_the_picture():
    ended = []
    for seed in SEEDS:
        _, layer = added(only('pacemaker', generator=Range(1.5, 1.5), lead_px=Range(5, 5),
                              lead=Range(0.2, 0.2)), seed)
        x, y = np.nonzero(layer >= 1.5)[::-1]
        assert y.max() < 0.55 * SIZE and (x.max() < SIZE / 4 or x.min() > 3 * SIZE / 4)
        generator = cv2.dilate((layer > 0.9).astype(np.uint8), np.ones((7, 7)))
        lead = layer[(generator == 0) & (layer > 0.15)]
        if lead.size > 50:  # it may turn back behind the generator
            assert np.median(lead) == pytest.approx(0.2, abs=0.03)
            ended.append(lead.max() > 0.45)  # ring electrodes
    assert sum(ended) >= 3


def test_filled_vessels_taper_and_branch():
    branches = list(clutter.vessel_branches(np.random.default_rng(0), (SIZE, SIZE), SCALE))
    assert 1 < len(branches) <= 14
    for branch in branches:
        assert (np.diff(branch.radii) <= 0).all() and len(branch.radii) == len(branch.points)
    root, *others = branches
    assert root.from_root == 0 and all(one.from_root > 0 for one in others)
    assert all(one.radii[0] < root.radii[0] for one in others)
    # A branch begins on another.
    for one in others:
        assert min(np.hypot(*(two.points - one.points[0]).T).min()
                   for two in branches if two is not one) < 1e-6


def test_stronger_contrast_agent_is_darker_in_proportion():
    weak, strong = (added(only('vessels', strength=Range(s, s)), 3)[1] for s in (0.2, 0.6))
    assert strong == pytest.approx(3 * weak, abs=1e-5) and strong.max() > 0.1


def test_tubing_has_walls_and_screws_are_discs():
    profile = next(layer[SIZE // 2] for layer in (
        added_to_phantom('tubing', seed, radius_px=Range(20, 20), strength=Range(0.5, 0.5))
        for seed in range(20)) if (layer[SIZE // 2] > 0).sum() > 12)
    across = np.nonzero(profile)[0]
    wall, middle = profile[across[:4]].max(), profile[across[len(across) // 2]]
    assert wall > 1.3 * middle > 0
    for seed in SEEDS:
        layer = added_to_phantom('screws', seed, count=Count(1, 1), radius_px=Range(20, 20),
                                 strength=Range(0.9, 0.9))
        assert layer.max() == pytest.approx(0.9)
        (x, y, width, height, area), = pieces(layer)
        assert max(width, height) <= 2 * 20 * SCALE + 3 and area < 0.9 * 17**2


def test_the_walls_of_a_vessel_are_denser_than_its_lumen():
    layer = np.zeros((SIZE, SIZE), np.float32)
    walls = replace(find('simulation').anatomy.vessels, chance=1.0, strength=Range(0.3, 0.3))
    clutter.add_vessel_walls(np.random.default_rng(1), walls, layer, SCALE)
    dense = cv2.morphologyEx((layer > 0.02).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3)))
    depth = cv2.distanceTransform(dense, cv2.DIST_L2, 5)
    assert layer[(depth > 1) & (depth < 3)].mean() > 1.2 * layer[depth > 5].mean()

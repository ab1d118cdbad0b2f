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

"""Pelvis and head: each has its own bones, where settings ask for them."""

from dataclasses import replace
from functools import lru_cache

import cv2

from fedefm_ros.paths import config_dir
from fedefm_ros.simulation import anatomy
from fedefm_ros.simulation import bones
from fedefm_ros.simulation.config import find
from fedefm_ros.simulation.config import read
from fedefm_ros.simulation.ranges import Range
from fedefm_ros.simulation.ranges import Weights

import numpy as np

import pytest

SHAPE = (384, 384)
SEEDS = range(4)
STRENGTH = 0.3


@lru_cache
def whole(region, seed, rim=0.0):
    """Return all of the bones, small enough to be in the picture."""
    ranges = replace(getattr(find('human').anatomy, region), strength=Range(STRENGTH, STRENGTH),
                     rim=Range(rim, rim), edge_px=Range(2, 2), scale=Range(1.0, 1.0))
    scale = {'pelvis': 0.15, 'head': 0.3}[region]  # half as wide: 81 and 90 px
    return getattr(bones, region)(ranges, np.random.default_rng(seed), SHAPE, scale)


def holes(layer, level):
    """Return the areas of what is paler than a level and enclosed by what is not."""
    _, _, stats, _ = cv2.connectedComponentsWithStats((layer <= level).astype(np.uint8),
                                                      connectivity=4)
    inside = [area for x, y, width, height, area in stats[1:]
              if x and y and x + width < SHAPE[1] and y + height < SHAPE[0]]
    return sorted(inside, reverse=True)


@pytest.mark.parametrize('region', ['pelvis', 'head'])
def test_bones_are_finite_and_as_dense_as_is_said(region):
    for seed in SEEDS:
        layer = whole(region, seed)
        assert layer.shape == SHAPE and layer.dtype == np.float32 and np.isfinite(layer).all()
        assert layer.min() >= 0.0
        assert STRENGTH < layer.max() < 5 * STRENGTH
        rimmed = whole(region, seed, 0.2)
        assert (rimmed >= layer - 1e-5).all() and (rimmed > layer + 0.1).any()


def test_a_pelvis_has_an_inlet_two_obturator_foramina_and_holes_in_the_sacrum():
    for seed in SEEDS:
        inlet, left, right, *others = holes(whole('pelvis', seed), 0.02)
        half = 540 * 0.15
        # An ellipse of 0.84 by 0.68, of which the sacrum covers a part.
        assert 0.3 < inlet / (np.pi * 0.42 * 0.34 * half**2) < 1.0
        for foramen in (left, right):
            assert 0.5 < foramen / (np.pi * 0.13 * 0.1 * half**2) < 1.5
        assert sum(area > 8 for area in others) >= 6 and max(others) < 0.5 * right


def test_a_pelvis_stands_on_two_femora_with_balls_in_their_sockets():
    for seed in SEEDS:
        layer = whole('pelvis', seed)
        rows = np.nonzero((layer > 0.1).any(axis=1))[0]
        row = layer[rows[-1] - 30] > 0.1
        starts = np.nonzero(np.diff(row.astype(int)) == 1)[0]
        assert len(starts) == 2 and 1.2 * 81 < np.diff(starts)[0] < 2.2 * 81
        # The ball lies on the hip bone: nothing else but the sacrum is as dense.
        middle = int(starts.mean())
        for half in (layer[:, :middle], layer[:, middle:]):
            assert (half > 1.1 * STRENGTH).sum() > 190


def test_a_head_is_a_closed_outline_denser_than_what_it_encloses():
    for seed in SEEDS:
        layer = whole('head', seed)
        contours, _ = cv2.findContours((layer > 0.01).astype(np.uint8), cv2.RETR_EXTERNAL,
                                       cv2.CHAIN_APPROX_NONE)
        outline = max(contours, key=cv2.contourArea)
        _, axes, _ = cv2.fitEllipse(outline)
        assert 170 < min(axes) < 230 and 190 < max(axes) < 240
        inside = np.zeros(SHAPE, np.uint8)
        cv2.drawContours(inside, [outline], 0, 1, -1)
        depth = cv2.distanceTransform(inside, cv2.DIST_L2, 5)
        top = np.arange(SHAPE[0])[:, None] < outline[:, 0, 1].min() + 80  # above the orbits
        rim, vault = (np.median(layer[(depth > near) & (depth < far) & top])
                      for near, far in ((3, 8), (30, 99)))
        assert rim > 2 * vault > 0


def test_a_head_has_pale_orbits_and_dense_petrous_ridges():
    for seed in SEEDS:
        layer = whole('head', seed)
        orbits = [area for area in holes(layer, 0.0) if area > 100]
        assert 1 <= len(orbits) <= 4  # ridges may lie across them
        y, x = np.nonzero(layer > 1.05 * STRENGTH)
        assert len(x) > 100 and np.ptp(x) > 2 * np.ptp(y)  # long and low


def test_heads_are_seen_from_many_sides_and_pelves_in_many_parts():
    for region in ('pelvis', 'head'):
        one, two = whole(region, 0), whole(region, 1)
        assert np.corrcoef(one.ravel(), two.ravel())[0, 1] < 0.9


def scene(region, chance, seed=0):
    """Return a patient whose pelvis and head have the same settings."""
    ranges = find('human').anatomy
    return anatomy.build(replace(
        ranges, regions=Weights({region: 1}), pelvis=replace(ranges.pelvis, chance=chance),
        head=replace(ranges.pelvis, chance=chance)), np.random.default_rng(seed), 128)


def test_without_the_chance_pelvis_and_head_are_alike_with_it_they_are_not():
    assert np.array_equal(scene('pelvis', 0.0).fixed, scene('head', 0.0).fixed)
    assert not np.array_equal(scene('pelvis', 1.0).fixed, scene('head', 1.0).fixed)
    assert not np.array_equal(scene('pelvis', 1.0).fixed, scene('pelvis', 0.0).fixed)


def test_bones_are_off_by_default_and_on_in_training_and_procedure():
    assert not find('human').anatomy.pelvis.chance and not find('human').anatomy.head.chance
    for name in ('procedure', 'training/human'):
        ranges = read(config_dir() / 'simulation' / f'{name}.yaml').anatomy
        assert ranges.pelvis.chance > 0 and ranges.head.chance > 0

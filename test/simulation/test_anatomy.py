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

"""What the beam meets besides devices: each region and kind leaves what it says."""

from dataclasses import replace

from fedefm_ros.simulation import anatomy
from fedefm_ros.simulation.anatomy_settings import KINDS
from fedefm_ros.simulation.config import find
from fedefm_ros.simulation.ranges import Count
from fedefm_ros.simulation.ranges import Range
from fedefm_ros.simulation.ranges import Weights

import numpy as np

import pytest

SIZE = 192
SEEDS = range(5)
NOTHING = Range(0.0, 0.0)


def built(ranges, seed=0, size=SIZE):
    return anatomy.build(ranges, np.random.default_rng(seed), size)


def quiet(ranges):
    """Return a patient or an animal of one thickness, 1, with no tissue and no clutter."""
    none = {name: replace(getattr(ranges.clutter, name), chance=0.0)
            for name in ('leads', 'sternal_wires', 'clips', 'pacemaker', 'vessels')}
    return replace(
        ranges, body=replace(ranges.body, thickness=Range(1.0, 1.0), unevenness=0.0, tilt=0.0),
        tissue=replace(ranges.tissue, strength=NOTHING), clutter=replace(ranges.clutter, **none))


def patient(region, **changes):
    return quiet(replace(find('human').anatomy, regions=Weights({region: 1}), **changes))


def thorax(ribs=0.0, spine=0.0, domes=0, lung=0.0):
    """Return a chest with what is said only; settings that are constants take no numbers."""
    whole = find('human').anatomy.thorax
    return patient('thorax', thorax=replace(
        whole, ribs=ribs, spine=spine, domes=Weights({domes: 1}),
        lung=replace(whole.lung, strength=Range(lung, lung))))


def with_spine(**changes):
    plain = {'strength': Range(0.3, 0.3), 'plate': NOTHING, 'side': NOTHING, 'pedicle': NOTHING,
             'process': NOTHING, 'pitch_px': Range(100, 100)}
    spine = replace(find('human').anatomy.spine, **{**plain, **changes})
    return replace(thorax(spine=1.0), spine=spine)


@pytest.mark.parametrize('kind', KINDS)
def test_density_is_finite_and_lets_light_through(kind):
    for seed in SEEDS:
        scene = built(find(kind).anatomy, seed)
        for layer in (scene.fixed, scene.moving):
            assert layer.shape == (SIZE, SIZE) and layer.dtype == np.float32
            assert np.isfinite(layer).all()
        # Only air and shading are taken out of what is there, and by less than this.
        assert scene.fixed.min() > -0.4 and scene.moving.min() > -1.6
        assert (scene.fixed + scene.moving).mean() < 6.0


@pytest.mark.parametrize('kind', KINDS)
def test_equal_seeds_give_equal_anatomies(kind):
    one, again, other = (built(find(kind).anatomy, seed) for seed in (1, 1, 2))
    assert np.array_equal(one.fixed, again.fixed) and np.array_equal(one.moving, again.moving)
    assert not np.array_equal(one.fixed, other.fixed)


def test_a_chest_of_nothing_is_a_body_of_one_thickness():
    scene = built(thorax())
    assert scene.fixed == pytest.approx(1.0, abs=1e-6) and not scene.moving.any()


def test_ribs_are_bands_with_denser_rims_that_stay():
    def ribs(count, seed, rim=0.0):
        ranges = find('human').anatomy.ribs
        scene = built(replace(thorax(ribs=1.0), ribs=replace(
            ranges, fans=Count(1, 1), count=Count(count, count), strength=Range(0.2, 0.2),
            rim=Range(rim, rim), gap_px=Range(60, 60), width=Range(0.3, 0.3))), seed)
        assert not scene.moving.any()
        return scene.fixed - 1.0
    area = {count: np.mean([(ribs(count, seed) > 0.05).mean() for seed in SEEDS])
            for count in (1, 6)}
    assert 0.0 < 3 * area[1] < area[6] < 0.5
    for seed in SEEDS:
        plain, rimmed = ribs(6, seed), ribs(6, seed, 0.2)
        assert plain.min() >= 0 and plain.max() <= 0.4 + 1e-6
        assert (rimmed >= plain - 1e-6).all()
        added = rimmed - plain
        # The rims lie at the bands' borders, not in their middle.
        assert added[(plain > 0.02) & (plain < 0.15)].mean() > 3 * added[plain == 0].mean()


def test_a_spine_is_a_column_that_repeats_with_its_pitch():
    for seed in SEEDS:
        scene = built(with_spine(), seed)
        bone = scene.fixed - 1.0
        assert not scene.moving.any() and bone.max() < 0.5
        # It runs from the top to the bottom, and is no wider than its pitch times 1.6.
        rows = (bone > 0.1).sum(axis=1)
        if rows.max() < 20:
            continue  # beside the picture
        assert rows.min() > 0 or rows.max() < 40
        assert rows.max() < 1.8 * 100 * SIZE / 512 / np.cos(0.5)


@pytest.mark.parametrize('part', ['plate', 'side', 'pedicle', 'process'])
def test_each_part_of_a_vertebra_adds_to_it_where_it_lies(part):
    for seed in SEEDS:
        plain = built(with_spine(), seed).fixed
        added = built(with_spine(**{part: Range(0.2, 0.2)}), seed).fixed - plain
        assert added.min() > -1e-6 and added.max() <= 0.2 + 1e-5
        if (plain > 1.1).mean() < 0.1:
            continue
        assert added.max() > 0.1
        assert (added > 0.05).mean() < 0.7 * (plain > 1.05).mean()


def test_a_vertebra_has_two_end_plates():
    size = 384
    for seed in (1, 2, 3):
        plain, plated = (built(with_spine(plate=Range(s, s), pitch_px=Range(160, 160)), seed,
                               size).fixed for s in (0.0, 0.2))
        added = plated - plain
        column = int(added.sum(axis=0).argmax())
        lines = np.count_nonzero(np.diff((added[:, column] > 0.05).astype(int)) == 1)
        assert abs(lines - 2 * size / (160 * size / 512)) < 2


def test_domes_are_dense_and_move_and_a_lung_is_brighter():
    for seed in SEEDS:
        scene = built(replace(thorax(domes=1), dome=replace(
            find('human').anatomy.dome, strength=Range(0.5, 0.5))), seed)
        assert scene.fixed == pytest.approx(1.0, abs=1e-6)
        assert scene.moving.min() >= 0 and scene.moving.max() <= 0.5 + 1e-6
        air = built(thorax(lung=0.4), seed).moving
        assert air.min() == pytest.approx(-0.4, abs=1e-6) and air.max() <= 0
        assert 0.05 < (air < -0.2).mean() < 0.7
    assert (scene.moving > 0.4).any()


def test_bowel_gas_is_in_the_abdomen_only_and_as_much_as_is_said():
    def gas(region, count):
        whole = find('human').anatomy.abdomen
        abdomen = replace(whole, spine=0.0, gas=replace(
            whole.gas, count=Count(count, count), strength=Range(0.3, 0.3),
            share=Range(0.1, 0.1)))
        ranges = replace(thorax(), regions=Weights({region: 1}), abdomen=abdomen)
        return [built(ranges, seed).moving for seed in SEEDS]
    for one, three in zip(gas('abdomen', 1), gas('abdomen', 3)):
        assert 0.03 < (one < -0.15).mean() < 0.2 and one.min() == pytest.approx(-0.3, abs=1e-6)
        assert (three < -0.15).mean() > 1.3 * (one < -0.15).mean()
    assert not np.any(gas('thorax', 3)) and not np.any(gas('abdomen', 0))


@pytest.mark.parametrize('region', ['pelvis', 'head'])
def test_pelvis_and_head_have_bony_shells_that_stay(region):
    def shells(count, seed):
        whole = find('human').anatomy.shells
        scene = built(patient(region, shells=replace(
            whole, count=Count(count, count), strength=Range(0.2, 0.2))), seed)
        assert not scene.moving.any()
        return scene.fixed - 1.0
    for seed in SEEDS:
        bone = shells(3, seed)
        assert bone.min() >= -1e-6 and 0.2 <= bone.max() < 3 * 0.4
        assert (bone > 0.1).mean() > 0.1
    assert not shells(0, 0).any()


def test_tissue_and_trunk_vary_as_much_as_is_said():
    def rough(strength):
        ranges = replace(thorax(), tissue=replace(
            find('human').anatomy.tissue, strength=Range(strength, strength)))
        return built(ranges).moving.std()
    assert rough(0.06) == pytest.approx(6 * rough(0.01), rel=1e-3)
    thick = replace(thorax(), body=replace(thorax().body, thickness=Range(1.5, 1.5)))
    assert built(thick).fixed == pytest.approx(1.5, abs=1e-6)
    tilted = replace(thorax(), body=replace(thorax().body, tilt=0.5))
    assert built(tilted).fixed.std() > 0.02


def animal(**changes):
    return replace(quiet(find('animal').anatomy), **{
        'spine_chance': 0.0, 'ribs_chance': 0.0, 'dome_chance': 0.0, **changes})


def test_an_animal_has_mottled_tissue_that_moves_and_bones_that_do_not():
    mottle = find('animal').anatomy.mottle
    for seed in SEEDS:
        bare = built(animal(mottle=replace(mottle, count=Count(0, 0))), seed)
        assert bare.fixed == pytest.approx(1.0, abs=1e-6) and not bare.moving.any()
        grain = built(animal(mottle=replace(mottle, count=Count(1, 1),
                                            strength=Range(0.3, 0.3))), seed).moving
        assert 0.1 < np.abs(grain).max() <= 0.3 + 1e-6 and (grain == 0).mean() > 0.3
        bony = built(animal(spine_chance=1.0, ribs_chance=1.0,
                            mottle=replace(mottle, count=Count(0, 0))), seed)
        assert bony.fixed.max() > 1.02 and bony.fixed.min() > 0.9 and not bony.moving.any()


def test_a_phantom_is_walls_of_tubes_in_a_box():
    whole = find('phantom').anatomy
    none = {name: replace(getattr(whole, name), chance=0.0)
            for name in ('vessels', 'tubing', 'screws', 'clips')}
    box = replace(whole, thickness=Range(0.7, 0.7), unevenness=0.0, ripple=NOTHING,
                  tubes=replace(whole.tubes, count=Count(0, 0)),
                  edges=replace(whole.edges, count=Count(0, 0)), **none)
    scene = built(box)
    assert scene.fixed == pytest.approx(0.7, abs=1e-6) and not scene.moving.any()
    tube = replace(whole.tubes, count=Count(1, 1), strength=Range(0.4, 0.4),
                   radius_px=Range(40, 40), lumen=Range(0.85, 0.85))
    seen = 0
    for seed in range(8):
        walls = built(replace(box, tubes=tube), seed).fixed - 0.7
        assert walls.min() >= -1e-6 and walls.max() < 2 * 0.4 + 1e-6
        if (walls > 0.02).mean() > 0.08:
            seen += 1
            # Two thin dark walls and a paler lumen between them.
            assert (walls > 0.25).sum() < 0.6 * ((walls > 0.02) & (walls < 0.25)).sum()
    assert seen >= 2


def test_a_simulation_is_a_clean_ground_with_vessel_walls():
    whole = find('simulation').anatomy
    ground = replace(whole, background=Range(0.3, 0.3), shading_chance=0.0, spine_chance=0.0,
                     vessels=replace(whole.vessels, chance=0.0))
    assert built(ground).fixed == pytest.approx(0.3, abs=1e-5)
    walls = built(replace(ground, vessels=replace(
        whole.vessels, chance=1.0, strength=Range(0.2, 0.2)))).fixed - 0.3
    assert walls.min() > -1e-5 and walls.max() > 0.1
    shaded = built(replace(ground, shading_chance=1.0)).fixed
    assert 0.01 < shaded.std() < 0.15

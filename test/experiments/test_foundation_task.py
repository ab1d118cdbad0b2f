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

"""The split of kinds among silos and the images of the foundation task."""

from fedefm_ros.errors import FedefmError
from fedefm_ros.experiments.foundation_task import CLASSES
from fedefm_ros.experiments.foundation_task import foundation_data
from fedefm_ros.experiments.foundation_task import FoundationRecipe
from fedefm_ros.experiments.foundation_task import source
from fedefm_ros.experiments.unseen_split import deal_samples
from fedefm_ros.experiments.unseen_split import split_kinds

import numpy as np

import pytest

RECIPE = FoundationRecipe(train=2, test=1, size=32)


@pytest.mark.parametrize('silos', [2, 3, 5, 11])
@pytest.mark.parametrize('unseen', [0.0, 0.25, 0.5, 0.75, 1.0])
def test_split_reaches_the_share_and_has_every_kind(silos, unseen):
    split = split_kinds(12, silos, unseen, seed=4)
    # Few kinds a silo make coarse steps.
    assert split.unseen == pytest.approx(unseen, abs=0.0 if unseen in (0, 1) else 0.13)
    assert set().union(*split.kinds) == set(range(12))
    assert all(split.kinds)


def test_all_unseen_means_no_kind_at_two_silos():
    split = split_kinds(12, 5, 1.0, seed=1)
    assert sum(map(len, split.kinds)) == 12


def test_split_depends_on_the_seed_only():
    assert split_kinds(12, 5, 1.0, 1) == split_kinds(12, 5, 1.0, 1)
    assert split_kinds(12, 5, 1.0, 1) != split_kinds(12, 5, 1.0, 2)


@pytest.mark.parametrize('kinds, silos, unseen', [(3, 4, 1.0), (12, 1, 1.0), (12, 4, 1.5)])
def test_impossible_splits_are_refused(kinds, silos, unseen):
    with pytest.raises(FedefmError):
        split_kinds(kinds, silos, unseen, 0)


@pytest.mark.parametrize('unseen', [0.0, 0.5, 1.0])
def test_every_sample_is_at_one_silo_that_has_its_kind(unseen):
    labels = np.repeat(np.arange(12), 10)
    split = split_kinds(12, 5, unseen, 3)
    dealt = deal_samples(labels, split, 3)
    assert sorted(np.concatenate(dealt)) == list(range(120))
    for own, kinds in zip(dealt, split.kinds):
        assert set(labels[own]) == set(kinds)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return foundation_data(RECIPE, tmp_path_factory.mktemp('cache'))


def test_data_has_all_classes_in_both_splits(data):
    assert data.train_images.shape == (24, 32, 32) and data.test_images.shape == (12, 32, 32)
    assert data.train_images.dtype == np.uint8
    assert np.bincount(data.train_labels).tolist() == [2] * 12
    assert np.bincount(data.test_labels).tolist() == [1] * 12


def test_every_source_has_its_kind_and_looks_like_its_room():
    for name in CLASSES:
        assert source(name).kind == name.partition(',')[0]
    # The intensifier's field is round, so a picture's corners are dark.
    rooms = {name: source(name).xray.collimator for name in CLASSES}
    round_ones = {name for name, room in rooms.items() if not room.whole and not room.blades}
    assert round_ones == {'human, head', 'animal, angiography', 'phantom, tubes'}
    bladed = {name for name, room in rooms.items() if room.blades == 1}
    assert {name.partition(',')[0] for name in bladed} == {'human', 'animal', 'phantom'}


def test_rooms_show_in_the_images(data):
    corners = data.train_images[:, ::31, ::31].reshape(24, -1).mean(1)
    middle = data.train_images[:, 12:20, 12:20].reshape(24, -1).mean(1)
    for label, name in enumerate(CLASSES):
        if not source(name).xray.collimator.whole:
            own = data.train_labels == label
            assert (corners[own] < middle[own]).all(), name


def test_patients_differ_between_images_and_splits(data):
    images = np.concatenate([data.train_images, data.test_images])
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == len(images)


def test_data_is_the_same_on_every_run_and_comes_from_the_cache(data, tmp_path):
    told = []
    again = foundation_data(RECIPE, tmp_path, lambda done, total: told.append((done, total)))
    assert told[-1] == (36, 36)
    cached = foundation_data(RECIPE, tmp_path, lambda *_: pytest.fail('made again'))
    for one in (again, cached):
        assert np.array_equal(one.train_images, data.train_images)
        assert np.array_equal(one.test_images, data.test_images)


def test_damaged_cache_is_made_again(data, tmp_path):
    foundation_data(RECIPE, tmp_path)
    file, = tmp_path.glob('*.safetensors')
    file.write_bytes(file.read_bytes()[:1000])
    assert np.array_equal(foundation_data(RECIPE, tmp_path).train_images, data.train_images)


@pytest.mark.parametrize('wrong', [{'train': 0}, {'size': 40, 'test': 0}, {'size': 33}])
def test_wrong_recipes_are_refused(wrong):
    with pytest.raises(FedefmError, match='expected'):
        FoundationRecipe(**wrong)

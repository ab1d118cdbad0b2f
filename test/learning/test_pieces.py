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

"""Pieces that models find in simulated frames."""

from dataclasses import replace
import os

from fedefm_ros.errors import FedefmError
from fedefm_ros.labels import CATHETER, GUIDEWIRE
from fedefm_ros.learning import pieces
from fedefm_ros.learning.piece_truth import UNTOLD
from fedefm_ros.learning.pieces import collect
from fedefm_ros.learning.pieces import Collection
from fedefm_ros.learning.pieces import collection_of
from fedefm_ros.learning.pieces import MaskedImages
from fedefm_ros.learning.pieces import Pieces
from fedefm_ros.learning.pieces import simulated
from fedefm_ros.learning.pieces import Some
from fedefm_ros.segmentation.ends import LAYERS as END_LAYERS, VIEW
from fedefm_ros.segmentation.overviews import LAYERS, SIDE
from fedefm_ros.segmentation.runtimes.cache import graph_of
from fedefm_ros.segmentation.runtimes.runtime import compile_runtime
from fedefm_ros.segmentation.strips import CHANNELS, FACTS, HALF, LENGTH

from linenet import save_line_model

import numpy as np

import pytest

from safetensors.numpy import load_file, save_file


@pytest.fixture(autouse=True, scope='module')
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('cache')))
        patch.setattr(pieces, 'FRAMES_PER_FILE', 3)
        yield


@pytest.fixture(scope='module')
def runtimes(tmp_path_factory):
    """Return two models that call the same lines by opposite names."""
    folder = tmp_path_factory.mktemp('models')
    paths = [save_line_model(folder / 'plain.safetensors'),
             save_line_model(folder / 'swapped.safetensors', swapped=True)]
    return [compile_runtime('openvino', graph_of(path), path, threads=1, precision='f32')
            for path in paths]


COLLECTION = Collection(5, ('a', 'b'), 'f32', 'openvino', backbone='lines', size=256)


@pytest.fixture(scope='module')
def collected(runtimes, tmp_path_factory):
    folder = tmp_path_factory.mktemp('pieces') / 'new'
    done = []
    collect(folder, COLLECTION, runtimes, 7, simulated(COLLECTION),
            report=lambda *more: done.append(more))
    assert [frames for frames, _ in done] == [3, 6, 7]
    assert done[-1][1] == len(Pieces([folder])) > done[0][1]
    return folder


def test_pieces_are_what_the_judge_will_be_shown(collected):
    found = Pieces([collected])
    assert found.frames == 7 and len(found) == len(list(found)) > 7
    told = 0
    for strip, overview, ends, facts, answer, parts, tips, walls in found:
        assert strip.shape == (CHANNELS, 2 * HALF + 1, LENGTH) and strip.dtype == np.uint8
        assert overview.shape == (LAYERS, SIDE, SIDE) and overview.dtype == np.uint8
        assert ends.shape == (2, END_LAYERS, *VIEW) and ends.dtype == np.uint8
        assert tips.shape == (2, 2) and tips.dtype == np.float32
        assert walls.shape == (LENGTH, 2) and walls.dtype == np.float32
        known = np.isfinite(walls).all(1)
        assert np.isin(parts[known], (CATHETER, GUIDEWIRE)).all()
        assert (walls[known, 0] < walls[known, 1]).all()
        told += known.any()
        assert facts.shape == (FACTS,) and facts.dtype == np.float32
        assert answer in (0, CATHETER, GUIDEWIRE) and isinstance(answer, int)
        assert parts.shape == (LENGTH,) and set(parts) <= {0, CATHETER, GUIDEWIRE, UNTOLD}
        right = (parts[parts != UNTOLD] > 0).mean()
        assert answer > 0 if right > 0.6 else answer == 0 or right > 0.4
    assert told > 3
    assert found.facts[:, 2] == pytest.approx(found.confidences, abs=1e-6)
    assert 512 * found.facts[:, 1] == pytest.approx(found.lengths, rel=1e-5)
    # Which frame each is of, in all files, and where it runs there.
    assert (np.diff(found.numbers) >= 0).all() and set(found.numbers) <= set(range(7))
    assert found.numbers[-1] > 3 and len(set(found.numbers)) > 4
    along = np.hypot(*np.diff(found.lines, axis=1).transpose(2, 0, 1)).sum(1)
    assert along == pytest.approx(found.lengths, rel=0.02)
    # The line network finds ribs and vessels besides, and each model has its turns.
    assert (found.answers == 0).any() and (found.answers > 0).any()
    assert 0 < found.facts[:, 7].mean() < 1


def test_pieces_of_several_folders_follow_each_other(collected, runtimes, tmp_path):
    collect(tmp_path / 'more', COLLECTION, runtimes, 2, simulated(COLLECTION))
    both = Pieces([collected, tmp_path / 'more'])
    one = Pieces([collected])
    assert both.frames == 9 and len(both) > len(one)
    # The same seed: the same frames, so the same pieces.
    for index in (0, len(both) - len(one) - 1):
        again = both[len(one) + index]
        for mine, other in zip(again, one[index]):
            np.testing.assert_array_equal(mine, other)
    for beyond in (-1, len(both)):
        with pytest.raises(IndexError):
            both[beyond]


def test_some_pieces_are_those_that_were_meant(collected):
    pieces = Pieces([collected])
    some = Some(pieces, np.array([3, 1]))
    assert len(some) == 2
    assert np.array_equal(some[0].strip, pieces[3].strip) and some[1].answer == pieces[1].answer
    with pytest.raises(IndexError):
        some[2]


def test_a_collection_that_was_stopped_goes_on(collected, runtimes, tmp_path):
    folder = tmp_path / 'stopped'
    collect(folder, COLLECTION, runtimes, 4, simulated(COLLECTION))
    assert Pieces([folder]).frames == 4
    first = min(folder.glob('*.safetensors'))
    before = os.stat(first).st_mtime_ns
    collect(folder, COLLECTION, runtimes, 7, simulated(COLLECTION))
    assert os.stat(first).st_mtime_ns == before
    collect(folder, COLLECTION, runtimes, 5, simulated(COLLECTION))
    assert Pieces([folder]).frames == 7  # what is there already stays
    for path in folder.iterdir():
        assert path.read_bytes() == (collected / path.name).read_bytes()


def test_folders_show_the_same_frames_where_seed_or_images_are_the_same():
    other = replace(COLLECTION, precision='int8', runtime='torch')
    assert COLLECTION.shows_frames_of(other)
    assert not COLLECTION.shows_frames_of(replace(COLLECTION, seed=6))
    images = replace(COLLECTION, images='abc')
    assert images.shows_frames_of(replace(images, seed=6))
    assert not images.shows_frames_of(COLLECTION)
    assert not images.shows_frames_of(replace(images, images='def'))


def test_another_collection_does_not_mix_with_it(collected, runtimes):
    assert collection_of(collected) == COLLECTION
    with pytest.raises(FedefmError, match='pieces of another collection'):
        collect(collected, replace(COLLECTION, seed=6),
                runtimes, 3, simulated(COLLECTION))


def test_what_is_missing_or_damaged_is_named(collected, tmp_path):
    with pytest.raises(FedefmError, match='judge collect'):
        collection_of(tmp_path)
    with pytest.raises(FedefmError, match='holds no pieces'):
        Pieces([tmp_path])
    (tmp_path / 'collection.json').write_text('{"seed": 3')
    with pytest.raises(FedefmError, match='collection.json is damaged'):
        collection_of(tmp_path)
    whole = next(collected.glob('*.safetensors')).read_bytes()
    (tmp_path / '0.safetensors').write_bytes(whole[:-100])
    with pytest.raises(FedefmError, match='0.safetensors is damaged'):
        Pieces([tmp_path])
    arrays = load_file(next(collected.glob('*.safetensors')))
    for changed, message in (
            ({'facts': arrays['facts'][:, 1:]}, 'collected by another version'),
            ({'parts': arrays['parts'][:, 1:]}, 'collected by another version'),
            ({'lengths': arrays['lengths'][1:]}, 'collected by another version'),
            ({'tips': arrays['tips'][:, :1]}, 'collected by another version'),
            ({'walls': arrays['walls'][..., :1]}, 'collected by another version'),
            ({'numbers': arrays['numbers'] + 3}, 'damaged: its pieces are of no frames'),
            ({'lines': arrays['lines'] * np.nan}, 'damaged: its pieces are of no frames'),
            ({'lines': arrays['lines'][:, 1:]}, 'collected by another version'),
            ({'ends': arrays['ends'].astype(np.float32)}, 'collected by another version'),
            ({'strips': arrays['strips'].astype(np.float32)}, 'collected by another version')):
        save_file({**arrays, **changed}, tmp_path / '0.safetensors', {'frames': '3'})
        with pytest.raises(FedefmError, match=message):
            Pieces([tmp_path])
    for less, metadata, message in (
            (arrays, {}, '0.safetensors is damaged'),
            ({**arrays, 'ends': None}, {'frames': '3'}, 'has no ends: it was .* all of .* anew')):
        save_file({key: value for key, value in less.items() if value is not None},
                  tmp_path / '0.safetensors', metadata)
        with pytest.raises(FedefmError, match=message):
            Pieces([tmp_path])
    (tmp_path / 'file').write_text('')
    with pytest.raises(FedefmError, match='file'):
        collect(tmp_path / 'file', COLLECTION, [], 1, simulated(COLLECTION))


def test_images_with_masks_are_frames_with_truth(runtimes, tmp_path):
    simulation = simulated(COLLECTION)
    pairs = [simulation.frame(number) for number in range(4)]
    masked = MaskedImages([(image, truth.mask) for image, truth in pairs])
    _, truth = masked.frame(2)
    assert np.array_equal(truth.mask, pairs[2][1].mask) and truth.instruments
    collect(tmp_path / 'masked', COLLECTION, runtimes, 4, masked)
    collect(tmp_path / 'simulated', COLLECTION, runtimes, 4, simulation)
    mine, theirs = (Pieces([tmp_path / name]) for name in ('masked', 'simulated'))
    assert np.array_equal(mine.facts, theirs.facts)
    # Centrelines of masks are nearly those that were drawn.
    assert (mine.answers == theirs.answers).mean() > 0.8 and (mine.answers > 0).any()
    with pytest.raises(FedefmError, match='image 0 is 128 x 128, the models see 256 x 256'):
        collect(tmp_path / 'small', COLLECTION, runtimes, 1,
                MaskedImages([(pairs[0][0][:128, :128], pairs[0][1].mask[:128, :128])]))

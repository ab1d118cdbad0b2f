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

"""A judge's limit, chosen anew."""

from dataclasses import replace

from fedefm_ros.backbones.checkpoint import load_checkpoint, read_description, read_file
from fedefm_ros.errors import FedefmError
from fedefm_ros.learning.judge_limit import limits_of, with_limit
from fedefm_ros.learning.judge_worth import worth
from fedefm_ros.segmentation.judge import Judge

from linenet import save_line_model

import numpy as np

import pytest

from safetensors.numpy import load_file

from test_judging import COLLECTIONS, judge_of, write_pieces


@pytest.fixture(scope='module')
def sets(tmp_path_factory):
    root = tmp_path_factory.mktemp('pieces')
    return write_pieces(root / 'training', 1), write_pieces(root / 'validation', 2)


@pytest.fixture(scope='module')
def judge(sets, tmp_path_factory):
    return judge_of(sets, tmp_path_factory.mktemp('judge') / 'run')


def test_of_more_that_stays_more_is_false(judge, sets):
    rows = limits_of(judge, sets[1], COLLECTIONS[1], (0.5, 0.9, 1.0))
    assert [row.kept for row in rows] == [0.5, 0.9, 1.0]
    for less, more in zip(rows, rows[1:]):
        assert less.limit > more.limit and less.pieces < more.pieces and less.false <= more.false
    assert rows[-1].pieces == 1.0 and rows[-1].false > 0
    # It is what training would have chosen.
    network = load_checkpoint(judge).network().eval()
    assert [row.limit for row in rows] == pytest.approx(
        [worth(network, sets[1], kept)[1] for kept in (0.5, 0.9, 1.0)])


def test_all_but_the_limit_stays(judge, sets, tmp_path):
    out = tmp_path / 'other.safetensors'
    row = limits_of(judge, sets[1], COLLECTIONS[1], (0.6,))[0]
    model_id = with_limit(judge, row, COLLECTIONS[1], out)
    assert Judge(out).model_id == model_id and Judge(out).limit == pytest.approx(row.limit)
    assert Judge(judge).limit != Judge(out).limit
    before, after = load_file(judge), load_file(out)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    mine, other = (read_description(read_file(path))[0] for path in (judge, out))
    told = other.provenance['limit']
    assert told['judge'] == read_file(judge).model_id
    assert told['kept'] == 0.6 and told['validation']['seed'] == COLLECTIONS[1].seed
    assert {name: value for name, value in other.provenance.items() if name != 'limit'} \
        == mine.provenance


@pytest.mark.parametrize('collection,says', [
    (replace(COLLECTIONS[1], size=1024), 'of what other models find'),
    (COLLECTIONS[0], 'was trained on')])
def test_pieces_that_cannot_tell_are_refused(judge, sets, collection, says):
    with pytest.raises(FedefmError, match=says):
        limits_of(judge, sets[1], collection, (0.9,))


def test_what_is_no_judge_is_refused(sets, tmp_path):
    with pytest.raises(FedefmError, match='no judge'):
        limits_of(save_line_model(tmp_path / 'model.safetensors', 64), sets[1], COLLECTIONS[1],
                  (0.9,))

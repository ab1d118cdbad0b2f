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

"""`evaluate` on bags: missing masks, several stations, other names, the station's engine."""

import hashlib
import json
import shutil

from fedefm_ros.cli import app
from fedefm_ros.segmentation.engine import SegmentationEngine
from fedefm_ros.segmentation.runtimes.picture import line_picture

from judges import save_judge_by_length

import numpy as np

import pytest

from session_bag import shifted
from session_bag import write_bag
from session_bag import write_sessions

from typer.testing import CliRunner

FRAMES = 6
RUNTIME = ('--runtime', 'torch', '--precision', 'f32')

pytestmark = pytest.mark.usefixtures('use_cache')


@pytest.fixture(scope='module')
def images():
    picture = line_picture(300)
    return [np.ascontiguousarray(picture[i * 3:, i * 2:][:256, :256]) for i in range(FRAMES)]


@pytest.fixture(scope='module')
def engine(model):
    return SegmentationEngine.open(model, runtime='torch', precision='f32')


def answers(engine, images, skip=()):
    """Return what a station makes of images, some of which it skips."""
    out, previous = [], ()
    for index, image in enumerate(images):
        if index in skip:
            out.append(None)
            continue
        raw = engine.infer(image)
        previous = engine.instruments(raw, previous=previous)
        out.append((raw.mask, previous))
    return out


@pytest.fixture(scope='module')
def found(engine, images):
    return answers(engine, images)


def evaluate(tmp_path, *arguments, runtime=RUNTIME):
    figures = tmp_path / 'figures.json'
    done = CliRunner().invoke(app, ['evaluate', *map(str, arguments), *runtime,
                                    '--resamples', '50', '--json', str(figures)])
    assert done.exit_code == 0, done.output
    return json.loads(figures.read_text()), ' '.join(done.output.split())


def refused(*arguments):
    done = CliRunner().invoke(app, ['evaluate', *map(str, arguments), *RUNTIME])
    assert done.exit_code == 1 and 'Traceback' not in done.output
    return ' '.join(done.output.split())


@pytest.fixture
def skipping(tmp_path, images, engine, found):
    """Return a bag whose station skipped two frames, just those on which the model is off."""
    truth = [there if index in (1, 4) else right for index, (there, right) in enumerate(
        zip(shifted(found, 40), found))]
    return write_bag(tmp_path / 'bag', images, answers(engine, images, (1, 4)), truth,
                     skip=(1, 4))


def test_a_comparison_is_of_the_frames_that_both_have_answered(tmp_path, skipping, model):
    figures, _ = evaluate(tmp_path, skipping, '--model', model, '--recorded')
    offline, live = figures['models']
    assert live['classes']['catheter']['dice'] == 1.0 > offline['classes']['catheter']['dice']
    comparison, = figures['comparisons']
    assert comparison['frames'] == comparison['identical_masks'] == FRAMES - 2
    of = {each['key']: each for each in comparison['measures']}
    for key in ('classes.catheter.dice', 'classes.guidewire.dice_frame_mean', 'union.recall_3px',
                'tip_error_px.missed'):
        assert of[key]['first'] == of[key]['second']
        assert of[key]['difference'] == 0.0 and of[key]['p'] == 1.0 and not of[key]['better']


def test_common_frames_alone_give_the_figures_that_the_station_reached(
        tmp_path, skipping, model):
    figures, text = evaluate(tmp_path, skipping, '--model', model, '--recorded', '--common')
    offline, live = figures['models']
    for each in offline, live:
        assert (each['frames_answered'], each['frames_missing']) == (FRAMES - 2, 2)
    for key in ('classes', 'as_published', 'false_instruments_per_frame', 'instruments_per_frame'):
        assert live[key] == offline[key]
    assert live['temporal']['overlap'] == offline['temporal']['overlap'] is not None
    assert live['tip_error_px']['median'] == pytest.approx(
        offline['tip_error_px']['median'], abs=1e-4)
    assert 'frames without an answer' in text


def test_a_frame_that_the_model_refuses_is_counted_as_the_node_does(
        tmp_path, images, found, model):
    stripes = np.full((256, 256), 200, np.uint8)
    stripes[:, ::6] = stripes[:, 1::6] = 40
    bag = write_bag(tmp_path / 'bag', [*images[:-1], stripes], [], found)
    figures, text = evaluate(tmp_path, bag, '--model', model)
    assert (figures['frames_answered'], figures['frames_missing']) == (FRAMES - 1, 1)
    assert figures['refused'] == 1
    assert figures['classes']['catheter']['dice'] == 1.0
    assert 'lines: 1 frames were refused, lately because the model marked' in text


def test_masks_and_truth_are_those_of_the_images_station(tmp_path, images, found, model):
    bag = write_sessions(tmp_path / 'bag', {
        '/a': {'images': images, 'answers': shifted(found, 7), 'truth': found},
        '/b': {'images': images, 'answers': found, 'truth': shifted(found, 2)}})
    figures, _ = evaluate(tmp_path, bag, '--recorded')
    assert figures['tip_error_px']['median'] == pytest.approx(7.0, abs=1e-3)
    figures, _ = evaluate(tmp_path, bag, '--recorded', '--topic', '/b/fluoroscopy/image_raw')
    assert figures['tip_error_px']['median'] == pytest.approx(2.0, abs=1e-3)
    assert figures['masks'].endswith('/b/segmentation/mask')


def test_masks_of_any_name_are_scored_where_they_are_named(tmp_path, images, found):
    bag = write_bag(tmp_path / 'bag', images, found, found, mask='labels')
    assert 'has no topic segmentation/mask; name another with --mask-topic' in refused(
        bag, '--recorded')
    figures, _ = evaluate(tmp_path, bag, '--recorded', '--mask-topic', '/or1/segmentation/labels')
    assert figures['frames_answered'] == FRAMES
    assert figures['classes']['catheter']['dice'] == 1.0


def test_masks_of_another_size_than_their_images_are_named(tmp_path, images, found):
    small = [(mask[:128], instruments) for mask, instruments in found]
    bag = write_bag(tmp_path / 'bag', images, small, found)
    assert '/or1/segmentation/mask at 5000000000: the mask is 256 x 128, its image 256 x 256' \
        in refused(bag, '--recorded')


def test_topics_that_are_not_there_are_told_with_those_that_are(tmp_path, images, found):
    bag = write_bag(tmp_path / 'bag', images, found)
    assert 'no topic /no/mask in this bag; it has /or1/' in refused(
        bag, '--recorded', '--mask-topic', '/no/mask')
    assert 'no /no/image in this bag' in refused(bag, '--topic', '/no/image')
    assert 'is no bag, so it has no topic /x' in refused('simulator', '--topic', '/x')


def test_a_model_runs_as_the_station_had_it_unless_that_is_named(
        tmp_path, images, found, model):
    model_id = hashlib.sha256(model.read_bytes()).hexdigest()[:16]
    bag = write_bag(tmp_path / 'bag', images, found, engine=(model_id, 'torch', 'f32'))
    figures, text = evaluate(tmp_path, bag, '--model', model, '--recorded', runtime=())
    assert (figures['runtime'], figures['precision']) == ('torch', 'f32')
    assert 'runs as the station had it: torch f32, judge none' in text
    assert figures['comparisons'][0]['identical_masks'] == FRAMES
    named = ('--runtime', 'openvino', '--precision', 'f32')
    figures, _ = evaluate(tmp_path, bag, '--model', model, runtime=named)
    assert figures['runtime'] == 'openvino'


@pytest.mark.parametrize('theirs, limit', [(('0.8',), 0.8), ((), 0.0), (('none',), 0.0),
                                           (('7',), 0.0), (('nan',), 0.0)])
def test_a_model_is_as_sure_as_the_station_wanted_it(
        tmp_path, images, found, model, theirs, limit):
    model_id = hashlib.sha256(model.read_bytes()).hexdigest()[:16]
    bag = write_bag(tmp_path / 'bag', images, found, engine=(model_id, 'torch', 'f32', *theirs))
    figures, _ = evaluate(tmp_path, bag, '--model', model, '--recorded', runtime=())
    assert figures['min_confidence'] == limit
    # What the station of this recording wrote, it wrote without a limit.
    assert (figures['comparisons'][0]['identical_masks'] == FRAMES) == (limit == 0.0)
    figures, _ = evaluate(tmp_path, bag, '--model', model, '--min-confidence', '0.1', runtime=())
    assert figures['min_confidence'] == 0.1


def test_a_model_has_the_judge_that_the_station_had_unless_one_is_named(
        tmp_path, images, found, model, monkeypatch):
    model_id = hashlib.sha256(model.read_bytes()).hexdigest()[:16]
    monkeypatch.setattr('fedefm_ros.paths.models_dir', lambda: tmp_path)
    shipped = save_judge_by_length(
        tmp_path / 'judge.safetensors', 30, limit=0.25,
        made_for={'backbone': 'lines', 'config': {}, 'input_size': 256})
    judge_id = hashlib.sha256(shipped.read_bytes()).hexdigest()[:16]
    for theirs, given, judge, limit, said in (
            (('0.0', 'none'), (), 'none', 0.0, 'as the station had it: torch f32, judge none'),
            (('0.5', judge_id), (), judge_id, 0.5, f'torch f32, judge {judge_id}'),
            (('0.5', 'f00d'), (), judge_id, 0.25,
             f'judge f00d), but for the judge: {judge_id}'),
            (('0.5', judge_id), ('--judge', shipped), judge_id, 0.5,
             f'torch f32, judge {judge_id}'),
            (('0.5', judge_id), ('--judge', 'none'), 'none', 0.0, 'but for the judge: none')):
        bag = write_bag(tmp_path / 'bag', images, found,
                        engine=(model_id, 'torch', 'f32', *theirs))
        figures, text = evaluate(tmp_path, bag, '--model', model, *given, runtime=())
        assert (figures['judge_id'], figures['min_confidence']) == (judge, limit)
        name = {(): 'lines', ('--judge', 'none'): 'lines without judge'}.get(
            given, f'lines with judge {judge_id[:8]}')
        assert figures['models'][0]['name'] == name
        assert said in ' '.join(text.split())
        shutil.rmtree(bag)


@pytest.mark.parametrize('theirs', [('0123456789abcdef', 'torch', 'f32'),
                                    (None, 'abacus', 'f32')])
def test_another_model_or_machine_does_not_decide(tmp_path, images, found, model, theirs):
    model_id = theirs[0] or hashlib.sha256(model.read_bytes()).hexdigest()[:16]
    bag = write_bag(tmp_path / 'bag', images, found, engine=(model_id, *theirs[1:]))
    figures, text = evaluate(tmp_path, bag, '--model', model, runtime=())
    assert figures['runtime'] in ('openvino', 'onnxruntime')
    assert ('cannot be had here' in text) == (theirs[0] is None)

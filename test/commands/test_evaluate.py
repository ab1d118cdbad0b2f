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

"""`evaluate` from input to report, on pictures whose truth is made from what a model finds."""

import csv
import json
import re

import cv2

from fedefm_ros.cli import app
from fedefm_ros.segmentation.engine import SegmentationEngine
from fedefm_ros.segmentation.runtimes.picture import line_picture

from linenet import save_line_model

import numpy as np

from pyarrow import parquet

import pytest

from session_bag import shifted
from session_bag import SPACING_MM
from session_bag import write_bag

from typer.testing import CliRunner

FRAMES = 6
#: One precision: which is the fastest, and so taken by itself, differs from run to run.
RUNTIME = ('--runtime', 'torch', '--precision', 'f32')

pytestmark = pytest.mark.usefixtures('use_cache')


@pytest.fixture(scope='module')
def swapped(tmp_path_factory):
    return save_line_model(tmp_path_factory.mktemp('model') / 'swapped.safetensors', swapped=True)


@pytest.fixture(scope='module')
def images():
    picture = line_picture(300)
    return [np.ascontiguousarray(picture[i * 3:, i * 2:][:256, :256]) for i in range(FRAMES)]


@pytest.fixture(scope='module')
def found(images, model):
    """Return mask and instruments that the model finds in each picture, as the node does."""
    engine, out, previous = SegmentationEngine.open(
        model, runtime='torch', precision='f32'), [], ()
    for image in images:
        raw = engine.infer(image)
        previous = engine.instruments(raw, previous=previous)
        out.append((raw.mask, previous))
    assert all(len(instruments) >= 2 for _, instruments in out)
    return out


def evaluate(tmp_path, *arguments):
    figures = tmp_path / 'figures.json'
    done = CliRunner().invoke(app, ['evaluate', *map(str, arguments), *RUNTIME,
                                    '--resamples', '50', '--json', str(figures)])
    assert done.exit_code == 0, done.output
    return json.loads(figures.read_text()), done.output


def refused(*arguments):
    done = CliRunner().invoke(app, ['evaluate', *map(str, arguments), *RUNTIME])
    assert done.exit_code == 1 and 'Traceback' not in done.output
    return ' '.join(done.output.split())


def write_folder(folder, images):
    folder.mkdir(parents=True)
    for index, image in enumerate(images):
        cv2.imwrite(str(folder / f'{index}.png'), image)
    return folder


def test_a_model_is_compared_with_itself_at_other_limits(tmp_path, images, found, model):
    bag = write_bag(tmp_path / 'bag', images, found, found)
    figures, text = evaluate(tmp_path, bag, '--model', model, '--min-confidence', '0.1',
                             '--min-confidence', '0.8')
    plain, cautious = figures['models']
    assert [plain['name'], cautious['name']] == ['lines at 0.1', 'lines at 0.8']
    assert [plain['min_confidence'], cautious['min_confidence']] == [0.1, 0.8]
    assert plain['union']['recall_3px'] == 1.0
    # Of a short line the network is only 0.74 sure.
    assert 0.5 < cautious['union']['recall_3px'] < 1.0
    assert cautious['union']['precision_3px'] == 1.0
    assert 'lines at 0.8' in text


@pytest.mark.parametrize('limit', ('1', '-0.1', 'high'))
def test_a_limit_that_is_no_share_is_refused(tmp_path, limit):
    done = CliRunner().invoke(app, ['evaluate', str(tmp_path), '--min-confidence', limit])
    assert done.exit_code == 2 and '--min-confidence' in done.output


def test_a_bag_scores_alike_live_and_offline(tmp_path, images, found, model):
    bag = write_bag(tmp_path / 'bag', images, found, shifted(found))
    figures, text = evaluate(tmp_path, bag, '--model', model, '--recorded')
    offline, live = figures['models']
    assert figures['truth'] == 'ground truth in the bag bag' and figures['frames'] == FRAMES
    assert [offline['name'], live['name']] == ['lines', 'recorded']
    # The truth is a pixel beside what was found.
    assert live['tip_error_px']['median'] == pytest.approx(1.0, abs=1e-3)
    assert live['tip_error_mm']['median'] == pytest.approx(SPACING_MM, abs=1e-3)
    assert live['union']['recall_3px'] == live['union']['precision_3px'] == 1.0
    assert live['union']['right_class'] > 0.8  # where they touch, a pixel decides
    assert live['false_instruments_per_frame'] == 0.0
    assert 0.3 < live['classes']['catheter']['dice'] < 0.95
    for key in ('classes', 'as_published', 'frames', 'false_instruments_per_frame'):
        assert live[key] == offline[key]
    (comparison,) = figures['comparisons']
    assert comparison['identical_masks'] == comparison['frames'] == FRAMES
    dice = next(m for m in comparison['measures'] if m['key'] == 'classes.catheter.dice')
    assert dice['difference'] == 0.0 and dice['p'] == 1.0
    assert live['latency_ms']['p50'] == pytest.approx(20.0)
    assert live['jitter_ms']['max'] == pytest.approx(0.0)
    for name, by_kind in offline['temporal'].items():
        # Centrelines travel as float32.
        assert live['temporal'][name] == pytest.approx(by_kind, rel=1e-6)
    assert 'paired bootstrap' in text


def test_masks_in_another_bag_are_scored_by_their_stamps(tmp_path, images, found):
    session = write_bag(tmp_path / 'session', images, found, found, skip=(0,))
    # The same masks, recorded without the images, and later.
    masks = write_bag(tmp_path / 'masks', images, shifted(found), images_too=False)
    figures, _ = evaluate(tmp_path, session, '--masks', masks)
    assert figures['models'][0]['name'] == 'masks'
    assert figures['frames_answered'] == FRAMES
    assert figures['tip_error_px']['median'] == pytest.approx(1.0, abs=1e-3)
    assert 'latency_ms' not in figures  # when it was recorded says nothing of this session
    figures, _ = evaluate(tmp_path, session, '--recorded', '--masks', masks)
    assert [each['frames_answered'] for each in figures['models']] == [FRAMES - 1, FRAMES]
    assert figures['comparisons'][0]['second'] == 'masks'


def test_masks_that_are_missing_are_counted_not_scored(tmp_path, images, found):
    bag = write_bag(tmp_path / 'bag', images, found, found, skip=(1, 4))
    figures, _ = evaluate(tmp_path, bag, '--recorded')
    assert figures['frames_missing'] == 2 and figures['frames_answered'] == FRAMES - 2
    assert figures['classes']['catheter']['dice'] == 1.0
    assert figures['tip_error_px']['median'] == 0.0


def test_without_truth_only_consistency_is_measured_and_it_says_so(
        tmp_path, images, found, model):
    folder = write_folder(tmp_path / 'frames', images)
    figures, text = evaluate(tmp_path, folder, '--model', model, '-o', tmp_path / 'out')
    assert figures['truth'] is None and 'classes' not in figures
    assert 0.0 < figures['temporal']['overlap'] < 1.0
    assert figures['instruments_per_frame'] == pytest.approx(
        np.mean([len(instruments) for _, instruments in found]))
    assert 'NO GROUND TRUTH' in ' '.join(text.split())
    report = (tmp_path / 'out' / 'report.html').read_text()
    assert 'No ground truth.' in report and 'Worst frames' in report


def test_the_folder_is_complete_and_the_report_needs_nothing_else(
        tmp_path, images, found, model, swapped):
    bag, out = write_bag(tmp_path / 'bag', images, [], found), tmp_path / 'out'
    figures, _ = evaluate(tmp_path, bag, '--model', model, '--model', swapped, '-o', out)
    assert json.loads((out / 'metrics.json').read_text()) == figures
    report = (out / 'report.html').read_text()
    assert not re.search(r'(src|href)="(?!data:image|[a-z_0-9]+\.[a-z0-9]+")', report)
    assert not re.search(r'https?://|<script|@import|url\(', report)
    for source in re.findall(r'src="data:image/\w+;base64,([^"]+)"', report):
        import base64
        data = np.frombuffer(base64.b64decode(source), np.uint8)
        assert cv2.imdecode(data, cv2.IMREAD_COLOR).std() > 1
    for name in re.findall(r'href="([^"]+)"', report):
        assert (out / name).stat().st_size > 0
    rows = list(csv.DictReader((out / 'frames.csv').open()))
    assert [row['contestant'] for row in rows] == ['lines', 'swapped'] * FRAMES
    assert {float(row['instrument_dice']) for row in rows} == {1.0}
    assert {float(row['catheter_dice']) for row in rows[::2]} == {1.0}
    table = parquet.read_table(out / 'frames.parquet').to_pylist()
    assert [row['contestant'] for row in table] == [row['contestant'] for row in rows]
    for line, row in zip(rows, table, strict=True):
        assert {key: '' if value is None else str(value) for key, value in row.items()} == {
            key: value if key in ('contestant', 'sequence', 'frame', 'index') or not value
            else str(float(value)) for key, value in line.items()}
    video = cv2.VideoCapture(str(out / 'overlay.mp4'))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == FRAMES
    assert video.get(cv2.CAP_PROP_FRAME_WIDTH) == 1024
    assert cv2.imread(figures['pictures'][0]).shape[1] == 4 * 512


def test_a_model_that_confuses_the_classes_is_significantly_worse(
        tmp_path, images, found, model, swapped):
    # Ten single frames of a data set: the figures of each are the same, so p is the least.
    root = tmp_path / 'set'
    for index in range(10):
        for name, array in (('images', images[index % FRAMES]),
                            ('masks', found[index % FRAMES][0])):
            (root / 'phantom_test' / name).mkdir(parents=True, exist_ok=True)
            path = root / 'phantom_test' / name / f'v{index}_1'
            if name == 'images':
                cv2.imwrite(f'{path}.png', array)
            else:
                np.save(f'{path}.npy', array)
    figures, _ = evaluate(tmp_path, root, '--model', model, '--model', swapped)
    assert figures['frames'] == 10 and figures['classes']['guidewire']['dice'] == 1.0
    assert figures['resampled'] == {'what': 'frames', 'count': 10}
    assert 'centrelines and tips were taken from the masks' in figures['notes'][0]
    dice = {m['key']: m for m in figures['comparisons'][0]['measures']}['classes.guidewire.dice']
    assert dice['second'] < 0.1 and dice['better'] == 'lines'
    assert dice['p'] == pytest.approx(2 / 51)


def test_what_segment_wrote_scores_as_the_model_does(tmp_path, images, found, model):
    folder, out = write_folder(tmp_path / 'frames', images), tmp_path / 'segmented'
    done = CliRunner().invoke(app, ['segment', str(folder), '-o', str(out), '--model', str(model),
                                    *RUNTIME])
    assert done.exit_code == 0, done.output
    masks = tmp_path / 'truth'
    masks.mkdir()
    for index, (mask, _) in enumerate(found):
        cv2.imwrite(str(masks / f'{index}.png'), np.roll(mask, 1, 1))
    figures, _ = evaluate(tmp_path, folder, '--against', masks, '--model', model,
                          '--masks', out)
    one, other = figures['models']
    assert figures['comparisons'][0]['identical_masks'] == FRAMES
    assert other['name'] == 'segmented' and one['classes'] == other['classes']
    # segment rounds its points to 0.01 pixels.
    assert one['tip_error_px']['median'] == pytest.approx(
        other['tip_error_px']['median'], abs=0.02)


def test_labels_of_cvat_are_found_by_name_or_number(tmp_path, images, found, model):
    folder = write_folder(tmp_path / 'frames', images)
    lines = ''.join(
        f'<polyline label="{("catheter", "guidewire")[each.kind - 1]}" points="'
        + ';'.join(f'{x:.2f},{y:.2f}' for x, y in each.centerline) + '"></polyline>'
        for each in found[3][1])
    for name, count in (('3.png', 1), ('frame_000003', FRAMES)):
        path = tmp_path / f'{name}.xml'
        path.write_text(f'<annotations><image id="0" name="{name}" width="256" height="256">'
                        f'{lines}</image></annotations>')
        figures, _ = evaluate(tmp_path, folder, '--against', path, '--model', model)
        assert figures['frames'] == 1 and figures['frames_segmented'] == count
        assert figures['union']['recall_1px'] == 1.0
        assert figures['classes']['catheter']['dice'] is None  # lines have no area


def test_our_centrelines_are_found_by_name_or_number(tmp_path, images, found, model):
    folder = write_folder(tmp_path / 'frames', images)
    bag = write_bag(tmp_path / 'bag', images, [])

    def lines(index):
        return {name: next(each.centerline for each in found[index][1]
                           if each.kind == kind).round(3).tolist()
                for kind, name in ((1, 'catheter'), (2, 'guidewire'))}

    for source, entries, count in (
            (folder, {'2.png': lines(2), '5.png': {}}, 2),
            (folder, {'2': lines(2)}, FRAMES), (bag, {'4': lines(4), '1': lines(1)}, FRAMES)):
        path = tmp_path / 'labels.json'
        path.write_text(json.dumps({'frames': entries}))
        figures, _ = evaluate(tmp_path, source, '--against', path, '--model', model)
        assert figures['truth'] == 'labels of labels.json'
        assert (figures['frames'], figures['frames_segmented']) == (len(entries), count)
        assert figures['union']['recall_1px'] == 1.0
        assert figures['classes']['catheter']['dice'] is None  # lines have no area
        if count == FRAMES:
            assert figures['tip_error_px']['median'] == pytest.approx(0.0, abs=0.01)


def test_guide3d_is_scored_as_its_authors_store_it(tmp_path, images, found, model):
    root, entries = tmp_path / 'guide3d', []
    for index in (0, 3):
        wire = next(each for each in found[index][1] if each.kind == 2)
        name = f'1-bca-angle-5-1/{index:03d}.png'
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / name), images[index])
        entries.append({'frame_number': index, 'cameraA': {
            'image': name, 'points': wire.centerline[::-1].round(2).tolist()}})
    (root / 'raw.json').write_text(json.dumps([{'task': '1-bca-angle-5-1', 'frames': entries}]))
    for options in (('--against', root / 'raw.json'), ()):
        figures, _ = evaluate(tmp_path, root, *options, '--model', model)
        assert figures['truth'] == 'labels of raw.json' and figures['frames'] == 2
        assert figures['union']['recall_1px'] == 1.0
        # Drawn two pixels wide, as in their paper.
        assert 0.3 < figures['classes']['guidewire']['dice'] < 1.0
        assert figures['models'][0]['sequences'][0]['name'] == '1-bca-angle-5-1'


def test_the_simulator_is_scored(tmp_path, model):
    figures, _ = evaluate(tmp_path, 'simulator:phantom', '--frames', 2, '--model', model)
    assert figures['frames'] == 2 and figures['fps'] > 0
    assert {'dice', 'iou'} <= set(figures['classes']['catheter'])
    assert {'precision_3px', 'recall_3px', 'right_class'} <= set(figures['union'])
    assert {'median', 'missed', 'tips'} <= set(figures['tip_error_px'])
    assert 'false_instruments_per_frame' in figures and figures['pictures'] == []


def test_what_cannot_be_scored_is_told(tmp_path, images, found, model):
    folder = write_folder(tmp_path / 'frames', images)
    bag = write_bag(tmp_path / 'bag', images, [])
    other = tmp_path / 'other.json'
    other.write_text('{"frames": {"99": {"catheter": [[0, 0], [5, 5]]}}}')
    gone = tmp_path / 'gone.json'
    gone.write_text('{"frames": {"gone.png": {"catheter": [[0, 0], [5, 5]]}}}')
    assert 'gone.xml: no such file' in refused(folder, '--against', tmp_path / 'gone.xml')
    assert 'names no frame' in refused(folder, '--against', other, '--model', model)
    assert 'gone.png: no such file' in refused(folder, '--against', gone, '--model', model)
    assert 'no bag' in refused(folder, '--recorded')
    assert 'no topic segmentation/mask' in refused(bag, '--recorded')
    assert 'ground_truth/mask' in refused(bag, '--against', bag, '--model', model)
    assert 'no such file' in refused(folder, '--masks', tmp_path / 'none')
    assert 'known: human' in refused('simulator:fish')
    masks = tmp_path / 'masks'
    masks.mkdir()
    cv2.imwrite(str(masks / '0.png'), found[0][0][:64])
    assert '0.png' in refused(folder, '--against', masks, '--model', model)

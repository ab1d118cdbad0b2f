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

import json
from pathlib import Path
import resource
import signal
import subprocess
import sys
import time

import cv2

from fedefm_ros.backbones import create, ModelSpec, save_checkpoint
from fedefm_ros.cli import app
from fedefm_ros.imaging.carm import CArm
from fedefm_ros.imaging.frame import Frame
from fedefm_ros.imaging.source import ClosingSource
from fedefm_ros.segmentation.engine import SegmentationEngine
from fedefm_ros.segmentation.runtimes.picture import line_picture

import numpy as np

import pytest

import torch

from typer.testing import CliRunner

REPOSITORY = Path(__file__).resolve().parents[2]


pytestmark = pytest.mark.usefixtures('use_cache')


@pytest.fixture(scope='module')
def small_compact_model(tmp_path_factory):
    """Return a checkpoint that other processes can load, too."""
    path = tmp_path_factory.mktemp('model') / 'compact.safetensors'
    config = {'widths': [16, 16], 'full': 8}
    torch.manual_seed(0)
    save_checkpoint(path, create('compact', **config), ModelSpec('compact', config, input_size=64))
    return path


@pytest.fixture
def recording(tmp_path):
    """Return a folder of five pictures with lines that move."""
    folder = tmp_path / 'recording'
    folder.mkdir()
    picture = line_picture(320)
    for index in range(5):
        cv2.imwrite(str(folder / f'{index}.png'), picture[index * 3:, index * 5:][:301, :290])
    return folder


def segment(*arguments):
    return CliRunner().invoke(app, ['segment', *map(str, arguments)])


def in_another_process(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, '-m', 'fedefm_ros.cli', 'segment', *map(str, arguments)],
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)


def video_frames(path):
    reader, frames = cv2.VideoCapture(str(path)), []
    while True:
        there, frame = reader.read()
        if not there:
            return frames
        frames.append(frame)


def whole_masks(folder):
    return [cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            for path in sorted((folder / 'masks').iterdir())]


def test_a_folder_becomes_masks_instruments_video_and_sheet(recording, model, tmp_path):
    out = tmp_path / 'out'
    done = segment(recording, '-o', out, '--model', model, '--json', tmp_path / 'figures.json')
    assert done.exit_code == 0, done.output
    masks = whole_masks(out)
    lines = [json.loads(line) for line in (out / 'instruments.jsonl').read_text().splitlines()]
    assert len(masks) == len(lines) == len(video_frames(out / 'overlay.mp4')) == 5
    engine = SegmentationEngine.open(model)
    for index, (mask, line) in enumerate(zip(masks, lines)):
        image = cv2.imread(str(recording / f'{index}.png'), cv2.IMREAD_UNCHANGED)
        raw = engine.infer(image)
        assert mask.shape == (301, 290) and mask.dtype == np.uint8
        assert np.mean(mask == raw.mask) > 0.999
        assert line['frame'] == index and (line['width'], line['height']) == (290, 301)
        assert len(line['instruments']) >= 1
    leading = lines[0]['instruments'][0]
    assert leading['kind'] in ('catheter', 'guidewire') and leading['length_mm'] is None
    assert leading['tip'] == leading['centerline'][-1]
    assert cv2.imread(str(out / 'overlay.png')).shape[2] == 3
    figures = json.loads((tmp_path / 'figures.json').read_text())
    assert figures['frames'] == 5 and not figures['interrupted']
    assert figures['latency_ms']['p50'] > 0 and figures['model_id'] == engine.info.model_id
    assert figures['pictures'] == [str(out / 'overlay.png')]


def test_of_what_the_model_is_not_sure_enough_nothing_is_written(recording, model, tmp_path):
    marked = []
    for limit in ('0.1', '0.999'):
        out = tmp_path / limit
        done = segment(recording, '-o', out, '--model', model, '--min-confidence', limit,
                       '--json', tmp_path / 'figures.json')
        assert done.exit_code == 0, done.output
        assert json.loads((tmp_path / 'figures.json').read_text())['min_confidence'] \
            == float(limit)
        marked.append(sum(np.count_nonzero(mask) for mask in whole_masks(out)))
    assert marked[0] > marked[1] == 0


def test_a_frame_whose_mask_can_only_be_wrong_gets_none(recording, model, tmp_path):
    stripes = np.full((301, 290), 180, np.uint8)
    stripes[:, np.arange(290) % 9 < 4] = 60
    cv2.imwrite(str(recording / '2.png'), stripes)
    done = segment(recording, '-o', tmp_path / 'out', '--model', model,
                   '--json', tmp_path / 'figures.json')
    assert done.exit_code == 0, done.output
    assert [path.stem for path in sorted((tmp_path / 'out' / 'masks').iterdir())] \
        == ['000000', '000001', '000003', '000004']
    lines = [json.loads(line) for line in
             (tmp_path / 'out' / 'instruments.jsonl').read_text().splitlines()]
    assert '25% can be instruments' in lines[2]['refused'] and not lines[2]['instruments']
    assert json.loads((tmp_path / 'figures.json').read_text())['refused'] == 1
    alone = segment(recording / '2.png', '-o', tmp_path / 'none', '--model', model)
    assert alone.exit_code == 1 and 'no mask for any of its 1 frames' in alone.output


def test_the_real_human_sequence_gets_millimetres(shared_data, model, tmp_path):
    done = segment(shared_data / 'xa_human_a.dcm', '-o', tmp_path, '--model', model,
                   '--frames', 2)
    assert done.exit_code == 0, done.output
    line = json.loads((tmp_path / 'instruments.jsonl').read_text().splitlines()[0])
    assert line['spacing_mm'][0] == pytest.approx(0.2357, abs=1e-3)
    assert line['instruments'][0]['length_mm'] > 0


class Pausing(ClosingSource):
    """The same picture at some times; another C-arm for the last one."""

    name, rate = 'pausing', 15.0

    def __init__(self, times):
        self.times, self.frame_count, self.carm = times, len(times), CArm()

    def __iter__(self):
        for index, second in enumerate(self.times):
            if index == self.frame_count - 1:
                self.carm = CArm(imager_spacing_mm=(0.4, 0.4), estimated_magnification=2.0)
            yield Frame(line_picture(256), index, second)


def test_instruments_are_remembered_for_half_a_second_and_pitch_is_the_frame_s(
        model, tmp_path, monkeypatch):
    monkeypatch.setattr('fedefm_ros.imaging.source.open_source',
                        lambda _: Pausing((0.0, 0.1, 5.0, 5.1, 4.9)))
    remembered, work = [], SegmentationEngine.instruments

    def instruments(self, raw, spacing_mm=None, *, previous=(), elapsed=None):
        remembered.append(bool(previous))
        return work(self, raw, spacing_mm, previous=previous)
    monkeypatch.setattr(SegmentationEngine, 'instruments', instruments)
    done = segment('pausing', '-o', tmp_path, '--model', model)
    assert done.exit_code == 0, done.output
    assert remembered == [False, True, False, True, False]
    lines = [json.loads(line) for line in (tmp_path / 'instruments.jsonl').open()]
    assert [line['spacing_mm'] for line in lines] == [None] * 4 + [[0.2, 0.2]]


def test_a_file_that_is_called_like_the_simulator_is_read_whole(
        recording, model, tmp_path, monkeypatch):
    monkeypatch.chdir(recording.rename(tmp_path / 'simulator_run').parent)
    monkeypatch.setattr('fedefm_ros.commands.segment._SIMULATED_FRAMES', 2)
    assert segment('simulator_run', '-o', 'out', '--model', model).exit_code == 0
    assert len(whole_masks(tmp_path / 'out')) == 5
    assert segment('simulator', '-o', 'none', '--model', model).exit_code == 0
    assert len(whole_masks(tmp_path / 'none')) == 2


def test_a_single_tiny_image_is_segmented(model, tmp_path):
    cv2.imwrite(str(tmp_path / 'dot.png'), np.full((1, 1), 90, np.uint8))
    done = segment(tmp_path / 'dot.png', '-o', tmp_path / 'out', '--model', model)
    assert done.exit_code == 0, done.output
    assert whole_masks(tmp_path / 'out')[0].shape == (1, 1)
    assert len(video_frames(tmp_path / 'out' / 'overlay.mp4')) == 1


def test_frames_are_counted_off_where_a_number_is_given(model, tmp_path):
    done = segment('simulator', '-o', tmp_path, '--model', model, '--frames', 3)
    assert done.exit_code == 0, done.output
    assert len(whole_masks(tmp_path)) == 3


def test_results_of_an_earlier_run_are_not_mixed_with_new_ones(recording, model, tmp_path):
    out = tmp_path / 'out'
    assert segment(recording, '-o', out, '--model', model).exit_code == 0
    refused = segment(recording, '-o', out, '--model', model, '--frames', 2)
    assert refused.exit_code == 1 and 'already holds 5 masks' in refused.output
    assert len(whole_masks(out)) == 5
    again = segment(recording, '-o', out, '--model', model, '--frames', 2, '--overwrite')
    assert again.exit_code == 0 and len(whole_masks(out)) == 2


def test_what_cannot_be_read_or_written_is_said_on_one_line(recording, model, tmp_path):
    blocked = tmp_path / 'a file'
    blocked.write_text('in the way')
    broken = tmp_path / 'broken.png'
    broken.write_bytes((recording / '0.png').read_bytes()[:300])
    for arguments, message in (
            ((tmp_path / 'nothing', '-o', tmp_path / 'out', '--model', model), 'no such file'),
            ((broken, '-o', tmp_path / 'out', '--model', model), 'broken.png'),
            ((recording, '-o', blocked, '--model', model), 'cannot be written'),
            ((recording, '-o', tmp_path / 'out', '--model', 'nosuch'), 'nor shipped'),
            ((recording, '-o', tmp_path / 'out', '--model', model, '--runtime', 'x'),
             'not known')):
        done = segment(*arguments)
        assert done.exit_code == 1
        assert [line for line in done.output.splitlines() if message in line], done.output
        assert 'Traceback' not in done.output


def test_a_source_that_breaks_off_leaves_whole_files(recording, model, tmp_path):
    (recording / '3.png').write_bytes((recording / '3.png').read_bytes()[:300])
    out = tmp_path / 'out'
    done = segment(recording, '-o', out, '--model', model)
    assert done.exit_code == 1 and '3.png' in done.output
    assert len(whole_masks(out)) == len(video_frames(out / 'overlay.mp4')) == 3
    assert len((out / 'instruments.jsonl').read_text().splitlines()) == 3


def test_a_full_disk_is_said(small_compact_model, tmp_path):
    def small_files_only():
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
    # The graph is in the cache already: its file is not what shall fail.
    SegmentationEngine.open(small_compact_model, runtime='openvino')
    process = in_another_process('simulator', '-o', tmp_path / 'out', '--frames', 20, '--model',
                                 small_compact_model, preexec_fn=small_files_only)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert 'Traceback' not in said
    assert 'could not be written whole; is the disk full?' in said or 'cannot be written' in said


def test_ctrl_c_ends_after_a_whole_frame(small_compact_model, tmp_path):
    out = tmp_path / 'out'
    process = in_another_process('simulator', '-o', out, '--frames', 100_000, '--model',
                                 small_compact_model, '--json', tmp_path / 'figures.json')
    try:
        deadline = time.monotonic() + 120
        while not (out / 'masks' / '000002.png').exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, said
    assert 'Traceback' not in said
    figures = json.loads((tmp_path / 'figures.json').read_text())
    assert figures['interrupted'] and figures['frames'] >= 3
    masks = whole_masks(out)
    assert all(mask is not None for mask in masks)
    assert len(masks) == figures['frames'] == len(video_frames(out / 'overlay.mp4'))
    assert len((out / 'instruments.jsonl').read_text().splitlines()) == len(masks)

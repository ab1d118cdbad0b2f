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

"""Simulated data sets on disk: whole, seeded, and readable by the loaders."""

import json
import subprocess
import sys

import cv2

from fedefm_ros.cli import app
from fedefm_ros.commands.convert_inputs import items, open_input
from fedefm_ros.evaluation.cases import open_cases
from fedefm_ros.evaluation.labels import read_centerlines
from fedefm_ros.imaging.bag import BagSource
from fedefm_ros.labels import CATHETER, GUIDEWIRE
from fedefm_ros.learning.datasets import open_dataset

import numpy as np

import pytest

from rosbags.highlevel import AnyReader

from typer.testing import CliRunner


def simulate(*arguments):
    return CliRunner().invoke(app, ['simulate', '--size', '96', *map(str, arguments)])


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob('*') if path.is_file()}


def test_a_folder_has_images_masks_centrelines_and_a_contact_sheet(tmp_path):
    out = tmp_path / 'set'
    done = simulate('-o', out, '--kind', 'phantom', '--frames', 9, '--json', tmp_path / 'f.json')
    assert done.exit_code == 0, done.output
    frames = open_dataset('folder', out)
    assert len(frames) == 9
    assert frames.groups == ('phantom-00000', 'phantom-00001', 'phantom-00002')
    curves = read_centerlines(out / 'centerlines.json')
    assert sorted(curves) == [f'{entry.name}.png' for entry in frames.entries]
    marked = on_line = 0
    for entry, (image, mask) in zip(frames.entries, frames):
        assert image.shape == mask.shape == (96, 96) and np.ptp(image) > 10
        marked += bool(mask.any())
        for instrument in curves[f'{entry.name}.png']:
            x, y = np.rint(instrument.centerline[len(instrument.centerline) // 2]).astype(int)
            on_line += mask[max(y - 1, 0):y + 2, max(x - 1, 0):x + 2].any()
    assert marked >= 6 and on_line >= 5
    assert cv2.imread(str(out / 'overview.png')).shape[2] == 3
    figures = json.loads((tmp_path / 'f.json').read_text())
    assert figures['frames'] == 9 and figures['patients'] == 3
    assert figures['pictures'] == [str(out / 'overview.png')]


def test_a_link_to_an_empty_folder_will_do_and_a_mount_point_is_told(tmp_path):
    (tmp_path / 'real').mkdir()
    (tmp_path / 'link').symlink_to(tmp_path / 'real')
    done = simulate('-o', tmp_path / 'link', '--kind', 'phantom', '--frames', 1)
    assert done.exit_code == 0, done.output
    assert (tmp_path / 'link').is_symlink()
    assert (tmp_path / 'real' / 'centerlines.json').is_file()
    refused = simulate('-o', '/proc', '--kind', 'phantom', '--frames', 1)
    assert refused.exit_code == 1 and '/proc: is ' in refused.output


def test_equal_seeds_give_equal_files_and_kinds_do_not_share_devices(tmp_path):
    for name, seed in (('a', 4), ('b', 4), ('c', 5)):
        assert simulate('-o', tmp_path / name, '--frames', 2, '--seed', seed).exit_code == 0
    assert files(tmp_path / 'a') == files(tmp_path / 'b')
    assert files(tmp_path / 'a')['masks/human-00000-0.png'] \
        != files(tmp_path / 'c')['masks/human-00000-0.png']
    curves = json.loads((tmp_path / 'a' / 'centerlines.json').read_text())['frames']
    assert len({json.dumps(curves[f'{kind}-00000-0.png'])
                for kind in ('human', 'animal', 'phantom', 'simulation')}) == 4


def test_the_aioz_layout_is_read_by_its_loader(tmp_path):
    out = tmp_path / 'set'
    done = simulate('-o', out, '--frames', 8, '--format', 'aioz', '--test-share', 0.5)
    assert done.exit_code == 0, done.output
    for domain in ('phantom', 'animal', 'sim', 'real'):
        parts = [open_dataset('aioz', out, part=part, domains=[domain])
                 for part in ('train', 'test')]
        assert [len(part) for part in parts] == [4, 4]
        assert not set(parts[0].groups) & set(parts[1].groups)
        masks = [mask for part in parts for _, mask in part]
        assert any(mask.any() for mask in masks)
        values = set(np.unique(np.stack(masks)).tolist())
        assert values <= ({0, 1, 2} if domain in ('phantom', 'animal') else {0, 1})


def test_centrelines_keep_what_the_masks_of_the_aioz_layout_lose(tmp_path):
    assert simulate('-o', tmp_path / 'plain', '--frames', 8).exit_code == 0
    assert simulate('-o', tmp_path / 'set', '--frames', 8, '--format', 'aioz',
                    '--test-share', 0.5).exit_code == 0
    whole = json.loads((tmp_path / 'plain' / 'centerlines.json').read_text())
    found = {'frames': {}, 'tip_visible': {}, 'others': {}}
    for folder in sorted((tmp_path / 'set').glob('*_*')):
        assert sorted(path.name for path in folder.iterdir()) \
            == ['centerlines.json', 'images', 'masks']
        own = json.loads((folder / 'centerlines.json').read_text())
        assert sorted(own['frames']) == sorted(p.name for p in (folder / 'images').iterdir())
        for key, entries in own.items():
            assert not found[key].keys() & entries.keys()
            found[key] |= entries
    assert found == whole
    kinds = {one.kind for folder in ('real_train', 'real_test', 'sim_train', 'sim_test')
             for curves in read_centerlines(tmp_path / 'set' / folder /
                                            'centerlines.json').values() for one in curves}
    assert kinds == {CATHETER, GUIDEWIRE}


def test_images_of_the_aioz_layout_are_scored_against_their_centrelines(tmp_path):
    folder = tmp_path / 'set' / 'animal_train'
    assert simulate('-o', tmp_path / 'set', '--frames', 4, '--kind', 'animal', '--format', 'aioz',
                    '--test-share', 0).exit_code == 0
    done = CliRunner().invoke(app, [
        'evaluate', str(folder / 'images'), '--against', str(folder / 'centerlines.json'),
        '--masks', str(folder / 'masks'), '--resamples', '10', '--json',
        str(tmp_path / 'told.json')])
    assert done.exit_code == 0, done.output
    told = json.loads((tmp_path / 'told.json').read_text())
    assert told['frames'] == 4 and 'centerlines.json' in told['truth']
    # The true masks lie on the true centrelines, but for instruments that overlap.
    assert told['union']['recall_3px'] > 0.9 and told['union']['precision_3px'] > 0.9


def test_a_bag_a_kind_is_a_procedure_with_its_truth_that_is_read_back(tmp_path):
    arguments = ('--frames', 3, '--format', 'bag', '--seed', 2)
    done = simulate('-o', tmp_path / 'set', *arguments, '--json', tmp_path / 'told.json')
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / 'told.json').read_text())['frames'] == 12
    kinds = ('human', 'animal', 'phantom', 'simulation')
    assert sorted(path.name for path in (tmp_path / 'set').iterdir()) \
        == sorted((*kinds, 'overview.png'))
    topics = {f'/station/{name}' for name in (
        'fluoroscopy/image_raw', 'fluoroscopy/camera_info', 'ground_truth/mask',
        'ground_truth/instruments')}
    # A video of the same seed is the same procedure, with losses.
    assert simulate('-o', tmp_path / 'video', '--frames', 3, '--format', 'video', '--seed',
                    2).exit_code == 0
    for kind in kinds:
        bag = tmp_path / 'set' / kind
        with AnyReader([bag]) as reader:
            assert {c.topic: c.msgcount for c in reader.connections} == dict.fromkeys(topics, 3)
        with open_input(str(bag), rate=None, size=None, seed=0, topic=None) as source:
            found = list(items(source, str(bag), 0, None))
            assert isinstance(source, BagSource)
        assert np.diff([item.stamp for item in found]) == pytest.approx(1e9 / 15, rel=1e-6)
        curves = read_centerlines(tmp_path / 'video' / f'{kind}.json')
        for number, item in enumerate(found):
            assert item.image.shape == item.mask.shape == (96, 96)
            assert item.origin == 'ground_truth' and item.mask.any()
            # Equal kinds are in the order of their length there.
            assert sorted(len(one.centerline) for one in item.instruments) \
                == sorted(len(one.centerline) for one in curves[str(number)])
    cases = list(open_cases(str(tmp_path / 'set' / 'human')).frames)
    assert len(cases) == 3 and all(case.has_truth for case in cases)
    assert cases[0].spacing_mm == pytest.approx((205 / 96 * 733 / 1100,) * 2, rel=1e-5)
    again = simulate('-o', tmp_path / 'again', *arguments)
    assert again.exit_code == 0 and files(tmp_path / 'again') == files(tmp_path / 'set')


def test_without_the_package_for_bags_it_says_what_to_install(tmp_path):
    arguments = ['fedefm', 'simulate', '-o', str(tmp_path / 'set'), '--format', 'bag']
    code = (f'import sys; sys.argv = {arguments!r}; sys.modules["rosbags"] = None\n'
            'from fedefm_ros import cli\n'
            'cli.main()')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert "pip install 'fedefm_ros[all]'" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_video_has_a_centreline_a_frame(tmp_path):
    out = tmp_path / 'set'
    done = simulate('-o', out, '--kind', 'human', '--frames', 5, '--format', 'video')
    assert done.exit_code == 0, done.output
    reader = cv2.VideoCapture(str(out / 'human.mp4'))
    assert reader.get(cv2.CAP_PROP_FRAME_COUNT) == 5
    curves = read_centerlines(out / 'human.json')
    assert sorted(curves) == ['0', '1', '2', '3', '4']
    assert all(len(curve) >= 1 for curve in curves.values())


def test_a_file_of_settings_decides_kind_and_pictures(tmp_path):
    own = tmp_path / 'own.yaml'
    own.write_text('kind: phantom\ndevices: {count: {0: 1}}\n')
    done = simulate('-o', tmp_path / 'set', '--frames', 3, '--config', own)
    assert done.exit_code == 0, done.output
    frames = open_dataset('folder', tmp_path / 'set')
    assert frames.groups == ('phantom-00000',)
    assert not any(mask.any() for _, mask in frames)
    wrong = simulate('-o', tmp_path / 'other', '--config', own, '--kind', 'human')
    assert wrong.exit_code == 1 and 'is of kind phantom' in wrong.output


@pytest.mark.parametrize('arguments, reason', [
    (('--size', 97, '--format', 'video'), 'a video needs an even size'),
    (('--config', 'occupied/file'), 'occupied/file'),
    (('-o', 'occupied'), 'is there already'), (('-o', 'occupied/file/x'), 'cannot be written')])
def test_what_cannot_be_is_said_and_nothing_is_left(tmp_path, monkeypatch, arguments, reason):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'occupied').mkdir()
    (tmp_path / 'occupied' / 'file').write_text('mine')
    done = simulate('-o', 'out', '--frames', 1, *arguments)
    assert done.exit_code == 1 and reason in done.output and 'Traceback' not in done.output
    assert [path.name for path in tmp_path.iterdir()] == ['occupied']


def test_a_run_that_fails_leaves_no_half_set(tmp_path, monkeypatch):
    from fedefm_ros.learning.datasets import writing

    def full(*_):
        raise writing.FedefmError('no space left')

    monkeypatch.setattr(writing.FolderWriter, 'add', full)
    done = simulate('-o', tmp_path / 'out', '--kind', 'phantom', '--frames', 1)
    assert done.exit_code == 1 and 'no space left' in done.output
    assert list(tmp_path.iterdir()) == []

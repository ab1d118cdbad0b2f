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

from itertools import islice
import os
import subprocess
import sys

import cv2

from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.dicom import DicomSource
from fedefm_ros.imaging.folder import ImageSource
from fedefm_ros.imaging.playback import PlaybackSource
from fedefm_ros.imaging.source import ClosingSource, open_source
from fedefm_ros.imaging.video import VideoSource

import numpy as np

import pytest


@pytest.fixture
def run(tmp_path):
    """Return a folder of three images, at 15 Hz."""
    folder = tmp_path / 'run'
    folder.mkdir()
    for number in range(3):
        cv2.imwrite(str(folder / f'{number}.png'), np.full((8, 9), number, np.uint8))
    return folder


def test_files_are_told_by_content_whatever_their_name(write_dicom, moving_frames, run):
    dicom = write_dicom(moving_frames(), 'no_suffix')
    assert isinstance(open_source(str(dicom)), DicomSource)
    assert isinstance(open_source(str(dicom.rename(dicom.with_name('a.avi')))), DicomSource)
    image = (run / '0.png').rename(run.parent / 'b.dcm')
    assert isinstance(open_source(str(image)), ImageSource)
    video = str(run.parent / 'c.avi')
    writer = cv2.VideoWriter(video, cv2.VideoWriter_fourcc(*'MJPG'), 10, (64, 48))
    writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    assert isinstance(open_source(video), VideoSource)


def test_folders_are_told_by_what_they_hold(write_dicom, moving_frames, run):
    assert isinstance(open_source(str(run)), ImageSource)
    write_dicom(moving_frames(), 'run/IM0001')
    source = open_source(f'{run}/')
    assert isinstance(source, DicomSource) and source.frame_count == 3


def test_the_real_inputs_open(shared_data):
    for name, count, shape in [('xa_human_a.dcm', 8, (512, 512)), ('coronary', 5, (512, 512)),
                               ('PHILIPS_Integris_H_frame0.png', 1, (512, 512)),
                               ('animal_annotated.avi', 78, (1080, 1594))]:
        with open_source(str(shared_data / name)) as source:
            assert source.frame_count == count and source.name == name
            assert next(iter(source)).image.shape == shape


def test_the_simulator_opens_with_kind_size_rate_and_seed():
    pytest.importorskip('fedefm_ros.simulation.fluoroscopy')
    with open_source('simulator:phantom', size=128, rate=30.0, seed=4) as source:
        assert source.rate == 30.0 and source.frame_count is None
        frames = list(islice(source, 2))
    assert frames[0].image.shape == (128, 128) and frames[0].truth is not None
    again = next(iter(open_source('simulator:phantom', size=128, rate=30.0, seed=4)))
    assert np.array_equal(again.image, frames[0].image)
    with pytest.raises(FedefmError, match='nonsense'):
        open_source('simulator:nonsense')


def test_a_rate_stretches_the_times(run):
    source = open_source(str(run), rate=5.0)
    assert source.rate == 5.0 and source.frame_count == 3
    assert [frame.time for frame in source] == pytest.approx([0, 0.2, 0.4])


def test_uneven_times_keep_their_proportions(write_dicom, moving_frames):
    path = write_dicom(moving_frames(), FrameTimeVector=[0, 50, 150])
    assert [frame.time for frame in open_source(str(path), rate=20.0)] == pytest.approx(
        [0, 0.025, 0.1])


def test_a_loop_goes_on_counting_without_a_gap(run):
    with open_source(str(run), loop=True) as source:
        assert source.frame_count is None and source.rate == 15.0
        frames = list(islice(source, 8))
        assert [int(frame.image[0, 0]) for frame in frames] == [0, 1, 2, 0, 1, 2, 0, 1]
        assert [frame.index for frame in frames] == list(range(8))
        assert [frame.time for frame in frames] == pytest.approx([n / 15 for n in range(8)])
        assert next(iter(source)).index == 0


def test_a_loop_passes_the_c_arm_on(write_dicom, moving_frames):
    path = write_dicom(moving_frames(), DistanceSourceToDetector='1000')
    assert open_source(str(path), loop=True).carm.source_detector_mm == 1000.0


def test_a_loop_over_nothing_ends_in_an_error():
    class Nothing(ClosingSource):
        name, rate, frame_count = 'nothing', 15.0, 0

        def __iter__(self):
            return iter(())

    with pytest.raises(FedefmError, match='nothing: has no frames'):
        next(iter(PlaybackSource(Nothing(), loop=True)))


def test_closing_a_played_source_closes_it_and_may_be_repeated(run):
    source = open_source(str(run), loop=True)
    source.close()
    source.close()


@pytest.mark.parametrize('rate', [0.0, -1.0, float('nan'), float('inf'), 1e6])
def test_rates_that_make_no_sense_are_refused(run, rate):
    with pytest.raises(FedefmError, match='out of range'):
        open_source(str(run), rate=rate)


@pytest.mark.parametrize('name, data, words', [
    ('empty.dcm', b'', 'the file is empty'),
    ('empty', b'', 'the file is empty'),
    ('letter.pdf', b'%PDF-1.7 text', 'unsupported kind of file'),
    ('notes.txt', b'hello', 'unsupported kind of file'),
    ('old.dcm', b'no prefix' * 99, 'not a DICOM file'),
    ('broken.avi', b'RIFF' + bytes(99), 'cannot be opened as a video'),
    ('broken.png', b'nothing' * 9, 'not a PNG'),
    ('broken.mcap', b'nothing' * 9, 'damaged bag')])
def test_files_that_cannot_be_used_are_refused_by_name(tmp_path, name, data, words):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(FedefmError, match=words) as caught:
        open_source(str(tmp_path / name))
    assert name in str(caught.value) and '\n' not in str(caught.value)


@pytest.mark.parametrize('text', ['', ' ', 'not/there.dcm', 'file:///a.dcm', 'ftp://host/a.avi',
                                  'Simulator', '-1'])
def test_what_does_not_exist_is_refused_with_what_is_supported(text):
    with pytest.raises(FedefmError, match='no such file.*DICOM.*simulator'):
        open_source(text)


def test_folders_without_frames_are_refused(tmp_path):
    (tmp_path / 'sub').mkdir()
    with pytest.raises(FedefmError, match='no usable file directly in this folder'):
        open_source(str(tmp_path))
    (tmp_path / 'a.txt').write_text('text')
    with pytest.raises(FedefmError, match=r'\(1 files\)'):
        open_source(str(tmp_path))
    (tmp_path / 'a.mp4').write_bytes(bytes(4) + b'ftypisom' + bytes(99))
    with pytest.raises(FedefmError, match='folder of videos'):
        open_source(str(tmp_path))


def test_a_special_file_is_refused_at_once():
    with pytest.raises(FedefmError, match='/dev/null'):
        open_source('/dev/null')


def test_opening_an_image_imports_neither_ros_nor_torch_nor_dicom(run):
    code = ('import sys; from fedefm_ros.imaging.source import open_source; '
            f'open_source({str(run)!r}); '
            'print([m for m in ("rclpy", "sensor_msgs", "torch", "pydicom", "rosbags") '
            'if m in sys.modules])')
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
    assert subprocess.check_output([sys.executable, '-c', code], text=True,
                                   env=environment).strip() == '[]'

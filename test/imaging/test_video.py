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

import os
import subprocess
import sys
import wave

import cv2

from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.video import VideoSource

import numpy as np

import pytest


@pytest.fixture
def write_video(tmp_path):
    """Return a function that writes a video whose frame n has the grey level 10 n."""
    def write(name='a.avi', code='MJPG', count=12, rate=12.5, size=(64, 48)):
        writer = cv2.VideoWriter(str(tmp_path / name), cv2.VideoWriter_fourcc(*code), rate, size)
        assert writer.isOpened()
        for number in range(count):
            writer.write(np.full((size[1], size[0], 3), 10 * number % 250, np.uint8))
        writer.release()
        return tmp_path / name

    return write


@pytest.mark.parametrize('name, code', [('a.avi', 'MJPG'), ('a.mp4', 'mp4v'), ('a.mkv', 'MJPG')])
def test_videos_give_grey_frames_at_their_rate(write_video, name, code):
    with VideoSource(write_video(name, code)) as source:
        frames = list(source)
        assert (source.name, source.rate, source.frame_count) == (name, 12.5, 12)
    assert [frame.index for frame in frames] == list(range(12))
    assert [frame.time for frame in frames] == pytest.approx([n / 12.5 for n in range(12)])
    for number, frame in enumerate(frames):
        assert frame.image.shape == (48, 64) and frame.image.dtype == np.uint8
        assert abs(float(frame.image.mean()) - 10 * number) < 4


def test_iterating_twice_starts_anew_and_closing_twice_is_fine(write_video):
    source = VideoSource(write_video())
    next(iter(source))
    assert len(list(source)) == len(list(source)) == 12
    source.close()
    source.close()


def test_names_that_mean_something_to_opencv_are_only_names(write_video):
    for name in ('run%02d.avi', 'c:0001.avi'):
        assert len(list(VideoSource(write_video(name)))) == 12


def test_the_annotated_animal_clip_is_read(shared_data):
    source = VideoSource(shared_data / 'animal_annotated.avi')
    assert (source.rate, source.frame_count) == (10.0, 78)
    shapes = [frame.image.shape for frame in source]
    assert shapes == [(1080, 1594)] * 78


def test_a_damaged_video_makes_no_noise_beside_our_error(write_video):
    path = write_video('a.mp4', 'mp4v', count=30)
    data = np.frombuffer(path.read_bytes(), np.uint8).copy()
    data[600:-1500:7] = 0x55
    path.write_bytes(data.tobytes())
    code = ('import sys\nfrom fedefm_ros.imaging.video import VideoSource\n'
            'from fedefm_ros.errors import FedefmError\n'
            'try: list(VideoSource(sys.argv[1]))\n'
            'except FedefmError: pass')
    loud, quiet = (subprocess.run([sys.executable, '-c', code, path], capture_output=True,
                                  text=True, env=os.environ | level)
                   for level in ({'OPENCV_FFMPEG_LOGLEVEL': '24'}, {}))
    assert loud.stdout + loud.stderr, 'the damage went unnoticed: this test tells nothing'
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, '', '')


@pytest.mark.parametrize('name, code', [('a.avi', 'MJPG'), ('a.mp4', 'mp4v'), ('a.mkv', 'MJPG')])
@pytest.mark.parametrize('share', [0.0, 0.01, 0.1, 0.5])
def test_a_truncated_video_ends_in_an_error_that_names_it(write_video, name, code, share):
    path = write_video(name, code, count=40)
    data = path.read_bytes()
    path.write_bytes(data[:int(len(data) * share)])
    with pytest.raises(FedefmError, match=name):
        list(VideoSource(path))


def test_audio_text_and_missing_files_are_refused(tmp_path):
    with wave.open(str(tmp_path / 'audio.avi'), 'wb') as audio:
        audio.setparams((1, 2, 8000, 0, 'NONE', ''))
        audio.writeframes(bytes(16000))
    (tmp_path / 'text.avi').write_text('no video' * 100)
    for name in ('audio.avi', 'text.avi', 'missing.avi'):
        with pytest.raises(FedefmError, match=name):
            VideoSource(tmp_path / name)


def test_flipped_bytes_give_frames_or_our_error_and_nothing_else(write_video):
    random = np.random.default_rng(0)
    path = write_video(count=6)
    data = np.frombuffer(path.read_bytes(), np.uint8)
    for trial in range(40):
        broken = data.copy()
        broken[random.integers(0, 6000 if trial % 2 else len(data), 20)] = random.integers(0, 256)
        path.write_bytes(broken.tobytes())
        try:
            assert all(frame.image.ndim == 2 for frame in VideoSource(path))
        except FedefmError as error:
            assert 'a.avi' in str(error)

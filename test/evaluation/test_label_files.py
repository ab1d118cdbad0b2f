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

"""Files of CVAT and Guide3D, made in their exact layout."""

import json

from fedefm_ros.errors import FedefmError
from fedefm_ros.evaluation.labels import read_labels

import numpy as np
import pytest

# As CVAT exports "CVAT for images 1.1"; Guide3D's cvat.xml looks like this.
IMAGES = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><project><id>1</id><name>Test</name></project></meta>
  <image id="0" name="1-bca-angle-5-1/025.png" subset="default" task_id="4" width="64" height="48">
    <polyline label="guidewire" source="manual" occluded="0"
             points="40.00,20.00;30.50,21.00;0.50,22.30" z_order="0">
    </polyline>
  </image>
  <image id="1" name="1-bca-angle-5-1/026.png" subset="default" task_id="4" width="64" height="48">
  </image>
  <image id="2" name="frame_000012" width="64" height="48">
    <polygon label="Catheter" source="manual" occluded="0"
             points="10.00,10.00;20.00,10.00;20.00,14.00;10.00,14.00" z_order="0"></polygon>
    <mask label="guidewire" source="manual" occluded="0" rle="1, 3, 1, 3"
             left="30" top="5" width="4" height="2" z_order="0"></mask>
    <box label="table" xtl="0" ytl="0" xbr="9" ybr="9"></box>
  </image>
</annotations>
"""
# As CVAT exports "CVAT for video 1.1".
VIDEO = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><original_size><width>64</width><height>48</height></original_size></task></meta>
  <track id="0" label="catheter" source="manual">
    <polyline frame="0" keyframe="1" outside="0" occluded="0"
             points="0.0,5.0;20.0,5.0" z_order="0"></polyline>
    <polyline frame="1" keyframe="0" outside="0" occluded="0"
             points="0.0,5.0;21.0,5.0" z_order="0"></polyline>
    <polyline frame="2" keyframe="1" outside="1" occluded="0"
             points="0.0,5.0;21.0,5.0" z_order="0"></polyline>
  </track>
  <track id="1" label="wire" source="manual">
    <polyline frame="1" keyframe="1" outside="0" occluded="0"
             points="21.0,5.0;50.0,7.0" z_order="0"></polyline>
  </track>
</annotations>
"""
# As in Guide3D's raw.json (frame 0) and b_spline.json (frame 1).
SPLINE = {'t': [0.0] * 4 + [100.0] * 4, 'c': [[0.0, 30.0, 60.0, 90.0], [500.0] * 4], 'k': 3}
GUIDE3D = [{
    'task': '1-bca-angle-5-1', 'frame_count': 2, 'frames': [
        {'frame_number': 0,
         'cameraA': {'image': '1-bca-angle-5-1/000.png',
                     'points': [[514, 298], [525, 324], [3, 593]]},
         'cameraB': {'image': '1-bca-angle-5-2/000.png', 'points': [[0, 790], [596, 305]]}},
        {'frame_number': 1,
         'cameraA': {'image': '1-bca-angle-5-1/001.png', 'tck': SPLINE, 'u': [0.0, 100.0]}}]}]


def written(tmp_path, text, name='labels.xml'):
    path = tmp_path / name
    path.write_text(text, encoding='utf-8')
    return path


def test_cvat_images_are_read(tmp_path):
    found = read_labels(written(tmp_path, IMAGES))
    assert list(found) == ['1-bca-angle-5-1/025.png', '1-bca-angle-5-1/026.png', '12']
    (wire,) = found['1-bca-angle-5-1/025.png'].instruments
    # Drawn from the tip; the end at the border is the entry.
    assert wire.kind == 2 and wire.tip_visible
    assert wire.tip == pytest.approx([40.0, 20.0])
    assert found['1-bca-angle-5-1/026.png'].instruments == ()


def test_cvat_areas_become_a_mask(tmp_path):
    label = read_labels(written(tmp_path, IMAGES))['12']
    assert label.instruments is None
    mask = label.draw((48, 64))
    assert (mask == 1).sum() == 11 * 5 and mask[12, 15] == 1
    assert np.argwhere(mask == 2).tolist() == [[5, 31], [5, 32], [5, 33], [6, 31], [6, 32],
                                               [6, 33]]
    with pytest.raises(FedefmError, match='12.*64 x 48.*32 x 32'):
        label.draw((32, 32))


def test_cvat_tracks_are_read_by_frame(tmp_path):
    found = read_labels(written(tmp_path, VIDEO))
    assert {name: [i.kind for i in label.instruments] for name, label in found.items()} == {
        '0': [1], '1': [1, 2]}
    assert found['1'].instruments[0].tip == pytest.approx([21.0, 5.0])


def test_guide3d_points_and_splines_are_read(tmp_path):
    found = read_labels(written(tmp_path, json.dumps(GUIDE3D), 'raw.json'))
    assert list(found) == ['1-bca-angle-5-1/000.png', '1-bca-angle-5-2/000.png',
                           '1-bca-angle-5-1/001.png']
    tips = [label.instruments[0].tip for label in found.values()]
    assert np.array(tips) == pytest.approx(np.array([[514, 298], [596, 305], [90, 500]]))
    mask = found['1-bca-angle-5-1/000.png'].draw((1024, 1024))
    assert set(np.unique(mask)) == {0, 2} and mask[298, 514] == 2
    # 615 pixels of line; OpenCV's thickness of two covers two to three of them.
    assert 2 * 615 < (mask > 0).sum() < 3 * 615


def test_our_centrelines_are_read_as_well(tmp_path):
    found = read_labels(written(
        tmp_path, '{"frames": {"a.png": {"catheter": [[0, 0], [5, 5]]}}}', 'labels.json'))
    assert found['a.png'].instruments[0].kind == 1 and found['a.png'].draw is None


def test_a_line_that_leaves_at_both_ends_shows_no_tip(tmp_path):
    text = IMAGES.replace('40.00,20.00', '63.00,20.00')
    (wire,) = read_labels(written(tmp_path, text))['1-bca-angle-5-1/025.png'].instruments
    assert not wire.tip_visible


@pytest.mark.parametrize(('text', 'reason'), [
    (IMAGES[:300], 'no XML'),
    ('<html></html>', 'root is <html>'),
    ('<annotations></annotations>', 'neither <image> nor <track>'),
    (IMAGES.replace('polyline label="guidewire"', 'polyline label="rib"'),
     "025.png.*'rib'"),
    (IMAGES.replace('30.50,21.00', '30.50'), '025.png.*points'),
    (IMAGES.replace('width="64"', 'width="x"'), "width 'x'"),
    (IMAGES.replace('1, 3, 1, 3', '1, 3, 1, 30'), 'runs do not fill'),
    (IMAGES.replace('left="30"', 'left="63"'), 'within the image'),
    (VIDEO.replace('original_size', 'size'), 'no <original_size>'),
    ('<!DOCTYPE a [<!ENTITY b "c">]><annotations/>', 'document type'),
    ('[{"frames": [{"cameraA": {"points": [[0, 0], [1, 1]]}}]}]', 'not a Guide3D file'),
    ('[{"frames": [{"cameraA": {"image": "a/0.png", "points": [[0, 0]]}}]}]', 'a/0.png'),
    ('[1, 2]', 'not a Guide3D file'),
    ('[', 'not a Guide3D file'),
])
def test_what_is_wrong_is_told_with_the_file(tmp_path, text, reason):
    with pytest.raises(FedefmError, match=f'labels.xml.*{reason}'):
        read_labels(written(tmp_path, text))


def test_a_missing_or_binary_file_is_told(tmp_path):
    with pytest.raises(FedefmError, match='none.xml cannot be read'):
        read_labels(tmp_path / 'none.xml')
    path = tmp_path / 'binary.xml'
    path.write_bytes(b'\xff\xfe\x00\x81')
    with pytest.raises(FedefmError, match='binary.xml'):
        read_labels(path)

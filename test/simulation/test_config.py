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

"""Settings of the simulator: what the default files hold, and what is refused."""

from pathlib import Path

from fedefm_ros.errors import FedefmError
from fedefm_ros.paths import config_dir
from fedefm_ros.simulation.anatomy_settings import KINDS
from fedefm_ros.simulation.config import find
from fedefm_ros.simulation.config import read
from fedefm_ros.simulation.fluoroscopy import FluoroscopySimulator
from fedefm_ros.simulation.ranges import Count
from fedefm_ros.simulation.ranges import LogRange
from fedefm_ros.simulation.ranges import Range
from fedefm_ros.simulation.scene import Scene

import numpy as np

import pytest

import yaml

#: What shipped models were trained on: (photons, scatter, blur, contrast of devices).
TRAINED_ON = {
    'human': ((300, 20000), (0.0, 1.2), (0.3, 1.3), 1.0),
    'animal': ((300, 20000), (0.0, 1.2), (0.3, 1.3), 1.0),
    'phantom': ((800, 30000), (0.0, 1.2), (0.3, 1.3), 1.3),
    'simulation': ((3000, 100000), (0.0, 0.3), (0.3, 0.9), 2.0)}


def written(tmp_path, text):
    path = tmp_path / 'own.yaml'
    path.write_text(text)
    return path


@pytest.mark.parametrize('kind', KINDS)
def test_default_files_are_what_the_shipped_model_was_trained_on(kind):
    config = find(kind)
    photons, scatter, blur, contrast = TRAINED_ON[kind]
    assert config.kind == kind and config.spacing_mm == LogRange(0.2, 0.3)
    assert config.xray.photons == LogRange(*photons)
    assert config.xray.scatter == Range(*scatter) and config.xray.blur_px == Range(*blur)
    assert config.devices.contrast == contrast
    assert config.devices.count.values == (0, 1, 2)
    assert {name: (role.french.low, role.french.high)
            for name, role in config.devices.catheter.roles.items() if role.weight} \
        == {'guide': (5, 8.2), 'diagnostic': (4, 6.2), 'micro': (1.9, 3.0)}
    moving = config.motions.breath.amplitude_px.high > 0
    assert moving == bool(config.motions.heart.beats) == (kind in ('human', 'animal'))
    assert not any(manoeuvre.chance for manoeuvre in (
        config.motions.retraction, config.motions.rotation, config.motions.table,
        config.motions.bolus))


#: Photons and blur of an acquisition and the first device's samples, radius and attenuation, as
#: drawn before there were files: the random stream is part of what a seed means.
DRAWN = {
    'human': (723.402, 0.304561, 89, 1.1, 0.509757),
    'animal': (990.076, 0.928309, 111, 1.1, 0.34822),
    'phantom': (5485.51, 0.941142, 109, 1.1, 0.384687),
    'simulation': (69125.4, 0.771771, 78, 0.55, 1.38532)}


@pytest.mark.parametrize('kind', KINDS)
def test_a_seed_means_what_it_meant_when_the_shipped_model_was_trained(kind):
    rng = np.random.default_rng(11)
    scene = Scene(kind, rng, 96, 1.3, device_count=1)
    scene.redraw_devices(rng, device_count=1)
    device = scene.devices[0]
    assert (scene._chain.photons, scene._chain.blur_px, len(device.points), device.radius_px,
            device.attenuation) == pytest.approx(DRAWN[kind], rel=1e-4)


def test_what_a_file_leaves_out_is_as_by_default(tmp_path):
    config = read(written(tmp_path, '\n'.join([
        'kind: animal', 'xray: {photons: [50, 1e2]}', 'anatomy: {mottle: {count: [2, 2]}}',
        'devices: {count: {3: 1}}'])))
    default = find('animal')
    assert config.xray.photons == LogRange(50, 100)
    assert config.xray.scatter == default.xray.scatter
    assert config.anatomy.mottle.count == Count(2, 2)
    assert config.anatomy.mottle.strength == default.anatomy.mottle.strength
    assert config.devices.count.values == (3,)
    assert config.motions == default.motions


def test_roles_that_a_file_names_are_the_ones_there_are_and_keep_what_it_does_not_say(tmp_path):
    default = find('human').devices.catheter.roles
    roles = read(written(tmp_path, 'kind: human\ndevices: {catheter: {roles: {micro: {}, imaging: '
                         '{weight: 0.2, french: [3, 3]}}}}\n')).devices.catheter.roles
    assert list(roles) == ['micro', 'imaging'] and roles['micro'] == default['micro']
    assert roles['imaging'].weight == 0.2 and roles['imaging'].french == Range(3, 3)
    assert roles['imaging'].transducer == default['imaging'].transducer


def test_settings_decide_the_pictures(tmp_path):
    path = written(tmp_path, 'kind: phantom\nxray: {photons: [20, 20]}\n')
    noisy, default = (next(iter(FluoroscopySimulator(kind, 128, seed=3)))
                      for kind in (str(path), 'phantom'))
    # The constant takes nothing from the random stream: what follows it differs too.
    assert not np.array_equal(noisy.image, default.image)

    def roughness(frame):
        return np.abs(np.diff(frame.image.astype(float))).mean()
    assert roughness(noisy) > 2 * roughness(default)


@pytest.mark.parametrize('text, said', [
    ('xray: {photons: [5, 4]}', r'xray.photons is \[5, 4\]; expected \[lowest, highest\]'),
    ('xray: {photon: [4, 5]}', 'xray.photon is not known; known here are scatter'),
    ('xray: {photons: [0, 5]}', 'xray.photons has 0; 1 to 1e'),
    ('xray: {photons: much}', "xray.photons is 'much'; a list"),
    ('xray: {blur_px: [.nan, 1]}', 'xray.blur_px has nan'),
    ('xray: {blur_px: [true, 1]}', 'xray.blur_px is True; a number'),
    ('xray: 3', 'xray is 3; a table'),
    ('xray: {black: [0, 0.8], white: [0.3, 0.9]}', 'xray.white must end 0.2 above'),
    ('xray: {lag: [{share: 1}]}', 'xray.lag has'),
    ('xray: {lag: [{share: 0, range: [0, 0]}]}', 'xray.lag: the shares are all 0'),
    ('anatomy: {regions: {thorax: 1, leg: 1}}', 'anatomy.regions: leg is not known'),
    ('anatomy: {regions: {thorax: 0}}', 'anatomy.regions: the weights are all 0'),
    ('anatomy: {shells: {count: [1.5, 3]}}', 'anatomy.shells.count .* two whole numbers'),
    ('devices: {count: {many: 1}}', 'devices.count has the keys'),
    ('devices: {lone_wire: 1.5}', 'devices.lone_wire has 1.5; 0 to 1'),
    ('devices: {guidewire: {shapes: {hook: 1}}}', 'devices.guidewire.shapes: hook'),
    ('devices: {catheter: {roles: {balloon: {weight: 1}}}}',
     'devices.catheter.roles.balloon.french is missing'),
    ('devices: {catheter: {roles: {imaging: {}}}}', 'devices.catheter.roles: the weights are all'),
    ('devices: {catheter: {roles: {guide: {bands: {chance: 1}}}}}',
     'devices.catheter.roles.guide.bands.count is missing'),
    ('devices: {catheter: {roles: {imaging: {transducer: {length_mm: 3}}}}}',
     'devices.catheter.roles.imaging.transducer.length_mm is 3'),
    ('xray: {text: {chance: 2}}', 'xray.text.chance has 2'),
    ('anatomy: {tubes: {count: [1, 2]}}', 'anatomy.tubes is not known'),
    ('kind: robot', "kind is 'robot'; expected one of human")])
def test_what_cannot_be_is_refused_with_file_and_key(tmp_path, text, said):
    kind = '' if 'kind' in text else 'kind: human\n'
    with pytest.raises(FedefmError, match=f'own.yaml: {said}'):
        read(written(tmp_path, kind + text))


@pytest.mark.parametrize('content, said', [
    (None, 'cannot be read'), (b'a: [', 'is no YAML'), (b'\xff\xfe', 'is no YAML'),
    (b'- 1', 'a table of keys')])
def test_what_is_no_settings_file_is_refused(tmp_path, content, said):
    path = tmp_path / 'own.yaml'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FedefmError, match=f'own.yaml: {said}'):
        find(str(path))


def test_wires_may_be_fainter_than_the_limit_and_tips_turned(tmp_path):
    shafts, bends = {}, {}
    for share, turned in ((1, 0), (0.3, 0), (1, 1)):
        path = written(tmp_path, f'kind: human\ndevices: {{turned: {turned}, lone_wire: 1, count: '
                       f'{{1: 1}}, visible: {{faint_wire: [{share}, {share}]}}}}\n')
        made = [Scene(str(path), np.random.default_rng((7, seed)), 128, 1.0).devices[0]
                for seed in range(30)]
        shafts[share, turned] = np.array([one.attenuation for one in made])
        bends[share, turned] = [one.thickness is not None for one in made]
    plain, faint = shafts[1, 0], shafts[0.3, 0]
    assert (faint <= plain).all() and (faint < 0.6 * plain).any()
    assert not any(bends[1, 0]) and np.mean(bends[1, 1]) > 0.6


@pytest.mark.parametrize('kind', KINDS)
def test_default_files_have_neither_fainter_wires_nor_turned_tips(kind):
    devices = find(kind).devices
    assert devices.turned == 0 and devices.visible.faint_wire == Range(1, 1)


@pytest.mark.parametrize('name', ['procedure', *(f'training/{kind}' for kind in (
    'human', 'animal', 'phantom'))])
def test_files_for_training_and_procedures_have_imaging_catheters_and_text(name):
    config = read(config_dir() / 'simulation' / f'{name}.yaml')
    roles = config.devices.catheter.roles
    assert roles['imaging'].weight > 0 and config.xray.text.chance > 0
    assert roles['guide'] == find(config.kind).devices.catheter.roles['guide']
    if name != 'procedure':
        assert roles['diagnostic'].bands.count.high > 2 and roles['micro'].bands


@pytest.mark.parametrize('path', sorted((config_dir() / 'simulation').glob('**/*.yaml')),
                         ids=lambda path: f'{path.parent.name}-{path.stem}')
def test_every_file_shipped_can_be_read(path: Path):
    assert read(path).kind == yaml.safe_load(path.read_text())['kind']

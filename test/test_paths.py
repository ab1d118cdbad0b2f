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

"""The shipped models and files are found however the package was installed."""

import shutil
import subprocess
import sys

import pytest

PRINT = ('from fedefm_ros import paths; '
         'print(paths.models_dir(), paths.config_dir(), paths.launch_dir(), paths.checkout(), '
         'sep=chr(10))')


def installed(checkout, package, data):
    """Put the parts that matter into a package folder and a data folder."""
    package.mkdir(parents=True)
    for name in ('__init__.py', 'errors.py', 'paths.py'):
        shutil.copy(checkout / 'fedefm_ros' / name, package)
    for name in ('models', 'config', 'launch'):
        (data / name).mkdir(parents=True)


def found(folder, **options):
    done = subprocess.run([sys.executable, '-c', f'import sys; sys.path.insert(0, {str(folder)!r})'
                                                 f'\n{PRINT}'],
                          capture_output=True, text=True, **options)
    return done.stdout.splitlines() or done.stderr


@pytest.mark.parametrize('python_folder', [
    'lib/python3.12/site-packages', 'local/lib/python3.12/dist-packages'])
def test_in_share_of_a_colcon_install(checkout, tmp_path, python_folder):
    share = tmp_path / 'share' / 'fedefm_ros'
    installed(checkout, tmp_path / python_folder / 'fedefm_ros', share)
    assert found(tmp_path / python_folder) == [
        str(share / 'models'), str(share / 'config'), str(share / 'launch'), 'None']


def test_inside_the_package_of_a_pip_install(checkout, tmp_path):
    package = tmp_path / 'lib' / 'python3.12' / 'site-packages' / 'fedefm_ros'
    installed(checkout, package, package / 'share')
    assert found(package.parent)[0] == str(package / 'share' / 'models')


def test_in_the_checkout_itself(checkout):
    assert found(checkout) == [str(checkout / name) for name in ('models', 'config', 'launch')] + [
        str(checkout)]


def test_data_that_was_not_installed_is_named(checkout, tmp_path):
    installed(checkout, tmp_path / 'fedefm_ros', tmp_path / 'elsewhere')
    assert 'no config/ found for the package' in found(tmp_path)

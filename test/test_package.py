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

"""The package is what its files say: licences, dependencies, boundaries, installed files."""

import ast
from importlib.metadata import packages_distributions
import os
from pathlib import Path
import re
import subprocess
import sys

import fedefm_ros

from lxml import etree

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'fedefm_ros'
ROS_ONLY = re.compile(r'(rclpy|rosidl_\w+|launch|launch_ros|ament_index_python|\w+_interfaces|'
                      r'\w+_msgs|std_srvs|cv_bridge|fedefm_ros\.(msg|srv|action))(\.|$)')
# What is imported -> its rosdep key; what is not here has no key, and pip must install it.
ROSDEP_KEYS = {
    'cv2': 'python3-opencv',
    'jinja2': 'python3-jinja2',
    'PIL': 'python3-pil',
    'matplotlib': 'python3-matplotlib',
    'networkx': 'python3-networkx',
    'numpy': 'python3-numpy',
    'psutil': 'python3-psutil',
    'rich': 'python3-rich',
    'scipy': 'python3-scipy',
    'skimage': 'python3-skimage',
    'torch': 'python3-torch',
    'typer': 'python3-typer',
    'yaml': 'python3-yaml',
}

# Imported only where somebody installed them: to be measured against, or for one more format.
OPTIONAL = {'foxglove', 'pyarrow', 'qpth', 'ray'}
#: Packages of extras that ./run does not install.
EXTRAS = {'foxglove-sdk', 'ray'}


def committed(*suffixes: str) -> list[Path]:
    """Return the checkout's own files with one of these suffixes."""
    listed = subprocess.run(['git', 'ls-files', '-z', '--cached', '--others',
                             '--exclude-standard'], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip('not a git checkout')
    paths = [ROOT / name for name in listed.stdout.split('\0') if name]
    return [path for path in paths if path.suffix in suffixes and path.is_file()]


def scripts() -> list[Path]:
    return [path for path in (ROOT / 'scripts').iterdir() if path.is_file() and not path.suffix]


def imports(path: Path) -> set[str]:
    """Return the modules that a file imports, anywhere in it, as `package.module.name`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f'{node.module}.{alias.name}' for alias in node.names}
    return found


def third_party(paths: list[Path]) -> set[str]:
    """Return the top packages imported there that are neither Python's nor ours."""
    tops = {name.partition('.')[0] for path in paths for name in imports(path)}
    return tops - sys.stdlib_module_names - {'fedefm_ros'}


def manifest() -> etree._Element:
    return etree.parse(ROOT / 'package.xml').getroot()


def declared(*kinds: str) -> set[str]:
    return {element.text for kind in kinds for element in manifest().iter(kind)}


def requirement_names(text: str) -> set[str]:
    return {name.lower().replace('_', '-')
            for name in re.findall(r'(?m)^([A-Za-z][\w.-]*)', text)}


def test_every_source_file_starts_with_the_licence():
    notice = (ROOT / 'fedefm_ros/__init__.py').read_text().partition('\n"""')[0].strip()
    for path in committed('.py') + scripts():
        text = path.read_text().removeprefix('#!/usr/bin/env python3\n')
        assert text.startswith(notice + '\n'), path


def test_manifest_is_format_3_with_what_a_build_farm_asks_for():
    root = manifest()
    assert root.tag == 'package' and root.get('format') == '3'
    assert re.fullmatch(r'[\w.+-]+@[\w-]+(\.[\w-]+)+', root.find('maintainer').get('email'))
    assert root.findtext('license') == 'Apache-2.0'
    assert (ROOT / root.find('license').get('file')).is_file()
    assert root.findtext('export/build_type') == 'ament_cmake'
    assert 'rosidl_interface_packages' in declared('member_of_group')


def test_version_is_the_same_everywhere():
    assert manifest().findtext('version') == fedefm_ros.__version__


def test_manifest_declares_what_the_code_imports():
    run_time = declared('depend', 'exec_depend')
    for name in third_party(sorted(PACKAGE.rglob('*.py')) + sorted((ROOT / 'launch').iterdir())):
        key = name if ROS_ONLY.match(name) else ROSDEP_KEYS.get(name)
        assert key is None or key in run_time, f'{name} is imported but not in package.xml'


def test_manifest_declares_what_the_interfaces_use():
    text = '\n'.join(path.read_text() for folder in ('msg', 'srv')
                     for path in (ROOT / folder).iterdir())
    used = set(re.findall(r'(?m)^(\w+)/\w+(?:\[\d*\])?\s', text)) - {'fedefm_ros'}
    assert used and used <= declared('depend')
    dependencies = re.search(r'DEPENDENCIES ([^)]*)\)', (ROOT / 'CMakeLists.txt').read_text())
    assert used == set(dependencies[1].split())


@pytest.mark.parametrize('path', sorted(
    path for folder in ('msg', 'srv') for path in (ROOT / folder).iterdir()),
    ids=lambda path: path.name)
def test_every_field_of_an_interface_says_what_it_is(path):
    told = False
    for line in path.read_text().splitlines():
        if not line or line == '---':
            told = False
        elif line.startswith('#'):
            told = True
        elif '=' not in line.partition('#')[0]:  # constants have names that tell
            # A comment stands above its fields, or beside one.
            assert told or '#' in line, line


def test_cmake_installs_everything():
    cmake = (ROOT / 'CMakeLists.txt').read_text()
    interfaces = {f'{folder}/{path.name}' for folder in ('msg', 'srv')
                  for path in (ROOT / folder).iterdir()}
    assert interfaces == set(re.findall(r'(?:msg|srv)/\w+\.(?:msg|srv)', cmake))
    assert {path.name for path in scripts()} == set(re.findall(r'scripts/(\w+)', cmake))
    assert 'DIRECTORY config launch models' in cmake
    assert 'DIRECTORY ${PROJECT_NAME}/' in cmake


def test_every_script_starts_a_node():
    for script in scripts():
        assert os.access(script, os.X_OK), script
        assert f'fedefm_ros.nodes.{script.name}.main' in imports(script), script


def test_only_nodes_know_ros():
    for path in PACKAGE.rglob('*.py'):
        if path.relative_to(PACKAGE).parts[0] != 'nodes':
            ros = sorted(name for name in imports(path) if ROS_ONLY.match(name))
            assert not ros, f'{path.relative_to(ROOT)} imports {ros}; only nodes/ may'


def test_all_but_the_nodes_imports_where_there_is_no_ros():
    modules = sorted('.'.join(path.relative_to(ROOT).with_suffix('').parts)
                     for path in PACKAGE.rglob('*.py')
                     if path.relative_to(PACKAGE).parts[0] != 'nodes')
    code = f"""
import importlib, re, sys
class NoRos:
    def find_spec(self, name, path=None, target=None):
        if re.match({ROS_ONLY.pattern!r}, name):
            raise ModuleNotFoundError(f'there is no {{name}} here')
sys.meta_path.insert(0, NoRos())
for name in {modules!r}:
    importlib.import_module(name.removesuffix('.__init__'))
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert not done.returncode, done.stderr


def test_packages_that_the_code_imports_are_in_the_lists():
    listed = requirement_names('\n'.join(
        (ROOT / 'requirements' / name).read_text() for name in ('python.in', 'torch.txt')))
    names = packages_distributions()
    for name in third_party(sorted(PACKAGE.rglob('*.py'))) - OPTIONAL:
        if not ROS_ONLY.match(name):
            sources = {source.lower().replace('_', '-') for source in names.get(name, [])}
            assert sources & listed, f'{name} is imported but not in requirements/python.in'


def test_locks_pin_all_of_the_lists_with_hashes():
    locks = {name: (ROOT / f'requirements/{name}.lock').read_text() for name in ('python', 'ros')}
    pinned = requirement_names('\n'.join(locks.values()))
    for name, lock in locks.items():
        assert requirement_names((ROOT / f'requirements/{name}.in').read_text()) <= pinned
        for block in re.split(r'\n(?=\w)', lock.partition('\n')[2].strip()):
            assert re.match(r'[\w.-]+==\S+( ; [^\\]+)? \\\n    --hash=sha256:[0-9a-f]{64}', block)


def test_what_pip_installs_is_in_the_lists():
    tomllib = pytest.importorskip('tomllib', reason='Python 3.10 has no tomllib')
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
    wanted = project['dependencies'] + [
        item for extra in project['optional-dependencies'].values() for item in extra]
    listed = requirement_names('\n'.join(
        (ROOT / 'requirements' / name).read_text() for name in ('python.in', 'torch.txt')))
    assert requirement_names('\n'.join(wanted)) - {'fedefm-ros'} - EXTRAS <= listed


def test_no_file_names_a_place_on_somebodys_machine():
    place = re.compile(r'(?<![\w.~])/(work|root|home|Users)/')
    for path in committed('.py', '.md', '.toml', '.txt', '.xml', '.yaml', '.json', '.in', '.lock',
                          '.msg', '.srv', '.rviz', '') + [ROOT / 'run']:
        if path != Path(__file__).resolve():
            found = place.search(path.read_text(errors='replace'))
            assert not found, f'{path}: {found and found[0]}'

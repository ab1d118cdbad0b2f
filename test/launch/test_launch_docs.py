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

"""The arguments in docs/launch.md are those of the launch file; needs no launch."""

import ast
import re

from fedefm_ros.nodes.parameters import TABLES

import pytest


@pytest.fixture
def declared(checkout):
    """Return the arguments of station.launch.py: name -> default, read from its sources."""
    return declared_by(checkout, 'station.launch.py')


def declared_by(checkout, name):
    sources = (checkout / 'launch' / name, checkout / 'fedefm_ros' / 'nodes' / 'launching.py')
    nodes = [node for source in sources
             for node in ast.walk(ast.parse(source.read_text(encoding='utf-8')))]
    defaults = {}
    for node in nodes:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', '') == 'FORWARDED':
            for name, forwarded in ast.literal_eval(node.value).items():
                defaults |= {parameter.name: _text(parameter.default)
                             for parameter in TABLES[name] if parameter.name in forwarded}
        if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'DeclareLaunchArgument' \
                and isinstance(node.args[0], ast.Constant):
            options = {keyword.arg: keyword.value for keyword in node.keywords}
            default = options.get('default_value', ast.Constant(None))
            defaults[node.args[0].value] = ast.literal_eval(default)
    return defaults


def _text(default):
    return str(default).lower() if isinstance(default, bool) else str(default)


def test_the_documented_arguments_are_those_of_the_launch_file(checkout, declared):
    text = (checkout / 'docs' / 'launch.md').read_text(encoding='utf-8')
    rows = re.findall(r'^\| `(\w+)` \| (?:`(.*?)`)? *\|', text, re.MULTILINE)
    assert dict(rows) == declared
    assert len(declared) > 10


def test_every_argument_used_in_the_documentation_exists(checkout, declared):
    for page in [*(checkout / 'docs').glob('*.md'), checkout / 'README.md']:
        text = page.read_text(encoding='utf-8').replace('\\\n', ' ')
        for name, rest in re.findall(r'ros2 launch fedefm_ros (\S+)(.*)$', text, re.MULTILINE):
            known = declared if name == 'station.launch.py' else declared_by(checkout, name)
            assert set(re.findall(r'(\w+):=', rest)) <= set(known), rest

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

import math

from fedefm_ros.nodes import parameters
from fedefm_ros.nodes.declaration import Parameters
from fedefm_ros.nodes.parameters import FLUOROSCOPY, Parameter, TABLES

import pytest

from rcl_interfaces.msg import ParameterType

import rclpy
from rclpy.exceptions import InvalidParameterValueException
from rclpy.parameter import Parameter as RosParameter

import yaml

TABLE = (
    Parameter('rate', 1.5, 'A number.', minimum=0.0, maximum=9.0),
    Parameter('threads', 2, 'An integer.', minimum=1, maximum=8),
    Parameter('mode', 'a', 'A choice.', choices=('a', 'b')),
    Parameter('name', 'x', 'Text.', parameters.START),
    Parameter('loop', False, 'A switch.'),
)


@pytest.fixture
def make_node():
    """Return a function that makes a node which declares TABLE."""
    context = rclpy.Context()
    rclpy.init(context=context)
    nodes = []

    def make(changed=lambda name: None, **overrides):
        nodes.append(rclpy.create_node('declares', context=context, parameter_overrides=[
            RosParameter(name, value=value) for name, value in overrides.items()]))
        return nodes[-1], Parameters(nodes[-1], TABLE, changed)
    yield make
    for node in nodes:
        node.destroy_node()
    rclpy.shutdown(context=context)


@pytest.mark.parametrize('node', TABLES)
def test_the_parameter_file_says_what_the_table_says(checkout, node):
    text = (checkout / 'config' / f'{node}.yaml').read_text(encoding='utf-8')
    assert text == parameters.yaml_text(node), 'run python -m fedefm_ros.nodes.parameters'
    values = yaml.safe_load(text)['/**']['ros__parameters']
    assert values == {parameter.name: parameter.default for parameter in TABLES[node]}


def test_the_document_says_what_the_table_says(checkout):
    text = (checkout / 'docs' / 'parameters.md').read_text(encoding='utf-8')
    assert text == parameters.markdown_text(), 'run python -m fedefm_ros.nodes.parameters'


@pytest.mark.parametrize('node', TABLES)
def test_every_default_is_allowed_and_every_description_a_sentence(node):
    names = [parameter.name for parameter in TABLES[node]]
    assert len(names) == len(set(names))
    for parameter in TABLES[node]:
        assert parameter.problem_with(parameter.default) is None
        assert parameter.description.endswith('.'), parameter.name


@pytest.mark.parametrize('name, value, word', [
    ('rate', -1.0, 'expected 0 to 240'), ('rate', math.nan, 'expected'),
    ('rate', '15', 'expected a number'), ('rate', True, 'expected a number'),
    ('loop', 1, 'expected true or false'), ('size', 512.0, 'expected an integer'),
    ('encoding', 'rgb8', 'expected one of passthrough, mono8, mono16'),
    ('source', 3, 'expected text'),
])
def test_a_value_that_does_not_fit_is_told_with_what_would(name, value, word):
    parameter = next(p for p in FLUOROSCOPY if p.name == name)
    assert word in parameter.problem_with(value)


def test_a_node_has_the_defaults_ranges_and_descriptions_of_its_table(make_node):
    node, settings = make_node()
    assert (settings['rate'], settings['threads'], settings['mode']) == (1.5, 2, 'a')
    integer = node.describe_parameter('threads')
    assert (integer.integer_range[0].from_value, integer.integer_range[0].to_value) == (1, 8)
    assert integer.type == ParameterType.PARAMETER_INTEGER
    assert node.describe_parameter('rate').floating_point_range[0].to_value == 9.0
    assert 'one of: a, b' in node.describe_parameter('mode').additional_constraints
    assert node.describe_parameter('name').read_only


def test_values_given_at_the_start_win_and_an_integer_does_for_a_number(make_node):
    _, settings = make_node(rate=3, mode='b')
    assert settings['rate'] == 3.0 and isinstance(settings['rate'], float)
    assert settings['mode'] == 'b'


@pytest.mark.parametrize('overrides', [{'rate': 10.0}, {'threads': 0}, {'mode': 'c'},
                                       {'rate': 'fast'}])
def test_a_bad_value_at_the_start_is_refused(make_node, overrides):
    with pytest.raises(InvalidParameterValueException):
        make_node(**overrides)


def test_a_live_change_is_checked_stored_and_told(make_node):
    told = []
    node, settings = make_node(told.append)
    good = node.set_parameters([RosParameter('rate', value=4.0), RosParameter('loop', value=True)])
    assert [result.successful for result in good] == [True, True]
    assert (settings['rate'], settings['loop'], told) == (4.0, True, ['rate', 'loop'])
    bad = node.set_parameters([RosParameter('rate', value=99.0), RosParameter('mode', value='c'),
                               RosParameter('name', value='y')])
    assert [result.successful for result in bad] == [False] * 3
    assert 'rate' in bad[0].reason and 'expected one of a, b' in bad[1].reason
    assert (settings['rate'], settings['name'], told) == (4.0, 'x', ['rate', 'loop'])

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

"""Declares a table of parameters on a node and keeps bad values out."""

from collections.abc import Callable

from fedefm_ros.nodes.parameters import Parameter, START, Value

from rcl_interfaces.msg import FloatingPointRange
from rcl_interfaces.msg import IntegerRange
from rcl_interfaces.msg import ParameterDescriptor
from rcl_interfaces.msg import SetParametersResult

from rclpy.node import Node


class Parameters:
    """``parameters['rate']``: the checked values of a node's table, always the newest."""

    def __init__(self, node: Node, table: tuple[Parameter, ...],
                 changed: Callable[[str], None] = lambda name: None):
        """
        Declare.

        :param changed: told the name of a parameter whose value has changed later.
        :raises rclpy.exceptions.ParameterException: a value given at the start is refused.
        """
        self._table = {parameter.name: parameter for parameter in table}
        self._values: dict[str, Value] = {}
        self._changed = changed
        # Before the declaration: values from the command line and from files are checked as well.
        node.add_on_set_parameters_callback(self._check)
        node.add_post_set_parameters_callback(self._store)
        for parameter in table:
            node.declare_parameter(parameter.name, parameter.default, _descriptor(parameter))
        self._declared = True

    _declared = False

    def __getitem__(self, name: str) -> Value:
        """Return the value of a parameter, floats as float."""
        return self._values[name]

    def _check(self, parameters) -> SetParametersResult:
        for given in parameters:
            parameter = self._table.get(given.name)
            problem = parameter.problem_with(given.value) if parameter else None
            if problem:
                return SetParametersResult(successful=False, reason=problem)
        return SetParametersResult(successful=True)

    def _store(self, parameters) -> None:
        for given in parameters:
            if given.name not in self._table:
                continue
            kind = type(self._table[given.name].default)
            value = kind(given.value)
            changed = self._declared and self._values[given.name] != value
            self._values[given.name] = value
            if changed:
                self._changed(given.name)


def _descriptor(parameter: Parameter) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(
        name=parameter.name, description=parameter.description,
        additional_constraints=(
            f'one of: {parameter.range_text}; ' if parameter.choices else '')
        + f'used from: {parameter.applies}',
        read_only=parameter.applies == START)
    if isinstance(parameter.default, float):
        # `-p rate:=15` is an integer to ROS; it should not need a point.
        descriptor.dynamic_typing = True
    if parameter.minimum is not None:
        if isinstance(parameter.default, float):
            descriptor.floating_point_range = [FloatingPointRange(
                from_value=float(parameter.minimum), to_value=float(parameter.maximum))]
        else:
            descriptor.integer_range = [IntegerRange(
                from_value=int(parameter.minimum), to_value=int(parameter.maximum))]
    return descriptor

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

"""The commands of the operator's console as ROS services, asked from a thread that may wait."""

from collections.abc import Callable
from functools import partial
import threading
import time
from typing import Any

from fedefm_ros.console.outcome import Outcome
from fedefm_ros.srv import LoadModel

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from lifecycle_msgs.srv import GetState

from rcl_interfaces.msg import Log
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.srv import GetParameters
from rcl_interfaces.srv import SetParametersAtomically

from rclpy.logging import LoggingSeverity
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile

from std_srvs.srv import SetBool
from std_srvs.srv import Trigger

TRANSITIONS = {
    'configure': Transition.TRANSITION_CONFIGURE, 'activate': Transition.TRANSITION_ACTIVATE,
    'deactivate': Transition.TRANSITION_DEACTIVATE, 'cleanup': Transition.TRANSITION_CLEANUP}
DISCOVERY_SECONDS = 2.0
ANSWER_SECONDS = 10.0
LONG_SECONDS = 120.0
"""For what loads a model: on a new machine the runtimes are measured first."""
_SCALE = ('pixel_spacing_mm', 'source_isocenter_mm')
"""Of the segmentation, by which it tells millimetres; each source has its own."""


class _Failed(Exception):
    """A command cannot go on; the text is for the operator."""


def _told(command: Callable[..., Outcome]) -> Callable[..., Outcome]:
    """Return the command with what stops it as its outcome."""
    def carry_out(*arguments) -> Outcome:
        try:
            return command(*arguments)
        except _Failed as failure:
            return Outcome(False, str(failure))
    return carry_out


class StationControls:
    """``fedefm_ros.console.outcome.Controls`` for the station in whose namespace a node is."""

    def __init__(self, node: Node, ending: threading.Event):
        """
        Make no client yet.

        :param node: spun by another thread.
        :param ending: set when nobody waits for answers any more.
        """
        self._node = node
        self._ending = ending
        self._clients: dict[tuple[type, str], Any] = {}
        self._errors: dict[str, tuple[float, str]] = {}
        node.create_subscription(Log, '/rosout', self._on_log, QoSProfile(depth=20))
        self.change = _told(self._change)
        self.load_model = _told(self._load_model)
        self.set_source = _told(self._set_source)
        self.pause = _told(self._pause)
        self.federate = _told(self._federate)

    def offered(self, commands: tuple[str, ...]) -> frozenset[str]:
        """Return which of these the station's federation node can be asked now."""
        # Not by the names of services: a client alone keeps a name on that list.
        return frozenset(command for command in commands if self._client(
            Trigger, f'federation/{command}').service_is_ready())

    def _change(self, node: str, transition: str) -> Outcome:
        begun = time.monotonic()
        request = ChangeState.Request()
        request.transition.id = TRANSITIONS[transition]
        if self._ask(ChangeState, f'{node}/change_state', request, LONG_SECONDS).success:
            return Outcome(True, f'{node}: {transition} done')
        return Outcome(False, f'{node} could not {transition}: {self._reason(node, begun)}')

    def _load_model(self, path: str) -> Outcome:
        answer = self._ask(LoadModel, 'segmentation/load_model', LoadModel.Request(path=path),
                           LONG_SECONDS)
        return Outcome(answer.success, answer.message, answer.model_id)

    def _set_source(self, source: str, rate: float, loop: bool) -> Outcome:
        before = self._ask(GetState, 'fluoroscopy/get_state', GetState.Request()
                           ).current_state.label
        names = ('source', 'rate', 'loop')
        kept, scale = self._parameters('fluoroscopy', names), ()
        new = [Parameter(name, value=value).get_parameter_value()
               for name, value in zip(names, (source, float(rate), loop))]
        down = {'active': ('deactivate', 'cleanup'), 'inactive': ('cleanup',)}.get(before, ())
        up = {'active': ('configure', 'activate'), 'inactive': ('configure',)}.get(before, ())
        for transition in down:
            self._must(transition)
        try:
            self._set_parameters('fluoroscopy', names, new)
            if source != kept[0].string_value:
                # Before its frames come: unknown millimetres are better than the old source's.
                scale = self._forget_scale()
            for transition in up:
                self._must(transition)
        except _Failed as failure:
            # A station without frames helps nobody: the old source still works.
            self._change('fluoroscopy', 'cleanup')
            self._set_parameters('fluoroscopy', names, kept)
            for transition in up:
                self._must(transition)
            if scale:
                self._set_parameters('segmentation', _SCALE, scale)
            raise _Failed(f'{failure}; the source is the one it was') from None
        told = f'the source is {source.rpartition("/")[2]}'
        if scale:
            told += (f'; lengths in mm are unknown from now on, {" and ".join(_SCALE)} of the '
                     "segmentation were the old source's")
        return Outcome(True, told)

    def _forget_scale(self):
        """Make the segmentation's scale unknown; return what it was, nothing if it was unknown."""
        if not self._client(GetParameters, 'segmentation/get_parameters').wait_for_service(
                DISCOVERY_SECONDS):
            return ()  # a source without segmentation
        scale = self._parameters('segmentation', _SCALE)
        if not any(value.double_value for value in scale):
            return ()
        self._set_parameters('segmentation', _SCALE, [
            Parameter(name, value=0.0).get_parameter_value() for name in _SCALE])
        return scale

    def _must(self, transition: str) -> None:
        outcome = self._change('fluoroscopy', transition)
        if not outcome.done:
            raise _Failed(outcome.text)

    def _parameters(self, node, names):
        return self._ask(GetParameters, f'{node}/get_parameters',
                         GetParameters.Request(names=list(names))).values

    def _set_parameters(self, node, names, values) -> None:
        request = SetParametersAtomically.Request(parameters=[
            ParameterMessage(name=name, value=value) for name, value in zip(names, values)])
        result = self._ask(SetParametersAtomically, f'{node}/set_parameters_atomically',
                           request).result
        if not result.successful:
            raise _Failed(result.reason)

    def _pause(self, paused: bool) -> Outcome:
        answer = self._ask(SetBool, 'fluoroscopy/pause', SetBool.Request(data=paused))
        return Outcome(answer.success, f'the source is {answer.message}')

    def _federate(self, command: str) -> Outcome:
        answer = self._ask(Trigger, f'federation/{command}', Trigger.Request(), LONG_SECONDS)
        return Outcome(answer.success, answer.message or f'{command} done')

    def _ask(self, kind: type, service: str, request: Any,
             patience: float = ANSWER_SECONDS) -> Any:
        """Return the answer to a request; raises _Failed where there is none in time."""
        client = self._client(kind, service)
        if not client.wait_for_service(DISCOVERY_SECONDS):
            raise _Failed(f'nobody offers {service}: the node does not run, or is not configured')
        arrived = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _: arrived.set())
        deadline = time.monotonic() + patience
        while not arrived.wait(0.2):
            if self._ending.is_set() or time.monotonic() > deadline \
                    or not client.service_is_ready():
                client.remove_pending_request(future)
                raise _Failed(f'{service} does not answer: the node hangs or has ended')
        return future.result()

    def _client(self, kind: type, service: str) -> Any:
        client = self._clients.get((kind, service))
        if client is None:
            client = self._clients[kind, service] = self._node.create_client(kind, service)
        return client

    def _reason(self, node: str, since: float) -> str:
        """Return what a node's log said since then, as far as it is known by now."""
        for _ in range(5):
            at, text = self._errors.get(node, (0.0, ''))
            if at >= since:
                return text
            self._ending.wait(0.1)  # the log goes another way than the answer
        return 'its log says why'

    def _on_log(self, message: Log) -> None:
        start = self._node.get_namespace().strip('/').replace('/', '.')
        name = message.name.removeprefix(f'{start}.' if start else '')
        if message.level >= LoggingSeverity.ERROR:
            self._errors[name] = time.monotonic(), message.msg


class States:
    """Asks lifecycle nodes for their states now and then, and never waits."""

    PATIENCE = 2.5

    def __init__(self, node: Node, names: tuple[str, ...],
                 told: Callable[[str, str | None], None]):
        """
        Ask once a second.

        :param told: gets name and state's label; None: no answer for ``PATIENCE`` seconds.
        """
        self._node = node
        self._told = told
        self._clients = {name: node.create_client(GetState, f'{name}/get_state')
                         for name in names}
        self._asked: dict[str, tuple[float, Any]] = {}
        self._timer = node.create_timer(0.5, self.ask)

    def ask(self) -> None:
        """Send the requests that are due."""
        for name, client in self._clients.items():
            asked = self._asked.get(name)
            if asked is not None:
                if time.monotonic() - asked[0] < self.PATIENCE:
                    continue
                client.remove_pending_request(asked[1])
                del self._asked[name]
                self._told(name, None)
            if not client.service_is_ready():
                self._told(name, None)
                continue
            future = client.call_async(GetState.Request())
            self._asked[name] = time.monotonic(), future
            future.add_done_callback(partial(self._answered, name))

    def _answered(self, name: str, future: Any) -> None:
        asked = self._asked.get(name)
        if asked is not None and asked[1] is future and future.result() is not None:
            del self._asked[name]
            self._told(name, future.result().current_state.label)

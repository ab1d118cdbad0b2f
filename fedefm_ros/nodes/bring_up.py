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

"""
Bring a lifecycle node of another process to a state, also one that was killed and started again.

What killed a process leaves behind looks alive to DDS until its lease ends (20 s), and a request
that only the dead one could take is answered never. So each request is given up when the node
says that it is still where it was, and sent again.
"""

from collections import Counter
from collections.abc import Callable
from collections.abc import Iterable
from threading import Event

from fedefm_ros.errors import FedefmError

from lifecycle_msgs.msg import State
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from lifecycle_msgs.srv import GetState

from rclpy.node import Node

INACTIVE = State.PRIMARY_STATE_INACTIVE
ACTIVE = State.PRIMARY_STATE_ACTIVE

_NEXT = {
    State.PRIMARY_STATE_UNCONFIGURED: (Transition.TRANSITION_CONFIGURE, 'configured'),
    State.PRIMARY_STATE_INACTIVE: (Transition.TRANSITION_ACTIVATE, 'activated'),
}


def check_absent(node: Node, names: Iterable[str], own: int = 0) -> None:
    """
    Raise FedefmError where a node of one of these full names is there: topics would mix.

    :param node: node that has been up for long enough to know its peers.
    :param names: full names, ``/station/segmentation``.
    :param own: how many of each name are ours.
    """
    there = Counter(f'{space.rstrip("/")}/{name}'
                    for name, space in node.get_node_names_and_namespaces())
    for name in names:
        if there[name] > own:
            raise FedefmError(
                f'there is a node {name} in ROS domain {node.context.get_domain_id()} already: '
                'a station of that name runs, or was killed within the last 20 s. End it, or '
                'give this one a domain of its own: ROS_DOMAIN_ID=N')


class LifecycleClient:
    """
    The services of one lifecycle node.

    All methods wait, so another thread has to spin the node given here. They stop waiting, and
    give None or False, as soon as ``stopped`` says so.
    """

    def __init__(self, node: Node, name: str, stopped: Callable[[], bool] = lambda: False):
        """
        Make the clients.

        :param node: node to call from, spun by another thread.
        :param name: full name of the lifecycle node, ``/station/segmentation``.
        :param stopped: whether to give up; asked about twice a second.
        """
        self.name = name
        self._node = node
        self._stopped = stopped
        self._get_state = node.create_client(GetState, f'{name}/get_state')
        self._change_state = node.create_client(ChangeState, f'{name}/change_state')

    def close(self) -> None:
        """Free the clients."""
        self._node.destroy_client(self._get_state)
        self._node.destroy_client(self._change_state)

    def state(self, timeout: float = 0.5) -> int | None:
        """
        Return the id of the node's state, as in lifecycle_msgs/State; None: no answer.

        :param timeout: longest wait in seconds.
        """
        if not self._get_state.wait_for_service(timeout):
            return None
        answer = self._call(self._get_state, GetState.Request(), timeout)
        return answer.current_state.id if answer else None

    def wait_for(self, goal: int) -> bool:
        """Wait until the node is in a state, whoever brings it there; False: was stopped."""
        pause = Event()
        while not self._stopped():
            if self.state() == goal:
                return True
            pause.wait(0.1)
        return False

    def bring_to(self, goal: int) -> bool:
        """
        Configure, and for ACTIVE also activate, once the node answers.

        :param goal: INACTIVE or ACTIVE; an active node counts as more than inactive.
        :returns: False if it was stopped before.
        :raises FedefmError: the node refused a transition.
        """
        pause = Event()
        while not self._stopped():
            state = self.state()
            if state in (goal, ACTIVE):
                return True
            if state == State.PRIMARY_STATE_FINALIZED:
                raise FedefmError(f'{self.name} has shut down for good; start it again')
            if state not in _NEXT:
                # No answer yet, or on the way from one state to another.
                pause.wait(0.1)
                continue
            transition, done = _NEXT[state]
            if self._request(transition, state) is False and self.state() == state:
                raise FedefmError(
                    f'{self.name} could not be {done}; its log says why. Mend that, then '
                    f'`ros2 lifecycle set {self.name} {done.removesuffix("d")}`')
        return False

    def deactivate(self) -> bool:
        """Take an active node back to inactive; False: it did not answer or refused."""
        return bool(self._request(Transition.TRANSITION_DEACTIVATE, ACTIVE))

    def _request(self, transition: int, state: int) -> bool | None:
        """Ask for a transition from a state; None if the request got lost."""
        request = ChangeState.Request()
        request.transition.id = transition
        arrived = Event()
        future = self._change_state.call_async(request)
        future.add_done_callback(lambda _: arrived.set())
        # A node at work on a transition answers neither; one that answers and has not moved had
        # no such request, or its answer to that is the next to arrive.
        while not arrived.wait(0.5):
            if self._stopped() or (self.state() == state and not arrived.wait(0.5)):
                self._change_state.remove_pending_request(future)
                return None
        return future.result().success

    def _call(self, client, request, timeout):
        """Return the answer to a request; None if there was none in time."""
        arrived = Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _: arrived.set())
        if arrived.wait(timeout):
            return future.result()
        client.remove_pending_request(future)
        return None

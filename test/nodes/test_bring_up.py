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

import signal
import subprocess
import sys
import textwrap
from threading import Thread

from fedefm_ros.errors import FedefmError
from fedefm_ros.nodes.bring_up import ACTIVE
from fedefm_ros.nodes.bring_up import INACTIVE
from fedefm_ros.nodes.bring_up import LifecycleClient

from lifecycle_msgs.msg import State

import pytest

import rclpy
from rclpy.executors import SingleThreadedExecutor

NODE = textwrap.dedent("""
    import sys
    import rclpy
    from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn

    class Managed(LifecycleNode):
        def on_configure(self, state):
            super().on_configure(state)
            failed = sys.argv[1:] == ['refuse']
            return TransitionCallbackReturn.FAILURE if failed else TransitionCallbackReturn.SUCCESS

    rclpy.init()
    rclpy.spin(Managed('managed'))
    """)


@pytest.fixture
def caller():
    """Return a node that another thread spins."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node('caller', context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    thread = Thread(target=executor.spin)
    thread.start()
    yield node
    executor.shutdown()
    thread.join()
    node.destroy_node()
    context.shutdown()


@pytest.fixture
def start():
    """Return a function that starts the managed node; all are killed in the end."""
    processes = []

    def start_one(*arguments):
        processes.append(subprocess.Popen([sys.executable, '-c', NODE, *arguments]))
        return processes[-1]

    yield start_one
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.timeout(90)
def test_a_node_killed_and_started_again_comes_up_again(caller, start):
    client = LifecycleClient(caller, '/managed')
    first = start()
    assert client.bring_to(ACTIVE)
    first.send_signal(signal.SIGKILL)
    first.wait()
    # DDS still lists the services of the dead one.
    start()
    assert client.bring_to(INACTIVE)
    assert client.state(5.0) == INACTIVE
    assert client.bring_to(ACTIVE)
    assert client.wait_for(ACTIVE)


@pytest.mark.timeout(60)
def test_a_node_that_refuses_is_named_with_what_to_do(caller, start):
    start('refuse')
    client = LifecycleClient(caller, '/managed')
    with pytest.raises(FedefmError, match='/managed could not be configured.*lifecycle set'):
        client.bring_to(ACTIVE)
    assert client.state(5.0) == State.PRIMARY_STATE_UNCONFIGURED


@pytest.mark.timeout(60)
def test_waiting_for_a_node_that_is_not_there_can_be_stopped(caller):
    asked = []

    def stopped():
        asked.append(True)
        return len(asked) > 2

    client = LifecycleClient(caller, '/nobody', stopped)
    assert not client.bring_to(ACTIVE)
    assert not client.wait_for(ACTIVE)

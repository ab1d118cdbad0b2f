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

"""The thread that spins a command's node: what goes wrong in it, and how it ends."""

import queue
import threading

from fedefm_ros.nodes.session import named, spinning

import pytest

from rclpy.executors import SingleThreadedExecutor


@pytest.fixture
def raised(monkeypatch):
    """Return what threads let out."""
    found = queue.SimpleQueue()
    monkeypatch.setattr(threading, 'excepthook', lambda told: found.put(told.exc_value))
    return found


def test_what_goes_wrong_in_a_callback_is_seen(raised):
    def fail():
        raise ValueError('in a callback')
    with spinning(named('session_test')) as node:
        node.create_timer(0.001, fail)
        assert str(raised.get(timeout=30)) == 'in a callback'


def test_what_the_end_takes_away_from_it_is_not(raised, monkeypatch):
    called, over = threading.Event(), threading.Event()
    shutdown = SingleThreadedExecutor.shutdown

    def fail():
        called.set()
        assert over.wait(30)
        raise AttributeError('taken away')

    def shut_down(executor):
        over.set()
        return shutdown(executor)
    monkeypatch.setattr(SingleThreadedExecutor, 'shutdown', shut_down)
    with spinning(named('session_test')) as node:
        node.create_timer(0.001, fail)
        assert called.wait(30)
    assert raised.empty()
    assert not [one for one in threading.enumerate() if one.name == 'ros']

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

"""Waiting for readers: real nodes with a DDS participant each."""

from contextlib import contextmanager
import threading

from fedefm_ros.nodes.replay_readers import wait_for_readers
from fedefm_ros.nodes.session import spinning

import pytest

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy

from std_msgs.msg import String

TOPIC = '/replay_readers/picture'
PATIENCE = 120.0


@pytest.fixture
def node():
    """Return a node that another thread spins."""
    with spinning(lambda context: Node('player', context=context)) as made:
        yield made


@pytest.fixture
def publisher(node):
    return node.create_publisher(String, TOPIC, 10)


@contextmanager
def other_node(**options):
    """Yield a node of another participant, and what spins it once."""
    context = Context()
    rclpy.init(context=context, signal_handler_options=rclpy.SignalHandlerOptions.NO)
    made = Node('reader', context=context, namespace='replay_readers', **options)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(made)
    try:
        yield made, lambda: executor.spin_once(0.1)
    finally:
        executor.shutdown()
        made.destroy_node()
        rclpy.shutdown(context=context)


@contextmanager
def waiting(*arguments, **options):
    """Yield an event that is set when the waiting is over, and its result (in a list)."""
    over, result = threading.Event(), []

    def wait():
        result.append(wait_for_readers(*arguments, **options))
        over.set()
    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield over, result
    finally:
        thread.join()


def test_nobody_reads(node, publisher):
    assert not wait_for_readers(node, publisher, patience=PATIENCE, alone=0.1)
    assert not wait_for_readers(node, publisher, patience=0.5)


def test_a_reader_counts_once_it_knows_of_the_publisher(node, publisher):
    got = []
    with other_node() as (reader, spin_once):
        reader.create_subscription(String, TOPIC, got.append, QoSProfile(
            depth=10, reliability=ReliabilityPolicy.BEST_EFFORT))
        with waiting(node, publisher, patience=PATIENCE) as (over, result):
            while not publisher.get_subscription_count():
                assert not over.wait(0.05)
            assert not over.wait(3.0), 'it answers nothing as yet'
            while not over.is_set():
                spin_once()
        assert result == [True]
        publisher.publish(String(data='first'))
        while not got:
            spin_once()
        assert got[0].data == 'first'


def test_a_reader_without_parameters_does_not_hold_it_up_for_long(node, publisher):
    with other_node(start_parameter_services=False) as (reader, _):
        reader.create_subscription(String, TOPIC, print, 10)
        assert wait_for_readers(node, publisher, patience=PATIENCE)


def test_so_many_readers_are_waited_for(node, publisher):
    with other_node() as (reader, spin_once):
        reader.create_subscription(String, TOPIC, print, 10)
        with waiting(node, publisher, patience=PATIENCE, count=2) as (over, result):
            while node.count_subscribers(TOPIC) < 1:
                spin_once()
            assert not over.is_set()
            reader.create_subscription(String, TOPIC, print, 10)
            while not over.is_set():
                spin_once()
        assert result == [True]


def test_one_of_the_readers_has_to_make_the_answer(node, publisher):
    answer = '/replay_readers/answer'
    with other_node() as (reader, spin_once):
        reader.create_subscription(String, TOPIC, print, 10)
        with waiting(node, publisher, patience=PATIENCE, mask=answer) as (over, result):
            while node.count_subscribers(TOPIC) < 1:
                spin_once()
            assert not over.is_set()
            reader.create_publisher(String, answer, 10)
            while not over.is_set():
                spin_once()
        assert result == [True]

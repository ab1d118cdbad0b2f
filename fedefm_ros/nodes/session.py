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

"""ROS inside a command: a context, a node and a thread that spins it while the block lasts."""

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
import threading

from fedefm_ros.memory import keep_freed_memory

import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node


def named(name: str) -> Callable[[Context], Node]:
    """Return what ``spinning`` makes a node of this name with."""
    return lambda context: Node(name, context=context)


@contextmanager
def spinning(make_node: Callable[[Context], Node]) -> Iterator[Node]:
    """
    Yield a node that a background thread spins.

    The context is its own and has no signal handlers: Ctrl-C stays a KeyboardInterrupt.

    :param make_node: makes the node in a context.
    """
    keep_freed_memory()  # those who spin in a thread take images
    context = Context()
    rclpy.init(context=context, signal_handler_options=rclpy.SignalHandlerOptions.NO)
    node = make_node(context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    ending = threading.Event()

    def spin():
        try:
            executor.spin()
        except ExternalShutdownException:
            pass
        except Exception:
            # Seen once in some thousand ends: rclpy's shutdown takes away what is in use here.
            if not ending.is_set():
                raise

    thread = threading.Thread(target=spin, name='ros', daemon=True)
    thread.start()
    try:
        yield node
    finally:
        ending.set()
        executor.shutdown()
        thread.join(5.0)
        node.destroy_node()
        rclpy.shutdown(context=context)

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

"""What both lifecycle nodes share: transitions that fail with a word, and a main that ends."""

from collections.abc import Callable
import faulthandler
import signal
import sys

from fedefm_ros.errors import FedefmError

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode
from rclpy.lifecycle import LifecycleState
from rclpy.lifecycle import TransitionCallbackReturn

SUCCESS = TransitionCallbackReturn.SUCCESS
FAILURE = TransitionCallbackReturn.FAILURE

_END_SECONDS = 8.0


class StationNode(LifecycleNode):
    """
    A lifecycle node whose transitions are plain methods.

    Subclasses override ``configure``, ``activate``, ``deactivate`` and ``cleanup``; a FedefmError
    in the first two is logged and leaves the node where it was. ``deactivate`` and ``cleanup``
    undo what was done, also when it was done only in part, and may be called twice.
    """

    finalized = False

    def configure(self) -> None:
        """Load and make what is needed."""

    def activate(self) -> None:
        """Start; the managed publishers are on already."""

    def deactivate(self) -> None:
        """Stop; the managed publishers are still on."""

    def cleanup(self) -> None:
        """Free everything that ``configure`` made."""

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Call ``configure``."""
        return self._attempt(self.configure, self.cleanup, 'configure') \
            and super().on_configure(state) or FAILURE

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Switch the publishers on, then call ``activate``."""
        super().on_activate(state)

        def undo():
            self.deactivate()
            super(StationNode, self).on_deactivate(state)
        return SUCCESS if self._attempt(self.activate, undo, 'activate') else FAILURE

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Call ``deactivate``, then switch the publishers off."""
        self.deactivate()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Call ``cleanup``."""
        self.cleanup()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and free everything, from whatever state."""
        self.deactivate()
        self.cleanup()
        self.finalized = True
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything after a transition raised; the node is then unconfigured again."""
        self.deactivate()
        self.cleanup()
        return SUCCESS

    def _attempt(self, do: Callable[[], None], undo: Callable[[], None], what: str) -> bool:
        try:
            do()
        except FedefmError as error:
            self.get_logger().error(f'cannot {what}: {error}')
            undo()
            return False
        except Exception as error:
            self.get_logger().fatal(f'cannot {what}: {type(error).__name__}: {error}')
            undo()
            raise
        return True


def run(make_node: Callable[[], StationNode], arguments: list[str] | None = None) -> int:
    """
    Spin a node until SIGINT or SIGTERM; return the exit code: 0 when asked to end, else 1.

    :param make_node: called once rclpy is initialised.
    """
    # Not rclpy's handlers: they invalidate the context, and then the node could no longer tell
    # its readers that it ends.
    rclpy.init(args=arguments, signal_handler_options=rclpy.SignalHandlerOptions.NO)
    asked_to_end = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked_to_end.append(True))
    node = executor = None
    try:
        node = make_node()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while not asked_to_end and rclpy.ok():
            executor.spin_once(timeout_sec=0.2)
    except ExternalShutdownException:
        pass
    except (FedefmError, ParameterException) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    finally:
        _end(node, executor)
    return 0


def _end(node: StationNode | None, executor: SingleThreadedExecutor | None) -> None:
    """Free everything, in bounded time."""
    # Fast DDS waits for ever for a peer on this machine that is stopped (a debugger, a hung
    # viewer). This ends the process then, with the place on stderr, and needs no Python thread.
    faulthandler.dump_traceback_later(_END_SECONDS, exit=True)
    # A second Ctrl-C (the terminal's and launch's both come) must not kill what is ending: Python
    # takes its own handlers away before it is done.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if node is not None and rclpy.ok() and not node.finalized:
        node.trigger_shutdown()
    if executor is not None:
        executor.shutdown()
    if node is not None:
        node.destroy_node()
    rclpy.try_shutdown()

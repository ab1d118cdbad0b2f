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

"""A service whose work is done in a thread while the node's executor stays free."""

from collections.abc import Callable
import queue
import threading
from typing import Any

from rclpy.exceptions import InvalidHandle
from rclpy.node import Node


class DeferredService:
    """
    Answers each request from one thread of its own, in their order.

    An ``async def`` callback would do without a thread, but rclpy's executors spin at full speed
    while a coroutine waits.
    """

    def __init__(self, node: Node, kind: type, name: str,
                 answer: Callable[[Any, Any], Any]):
        """
        Create the service.

        :param answer: gets request and response, returns the response. Where it raises,
            that is logged and the response sent as it is.
        """
        self._node = node
        self._answer = answer
        self._requests = queue.SimpleQueue()
        # A daemon: a process that is asked to end does not wait for a long answer.
        threading.Thread(target=self._work, name=name.rpartition('/')[2], daemon=True).start()
        self._service = node.create_service(kind, name, lambda request, response: (
            request, response))
        # The executor hands what the callback returned to send_response.
        self._send = self._service.send_response
        self._service.send_response = self._defer

    def close(self) -> None:
        """Take no more requests; one under way is not answered any more."""
        if self._service is not None:
            self._requests.put(None)
            self._node.destroy_service(self._service)
            self._service = None

    def _defer(self, request_and_response, header) -> None:
        self._requests.put((*request_and_response, header))

    def _work(self) -> None:
        while (entry := self._requests.get()) is not None:
            request, response, header = entry
            try:
                done = self._answer(request, response)
            except Exception as error:  # the next request still wants an answer
                self._node.get_logger().fatal(f'{type(error).__name__}: {error}')
                done = response
            try:
                self._send(done, header)
            except InvalidHandle:
                return  # closed meanwhile

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

"""ROS as the transport of a federation: announcements, chunks, and who is there."""

from collections.abc import Callable
import math
import time

from fedefm_ros.federation.station.member import Member
from fedefm_ros.federation.trust.manifest import Manifest
from fedefm_ros.federation.trust.refusal import Refused
from fedefm_ros.msg import FederationStatus
from fedefm_ros.msg import ModelManifest
from fedefm_ros.nodes.federation_messages import manifest_to_message
from fedefm_ros.nodes.federation_messages import message_to_manifest
from fedefm_ros.srv import GetModelChunk

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSProfile

ANNOUNCEMENTS = '/federation/announcements'
#: Announcements that a station which comes later still hears, of each sender.
LATCHED = 32
#: Requests and answers that wait: those of some peers, each for some models (Inbox.MOST_CHUNKS).
QUEUE = 32
BUSY = 'busy'


class RosTransport:
    """
    Implements fedefm_ros.federation.station.transport.Transport.

    All callbacks run in the node's executor, as everything of Member does. What a request costs
    the station that answers is one chunk; who asks decides how many are on their way.
    """

    def __init__(self, node: Node, own: str, stations: tuple[str, ...], timeout: float):
        """
        Make publishers, clients and subscriptions; `serve` begins to answer.

        :param timeout: seconds after which an unanswered request is forgotten.
        """
        self._node = node
        self._own = own
        self._timeout = timeout
        self._member: Member | None = None
        self._heard = dict.fromkeys((name for name in stations if name != own), -math.inf)
        self._asked: dict = {}
        latched = QoSProfile(depth=LATCHED, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._publisher = node.create_publisher(ModelManifest, ANNOUNCEMENTS, latched)
        self._made: list[tuple[Callable, object]] = [(node.destroy_publisher, self._publisher)]
        self._latched = latched
        self._clients = {name: node.create_client(
            GetModelChunk, f'/{name}/federation/get_chunk', qos_profile=QoSProfile(depth=QUEUE))
            for name in self._heard}
        self._made += [(node.destroy_client, client) for client in self._clients.values()]
        self._statuses = [node.create_subscription(
            FederationStatus, f'/{name}/federation/status',
            lambda message, name=name: self._on_status(name, message),
            QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
            for name in self._heard]
        self._made += [(node.destroy_subscription, one) for one in self._statuses]

    def serve(self, member: Member) -> None:
        """Hear announcements and answer for a member from now on."""
        self._member = member
        node = self._node
        subscription = node.create_subscription(
            ModelManifest, ANNOUNCEMENTS, self._on_manifest, self._latched)
        service = node.create_service(GetModelChunk, 'federation/get_chunk', self._on_chunk,
                                      qos_profile=QoSProfile(depth=QUEUE))
        self._made += [(node.destroy_subscription, subscription), (node.destroy_service, service)]

    def close(self) -> None:
        """Take everything down; requests under way are not waited for."""
        for _, future in self._asked.values():
            future.cancel()
        self._asked.clear()
        while self._made:
            destroy, entity = self._made.pop()
            destroy(entity)

    @property
    def heard(self) -> dict[str, float]:
        """Return the seconds since each station was last heard, infinite for never."""
        now = time.monotonic()
        return {name: now - when for name, when in self._heard.items()}

    def silence(self, station: str) -> float:
        """Return the seconds since a station was last heard; see Transport."""
        return time.monotonic() - self._heard.get(station, -math.inf)

    def announce(self, manifest: Manifest) -> None:
        """Publish a manifest; see Transport."""
        self._publisher.publish(manifest_to_message(manifest))

    def ask(self, station: str, sha256: str, index: int) -> None:
        """Request a chunk; see Transport."""
        client = self._clients.get(station)
        if client is None or not client.service_is_ready():
            return  # the inbox asks again after its timeout
        future = client.call_async(GetModelChunk.Request(sha256=sha256, index=index))
        self._asked[id(future)] = (time.monotonic(), future)
        future.add_done_callback(
            lambda future: self._on_answer(future, station, sha256, index))

    def can_ask(self, station: str) -> bool:
        """Return whether a station's service is there."""
        return self._clients[station].service_is_ready()

    def forget_old_requests(self) -> None:
        """Free the requests that a dead peer left unanswered."""
        now = time.monotonic()
        for key, (when, future) in list(self._asked.items()):
            if now - when > 2 * self._timeout:
                del self._asked[key]
                for client in self._clients.values():
                    client.remove_pending_request(future)

    def _on_status(self, name, message) -> None:
        if message.station == name:
            self._heard[name] = time.monotonic()

    def _on_manifest(self, message) -> None:
        if message.sender == self._own:
            return
        try:
            self._member.heard(message_to_manifest(message))
        except Refused as refused:
            self._member.refuse(refused, message.sender[:32])
        except Exception as error:  # whatever anybody on the network says, the node goes on
            why = f'{type(error).__name__}: {error}'
            self._node.get_logger().error(f'an announcement was not understood: {why}',
                                          throttle_duration_sec=5.0)
            self._member.refuse(Refused('failed', why), message.sender[:32])

    def _on_chunk(self, request, response):
        try:
            chunk = self._member.serve(request.sha256, request.index)
        except Refused as refused:
            response.message = f'{BUSY}: {refused}' if refused.reason == BUSY else str(refused)
            return response
        response.success = True
        response.data, response.sha256 = chunk
        return response

    def _on_answer(self, future, station, sha256, index) -> None:
        self._asked.pop(id(future), None)
        if future.cancelled() or future.exception() is not None:
            return
        answer = future.result()
        if answer.success:
            self._member.chunk(station, sha256, index, answer.data, answer.sha256)
        else:
            self._member.no_chunk(station, sha256, index, answer.message,
                                  answer.message.startswith(BUSY))

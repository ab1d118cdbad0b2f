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

"""Lifecycle node that learns with other stations while this one is idle."""

from pathlib import Path
import sys
import time

from fedefm_ros.errors import FedefmError
from fedefm_ros.federation.station.crew import Crew
from fedefm_ros.federation.station.frames import FrameMemory
from fedefm_ros.federation.station.journal import LAST_ROUND
from fedefm_ros.federation.station.member import Accepted
from fedefm_ros.federation.station.member import Member
from fedefm_ros.federation.station.options import MemberOptions
from fedefm_ros.federation.station.plan import TaskPlan
from fedefm_ros.federation.trust.identity import Identity
from fedefm_ros.federation.trust.peers import Peers
from fedefm_ros.imaging.messages import image_to_array
from fedefm_ros.memory import keep_freed_memory
from fedefm_ros.msg import FederationStatus
from fedefm_ros.nodes import diagnostics
from fedefm_ros.nodes.declaration import Parameters
from fedefm_ros.nodes.diagnostics import Diagnostics
from fedefm_ros.nodes.diagnostics import Status
from fedefm_ros.nodes.federation_messages import fill_status
from fedefm_ros.nodes.federation_transport import RosTransport
from fedefm_ros.nodes.lifecycle import run
from fedefm_ros.nodes.lifecycle import StationNode
from fedefm_ros.nodes.parameters import FEDERATION
from fedefm_ros.srv import LoadModel

import numpy as np

from rclpy.clock import Clock
from rclpy.clock import ClockType
from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy
from rclpy.serialization import deserialize_message

from sensor_msgs.msg import Image

from std_msgs.msg import Bool

from std_srvs.srv import Trigger

#: Seconds between two looks at what only time changes. All else comes by itself: images, chunks,
#: announcements, what the training process answers. A turn of the executor costs a millisecond.
TICK = 0.1
STATUS_PERIOD = 1.0


class ModelOffer:
    """
    The accepted model on its way to the station's segmentation.

    It is given once, and anew to each segmentation that comes: that has loaded what its own
    parameters name.
    """

    SERVICE = 'segmentation/load_model'
    #: Seconds after which no answer comes any more: who was loading has ended meanwhile.
    PATIENCE = 300.0

    def __init__(self, node):
        """Offer nothing yet."""
        self._node = node
        self._client = node.create_client(LoadModel, self.SERVICE)
        self._accepted: Accepted | None = None
        self._due = self._urgent = False
        self._loading = None
        self._since = 0.0
        self._servers = 0

    def close(self) -> None:
        """Give nothing any more."""
        self._node.destroy_client(self._client)

    def take(self, accepted: Accepted, urgent: bool = False) -> None:
        """
        Have a model given, in place of the one before.

        :param urgent: at once, also while a procedure runs: no frame is lost by it.
        """
        self._accepted, self._due, self._urgent = accepted, True, urgent

    def look(self) -> None:
        """See whether a segmentation has come or gone; once a second is enough."""
        servers = self._node.count_services(self._node.resolve_service_name(self.SERVICE))
        late = self._loading is not None and time.monotonic() - self._since > self.PATIENCE
        if servers != self._servers or late:
            if self._loading is not None:
                self._client.remove_pending_request(self._loading)
            self._servers, self._loading, self._due = servers, None, True

    def give(self, idle: bool) -> None:
        """Ask the segmentation to load what is due, if it is there."""
        if (self._accepted is None or not self._due or self._loading is not None
                or not (idle or self._urgent)
                or not self._servers or not self._client.service_is_ready()):
            return
        accepted, self._due, self._urgent = self._accepted, False, False
        self._since = time.monotonic()
        self._loading = self._client.call_async(LoadModel.Request(path=str(accepted.path)))

        def answered(future):
            self._loading = None
            answer = future.result()
            if answer is not None and not answer.success:
                self._node.get_logger().error(f'segmentation refused model {accepted.model_id}: '
                                              f'{answer.message}')
        self._loading.add_done_callback(answered)


class FederationNode(StationNode):
    """
    Rounds are in federation.station.member, training in a process of its own.

    An image, or procedure_active, stops that process at once; it goes on when the station has
    been idle for a while.
    """

    def __init__(self) -> None:
        """Declare parameters; everything else waits for configure."""
        super().__init__('federation')
        self.settings = Parameters(self, FEDERATION)
        self._station = self.get_namespace().strip('/')
        self._member: Member | None = None
        self._transport: RosTransport | None = None
        self._active = False
        self._procedure = False
        self._last_image = -float('inf')
        self._made = []
        self._taken = []
        self._offer: ModelOffer | None = None
        self._twin = False
        self._frames = FrameMemory(0)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(TICK, self._on_timer, clock=steady)
        # What the training process answers need not wait for the next tick.
        self._wake = self.create_guard_condition(self._on_tick)
        self.create_timer(STATUS_PERIOD, self._on_second, clock=steady)
        self._status = None
        self._status_due = False
        self._diagnostics = Diagnostics(self, {'federation': self._federation_status})

    def configure(self) -> None:
        """Take up the station's rounds where they stopped."""
        settings = self.settings
        if '/' in self._station or not self._station:
            raise FedefmError(f'namespace {self.get_namespace()!r}: a station is a namespace of '
                              'one name, as in -r __ns:=/hospital_a')
        identity = Identity.load(Path(settings['keys']).expanduser())
        peers = Peers.read(Path(settings['keys']).expanduser())
        options = _options(self._station, settings)
        folder = Path(settings['state'] or f'~/.fedefm/{self._station}').expanduser()
        plan = _plan(settings)
        crew = Crew(folder, plan, settings['threads'], settings['learning_rate'],
                    settings['niceness'], settings['send_clip'], settings['send_noise'],
                    settings['momentum'])
        self._transport = RosTransport(self, self._station, options.stations,
                                       options.chunk_timeout)
        self._status = self.create_publisher(
            FederationStatus, 'federation/status',
            QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
        self._member = Member(folder, identity, peers, options, crew, self._transport)
        self._member.observe(self._on_change, self._on_accepted, self._wake.trigger)
        if plan.task == 'segmentation' and settings['shadow_frames']:
            self._frames = FrameMemory(settings['shadow_frames'])
            self._member.remember(lambda: self._frames.as_file(_image_of))
        self._transport.serve(self._member)
        if plan.task == 'segmentation':
            self._offer = ModelOffer(self)
            if self._member.accepted is not None:
                # The segmentation may have been started anew since it was given.
                self._offer.take(self._member.accepted)
        self._made = [self.create_service(Trigger, f'federation/{name}', answer)
                      for name, answer in (('start_round', self._on_start_round),
                                           ('pause', self._on_pause),
                                           ('rollback', self._on_rollback))]
        self.get_logger().info(
            f'station {self._station} ({identity.fingerprint}) of {len(options.stations)}, round '
            f'{self._member.journal.round}, {plan.task}')

    def activate(self) -> None:
        """Watch for images; idle time begins to count."""
        self._last_image = time.monotonic()
        self._taken = [
            # Raw: that an image came is all that matters, its pixels need not be converted.
            self.create_subscription(
                Image, self.settings['image_topic'], self._on_image,
                QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT), raw=True),
            self.create_subscription(
                Bool, 'procedure_active', self._on_procedure,
                QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))]
        self._active = True

    def deactivate(self) -> None:
        """Stop training at once; the rounds are kept."""
        self._active = False
        while self._taken:
            self.destroy_subscription(self._taken.pop())
        self._frames.clear()
        if self._member is not None:
            self._member.tick(idle=False)

    def cleanup(self) -> None:
        """End the training process; what was learnt stays on the disk."""
        while self._made:
            self.destroy_service(self._made.pop())
        if self._transport is not None:
            self._transport.close()
        if self._member is not None:
            self._member.close()
        if self._status is not None:
            self.destroy_publisher(self._status)
        if self._offer is not None:
            self._offer.close()
        self._member = self._transport = self._status = self._offer = None

    def _idle(self) -> bool:
        return (self._active and not self._procedure and not self._twin and
                time.monotonic() - self._last_image >= self.settings['idle_after'])

    def _on_image(self, data: bytes) -> None:
        self._last_image = time.monotonic()
        self._stop_work()
        self._frames.add(data)

    def _on_procedure(self, message) -> None:
        self._procedure = message.data
        if message.data:
            self._stop_work()
        else:
            self._last_image = time.monotonic()

    def _stop_work(self) -> None:
        if self._member is not None and self._member.idle:
            self._member.set_idle(False)

    def _on_timer(self) -> None:
        self._on_tick()
        if self._status_due:
            self._publish_status()

    def _on_tick(self) -> None:
        if self._member is not None:
            self._member.tick(self._idle())
            if self._offer is not None and self.settings['offer_model']:
                self._offer.give(self._member.idle)

    def _on_second(self) -> None:
        if self._member is None:
            return
        self._transport.forget_old_requests()
        if self._offer is not None:
            self._offer.look()
        # One publisher is this node's own.
        self._twin = self.count_publishers('federation/status') > 1
        self._publish_status()

    def _on_change(self) -> None:
        """Tell of it soon: in a round something changes every few ms, and all stations listen."""
        self._status_due = True

    def _publish_status(self) -> None:
        if self._status is None or self._member is None:
            return
        self._status_due = False
        message = FederationStatus(station=self._station)
        message.header.stamp = self.get_clock().now().to_msg()
        fill_status(message, self._member.journal, self._transport.heard, self._member.idle)
        self._status.publish(message)

    def _on_accepted(self, accepted: Accepted) -> None:
        self.get_logger().info(f'round {accepted.round}: model {accepted.model_id} accepted, '
                               f'{accepted.scores}')
        if self._offer is not None:
            self._offer.take(accepted)

    def _on_start_round(self, _, response):
        response.success, response.message = True, self._member.start_round()
        return response

    def _on_pause(self, _, response):
        """Pause, or go on when paused."""
        self._member.paused = not self._member.paused
        response.success = True
        response.message = 'paused' if self._member.paused else 'goes on'
        return response

    def _on_rollback(self, _, response):
        try:
            response.message, response.success = self._member.rollback(), True
            if self._offer is not None:
                # What runs now is bad: not only when the procedure is over.
                self._offer.take(self._member.accepted, urgent=True)
        except FedefmError as error:
            response.message = str(error)
        return response

    def _federation_status(self) -> Status:
        if self._member is None:
            return Status(diagnostics.OK, 'not configured')
        journal = self._member.journal
        values = {'round': journal.round, 'phase': journal.phase, 'idle': self._member.idle,
                  'score': journal.used_scores.get('score', float('nan')),
                  'score_of_federation': journal.scores.get('score', float('nan')),
                  'bytes_sent': journal.bytes_sent, 'bytes_received': journal.bytes_received,
                  'present': ', '.join(journal.present), 'absent': ', '.join(journal.absent),
                  **{f'refused_{why}': count for why, count in journal.refusals.items()},
                  'last_refusal': journal.last_refusal}
        if self._twin:
            return Status(diagnostics.ERROR, f'another station calls itself {self._station}; give '
                          'each its own namespace', values)
        if journal.round >= LAST_ROUND:
            return Status(diagnostics.ERROR, f'no round is left after {LAST_ROUND}; set "round" '
                          'in journal.json to that of the other stations', values)
        silent = [name for name, age in self._transport.heard.items()
                  if age > self.settings['silence']]
        if silent:
            return Status(diagnostics.WARN, f'not heard: {", ".join(silent)}', values)
        return Status(diagnostics.OK, f'round {journal.round}, {journal.phase}'
                      + ('' if self._member.idle else ', stands still'), values)


def _image_of(data: bytes) -> np.ndarray:
    return image_to_array(deserialize_message(data, Image))


def _options(station: str, settings: Parameters) -> MemberOptions:
    names = ('topology', 'rounds', 'interval', 'local_steps', 'stop_steps', 'home_steps', 'stops',
             'laps', 'deadline', 'staleness', 'silence', 'peer_margin',
             'gate_margin', 'gate_slowdown', 'shadow_agreement', 'codec', 'encrypt',
             'chunk_size', 'bandwidth', 'chunk_timeout')
    stations = tuple(name.strip() for name in settings['stations'].split(',') if name.strip())
    return MemberOptions(stations, station, **{name: settings[name] for name in names})


def _plan(settings: Parameters) -> TaskPlan:
    return TaskPlan(
        task=settings['task'], data=settings['data'], layout=settings['layout'],
        images=settings['images'], held_out=settings['held_out'], size=settings['image_size'],
        batch=settings['batch'], seed=settings['seed'],
        model=settings['model'] if settings['task'] == 'segmentation' else '')


def main() -> None:
    """Run the node."""
    keep_freed_memory()  # a model's chunks are as large as images
    sys.exit(run(FederationNode))


if __name__ == '__main__':
    main()

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

"""Real node processes and a node of our own that talks to them, for the system tests."""

from collections import defaultdict
import os
from pathlib import Path
import signal
import subprocess
import threading
import time

from diagnostic_msgs.msg import DiagnosticArray

from fedefm_ros import station
from fedefm_ros.imaging.messages import fill_image
from fedefm_ros.imaging.messages import image_to_array
from fedefm_ros.msg import InstrumentArray
from fedefm_ros.nodes.bring_up import ACTIVE
from fedefm_ros.nodes.bring_up import LifecycleClient

from lifecycle_msgs.srv import ChangeState
from lifecycle_msgs.srv import GetState

import numpy as np

from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.srv import SetParameters

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy

from sensor_msgs.msg import Image

from std_msgs.msg import Bool

PATIENCE = 90.0
"""Seconds for anything that should happen; ample, since only a hang should fail."""

RELIABLE = QoSProfile(depth=100)
BEST_EFFORT = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def wait_until(condition, what='it', seconds=PATIENCE):
    """Wait for a condition; fail after a long while."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < deadline, f'{what} did not happen within {seconds:.0f} s'
        time.sleep(0.01)


def stamp_of(message):
    """Return a message's stamp in nanoseconds."""
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


class Observer(Node):
    """Sends frames and keeps what comes back, by topic."""

    def __init__(self, context, namespace):
        """Subscribe to what both nodes publish."""
        super().__init__('observer', namespace=namespace, context=context)
        self.lock = threading.Lock()
        self.messages = defaultdict(list)
        self.diagnostics, self.diagnosed = {}, {}
        self.listen('segmentation/mask', Image, RELIABLE)
        self.listen('segmentation/instruments', InstrumentArray, RELIABLE)
        self.listen('procedure_active', Bool, LATCHED)
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)
        self.frames = self.create_publisher(Image, 'fluoroscopy/image_raw', RELIABLE)
        self._latest = 0

    def listen(self, topic, kind, qos):
        """Keep the messages of one more topic."""
        return self.create_subscription(
            kind, topic, lambda message: self._keep(topic, message), qos)

    def take(self, topic):
        """Return what has come on a topic, and forget it."""
        with self.lock:
            return self.messages.pop(topic, [])

    def got(self, topic):
        """Return what has come on a topic."""
        with self.lock:
            return list(self.messages[topic])

    def stamps(self, topic='segmentation/mask'):
        """Return the stamps of what has come on a topic, nanoseconds."""
        return [stamp_of(message) for message in self.got(topic)]

    def send(self, image, stamp=None, **fields):
        """Publish an image; return its stamp, by default newer than any before."""
        message = Image()
        if isinstance(image, np.ndarray):
            fill_image(message, image, 'mono8' if image.dtype == np.uint8 else 'mono16')
        for name, value in fields.items():
            setattr(message, name, value)
        return self.send_message(message, stamp)

    def send_message(self, message, stamp=None, publisher=None):
        """Publish a prepared message; return its stamp."""
        if stamp is None:
            stamp = max(time.time_ns(), self._latest + 1)
        self._latest = max(stamp, self._latest)
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 1_000_000_000)
        message.header.frame_id = 'somewhere'
        (publisher or self.frames).publish(message)
        return stamp

    def segmented(self, image, **fields):
        """Publish an image until its mask has come (DDS may still connect); return the mask."""
        sent = []

        def answered():
            if len(sent) < 1 + 5 * (time.monotonic() - start):
                sent.append(self.send(image, **fields))
            return [m for m in self.got('segmentation/mask') if stamp_of(m) in sent]
        start = time.monotonic()
        return image_to_array(wait_until(answered, 'a mask')[0])

    def _keep(self, topic, message):
        with self.lock:
            self.messages[topic].append(message)

    def _on_diagnostics(self, message):
        with self.lock:
            for status in message.status:
                values = {pair.key: pair.value for pair in status.values}
                self.diagnostics[status.name] = (status.level, status.message, values)
                self.diagnosed[status.name] = stamp_of(message)


class Harness:
    """Processes of one station, and an observer that a thread spins."""

    def __init__(self, namespace: str, folder: Path):
        """Set up; ``folder`` gets the logs."""
        self.namespace = namespace
        self.folder = folder
        # Ours too: both ends have to use the same transports.
        self._added = station.dds_environment()
        os.environ.update(self._added)
        self.context = rclpy.Context()
        rclpy.init(context=self.context, signal_handler_options=rclpy.SignalHandlerOptions.NO)
        self.node = Observer(self.context, namespace)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()
        self._processes = []

    def close(self):
        """End everything."""
        # Asked first: what is killed leaves its shared memory behind.
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        for process in self._processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._executor.shutdown()
        self._thread.join()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)
        for name in self._added:
            del os.environ[name]

    def start(self, process, environment=None, overrides=(), **parameters):
        """Start a process of the station with other parameters than its file's."""
        line = station.command(process, namespace=self.namespace, parameters=parameters)
        for override in overrides:
            line += ['-p', override]
        log = open(self.folder / f'{process.name}-{len(self._processes)}.log', 'wb')
        with log:
            started = subprocess.Popen(line, stdout=log, stderr=subprocess.STDOUT,
                                       env={**os.environ, **(environment or {})})
        started.log = Path(log.name)
        self._processes.append(started)
        return started

    def start_active(self, process, **options):
        """Start a process and bring its node up."""
        started = self.start(process, **options)
        self.bring_up(process.name)
        return started

    def bring_up(self, name, goal=ACTIVE):
        """Configure and activate a node."""
        client = LifecycleClient(self.node, f'/{self.namespace}/{name}')
        deadline = time.monotonic() + PATIENCE
        client._stopped = lambda: time.monotonic() > deadline
        try:
            assert client.bring_to(goal), f'{name} did not come up'
        finally:
            client.close()

    def change(self, name, transition):
        """Ask for a transition by its id; return whether it was done."""
        request = ChangeState.Request()
        request.transition.id = transition
        return self.call(ChangeState, f'{name}/change_state', request).success

    def state(self, name):
        """Return the state of a node."""
        return self.call(GetState, f'{name}/get_state', GetState.Request()).current_state.id

    def set_parameters(self, name, **values):
        """Set parameters; return why each was refused, '' where it was not."""
        request = SetParameters.Request(parameters=[
            ParameterMessage(name=key, value=Parameter(key, value=value).get_parameter_value())
            for key, value in values.items()])
        results = self.call(SetParameters, f'{name}/set_parameters', request).results
        return [result.reason if not result.successful else '' for result in results]

    def call(self, kind, service, request, seconds=PATIENCE):
        """Call a service of the station and return the response."""
        return self.begin_call(kind, service, request)(seconds)

    def begin_call(self, kind, service, request):
        """Send a request; return the function that waits for the response."""
        client = self.node.create_client(kind, service)
        assert client.wait_for_service(PATIENCE), f'no service {service}'
        arrived = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _: arrived.set())

        def finish(seconds=PATIENCE):
            assert arrived.wait(seconds), f'{service} did not answer'
            self.node.destroy_client(client)
            return future.result()
        finish.done = arrived.is_set
        return finish

    def status(self, subsystem):
        """Return level, message and values of the newest diagnostics of NODE: SUBSYSTEM."""
        return self.node.diagnostics.get(f'{self.namespace}/{subsystem}', (None, '', {}))

    def counts(self):
        """Return the segmentation's frame counts of now or later, once no frame is pending."""
        name, begun = 'segmentation: frames', time.time_ns()

        def settled():
            values = self.status(name)[2]
            return self.node.diagnosed.get(f'{self.namespace}/{name}', 0) > begun and \
                values.get('pending') == '0' and values
        values = wait_until(settled, 'diagnostics')
        return {key: int(values[key]) for key in (
            'received', 'published', 'skipped', 'refused', 'out_of_order', 'restarts', 'faults')}

    def _spin(self):
        try:
            self._executor.spin()
        except ExternalShutdownException:
            pass


def end(process, number=signal.SIGINT):
    """Ask a process to end; return its exit code."""
    process.send_signal(number)
    return process.wait(PATIENCE)

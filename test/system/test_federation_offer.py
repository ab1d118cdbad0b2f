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

"""The accepted model reaches the segmentation, whoever starts anew; odd messages end nobody."""

from contextlib import contextmanager
import json
from pathlib import Path
import shutil
import signal
import time

from fedefm_ros import station
from fedefm_ros.commands.processes import Processes
from fedefm_ros.federation.station.journal import Journal
from fedefm_ros.federation.station.member import Accepted
from fedefm_ros.federation.trust.identity import Identity
from fedefm_ros.federation.trust.peers import Peers
from fedefm_ros.msg import ModelManifest
from fedefm_ros.nodes.bring_up import ACTIVE
from fedefm_ros.nodes.bring_up import LifecycleClient
from fedefm_ros.nodes.federation import ModelOffer
from fedefm_ros.nodes.federation_transport import RosTransport
from fedefm_ros.nodes.session import spinning
from fedefm_ros.srv import LoadModel

import pytest

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSProfile

from std_msgs.msg import Bool

from std_srvs.srv import Trigger

PATIENCE = 120.0
NAME, PEER = 'offering', 'offered'


@pytest.fixture(scope='module', autouse=True)
def surroundings(tmp_path_factory):
    """Keep DDS on this machine, and the images in a folder of the test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('cache')))
        patch.setenv('OMP_NUM_THREADS', '1')
        for name, value in station.dds_environment().items():
            patch.setenv(name, value)
        yield


@contextmanager
def segmentation(answers=True):
    """Yield what a segmentation that has just been started was asked to load."""
    asked = []

    def load(request, response):
        asked.append(request.path)
        while not answers and asked[-1]:
            time.sleep(0.01)
        response.success = True
        return response
    with spinning(lambda context: Node('segmentation', namespace=NAME, context=context)) as node:
        node.create_service(LoadModel, 'segmentation/load_model', load)
        yield asked
        asked.append('')


def wait(condition, what, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


@pytest.fixture
def offer():
    """Give an offer that has nothing to give yet."""
    with spinning(lambda context: Node('federation', namespace=NAME, context=context)) as node:
        made = ModelOffer(node)
        yield made
        made.close()


def turn(offer, asked, count, idle=True):
    """Let an offer look and give until so many models were asked for, and a little longer."""
    def come():
        offer.look()
        offer.give(idle)
        return len(asked) >= count
    wait(come, f'{asked}')
    for _ in range(5):
        time.sleep(0.05)
        assert come() and len(asked) == count, asked


def accepted(name):
    return Accepted(Path(f'/{name}.safetensors'), name, 0, {})


def test_a_model_is_given_once_to_each_segmentation_and_only_while_idle(offer):
    with segmentation() as asked:
        turn(offer, asked, 0)  # none was ever accepted
        offer.take(accepted('a'))
        wait(lambda: offer.look() or offer._client.service_is_ready(), 'no service')
        turn(offer, asked, 0, idle=False)
        turn(offer, asked, 1)
        # Who asks to roll back sees a procedure.
        offer.take(accepted('b'), urgent=True)
        turn(offer, asked, 2, idle=False)
    wait(lambda: offer.look() or not offer._servers, 'it is still there')
    with segmentation() as again:
        turn(offer, again, 1)
        assert asked[:2] + again == ['/a.safetensors', '/b.safetensors', '/b.safetensors']


def test_a_segmentation_that_ends_while_it_loads_or_never_answers_is_not_waited_for(
        offer, monkeypatch):
    offer.take(accepted('a'))
    with segmentation(answers=False) as asked:
        turn(offer, asked, 1)
    wait(lambda: offer.look() or not offer._servers, 'it is still there')
    with segmentation() as again:
        turn(offer, again, 1)
    wait(lambda: offer.look() or not offer._servers, 'it is still there')
    with segmentation(answers=False) as asked:
        turn(offer, asked, 1)
        monkeypatch.setattr(ModelOffer, 'PATIENCE', 0.0)
        offer.look()
        assert offer._loading is None
        monkeypatch.undo()
        asked.append('')  # it awakes
        wait(lambda: offer.give(True) or len(asked) == 3, 'it is not asked again')


def test_a_federation_node_that_is_started_again_gives_its_model_again(tmp_path):
    for name in (NAME, PEER):
        Identity.create(tmp_path / 'keys' / name, name)
    Peers.read(tmp_path / 'keys' / NAME).add(tmp_path / 'keys' / PEER / f'{PEER}.pub')
    path, files = tmp_path / 'state' / 'journal.json', tmp_path / 'state' / 'accepted'

    def start(number):
        process = processes.start(f'node-{number}', station.command(
            station.FEDERATION, namespace=NAME, parameters={
                'stations': f'{NAME},{PEER}', 'keys': tmp_path / 'keys' / NAME,
                'state': tmp_path / 'state', 'task': 'segmentation', 'model': '',
                'data': 'simulator:human', 'image_size': 64, 'images': 2, 'held_out': 1,
                'batch': 1, 'local_steps': 1, 'idle_after': 0.0, 'niceness': 0}))
        LifecycleClient(node, f'/{NAME}/federation', processes.check).bring_to(ACTIVE)
        return process

    def end(number, process):
        process.send_signal(signal.SIGINT)
        processes.forget(f'node-{number}')
        process.wait(30)

    with Processes(tmp_path / 'logs') as processes, segmentation() as asked, spinning(
            lambda context: Node('operator', namespace=NAME, context=context)) as node:
        first = start(1)
        wait(lambda: asked, 'nothing was accepted')
        wait(lambda: path.is_file() and Journal.load(path).used_file, 'it was not written down')
        end(1, first)
        shutil.copy(files / 'alone.safetensors', files / 'earlier.safetensors')
        values = json.loads(path.read_text())
        path.write_text(json.dumps({**values, 'previous': values['used'],
                                    'previous_file': 'earlier.safetensors'}))
        second = start(2)
        wait(lambda: len(asked) == 2, 'it was not given again')
        procedure = node.create_publisher(Bool, 'procedure_active', QoSProfile(
            depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
        procedure.publish(Bool(data=True))
        client = node.create_client(Trigger, 'federation/rollback')
        assert client.wait_for_service(PATIENCE)
        answers = []
        for _ in range(2):
            future = client.call_async(Trigger.Request())
            wait(future.done, 'no answer')
            answers.append(future.result().success)
        assert answers == [True, False]
        wait(lambda: len(asked) == 3, 'the rollback waits for the end of the procedure')
        assert [Path(name).stem for name in asked] == ['alone', 'alone', 'earlier']
        end(2, second)


class Broken:
    """A member that stumbles over everything that it hears."""

    refused = None

    def heard(self, manifest):
        raise ValueError('tuple.index(x): x not in tuple')

    def refuse(self, refused, peer):
        self.refused = refused.reason, peer


def test_an_announcement_that_the_station_stumbles_over_is_counted_and_ends_nothing():
    with spinning(lambda context: Node('federation', namespace=NAME, context=context)) as node:
        transport = RosTransport(node, NAME, (NAME, PEER), 5.0)
        member = Broken()
        transport.serve(member)
        transport._on_manifest(ModelManifest(sender=PEER))
        assert member.refused == ('failed', PEER)
        transport.close()

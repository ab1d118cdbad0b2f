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

"""The SROS 2 policy names just what the nodes of a station have: read from running nodes."""

from fnmatch import fnmatchcase
import os
import threading
import xml.etree.ElementTree as ElementTree

from fedefm_ros import station
from fedefm_ros.commands.federate import make_keys
from fedefm_ros.commands.processes import Processes
from fedefm_ros.console.outcome import Controls
from fedefm_ros.console.view import NODES as LIFECYCLE_NODES
from fedefm_ros.nodes.bring_up import ACTIVE
from fedefm_ros.nodes.bring_up import LifecycleClient
from fedefm_ros.nodes.console_calls import StationControls
from fedefm_ros.nodes.console_calls import TRANSITIONS
from fedefm_ros.nodes.session import named
from fedefm_ros.nodes.session import spinning
from fedefm_ros.paths import config_dir

from lifecycle_msgs.srv import GetState

import pytest

from rcl_interfaces.msg import ParameterValue
from rcl_interfaces.srv import GetParameters
from rcl_interfaces.srv import SetParametersAtomically

from rclpy.node import Node

STATION = 'station_a'
NODES = ('fluoroscopy', 'segmentation', 'federation', 'console')
#: What the nodes have -> what the policy calls it.
RIGHTS = {'publishes': ('topics', 'publish'), 'subscribes': ('topics', 'subscribe'),
          'answers': ('services', 'reply'), 'asks': ('services', 'request')}


@pytest.fixture(scope='module')
def policy():
    """Return node -> right -> names with a slash in front, as the policy has them."""
    root = ElementTree.parse(config_dir() / 'sros2' / 'station.policy.xml').getroot()
    assert root.tag == 'policy' and root.attrib == {'version': '0.2.0'}
    found = {}
    for enclave in root.iterfind('enclaves/enclave'):
        profile, = enclave.iterfind('profiles/profile')
        assert enclave.attrib['path'] == f'{profile.attrib["ns"]}/{profile.attrib["node"]}'
        found[profile.attrib['node']] = {
            right: {full_name(one.text, profile.attrib) for table in profile.iterfind(tag)
                    if table.attrib.get(kind) == 'ALLOW' for one in table}
            for right, (tag, kind) in RIGHTS.items()}
    return found


def full_name(text, profile):
    """Resolve a name as sros2's template does."""
    if text.startswith('/'):
        return text
    if text.startswith('~'):
        return f'{profile["ns"]}/{profile["node"]}{text[1:]}'
    return f'{profile["ns"]}/{text}'


@pytest.fixture(scope='module')
def graph(tmp_path_factory):
    """Return node -> right -> names, of a station that runs, and what its console can ask for."""
    folder = tmp_path_factory.mktemp('sros2')
    make_keys(folder, [STATION, 'station_b'])
    parameters = {
        # What is computed does not matter here: little is.
        station.SEGMENTATION: {'runtime': 'openvino', 'precision': 'f32'},
        station.FLUOROSCOPY: {'size': 128},
        station.FEDERATION: {'stations': f'{STATION},station_b', 'keys': folder / 'keys' / STATION,
                             'state': folder / 'state', 'task': 'foundation', 'model': '',
                             'images': 1, 'held_out': 1, 'image_size': 32},
        station.CONSOLE: {'port': 18_000 + os.getpid() % 1000, 'record_folder': folder / 'bags'}}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in station.dds_environment().items():
            patch.setenv(name, value)
        with Processes(folder / 'logs') as processes, spinning(named('sros2_test')) as node:
            for process, values in parameters.items():
                processes.start(process.name, station.command(
                    process, namespace=STATION, parameters=values))
            for name in NODES[:3]:
                LifecycleClient(node, f'/{STATION}/{name}', processes.check).bring_to(ACTIVE)
            found = {}

            def complete():
                found.update({name: graph_of(node, name) for name in NODES
                              if (name, f'/{STATION}') in node.get_node_names_and_namespaces()})
                return len(found) == len(NODES) and found['console']['asks'] \
                    and found['federation']['asks']
            processes.wait_for(complete, 120.0, 'the nodes were not seen')
            yield found


def graph_of(node, name):
    """Return right -> names of a node."""
    asked = {'publishes': node.get_publisher_names_and_types_by_node,
             'subscribes': node.get_subscriber_names_and_types_by_node,
             'answers': node.get_service_names_and_types_by_node,
             'asks': node.get_client_names_and_types_by_node}
    return {right: {entry[0] for entry in ask(name, f'/{STATION}')}
            for right, ask in asked.items()}


def allows(names, name):
    return any(fnmatchcase(name, pattern) for pattern in names)


@pytest.mark.parametrize('right', RIGHTS)
@pytest.mark.parametrize('name', NODES)
def test_a_node_may_do_all_that_it_does(policy, graph, name, right):
    assert graph[name][right] or (name, right) in (('fluoroscopy', 'subscribes'),
                                                   ('fluoroscopy', 'asks'),
                                                   ('segmentation', 'asks'))
    denied = {one for one in graph[name][right] if not allows(policy[name][right], one)}
    assert not denied


def test_the_policy_names_nothing_that_is_not_there(policy, graph):
    there = {right: set().union(*(rights[right] for rights in graph.values()))
             for right in RIGHTS}
    there['publishes'] |= {'/clock'}
    # What is subscribed to on demand, must at least be published by somebody.
    there['subscribes'] |= there['publishes']
    there['asks'] |= there['answers']
    for name, rights in policy.items():
        for right, names in rights.items():
            odd = {one for one in names if not any(
                fnmatchcase(real, one) for real in there[right])
                # That is a robot's own node, with the services that every node has.
                and not one.startswith(f'/{STATION}/controller/')}
            assert not odd, (name, right)


def answer(request, response):
    """Say yes; a scale is known, so that another source makes it unknown."""
    if isinstance(response, GetState.Response):
        response.current_state.label = 'active'
    elif isinstance(response, GetParameters.Response):
        response.values = [ParameterValue(double_value=1.0) for _ in request.names]
    elif isinstance(response, SetParametersAtomically.Response):
        response.result.successful = True
    else:
        response.success = True
    return response


@pytest.fixture
def answered():
    """Yield a node beside which all that it makes clients for is answered, and their names."""
    asked = set()
    with spinning(named('answers')) as server, spinning(
            lambda context: Node('buttons', namespace='alone', context=context)) as node:
        create = node.create_client

        def create_client(kind, service):
            asked.add(service)
            server.create_service(kind, f'/alone/{service}', answer)
            return create(kind, service)
        node.create_client = create_client
        yield node, asked


def test_the_console_may_ask_for_what_its_buttons_do_and_nothing_else(policy, answered):
    node, asked = answered
    controls = StationControls(node, threading.Event())
    commands = ('start_round', 'pause', 'rollback')
    buttons = {
        'change': [(name, transition) for name in LIFECYCLE_NODES for transition in TRANSITIONS],
        'load_model': [('realtime',)], 'set_source': [('another', 5.0, True)],
        'pause': [(True,)], 'federate': [(command,) for command in commands]}
    # Whoever adds a button adds it here.
    assert set(buttons) == {name for name in vars(Controls) if not name.startswith('_')}
    for name, calls in buttons.items():
        for arguments in calls:
            outcome = getattr(controls, name)(*arguments)
            assert outcome.done, outcome.text
    assert controls.offered(commands) == set(commands)
    # What it asks all the time is in the graph of the running node, above.
    asked |= {f'{name}/get_state' for name in LIFECYCLE_NODES}
    assert {f'/{STATION}/{service}' for service in asked} == policy['console']['asks']


def test_weights_and_images_never_meet(policy):
    images = [f'/{STATION}/{name}' for name in (
        'fluoroscopy/image_raw', 'fluoroscopy/image_raw/compressed', 'segmentation/mask',
        'segmentation/instruments', 'segmentation/overlay')]
    for topic in images:
        assert not allows(policy['federation']['publishes'], topic)
        assert not allows(policy['federation']['subscribes'] - {images[0]}, topic)
    for name in ('fluoroscopy', 'segmentation', 'controller'):
        for right in ('asks', 'answers'):
            assert not allows(policy[name][right], '/station_b/federation/get_chunk')
        assert not allows(policy[name]['publishes'], '/federation/announcements')
    assert not allows(policy['controller']['asks'], f'/{STATION}/segmentation/load_model')
    # Who steers sees; who sees steers nothing here.
    assert policy['controller']['publishes'] == {'/rosout', '/parameter_events'}

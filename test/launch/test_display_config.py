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

"""What RViz and Foxglove are told to show is what the nodes publish."""

import importlib
import json
import re

from diagnostic_msgs.msg import DiagnosticArray

from fedefm_ros.nodes.fluoroscopy_source import FluoroscopyNode
from fedefm_ros.nodes.segmentation import SegmentationNode

import pytest

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import ReliabilityPolicy

import yaml

IMAGE = 'sensor_msgs/msg/Image'


@pytest.fixture(scope='module')
def published(line_model):
    """Return what a configured station publishes: topic -> (type, reliability), and statuses."""
    rclpy.init(args=['--ros-args', '-r', '__ns:=/station', '-p', f'model:={line_model}',
                     '-p', 'runtime:=openvino', '-p', 'size:=128'])
    topics, statuses = {}, {}
    nodes = [FluoroscopyNode(), SegmentationNode()]
    listener = rclpy.create_node('listener')
    listener.create_subscription(DiagnosticArray, '/diagnostics', lambda message: statuses.update(
        {status.name: {pair.key for pair in status.values} for status in message.status}), 10)
    executor = SingleThreadedExecutor()
    for node in (*nodes, listener):
        executor.add_node(node)
    for node in nodes:
        node.trigger_configure()
        for name, types in node.get_publisher_names_and_types_by_node(
                node.get_name(), node.get_namespace()):
            [end] = [info for info in node.get_publishers_info_by_topic(name)
                     if info.node_name == node.get_name()]
            topics[name] = (types[0], end.qos_profile.reliability)
    while len({name.partition(':')[0] for name, keys in statuses.items() if keys}) < 2:
        executor.spin_once(1.0)
    executor.shutdown()
    for node in nodes:
        node.trigger_shutdown()
    for node in (*nodes, listener):
        node.destroy_node()
    rclpy.shutdown()
    return topics, statuses


def test_rviz_shows_topics_of_a_station_and_can_receive_them(checkout, published):
    topics, _ = published
    config = yaml.safe_load((checkout / 'config' / 'station.rviz').read_text(encoding='utf-8'))
    displays = config['Visualization Manager']['Displays']
    shown = {display['Topic']['Value'] for display in displays}
    assert {'segmentation/overlay', 'segmentation/mask', 'fluoroscopy/image_raw'} <= shown
    for display in displays:
        # Relative: RViz starts in the station's namespace, whatever that is called.
        kind, reliability = topics['/station/' + display['Topic']['Value']]
        assert kind == IMAGE
        if display['Topic']['Reliability Policy'] == 'Reliable':
            assert reliability == ReliabilityPolicy.RELIABLE, display['Name']


def test_rviz_knows_the_frame_of_the_images(checkout):
    config = yaml.safe_load((checkout / 'config' / 'station.rviz').read_text(encoding='utf-8'))
    parameters = yaml.safe_load((checkout / 'config' / 'fluoroscopy.yaml').read_text('utf-8'))
    assert config['Visualization Manager']['Global Options']['Fixed Frame'] == \
        parameters['/**']['ros__parameters']['frame_id']


@pytest.fixture(scope='module')
def layout(checkout):
    """Return the Foxglove layout."""
    return json.loads((checkout / 'config' / 'foxglove_layout.json').read_text(encoding='utf-8'))


def test_foxglove_lays_out_every_panel_once(layout):
    def leaves(node):
        return [node] if isinstance(node, str) else leaves(node['first']) + leaves(node['second'])

    assert sorted(leaves(layout['layout'])) == sorted(layout['configById'])


def test_foxglove_shows_topics_of_a_station(layout, published):
    topics, _ = published
    shown = set()
    for panel, config in layout['configById'].items():
        kind = panel.partition('!')[0]
        if kind == 'Image':
            mode = config['imageMode']
            assert topics[mode['imageTopic']][0] == IMAGE, panel
            assert topics[mode['calibrationTopic']][0] == 'sensor_msgs/msg/CameraInfo', panel
            shown.add(mode['imageTopic'])
        elif kind.startswith('Diagnostic'):
            assert topics[config['topicToRender']][0] == 'diagnostic_msgs/msg/DiagnosticArray'
        elif kind == 'RawMessages':
            assert config['topicPath'] in topics, panel
        else:
            assert kind == 'Plot', panel
    assert '/station/segmentation/overlay' in shown


def test_foxglove_plots_fields_and_statuses_that_exist(layout, published):
    topics, statuses = published
    plots = [config for panel, config in layout['configById'].items() if panel[:4] == 'Plot']
    paths = [series['value'] for plot in plots for series in plot['paths']]
    assert any('latency_ms' in path for path in paths)
    for path in paths:
        topic, fields = re.fullmatch(r'(/[\w/]+)\.(.*)', path).groups()
        kind = topics[topic][0]
        for step in re.findall(r'(?:^|\.)(\w+)', re.sub(r'\{.*?\}|\[.*?\]|\.@.*', '', fields)):
            package, _, name = kind.replace('/msg/', '/').partition('/')
            message = getattr(importlib.import_module(f'{package}.msg'), name)
            known = message.get_fields_and_field_types()
            assert step in known, path
            kind = re.sub(r'sequence<(.*)>', r'\1', known[step])
        if topic == '/diagnostics':
            name, key = re.findall(r'==\"(.*?)\"', path)
            assert key in statuses[name], path

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

"""
The contract check passes on the real node, and finds each way of breaking the contract.

The guide's example is all that an integrator needs for a node of theirs.
"""

from concurrent.futures import ThreadPoolExecutor
import re
import subprocess
import sys

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.messages import fill_image, image_to_array
from fedefm_ros.msg import InstrumentArray
from fedefm_ros.nodes.contract import check_contract
from fedefm_ros.nodes.session import spinning
from fedefm_ros.station import SEGMENTATION

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState

import numpy as np

import pytest

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from sensor_msgs.msg import Image

ENVIRONMENT = {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}

DEFECTS = (
    ('stamp', 'stamp'), ('twice', 'once'), ('order', 'order'), ('size', 'header'),
    ('frame_id', 'header'), ('labels', 'labels'), ('uncounted', 'counts'), ('half', 'whole'),
    ('guesses', 'refusal'), ('silent refusal', 'refusal'), ('same stamp', 'once'),
    ('no deadline', 'deadline'), ('no liveliness', 'liveliness'),
    ('unnoticed silence', 'silence'), ('goes on', 'deactivation'), ('no diagnostics', 'setup'))


def test_the_segmentation_node_keeps_the_contract_as_the_guide_checks_it(
        harness, models, checkout, tmp_path):
    """By the example of docs/integration.md, in a file of its own, by pytest alone."""
    harness.start_active(SEGMENTATION, model=models['lines'], runtime='openvino',
                         precision='f32')
    # The harness publishes images itself, which the check would mind.
    harness.node.destroy_publisher(harness.node.frames)
    guide = (checkout / 'docs' / 'integration.md').read_text(encoding='utf-8')
    example, = (block for block in re.findall(r'```python\n(.*?)```', guide, re.DOTALL)
                if 'check_contract' in block)
    assert len(example.splitlines()) <= 10
    file = tmp_path / 'test_my_node.py'
    file.write_text(example.replace('/station/', f'/{harness.namespace}/'))
    run = subprocess.run([sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', file],
                         cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert run.returncode == 0 and '1 passed' in run.stdout, run.stdout + run.stderr


class Imitation(Node):
    """Answers as a segmentation node does, but for one defect."""

    def __init__(self, context, defect):
        self.place = f'imitation_{defect.replace(" ", "_")}'
        super().__init__('segmentation', namespace=self.place, context=context)
        self.defect, self.active, self.warning = defect, True, ''
        self.counts = {'received': 0, 'published': 0, 'skipped': 0, 'refused': 0, 'pending': 0}
        self.latest, self.age, self.held, self.extra = 0, 0, None, []
        qos = QoSProfile(depth=50)
        if defect != 'no deadline':
            qos.deadline = Duration(seconds=0.3)
        if defect != 'no liveliness':
            qos.liveliness_lease_duration = Duration(seconds=1.0)
        self.masks = self.create_publisher(Image, 'segmentation/mask', qos)
        self.found = self.create_publisher(InstrumentArray, 'segmentation/instruments', qos)
        self.told = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self.create_subscription(Image, 'fluoroscopy/image_raw', self.on_frame, QoSProfile(
            depth=50, reliability=ReliabilityPolicy.BEST_EFFORT))
        self.create_service(GetState, 'segmentation/get_state', self.on_get_state)
        self.create_service(ChangeState, 'segmentation/change_state', self.on_change_state)
        self.create_timer(0.1, self.tell)

    def on_get_state(self, request, response):
        response.current_state.label = 'active' if self.active else 'inactive'
        return response

    def on_change_state(self, request, response):
        self.active = request.transition.id == Transition.TRANSITION_ACTIVATE
        response.success = True
        return response

    def on_frame(self, message):
        if not self.active and self.defect != 'goes on':
            return
        self.age = 0
        self.counts['received'] += 1
        stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        if stamp <= self.latest and self.defect != 'same stamp':
            self.refuse('not newer')
            return
        self.latest = max(stamp, self.latest)
        try:
            image = image_to_array(message)
        except FedefmError as error:
            if self.defect != 'guesses':
                self.refuse(str(error))
                return
            image = np.zeros((8, 8), np.uint8)
        mask = Image(header=message.header)
        labelled = (image < 100).astype(np.uint8)
        if self.defect == 'labels':
            labelled *= 255
        if self.defect == 'size':
            labelled = labelled[::2, ::2].copy()
        fill_image(mask, labelled, 'mono8')
        if self.defect == 'stamp':
            mask.header.stamp = self.get_clock().now().to_msg()
        if self.defect == 'frame_id':
            mask.header.frame_id = 'camera'
        if self.defect != 'uncounted':
            self.counts['published'] += 1
        found = InstrumentArray(header=mask.header)
        if self.defect == 'order':
            # Every second one is kept back until after the next.
            self.held, now = (mask, None) if self.held is None else (None, self.held)
            if now is None:
                return
            self.masks.publish(mask)
            mask = now
        if self.defect != 'half' or self.counts['received'] % 3:
            self.masks.publish(mask)
        if self.defect == 'twice':
            self.masks.publish(mask)
        self.found.publish(found)

    def refuse(self, why):
        if self.defect != 'silent refusal':
            self.counts['refused'] += 1
            self.warning = why

    def tell(self):
        self.age += 1
        if self.age > 10 and self.defect != 'unnoticed silence' and self.active:
            self.warning = 'no frame'
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        message.status.append(DiagnosticStatus(
            level=DiagnosticStatus.WARN if self.warning else DiagnosticStatus.OK,
            name=f'{self.place}/segmentation: frames', message=self.warning,
            values=[KeyValue(key=key, value=str(value)) for key, value in self.counts.items()]))
        self.warning = ''
        if self.defect != 'no diagnostics':
            self.told.publish(message)


def findings_of(defect, patience=2.5):
    with spinning(lambda context: Imitation(context, defect)) as node:
        for _ in range(4):
            findings = check_contract(f'/{node.place}/segmentation', frames=6, period=0.02,
                                      patience=patience)
            if not any('is not active' in finding.text for finding in findings):
                break  # on a busy machine it is found late
        return findings


@pytest.fixture(autouse=True, scope='module')
def local():
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
        yield


@pytest.fixture(scope='module')
def checked(local):
    """Check all imitations, some at a time: what takes long is waiting for what never comes."""
    with ThreadPoolExecutor(4) as pool:
        yield {defect: pool.submit(findings_of, defect) for defect, _ in DEFECTS}


def test_an_imitation_without_a_defect_passes():
    findings = findings_of('none', patience=30.0)
    assert not findings, '\n'.join(map(str, findings))


@pytest.mark.parametrize('defect, rule', DEFECTS)
def test_each_way_of_breaking_the_contract_is_found(defect, rule, checked):
    findings = checked[defect].result()
    assert rule in {finding.rule for finding in findings}, '\n'.join(map(str, findings))


def test_a_node_that_is_not_there_is_said_to_be_so():
    finding, = check_contract('/nobody/segmentation', patience=1.0)
    assert finding.rule == 'setup' and 'no answer' in finding.text

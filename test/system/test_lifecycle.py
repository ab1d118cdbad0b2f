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

"""Both nodes through every transition, again and again, in processes of their own."""

import random
import signal

from fedefm_ros.nodes.bring_up import INACTIVE
from fedefm_ros.station import FLUOROSCOPY, SEGMENTATION

from harness import end, wait_until

from lifecycle_msgs.msg import State, Transition

import psutil

import pytest

ROUNDS = 20
WARM_UP = 6

UNCONFIGURED, ACTIVE = State.PRIMARY_STATE_UNCONFIGURED, State.PRIMARY_STATE_ACTIVE
NEXT = {
    (UNCONFIGURED, Transition.TRANSITION_CONFIGURE): INACTIVE,
    (INACTIVE, Transition.TRANSITION_ACTIVATE): ACTIVE,
    (INACTIVE, Transition.TRANSITION_CLEANUP): UNCONFIGURED,
    (ACTIVE, Transition.TRANSITION_DEACTIVATE): INACTIVE,
}
TRANSITIONS = sorted({transition for _, transition in NEXT})


@pytest.fixture(scope='module')
def nodes(harness, models, sequence):
    """Return the harness with both nodes unconfigured, on Fast DDS' default transports."""
    default = {'FASTDDS_DEFAULT_PROFILES_FILE': ''}
    harness.processes = {
        'segmentation': harness.start(SEGMENTATION, environment=default, model=models['lines'],
                                      runtime='openvino', precision='f32'),
        'fluoroscopy': harness.start(FLUOROSCOPY, environment=default, source=sequence,
                                     loop=True, rate=30)}
    return harness


def rounds(harness, name, seed):
    """Try transitions in random order, round by round; yield after each, node unconfigured."""
    rng = random.Random(seed)
    for _ in range(ROUNDS):
        state = UNCONFIGURED
        tried = set()
        # Until each has been tried where it is allowed, and a few where it is not.
        while len(tried) < len(NEXT) or state != UNCONFIGURED:
            allowed = [t for (s, t) in NEXT if s == state]
            transition = rng.choice(allowed if rng.random() < 0.7 else TRANSITIONS)
            done = harness.change(name, transition)
            assert done == ((state, transition) in NEXT), (state, transition)
            state = NEXT.get((state, transition), state)
            if done:
                tried.add(transition)
            assert harness.state(name) == state
        yield


@pytest.mark.parametrize('name', ['segmentation', 'fluoroscopy'])
def test_twenty_rounds_of_transitions_leak_nothing(nodes, name):
    process = psutil.Process(nodes.processes[name].pid)
    threads, memory, files = [], [], []
    for _ in rounds(nodes, name, seed=len(name)):
        threads.append(process.num_threads())
        memory.append(process.memory_info().rss / 2**20)
        files.append(process.num_fds())
    half = (ROUNDS - WARM_UP) // 2
    # On a busy machine the counts were once seen to grow for some rounds and then to stay; why is
    # not known. A leak goes on: the least of later rounds would pass the most of earlier ones.
    assert min(threads[-half:]) <= max(threads[WARM_UP:WARM_UP + half]), threads
    assert min(files[-half:]) <= max(files[WARM_UP:WARM_UP + half]), files
    growth = (sum(memory[-half:]) - sum(memory[WARM_UP:WARM_UP + half])) / half / half
    assert growth < 1.0, f'{growth:.2f} MiB more each round: {memory}'


def test_the_image_is_subscribed_to_only_while_active(nodes):
    def readers():
        return nodes.node.count_subscribers('fluoroscopy/image_raw')
    for transition, number in ((Transition.TRANSITION_CONFIGURE, 0),
                               (Transition.TRANSITION_ACTIVATE, 1),
                               (Transition.TRANSITION_DEACTIVATE, 0),
                               (Transition.TRANSITION_ACTIVATE, 1)):
        assert nodes.change('segmentation', transition)
        wait_until(lambda: readers() == number, f'{number} subscriptions')


def test_large_images_on_the_default_transports_are_warned_of(nodes):
    nodes.bring_up('segmentation')
    assert nodes.set_parameters('fluoroscopy', source='simulator', size=1024) == ['', '']
    nodes.bring_up('fluoroscopy')
    for name in ('segmentation', 'fluoroscopy'):
        wait_until(lambda: 'default transports' in nodes.status(f'{name}: transport')[1],
                   f'a warning from {name}')


def test_a_model_that_cannot_be_used_is_refused_at_configure(nodes, models, tmp_path):
    assert nodes.change('segmentation', Transition.TRANSITION_DEACTIVATE)
    assert nodes.change('segmentation', Transition.TRANSITION_CLEANUP)
    bad = tmp_path / 'short.safetensors'
    bad.write_bytes(models['lines'].read_bytes()[:-100])
    for model in (str(bad), 'nosuchmodel'):
        assert nodes.set_parameters('segmentation', model=model) == ['']
        assert not nodes.change('segmentation', Transition.TRANSITION_CONFIGURE)
        assert nodes.state('segmentation') == UNCONFIGURED
    log = nodes.processes['segmentation'].log.read_bytes()
    assert b'short.safetensors is damaged' in log and b'nosuchmodel' in log
    assert nodes.set_parameters('segmentation', model=str(models['lines'])) == ['']
    nodes.bring_up('segmentation', INACTIVE)


def test_shutdown_from_any_state_finalizes_and_the_process_still_ends_cleanly(nodes):
    assert nodes.change('segmentation', Transition.TRANSITION_INACTIVE_SHUTDOWN)
    assert nodes.change('fluoroscopy', Transition.TRANSITION_ACTIVE_SHUTDOWN)
    for name, number in (('segmentation', signal.SIGTERM), ('fluoroscopy', signal.SIGINT)):
        assert nodes.state(name) == State.PRIMARY_STATE_FINALIZED
        assert end(nodes.processes[name], number) == 0
        assert b'Traceback' not in nodes.processes[name].log.read_bytes()


@pytest.mark.parametrize('process, parameters, word', [
    (SEGMENTATION, {'threads': 0}, b'threads'), (FLUOROSCOPY, {'rate': -1.0}, b'rate')])
def test_a_bad_parameter_at_the_start_ends_the_process_with_one_line(
        nodes, process, parameters, word):
    started = nodes.start(process, **parameters)
    assert started.wait(90) == 1
    lines = started.log.read_bytes().splitlines()
    assert len(lines) == 1 and lines[0].startswith(b'error:') and word in lines[0]

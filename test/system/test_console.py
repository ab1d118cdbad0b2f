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

"""The console on a running station, in a real browser: each control does what it says."""

import signal

from console_harness import browser_path, live, masks_flow, Operator

from fedefm_ros.imaging.messages import fill_image
from fedefm_ros.msg import FederationStatus

from harness import end, LATCHED, wait_until

from lifecycle_msgs.msg import State

import pytest

from rosbags.highlevel import AnyReader

from sensor_msgs.msg import Image

from std_srvs.srv import Trigger

ENVIRONMENT = {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}

pytestmark = pytest.mark.skipif(browser_path() is None, reason='no Chromium is installed')


def test_the_picture_is_live_and_no_request_leaves_this_machine(operator):
    live(operator.open())
    assert operator.page.locator('#picture').get_attribute('data-masked') == 'true'
    # Not black: the frames are light grey, with or without a tinted instrument there.
    middle = operator.page.evaluate(
        "() => [...document.getElementById('picture').getContext('2d')"
        '.getImageData(64, 64, 1, 1).data]')
    assert max(middle[:3]) > 60
    operator.wait(lambda: operator.page.locator('.plot polyline').count() > 0, 'the plots')
    assert 'lines' in operator.page.locator('.model').text_content()
    hosts = {url.split('/')[2] for url in operator.requests if '://' in url}
    assert hosts == {f'127.0.0.1:{operator.console.port}'}


def test_a_node_that_hangs_is_an_alarm_that_stays_until_it_is_seen(operator, station):
    live(operator.open())
    station.segmentation.send_signal(signal.SIGSTOP)
    try:
        operator.wait(lambda: operator.verdict() == 'stale', 'the word over the picture')
        operator.wait(lambda: 'ALARM: Mask is stale' in operator.alarms(), 'the alarm')
        operator.wait(lambda: 'ALARM: segmentation is gone' in operator.alarms(), 'the other')
        operator.wait(lambda: '(2 ALARM)' in operator.page.title(), 'the title')
    finally:
        station.segmentation.send_signal(signal.SIGCONT)
    live(operator)
    operator.wait(lambda: 'WAS: Mask is stale' in operator.alarms(), 'what was')
    operator.wait(lambda: not any('ALARM' in each for each in operator.alarms()), 'the end')
    assert 'WAS: Mask is stale' in operator.alarms()
    operator.page.keyboard.press('a')
    operator.wait(lambda: 'WAS: Mask is stale' not in operator.alarms(), 'seen')


def test_a_refused_frame_is_an_alarm_with_its_reason(operator, station, picture):
    operator.open()
    torn = Image()
    fill_image(torn, picture, 'mono8')
    torn.encoding = 'bayer_rggb8'
    station.node.send_message(torn)

    def told():
        if 'ALARM: Frames are refused' in operator.alarms():
            return True
        station.node.send_message(torn)
    operator.wait(told, 'the alarm')
    assert 'bayer_rggb8' in operator.page.locator('.alarms .board').text_content()
    operator.wait(lambda: 'WAS: Frames are refused' in operator.alarms(), 'its end')
    operator.press('Acknowledge')
    operator.wait(lambda: 'WAS: Frames are refused' not in operator.alarms(), 'seen')


def test_pause_and_start_do_so(operator, station):
    live(operator.open())
    operator.press('Pause or start the source')
    operator.wait(lambda: operator.verdict() == 'not-live', 'the word over the picture')
    wait_until(lambda: station.node.got('procedure_active')[-1].data is False, 'the pause')
    operator.wait(lambda: operator.button('Pause or start the source').text_content() == 'Start',
                  'the way back')
    operator.page.keyboard.press(' ')
    live(operator)
    # A machine that is busy with other tests may skip frames, which is a warning.
    assert [text for text in operator.alarms() if not text.startswith('WARNING')] == []


def test_lifecycle_buttons_change_the_nodes_after_a_question(operator, station):
    operator.open('/station')
    operator.press('Deactivate segmentation')
    operator.button('No').click()
    assert station.state('segmentation') == State.PRIMARY_STATE_ACTIVE
    steps = (('Deactivate', True, State.PRIMARY_STATE_INACTIVE),
             ('Cleanup', True, State.PRIMARY_STATE_UNCONFIGURED),
             ('Configure', False, State.PRIMARY_STATE_INACTIVE))
    for name, agree, state in steps:
        operator.press(f'{name} segmentation', agree=agree)
        operator.wait(lambda: f'segmentation: {name.lower()} done' in operator.told(), name)
        assert station.state('segmentation') == state
        operator.wait(lambda: 'ALARM: Frames are not segmented' in operator.alarms(), 'the alarm')
        for other in ('Configure', 'Activate', 'Deactivate', 'Cleanup'):
            wanted = {State.PRIMARY_STATE_INACTIVE: ('Activate', 'Cleanup'),
                      State.PRIMARY_STATE_UNCONFIGURED: ('Configure',)}[state]
            operator.wait(lambda: operator.button(f'{other} segmentation').is_enabled()
                          == (other in wanted), f'{other} as the state has it')
    operator.press('Activate segmentation')
    masks_flow(station)
    for name, agree, state in (('Deactivate', True, State.PRIMARY_STATE_INACTIVE),
                               ('Activate', False, State.PRIMARY_STATE_ACTIVE)):
        operator.press(f'{name} fluoroscopy', agree=agree)
        operator.wait(lambda: f'fluoroscopy: {name.lower()} done' in operator.told(), name)
        assert station.state('fluoroscopy') == state
    operator.press('Acknowledge')


def running_model(station):
    return station.status('segmentation: model')[2].get('model', '').rpartition('/')[2]


def test_a_model_of_the_list_is_loaded_and_rolled_back(operator, station):
    wait_until(lambda: running_model(station) == 'lines.safetensors', 'the first model')
    operator.open('/station')
    assert operator.button('Roll back model').is_disabled()
    operator.choose('Model to load', 'swapped.safetensors')
    operator.press('Load model', agree=True)
    wait_until(lambda: running_model(station) == 'swapped.safetensors', 'the other model')
    operator.wait(lambda: 'swapped' in operator.page.locator('[data-what=model]').text_content(),
                  'its name')
    operator.press('Roll back model', agree=True)
    wait_until(lambda: running_model(station) == 'lines.safetensors', 'the one before')
    masks_flow(station)


@pytest.mark.parametrize('forged', [
    '"/etc/passwd"', '"../lines.safetensors"', '{value: 999, label: "x"}',
    '{value: "/etc/passwd", label: "x"}'])
def test_what_is_not_on_the_list_cannot_be_sent(operator, station, forged):
    operator.open('/station')
    # A page that sends something else where an option is chosen.
    operator.page.evaluate(f"""() => {{
      const emit = window.socket.emit;
      window.socket.emit = function(name, message) {{
        if (name === 'event' && message.args?.[0]?.includes('"label"')) {{
          message.args = [JSON.stringify({forged})];
          window.forged = true;
        }}
        return emit.call(this, name, message);
      }};
    }}""")
    operator.choose('Model to load', 'swapped.safetensors')
    # Asked for after the choice, so answered after it.
    operator.page.keyboard.press('Escape')
    operator.press('Shortcuts')
    operator.page.get_by_text('acknowledge the alarms').wait_for()
    operator.button('Close').click()
    assert operator.page.evaluate('window.forged') is True
    assert operator.button('Load model').is_disabled()
    assert running_model(station) == 'lines.safetensors'


def source(station):
    return station.status('fluoroscopy: source')[2].get('source', '')


def test_the_source_is_changed_and_one_that_cannot_be_read_leaves_the_old(operator, station):
    operator.open('/station')
    operator.choose('Source', 'simulator:phantom')
    operator.choose('Rate', '5 Hz')
    operator.press('Use this source', agree=True)
    operator.wait(lambda: 'the source is simulator:phantom' in operator.told(), 'word')
    wait_until(lambda: 'phantom' in source(station), 'the other source')
    masks_flow(station)  # the question is asked only while frames come
    operator.choose('Source', 'broken.dcm')
    operator.press('Use this source', agree=True)
    operator.wait(lambda: 'FAILED' in operator.told()
                  and 'the source is the one it was' in operator.told(), 'the failure')
    assert 'broken.dcm' in operator.told()
    masks_flow(station)
    wait_until(lambda: 'phantom' in source(station), 'the old source')  # told once a second
    operator.choose('Source', 'frames')
    operator.press('Use this source', agree=True)
    wait_until(lambda: 'frames' in source(station), 'the folder')
    masks_flow(station)


def test_the_record_button_makes_a_bag(operator, station):
    operator.open()
    topics = [f'/{station.namespace}/{name}' for name in (
        'segmentation/mask', 'fluoroscopy/image_raw')]

    def listeners():
        return [station.node.count_subscribers(topic) for topic in topics]

    def size():
        return sum(path.stat().st_size for path in bag.glob('*.mcap'))
    before = listeners()
    operator.page.keyboard.press('r')
    operator.wait(lambda: 'Stop recording' in operator.button(
        'Start or stop recording').text_content(), 'the button to stop')
    bag, = wait_until(lambda: [path for path in station.bags.iterdir() if path.is_dir()],
                      'a bag')
    # On a busy machine the bag can be long before it has found all topics.
    wait_until(lambda: all(now > then for now, then in zip(listeners(), before)), 'its ears')
    begun = size()
    wait_until(lambda: size() > begun + 400_000, 'messages')
    operator.press('Start or stop recording')
    operator.wait(lambda: f'done: {bag.name}' in operator.told(), 'word of it')
    with AnyReader([bag]) as reader:
        counts = {each.topic: each.msgcount for each in reader.connections}
    assert all(counts[topic] > 2 for topic in topics), counts


def test_the_federation_is_shown_and_commanded(operator, station):
    operator.open('/federation')
    assert operator.button('Start a round (federation)').is_disabled()
    asked, node = [], station.node

    def serve(command):
        def answer(request, response):
            asked.append(command)
            response.success, response.message = command != 'rollback', f'{command} it is'
            return response
        return node.create_service(Trigger, f'federation/{command}', answer)
    services = [serve(command) for command in ('start_round', 'pause', 'rollback')]
    told = node.create_publisher(FederationStatus, 'federation/status', LATCHED)
    told.publish(FederationStatus(
        station=station.namespace, round=7, phase=FederationStatus.PHASE_DISTIL,
        peers=['north', 'south'], peer_age=[1.0, float('nan')], emd_weight=[0.83, float('nan')],
        bytes_sent=7_250_000, bytes_received=14_500_000, score_before=0.71, score_after=0.74))
    operator.wait(lambda: 'distilling' in operator.page.locator('.page').text_content(), 'phase')
    text = operator.page.locator('.page').text_content()
    for word in ('0.83', '7.2 MB', '14.5 MB', '0.710', '0.740', 'north', 'south', 'never'):
        assert word in text, word
    # Federations of other tests that run beside may be shown as well.
    assert operator.page.locator('.graph .station').count() >= 3
    told.publish(FederationStatus(station=station.namespace, round=7, refused=1,
                                  last_refusal='bad signature of south'))
    operator.wait(lambda: f'WARNING: {station.namespace} refused a model' in operator.alarms(),
                  'the warning')
    operator.press('Start a round (federation)')
    operator.wait(lambda: 'done: start_round it is' in operator.told(), 'the answer')
    operator.press('Pause (federation)')
    operator.wait(lambda: 'done: pause it is' in operator.told(), 'the answer')
    operator.press('Roll back (federation)', agree=True)
    operator.wait(lambda: 'FAILED: rollback it is' in operator.told(), 'the answer')
    assert asked == ['start_round', 'pause', 'rollback']
    for service in services:
        node.destroy_service(service)
    node.destroy_publisher(told)
    operator.wait(lambda: operator.button('Pause (federation)').is_disabled(), 'no more commands')


def test_keys_lead_everywhere_and_are_listed(operator):
    operator.open()
    operator.page.keyboard.press('?')
    operator.page.get_by_text('acknowledge the alarms').wait_for()
    operator.page.keyboard.press('Escape')
    operator.wait(lambda: operator.page.locator('.q-dialog').count() == 0, 'the list gone')
    for key, path in (('2', '/station'), ('3', '/federation'), ('1', '/')):
        operator.page.keyboard.press(key)
        operator.page.wait_for_url(operator.console.address + path)
        operator.page.wait_for_function('() => window.did_handshake')
    operator.page.keyboard.press('d')
    operator.wait(lambda: 'red' in operator.page.evaluate('document.body.className'), 'red')
    assert operator.page.evaluate('fedefm.chosen("sound")') is False
    operator.page.keyboard.press('s')
    assert operator.page.evaluate('fedefm.chosen("sound")') is True


@pytest.mark.parametrize('path', ['/', '/station', '/federation'])
@pytest.mark.parametrize('width, height', [(1024, 768), (768, 1024)])
def test_every_button_is_large_enough_for_a_finger(browser, station, path, width, height):
    tablet = Operator(browser, station.console, width, height).open(path)
    tablet.wait(lambda: tablet.page.locator('.lamp').count() > 0, 'the page')
    small = tablet.page.evaluate("""() => [...document.querySelectorAll(
      'button, a, [role=combobox], [role=switch]')].filter(e => e.offsetParent)
      .map(e => (e.closest('.q-field__control, .q-toggle') || e))
      .map(e => [e.textContent.trim(), e.getBoundingClientRect()])
      .filter(([_, r]) => r.height < 44 || r.width < 44).map(([t, r]) => [t, r.width, r.height])
      """)
    assert small == []
    assert tablet.page.evaluate('document.documentElement.scrollWidth <= innerWidth')
    if path == '/':
        box = tablet.page.locator('#picture').bounding_box()
        assert box['width'] == pytest.approx(box['height'], rel=0.02)
        assert min(box['width'], box['height']) > 0.4 * min(width, height)
    tablet.close()


def test_in_red_light_nothing_on_a_page_is_bright_white_or_blue(operator):
    live(operator.open())
    operator.page.keyboard.press('d')
    operator.wait(lambda: 'red' in operator.page.evaluate('document.body.className'), 'red')
    # Words and grounds of what is shown; the picture itself is only darkened.
    bright = operator.page.evaluate("""() => [...document.querySelectorAll('body *')]
      .filter(e => e.offsetParent && !e.closest('svg, canvas, .legend') && e.textContent.trim())
      .flatMap(e => ['color', 'backgroundColor'].map(k => [e, getComputedStyle(e)[k]]))
      .map(([e, c]) => [e.tagName + '.' + e.className, c, c.match(/[\\d.]+/g).map(Number)])
      .filter(([_, c, v]) => (v[3] ?? 1) > 0.1 && v[2] > 0.75 * v[0] && v[2] > 60)
      .map(([n, c]) => [n, c])""")
    assert bright == []
    assert 'brightness(0.55)' in operator.page.evaluate(
        "getComputedStyle(document.getElementById('picture')).filter")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_browsers_at_once_all_see_and_any_can_command(browser, station):
    masks_flow(station)
    operators = [Operator(browser, station.console, 800, 600) for _ in range(10)]
    for each in operators:
        each.page.goto(each.console.address)
    for each in operators:
        each.page.wait_for_function('() => window.did_handshake')
    for each in operators:
        live(each)
    operators[-1].press('Pause or start the source')
    for each in operators:
        each.wait(lambda: each.verdict() == 'not-live', 'the pause')
    operators[0].press('Pause or start the source')
    for each in operators:
        live(each)
    masks_flow(station)
    for each in operators:
        each.close()


def test_asked_to_end_it_ends_and_the_page_says_that_it_is_gone(operator, station):
    live(operator.open())
    # What broken requests of other tests left in the log is not of the end.
    before = len(station.console.log.read_bytes())
    assert end(station.console.process, signal.SIGTERM) == 0
    operator.wait(lambda: operator.verdict() == 'no-connection', 'the word over the picture')
    assert b'Traceback' not in station.console.log.read_bytes()[before:]
    masks_flow(station)

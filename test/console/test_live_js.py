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

"""What the live page says of its picture: live.js in node, with a page of one canvas around it."""

from importlib.resources import files
import json
import shutil
import subprocess

import pytest

pytestmark = pytest.mark.skipif(shutil.which('node') is None, reason='no node is installed')

# A page of one canvas, a clock that the test sets, and the console's end of the websocket.
PAGE = r"""
const vm = require('vm'), fs = require('fs');
const [script, steps] = [process.argv[1], JSON.parse(process.argv[2])];
const element = () => ({dataset: {}, style: {}, classList: {add() {}, remove() {}},
                        getContext: () => ({drawImage() {}})});
const elements = {}, ticks = [];
let now = 0, socket = null;
const page = {
  console, TextDecoder, DataView, Uint8Array, Blob, JSON, Math,
  performance: {now: () => now},
  createImageBitmap: async () => ({width: 8, height: 8, close() {}}),
  location: {protocol: 'http:', host: 'here'},
  document: {hidden: false, addEventListener() {},
             getElementById: (name) => elements[name] = elements[name] || element()},
  setInterval: (tick) => ticks.push(tick),
  WebSocket: class { constructor() { socket = this; this.readyState = 1; } send() {} },
};
page.window = {fedefm: {chosen: () => false}};
vm.runInNewContext(fs.readFileSync(script, 'utf8'), page);
ticks.forEach((tick) => tick());
(async () => {
  const said = [];
  for (const [seconds, told, picture] of steps) {
    now = 1e3 * seconds;
    const text = new TextEncoder().encode(JSON.stringify(told));
    const data = new Uint8Array(4 + text.length);
    new DataView(data.buffer).setUint32(0, text.length);
    data.set(text, 4);
    if (told) await socket.onmessage(
      {target: socket, data: picture ? data.buffer : JSON.stringify(told)});
    ticks.forEach((tick) => tick());
    said.push([elements['picture-box'].dataset.verdict, elements.verdict.textContent]);
  }
  process.stdout.write(JSON.stringify(said));
})();
"""
FLOWING = {'flowing': True, 'stale': False, 'mask_age': 0.02, 'tips': []}
SHOWN = {**FLOWING, 'masked': True, 'age_ms': 18.0, 'stamp': 1.0}


def said(*steps):
    """Return verdict and words after each (seconds, what is told or None, with a picture)."""
    script = files('fedefm_ros.console').joinpath('static', 'live.js')
    done = subprocess.run(['node', '-e', PAGE, str(script), json.dumps(steps)], timeout=60,
                          capture_output=True, text=True, check=True)
    return [tuple(each) for each in json.loads(done.stdout)]


def kinds(*steps):
    return [kind for kind, _ in said(*steps)]


def test_a_picture_that_stays_is_stale_however_fresh_the_masks_are():
    pictures = [(5.0 + 0.1 * k, SHOWN, True) for k in range(5)]
    beats = [(5.4 + 0.3 * k, FLOWING, False) for k in range(1, 6)]
    told = said(*pictures, *beats)
    assert [kind for kind, _ in told] == ['live'] * 8 + ['stale'] * 2
    assert told[-1][1] == 'STALE \u2013 no new picture for 1.5 s'
    # It is live again with the next picture.
    assert kinds(*pictures, *beats, (7.0, SHOWN, True))[-1] == 'live'


def test_a_picture_without_a_mask_that_stays_is_stale_too():
    bare = {**SHOWN, 'masked': False}
    assert kinds((5.0, bare, True), (5.1, bare, True), (6.3, FLOWING, False)) == [
        'no-mask', 'no-mask', 'stale']


def test_a_slow_source_is_not_stale_between_its_pictures():
    pictures = [(5.0 + 2.0 * k, SHOWN, True) for k in range(4)]
    assert kinds(*pictures, (12.9, FLOWING, False), (16.9, FLOWING, False), (17.1, FLOWING, False)
                 )[4:] == ['live', 'live', 'stale']


def test_after_a_pause_a_picture_that_stays_is_stale_as_soon_as_before():
    paused = {**FLOWING, 'flowing': False}
    begun = [(5.0, SHOWN, True), (5.1, SHOWN, True), (5.2, SHOWN, True)]
    assert kinds(*begun, (60.0, paused, False), (65.0, SHOWN, True), (66.1, FLOWING, False)
                 )[3:] == ['not-live', 'live', 'stale']


def test_no_picture_at_all_is_not_live():
    assert kinds((0.9, FLOWING, False), (1.1, FLOWING, False)) == ['no-mask', 'stale']


def test_a_console_that_is_silent_is_no_connection():
    assert kinds((5.0, SHOWN, True), (6.5, None, False)) == ['live', 'no-connection']

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
Checks a running segmentation node against what a controller may rely on.

One mask per accepted frame, in stamp order, never for another frame's stamp; a frame that is
skipped is skipped whole and counted; silence shows by QoS events and diagnostics; after
deactivation nothing more is published; a frame that cannot be segmented is counted and reported.
``check_contract`` returns what does not hold; docs/integration.md shows it in a test.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
import time

from fedefm_ros import labels
from fedefm_ros.imaging.messages import fill_image
from fedefm_ros.imaging.messages import image_to_array
from fedefm_ros.nodes.contract_probe import Probe
from fedefm_ros.nodes.contract_probe import stamp_of
from fedefm_ros.nodes.session import spinning

import numpy as np

from sensor_msgs.msg import Image

_ACTIVE, _INACTIVE = 'active', 'inactive'
_GRACE = 0.5
"""Seconds that a message may be under way when a deactivation is answered."""


@dataclass(frozen=True)
class Finding:
    """Something that a controller may rely on and that does not hold."""

    rule: str
    """setup, once, stamp, order, header, labels, whole, counts, refusal, deadline, liveliness,
    silence or deactivation."""
    text: str

    def __str__(self) -> str:
        """Return both on one line."""
        return f'{self.rule}: {self.text}'


def check_contract(node_name: str, *, image_topic: str = '', image: np.ndarray | None = None,
                   frames: int = 20, period: float = 0.1, patience: float = 30.0,
                   lifecycle: bool = True) -> list[Finding]:
    """
    Return what a running, active segmentation node does not keep of the contract.

    It is sent frames of its own, good and bad, so nobody else may publish to it meanwhile. A
    lifecycle node is deactivated and activated again.

    :param node_name: full name, ``/station/segmentation``; its outputs are expected at
        ``NAME/mask`` and ``NAME/instruments``.
    :param image_topic: what it subscribes to; empty: ``fluoroscopy/image_raw`` beside it.
    :param image: (H, W) uint8 to send; None: a grey image with two dark lines.
    :param frames: how many are sent at an even rate, and then again at once.
    :param period: seconds between the former; longer than the node needs for one.
    :param patience: seconds that any answer may take.
    :param lifecycle: the node can be deactivated; False leaves that part out.
    """
    namespace = node_name.rpartition('/')[0]
    topic = image_topic or f'{namespace}/fluoroscopy/image_raw'
    picture = _lines() if image is None else image
    with spinning(lambda context: Probe(node_name, topic, context)) as probe:
        check = _Check(probe, picture, frames, period, patience)
        return list(check.run(lifecycle))


class _Check:

    def __init__(self, probe, picture, frames, period, patience):
        self._probe = probe
        self._picture = picture
        self._frames = frames
        self._period = period
        self._patience = patience

    def run(self, lifecycle: bool) -> Iterator[Finding]:
        """Yield all findings; the order matters, since each part finds the node at rest."""
        problem = self._set_up(lifecycle)
        if problem:
            yield Finding('setup', problem)
            return
        yield from self._promises()
        yield from self._stream(self._period, 'at an even rate')
        yield from self._stream(0.0, 'at once')
        yield from self._refusals()
        yield from self._silence()
        if lifecycle:
            yield from self._deactivation()

    def _set_up(self, lifecycle: bool) -> str:
        """Return why the node cannot be checked; empty: it can."""
        probe = self._probe
        state = ''

        def active():
            nonlocal state
            state = probe.state()
            return state == _ACTIVE
        if lifecycle and not self._wait(active):
            return f'{probe.target} is not active: {state or "no answer"}'
        if probe.others():
            return f'{", ".join(probe.others())} also publishes to {probe.topic}; stop that first'
        begun = time.monotonic()
        sent: list[int] = []

        def answered():
            # DDS may still connect: a frame every now and then until one is answered.
            if len(sent) < 1 + 5 * (time.monotonic() - begun):
                sent.append(probe.send(self._picture))
            return probe.masks and probe.instruments
        if not self._wait(answered):
            return f'no mask and instruments for any of {len(sent)} frames on {probe.topic}'
        if not self._wait(lambda: self._counts() is not None):
            return f'no diagnostics named "{probe.diagnostics_name}" with counts'
        return ''

    def _promises(self) -> Iterator[Finding]:
        """Check what the publishers promise by QoS."""
        for profile in self._probe.profiles():
            if profile.deadline.nanoseconds >= 2**62:
                yield Finding('deadline', 'no deadline is offered, so silence stays unnoticed')
            if profile.liveliness_lease_duration.nanoseconds >= 2**62:
                yield Finding('liveliness', 'no liveliness lease is offered: a process that is '
                                            'gone stays unnoticed')

    def _stream(self, period: float, how: str) -> Iterator[Finding]:
        """Send frames and look at all that comes of them."""
        probe, before = self._probe, self._rest()
        sent = []
        for _ in range(self._frames):
            sent.append(probe.send(self._picture))
            if period:
                time.sleep(period)
        after = self._rest(clear=False)
        masks, found = list(probe.masks), list(probe.instruments)
        yield from self._stamps(sent, masks, 'mask', how)
        yield from self._stamps(sent, found, 'instruments', how)
        for mask in masks:
            yield from self._look(mask)
        masked = {stamp_of(mask) for mask in masks}
        for message in found:
            if stamp_of(message) not in masked:
                yield Finding('whole', f'instruments without a mask for a frame sent {how}')
        if not before or not after:
            yield Finding('counts', 'diagnostics ended')
            return
        more = {name: after[name] - before[name] for name in after}
        if more['received'] != more['published'] + more['skipped'] + more['refused']:
            yield Finding('counts', f'of {more["received"]} frames received {how}, '
                          f'{more["published"]} were published, {more["skipped"]} skipped and '
                          f'{more["refused"]} refused: that does not add up')
        if more['published'] != len(masks):
            yield Finding('counts', f'{more["published"]} masks counted, {len(masks)} received '
                          f'for frames sent {how}')
        if more['refused']:
            yield Finding('refusal', f'{more["refused"]} good frames refused')

    def _stamps(self, sent, messages, what, how) -> Iterator[Finding]:
        stamps = [stamp_of(message) for message in messages]
        if set(stamps) - set(sent):
            yield Finding('stamp', f'{what} with a stamp that no frame sent {how} had')
        if len(set(stamps)) < len(stamps):
            yield Finding('once', f'more than one {what} message for a frame sent {how}')
        if any(later < earlier for earlier, later in pairwise(stamps)):
            yield Finding('order', f'{what} out of stamp order for frames sent {how}')

    def _look(self, mask: Image) -> Iterator[Finding]:
        height, width = self._picture.shape
        if (mask.height, mask.width, mask.encoding) != (height, width, 'mono8'):
            yield Finding('header', f'a mask of {mask.width} x {mask.height} {mask.encoding} for '
                                    f'an image of {width} x {height}, expected mono8')
        elif not set(np.unique(image_to_array(mask)).tolist()) <= set(range(len(labels.NAMES))):
            yield Finding('labels', f'a mask with values other than 0 to {len(labels.NAMES) - 1}')
        if mask.header.frame_id != self._probe.frame_id:
            yield Finding('header', f'frame_id {mask.header.frame_id!r} in place of '
                                    f"the image's, {self._probe.frame_id!r}")

    def _refusals(self) -> Iterator[Finding]:
        """Send what cannot be segmented, one by one, and a good frame after each."""
        for name, message in _bad_frames(self._picture):
            probe, refused = self._probe, self._refused(self._rest())
            bad = probe.send_message(message)
            if not self._wait(lambda: self._refused(self._counts()) > refused):
                yield Finding('refusal', f'a frame with {name} is not counted as refused')
            elif not self._wait(lambda: probe.warned(since=bad)):
                yield Finding('refusal', f'a frame with {name} is not reported: diagnostics say '
                                         f'{probe.judged()}')
            good = probe.send(self._picture)
            if not self._wait(lambda: any(stamp_of(mask) >= good for mask in probe.masks)):
                yield Finding('once', f'no mask for a good frame after one with {name}')
            if any(stamp_of(each) == bad for each in [*probe.masks, *probe.instruments]):
                yield Finding('refusal', f'a frame with {name} was answered: guessed')
        self._rest()
        stamp = self._probe.send(self._picture)
        self._wait(lambda: self._probe.masks)
        self._probe.send(self._picture, stamp)
        self._rest(clear=False)
        if sum(stamp_of(mask) == stamp for mask in self._probe.masks) > 1:
            yield Finding('once', 'a stamp that was sent twice was answered twice')

    def _silence(self) -> Iterator[Finding]:
        """Send nothing more and wait for a word of it."""
        probe = self._probe
        self._rest()
        begun = probe.send(self._picture)
        self._wait(lambda: probe.masks)
        missed = probe.deadlines_missed
        offered = [profile.deadline.nanoseconds for profile in probe.profiles()]
        if min(offered, default=2**62) < 2**62 and not self._wait(
                lambda: probe.deadlines_missed > missed, min(offered) * 3e-9 + 2.0):
            yield Finding('silence', 'no deadline event though no mask came')
        if not self._wait(lambda: probe.warned(since=begun)):
            yield Finding('silence', 'diagnostics do not warn that no frames come')

    def _deactivation(self) -> Iterator[Finding]:
        """Deactivate between frames; nothing may come after it."""
        probe = self._probe
        self._rest()
        for _ in range(3):
            probe.send(self._picture)
        if not probe.change('deactivate', self._patience) or probe.state() != _INACTIVE:
            yield Finding('deactivation', 'the node cannot be deactivated')
            return
        answered = time.monotonic()
        late = [probe.send(self._picture) for _ in range(5)]
        self._wait(lambda: time.monotonic() > answered + _GRACE + 5 * self._period)
        for what, messages in (('mask', probe.masks), ('instruments', probe.instruments)):
            if any(stamp_of(message) in late for message in messages):
                yield Finding('deactivation', f'{what} of a frame that came after it')
            elif any(at > answered + _GRACE for at in probe.arrivals[what]):
                yield Finding('deactivation', f'{what} published after it')
        if not probe.change('activate', self._patience):
            yield Finding('deactivation', 'the node cannot be activated again')

    def _rest(self, clear: bool = True) -> dict[str, int] | None:
        """Wait until no frame is on its way; forget what came and return the counts."""
        probe, since = self._probe, time.time_ns()
        self._wait(lambda: probe.settled(since))
        counts = self._counts()
        if clear:
            probe.forget()
        return counts

    def _counts(self) -> dict[str, int] | None:
        return self._probe.counts()

    @staticmethod
    def _refused(counts: dict[str, int] | None) -> int:
        return counts['refused'] if counts else 0

    def _wait(self, condition: Callable[[], object], seconds: float | None = None) -> bool:
        """Wait until a condition holds; return whether it came to that."""
        deadline = time.monotonic() + (self._patience if seconds is None else seconds)
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True


def _lines() -> np.ndarray:
    image = np.full((256, 256), 190, np.uint8)
    image[78:82, :180] = 70
    image[160:162, :220] = 70
    return image


def _bad_frames(picture: np.ndarray) -> Iterator[tuple[str, Image]]:
    """Yield what is wrong, and a message that has it."""
    unknown, torn, empty = Image(), Image(), Image(encoding='mono8')
    fill_image(unknown, picture, 'mono8')
    unknown.encoding = 'bayer_rggb8'
    fill_image(torn, picture, 'mono8')
    torn.data = torn.data[:len(torn.data) // 2]
    yield from (('an unknown encoding', unknown), ('half its data', torn), ('no pixels', empty))

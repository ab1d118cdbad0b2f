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

"""`replay`: publish a bag as it was recorded, with its own stamps and clock."""

import math
import os
from pathlib import Path
import time
from typing import Annotated

from fedefm_ros.commands import output
from fedefm_ros.commands.terminal import keys
from fedefm_ros.errors import FedefmError
from fedefm_ros.evaluation.timing import milliseconds

import typer

_IMAGE = 'fluoroscopy/image_raw'
#: Seconds to look for readers where there may be none.
_ALONE = 4.0
_SHARED = ('/clock', '/rosout', '/parameter_events')


def replay(
    bag: Annotated[Path, typer.Argument(metavar='BAG', help='Bag of ROS 2 (folder, .mcap, .db3) '
                                        'or ROS 1 (.bag).')],
    rate: Annotated[float, typer.Option(
        min=0.01, max=100.0, help='Times the recorded pace.')] = 1.0,
    loop: Annotated[bool, typer.Option('--loop', help='Start anew at the end.')] = False,
    start: Annotated[float, typer.Option(
        min=0.0, help='Begin so many seconds after the beginning.')] = 0.0,
    duration: Annotated[float, typer.Option(
        min=0.0, help='End after so many seconds of the bag; 0: at its end.')] = 0.0,
    pause: Annotated[bool, typer.Option('--pause', help='Begin paused.')] = False,
    lock_step: Annotated[bool, typer.Option(
        '--lock-step', help='As fast as possible without a loss: the next frame when the mask '
        'of the last one came.')] = False,
    patience: Annotated[float, typer.Option(
        min=0.1, help='Seconds that lock-step waits for a mask; then it counts as missed.')] = 2.0,
    wait: Annotated[float, typer.Option(
        min=0.1, help='Seconds to wait at most until all readers are connected; in lock-step a '
        'segmentation has to be one.')] = 30.0,
    readers: Annotated[int, typer.Option(
        min=0, help='Begin when so many read the images; 0: as many as are found.')] = 0,
    topic: Annotated[str, typer.Option(help='The images; by default found.')] = '',
    topics: Annotated[str, typer.Option(
        help='Publish these only: names with commas between.')] = '',
    namespace: Annotated[str, typer.Option(
        help='Publish the images as /NAMESPACE/fluoroscopy/image_raw and what else the '
        "bag's station said below /NAMESPACE.")] = '',
    remap: Annotated[list[str] | None, typer.Option(
        metavar='OLD:=NEW', help='Publish a topic by another name; may be repeated.')] = None,
    mask: Annotated[str, typer.Option(
        metavar='TOPIC', help='Of the masks that lock-step waits for; by default those of the '
        "images' station.")] = '',
    json_file: output.JsonOption = None,
):
    """
    Replay a bag: messages with their own stamps, its time on /clock.

    Start the nodes with use_sim_time:=true to let them live in the bag's time. Topics that
    somebody publishes already (a running station's masks) are left out. In a terminal, space
    pauses and goes on, the right arrow shows one frame, q ends. On a ROS 2 distribution,
    launch/replay.launch.py does the same with `ros2 bag play`.
    """
    from fedefm_ros import station
    from fedefm_ros.imaging.bag import choose_topic
    from fedefm_ros.imaging.bag_reader import open_bag
    from fedefm_ros.nodes.replay import Plan
    from fedefm_ros.nodes.replay import time_span

    os.environ.update(station.dds_environment())
    with open_bag(bag) as reader:
        for loss in reader.losses:
            output.say(f'incomplete bag: {loss}')
        image = choose_topic(reader, topic or None)
        names = _names(reader, image, topics, namespace, remap or [])
        begin, end = time_span(reader, start, duration or math.inf)
        plan = Plan(image, names, begin, end, rate, loop, pause,
                    (mask or _mask_of(names[image])) if lock_step else '', patience)
        summary = _play(reader, plan, wait, readers)
    output.table(f'{bag}', ['measure', 'value'], [
        ['frames', summary['frames']], ['messages', summary['messages']],
        ['seconds', summary['seconds']],
        *([['masks', summary['masks']], ['missed', summary['missed']]] if lock_step else [])])
    output.write_json(summary, json_file)


def _play(reader, plan, patience, readers):
    from fedefm_ros.nodes.replay import Player
    from fedefm_ros.nodes.session import named
    from fedefm_ros.nodes.session import spinning

    with spinning(named('replay')) as node, keys() as pressed:
        player = Player(node, reader, plan)
        needed = plan.mask or readers
        if not player.wait_for_readers(patience, readers, math.inf if needed else _ALONE):
            _say_who_is_missing(player.readers, readers, plan)
        for name, reason in player.left_out.items():
            output.say(f'{name} is left out: {reason}')
        if pressed.present:
            output.say('space: pause, right arrow: one frame, q: end')
        started = time.monotonic()
        total = None if plan.loop else round((plan.stop - plan.start) / 1e9)
        with output.progress('seconds', total) as advance:
            def wait(seconds):
                advance(round((player.now - plan.start) / 1e9), f'{player.frames} frames')
                return pressed.wait(seconds)
            try:
                player.play(wait)
            except KeyboardInterrupt:
                output.say('ended by Ctrl-C')
        return {
            'bag': str(reader.path), 'frames': player.frames,
            'messages': player.published.total(), 'seconds': time.monotonic() - started,
            'loops': player.loops, 'masks': player.masks, 'missed': player.missed,
            'mask_ms': milliseconds(player.latencies), 'latest_ms': player.latest_lag * 1e3,
            'topics': {plan.names[name]: count for name, count in player.published.items()},
            'left_out': player.left_out, 'losses': list(reader.losses)}


def _say_who_is_missing(found, wanted, plan):
    """Tell why the readers are not those that were wanted; an error where any were."""
    name = plan.names[plan.image]
    if found < wanted:
        raise FedefmError(f'{found} of {wanted} readers of {name} are there (--readers); start '
                          'the others, or wait longer (--wait)')
    if plan.mask:
        raise FedefmError(
            f'nobody reads {name} and answers on {plan.mask}: start and activate the segmentation '
            '(use_sim_time:=true), or name it (--mask)')
    output.say(f'not all {found} readers of {name} could be connected' if found
               else f'nobody reads {name} yet')


def _names(reader, image, topics, namespace, remap):
    """Return which topics of the bag to publish, and by which name."""
    wanted = [name.strip() for name in topics.split(',')] if topics else list(reader.topics)
    unknown = sorted(set(wanted) - set(reader.topics))
    if unknown:
        raise FedefmError(f'{reader.path}: has no {", ".join(unknown)}; it has '
                          f'{", ".join(sorted(reader.topics))}')
    names = {name: name for name in [image, *wanted] if name not in _SHARED}
    if namespace:
        names |= _moved(names, image, '/' + namespace.strip('/'))
    for rule in remap:
        old, found, new = rule.partition(':=')
        if not found or old not in names or not new.startswith('/'):
            raise FedefmError(f'--remap {rule}: expected OLD:=NEW with a topic of the bag and a '
                              'full name')
        names[old] = new
    return names


def _moved(names, image, station):
    """Return the topics that get another name: the images and what their station said."""
    ending = '/compressed' if image.endswith('/compressed') else ''
    head, found, _ = image.rpartition(f'/{_IMAGE}{ending}')
    moved = {name: station + name[len(head):] for name in names
             if found and name.startswith(f'{head}/')} if head else {}
    return {**moved, image: f'{station}/{_IMAGE}{ending}'}


def _mask_of(image):
    """Return where the station that reads an image topic publishes masks."""
    return image.removesuffix('/compressed').removesuffix(f'/{_IMAGE}') + '/segmentation/mask'

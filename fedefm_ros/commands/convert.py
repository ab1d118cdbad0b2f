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

"""`convert`: recordings and data sets into bags, and bags into folders, videos and data sets."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
import os
from pathlib import Path
import shutil
import tempfile
import time
from typing import Annotated

from fedefm_ros.commands import output
from fedefm_ros.errors import FedefmError

import typer

#: Frames taken of the simulator, which has no end.
_SIMULATED_FRAMES = 150
_VIDEOS = ('.mp4', '.m4v', '.mov', '.avi', '.mkv')


class Kind(str, Enum):
    """What an output is."""

    BAG = 'bag'
    FOLDER = 'folder'
    VIDEO = 'video'
    AIOZ = 'aioz'


def convert(
    source: Annotated[str, typer.Argument(
        metavar='INPUT', help='DICOM file or folder, image, video, folder of images, data set '
        '(a folder with images/ and masks/), bag (ROS 2 or 1), or simulator[:KIND].')],
    out: Annotated[Path, typer.Argument(metavar='OUTPUT', help='What to write; must not exist.')],
    to: Annotated[Kind | None, typer.Option(
        help='Of OUTPUT. By default a video where it is named so, a folder where INPUT is a bag, '
        'else a bag.')] = None,
    topic: Annotated[str, typer.Option(help='Images of a bag; by default found.')] = '',
    mask: Annotated[str, typer.Option(
        metavar='TOPIC', help='Masks of a bag; by default the ground truth, else what a station '
        'found.')] = '',
    frames: Annotated[int | None, typer.Option(
        min=1, help=f'Stop after so many; the simulator stops after {_SIMULATED_FRAMES}.')] = None,
    rate: Annotated[float, typer.Option(
        min=0.0, help="Frames per second; 0: the input's own.")] = 0.0,
    size: Annotated[int | None, typer.Option(help='Side of simulated images in pixels.')] = None,
    seed: Annotated[int, typer.Option(min=0, help='Of the simulator.')] = 0,
    start: Annotated[float | None, typer.Option(
        help='Stamp of the first frame in a bag, seconds since 1970; by default now. Bags keep '
        'their stamps.')] = None,
    namespace: Annotated[str, typer.Option(
        help="Of a bag's topics, as a station has it.")] = 'station',
    storage: Annotated[str, typer.Option(help='Of a bag: mcap or sqlite3.')] = 'mcap',
    compressed: Annotated[bool, typer.Option(
        '--compressed', help='Images of a bag as PNG, without loss.')] = False,
    domain: Annotated[str, typer.Option(
        help='Of an AIOZ data set: phantom, animal or sim.')] = 'phantom',
    test_share: Annotated[float, typer.Option(
        min=0.0, max=1.0, help='Share of the frames in DOMAIN_test: the last ones.')] = 0.2,
    json_file: output.JsonOption = None,
):
    """
    Convert between recordings, bags and data sets.

    A bag gets a station's topics: fluoroscopy/image_raw, camera_info, and where the truth is
    known ground_truth/mask and ground_truth/instruments; what a model found stays under
    segmentation/. A bag becomes a folder (images/, masks/, frames.csv with the stamps), a video,
    or an AIOZ data set; a bag from a bag is its images and masks under a station's names. OUTPUT
    appears when it is whole.
    """
    from fedefm_ros.commands.convert_inputs import items
    from fedefm_ros.commands.convert_inputs import open_input
    from fedefm_ros.imaging.bag import BagSource
    from fedefm_ros.imaging.source import is_simulator

    _check(out, storage, domain)
    if frames is None and is_simulator(source):
        frames = _SIMULATED_FRAMES
    with open_input(source, rate=rate or None, size=size, seed=seed,
                    topic=topic or None) as opened:
        is_bag = isinstance(opened, BagSource)
        kind = to or _kind(out, is_bag)
        total = opened.frame_count
        total = frames if total is None else min(frames or total, total)
        begin = int((time.time() if start is None else start) * 1e9)
        if kind is Kind.AIOZ and total is None:
            raise FedefmError(f'{source} does not tell how many frames it has: give --frames')
        with _appearing(out) as place:
            made = _open_output(kind, place, out, opened, total, storage=storage,
                                namespace=namespace, compressed=compressed, domain=domain,
                                test_share=test_share)
            done, masks, found = _copy(items(opened, source, begin, mask or None), made, total,
                                       frames)
    if found:
        output.say(f'{found} of the masks are what a model found, no ground truth')
    losses = list(getattr(opened, 'losses', ()))
    for loss in losses:
        output.say(f'incomplete input: {loss}')
    summary = {'input': source, 'output': str(out), 'kind': kind.value, 'frames': done,
               'frames_with_mask': masks, 'masks_that_were_found': found, 'losses': losses}
    output.table(f'{source} -> {out}', ['what', 'value'], [
        ['kind', kind.value], ['frames', done], ['with a mask', masks]])
    output.write_json(summary, json_file)


def _check(out, storage, domain):
    from fedefm_ros.commands.convert_outputs import DOMAINS
    from fedefm_ros.imaging.bag_storage import STORAGES
    if out.exists():
        raise FedefmError(f'{out} exists; name a new output')
    if storage not in STORAGES:
        raise FedefmError(f'storage {storage!r} is unknown; known: {", ".join(STORAGES)}')
    if domain not in DOMAINS:
        raise FedefmError(f'domain {domain!r} is unknown; known: {", ".join(DOMAINS)}')


def _kind(out, from_bag):
    if out.suffix.lower() in _VIDEOS:
        return Kind.VIDEO
    return Kind.FOLDER if from_bag else Kind.BAG


def _open_output(kind, place, out, source, total, *, storage, namespace, compressed, domain,
                 test_share):
    from fedefm_ros.commands import convert_outputs as outputs
    if kind is Kind.BAG:
        return outputs.BagOutput(place, out.name, storage, namespace, compressed)
    if kind is Kind.FOLDER:
        return outputs.FolderOutput(place)
    if kind is Kind.VIDEO:
        return outputs.VideoOutput(place, source.rate)
    return outputs.AiozOutput(place, domain, test_share, total)


def _copy(found, made, total, frames):
    """Return how many frames there were, with a mask, and with one that a model found."""
    from fedefm_ros.commands.convert_outputs import FOUND
    done = masks = predicted = 0
    with output.progress('converting', total) as advance:
        for item in found:
            made.add(item)
            done += 1
            masks += item.mask is not None
            predicted += item.mask is not None and item.origin == FOUND
            advance(done, '')
            if done == frames:
                break
    if not done:
        raise FedefmError('the input holds no frame')
    made.close()
    return done, masks, predicted


@contextmanager
def _appearing(out: Path) -> Iterator[Path]:
    """Yield a place beside the output that becomes the output when the block ends well."""
    folder = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=out.parent, prefix=f'.{out.name}.'))
        place = folder / f'new{out.suffix}'  # the suffix tells OpenCV the container
        yield place
        os.rename(place, out)
    except OSError as error:
        raise FedefmError(f'{out} cannot be written: {error.strerror or error}') from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

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

"""What `evaluate` leaves behind: a folder of tables, pictures and a report; JSON; tables."""

from pathlib import Path

import cv2

from fedefm_ros.commands import output
from fedefm_ros.errors import FedefmError
from fedefm_ros.evaluation.frame_files import FrameFile
from fedefm_ros.evaluation.frame_files import write_tables
from fedefm_ros.evaluation.pictures import Gallery
from fedefm_ros.evaluation.pictures import Video
from fedefm_ros.evaluation.plots import plots_of
from fedefm_ros.evaluation.report import SIGNIFICANT
from fedefm_ros.evaluation.report import write_report
from fedefm_ros.files import write_atomically


class Folder:
    """The folder of one evaluation; files of an earlier one are replaced."""

    def __init__(self, path: Path, names: list[str], rate: float, video: bool):
        """
        Make the folder and begin the files that grow with the frames.

        :param names: the contestants'.
        :param rate: frames per second of the video.
        """
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FedefmError(f'{path} cannot be made: {error.strerror}') from error
        self._names = names
        self._frames = FrameFile(path / 'frames.csv', names)
        self._galleries = [Gallery(number) for number in range(len(names))]
        self._video = Video(path / 'overlay.mp4', rate, names) if video else None
        self.watchers = [self._frames, *self._galleries, *([self._video] if video else ())]

    def finish(self, facts: dict, summary, outcome) -> list[Path]:
        """Complete all files and write the report; return the pictures."""
        files = self._frames.close() + write_tables(self.path, summary)
        pictures = []
        if self._video and self._video.close():
            files.append(self._video.path)
        try:
            for number, gallery in enumerate(self._galleries):
                sheet = gallery.sheet()
                if sheet is not None:
                    name = 'frames.png' if not number else f'frames_{number + 1}.png'
                    data = cv2.imencode('.png', sheet[..., ::-1])[1].tobytes()
                    write_atomically(self.path / name, data)
                    pictures.append(self.path / name)
            plots = plots_of(outcome)
            for number, (_, data) in enumerate(plots):
                write_atomically(self.path / 'plots' / f'{number:02d}.png', data)
            facts['files'] = [path.name for path in (*files, *pictures)] + ['metrics.json']
            write_report(self.path / 'report.html', facts, summary, plots,
                         [(name, gallery.worst)
                          for name, gallery in zip(self._names, self._galleries)])
        except OSError as error:
            raise FedefmError(f'{error.filename or self.path} cannot be written: '
                              f'{error.strerror or error}') from error
        return pictures


def json_of(facts: dict, summary, outcome) -> dict:
    """
    Return the figures for programs.

    Those of the first contestant stand at the top; ``models`` has all of them.
    """
    first = summary.contestants[0]
    return {**{key: value for key, value in first.items() if key not in ('name', 'model')},
            'input': facts['input'], 'truth': facts['truth'] or None,
            'frames_segmented': outcome.frames,
            'fps_all_included': outcome.frames / outcome.seconds,
            'resampled': {'what': summary.units.what, 'count': summary.units.count},
            'truth_temporal': summary.truth_temporal or None, 'notes': facts['notes'],
            'models': summary.contestants, 'comparisons': summary.comparisons, 'pictures': []}


def print_tables(facts: dict, summary) -> None:
    """Print the figures, and what differs between contestants."""
    truth = f'against {facts["truth"]}' if facts['truth'] else \
        'NO GROUND TRUTH, consistency only'
    rows = []
    for measure in summary.measures:
        row = [measure.title]
        for each in summary.contestants:
            row += [_at(each, measure.key), _interval(each['ci95'][measure.key])]
        rows.append(row)
    rows.append(_row('frames answered', summary, lambda each: each['frames_answered']))
    rows.append(_row('frames without an answer', summary, lambda each: each['frames_missing']))
    rows.append(_row('frames a second', summary, lambda each: each['fps']))
    for key, title in (('latency_ms', 'latency as recorded'),
                       ('jitter_ms', 'change of latency between frames')):
        if any(key in each for each in summary.contestants):
            for rank in ('p50', 'p99'):
                rows.append(_row(f'{title}, {rank}, ms', summary,
                                 lambda each: each.get(key, {}).get(rank, float('nan'))))
    columns = ['measure']
    for each in summary.contestants:
        columns += [each['name'], '95 %']
    output.table(f'{facts["input"]}: {facts["frames"]} frames, {truth}', columns, rows)
    for comparison in summary.comparisons:
        output.table(
            f'{comparison["second"]} against {comparison["first"]}, paired bootstrap of '
            f'{summary.units.count} {summary.units.what}; {comparison["identical_masks"]} of '
            f'{comparison["frames"]} masks identical',
            ['measure', 'difference', '95 %', 'p', 'better'],
            [[each['title'], each['difference'], _interval(each['ci95']), each['p'],
              (each['better'] or '') if each['p'] < SIGNIFICANT else 'not shown']
             for each in comparison['measures']])
    for note in facts['notes']:
        output.say(note)


def _row(title, summary, value):
    row = [title]
    for each in summary.contestants:
        row += [value(each), '']
    return row


def _interval(pair):
    low, high = (output.figure(value) for value in pair)
    return '' if low == '-' else f'{low} to {high}'


def _at(tree, key):
    for name in key.split('.'):
        tree = tree[name]
    return tree

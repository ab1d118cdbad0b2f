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

"""Tables and pictures of fine-tuning experiments."""

from collections.abc import Sequence
import csv
from io import StringIO
from pathlib import Path

from fedefm_ros.experiments.finetuning import SCRATCH
from fedefm_ros.experiments.plots import save_figure
from fedefm_ros.files import write_atomically

import matplotlib.pyplot as plt

import numpy as np

#: Measures of a row, beside the names of network, start and share.
MEASURES = ('dice', 'dice_catheter', 'dice_guidewire', 'iou', 'fedefm_downstream_dice',
            'fedefm_downstream_miou', 'fedefm_downstream_jaccard')
#: Figures of a row -> headings.
COLUMNS = {
    'network': 'network', 'start': 'from', 'share': 'labels %', 'labelled_frames': 'frames',
    'weights_taken': 'weights given %', 'dice_mean': 'Dice %', 'dice_std': '+-',
    'dice_catheter_mean': 'catheter %', 'dice_guidewire_mean': 'guidewire %',
    'fedefm_downstream_dice_mean': 'published Dice %',
    'fedefm_downstream_miou_mean': 'mIoU %', 'fedefm_downstream_jaccard_mean': 'Jaccard %',
    'gain_mean': 'over scratch', 'gain_least': 'least', 'gain_most': 'most', 'seeds': 'seeds'}


def tuning_rows(figures: Sequence[dict]) -> list[dict]:
    """
    Return a row for each network, start and share: means and standard deviations over seeds.

    gain_*: the difference in `dice` to random weights with the same seed (labels, order of the
    data), its mean, least and most over seeds; None for random weights themselves.
    """
    scratch = {(one['network'], one['share'], one['seed']): one['dice'] for one in figures
               if one['start'] == SCRATCH}
    groups: dict[tuple, list[dict]] = {}
    for one in figures:
        groups.setdefault((one['network'], one['share'], one['start']), []).append(one)
    rows = []
    for (network, share, start), group in groups.items():
        row = {'network': network, 'start': start, 'share': share, 'seeds': len(group),
               'labelled_frames': group[0]['labelled_frames'],
               'weights_taken': group[0]['weights_taken'], 'parameters': group[0]['parameters']}
        for name in MEASURES:
            values = np.array([one[name] for one in group], float)
            row[f'{name}_mean'] = float(values.mean())
            row[f'{name}_std'] = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        gains = [] if start == SCRATCH else [
            one['dice'] - scratch[network, share, one['seed']] for one in group
            if (network, share, one['seed']) in scratch]
        for name, of in (('mean', np.mean), ('least', min), ('most', max)):
            row[f'gain_{name}'] = float(of(gains)) if gains else None
        rows.append(row)
    return rows


def tuning_cell(row: dict, key: str) -> str:
    """Return a figure of a row as tables show it: shares and measures in percent."""
    value = row[key]
    if value is None:
        return ''
    if key.startswith('gain'):
        return f'{100 * value:+.1f}'
    return f'{100 * value:.1f}' if isinstance(value, float) else str(value)


def write_tuning(rows: Sequence[dict], figures: Sequence[dict], folder: Path,
                 name: str) -> list[Path]:
    """Write NAME.md, NAME.csv (the figures of each run) and NAME.png; return their paths."""
    paths = [folder / f'{name}.{end}' for end in ('md', 'csv', 'png')]
    lines = [list(COLUMNS.values()), ['---'] * len(COLUMNS),
             *([tuning_cell(row, key) for key in COLUMNS] for row in rows)]
    write_atomically(paths[0], ''.join(f'| {" | ".join(line)} |\n' for line in lines).encode())
    text = StringIO()
    writer = csv.DictWriter(text, list(figures[0]), lineterminator='\n')
    writer.writeheader()
    writer.writerows(figures)
    write_atomically(paths[1], text.getvalue().encode())
    _picture(rows, name, paths[2])
    return paths


def _picture(rows, name, path):
    figure, axes = plt.subplots(figsize=(7, 4.5), layout='constrained')
    varied = len({row['share'] for row in rows}) > 1
    if varied:
        for network, start in dict.fromkeys((row['network'], row['start']) for row in rows):
            own = sorted((row for row in rows
                          if (row['network'], row['start']) == (network, start)),
                         key=lambda row: row['share'])
            axes.errorbar([100 * row['share'] for row in own],
                          [100 * row['dice_mean'] for row in own],
                          [100 * row['dice_std'] for row in own], marker='o', capsize=3,
                          label=start)
        axes.set(xscale='log', xlabel='labels, %', ylabel='Dice of catheter and guidewire, %')
        axes.set_xticks(ticks := sorted({100 * row['share'] for row in rows}),
                        [f'{tick:g}' for tick in ticks])
        axes.minorticks_off()
        axes.legend()
    else:
        axes.barh(range(len(rows)), [100 * row['dice_mean'] for row in rows],
                  xerr=[100 * row['dice_std'] for row in rows])
        axes.set_yticks(range(len(rows)), [f'{row["network"]}, {row["start"]}' for row in rows])
        axes.invert_yaxis()
        axes.set(xlabel='Dice of catheter and guidewire, %')
    axes.set(title=f'{name}: Dice on scenes never trained on')
    save_figure(figure, path)

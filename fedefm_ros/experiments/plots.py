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

"""Pictures of experiments."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from fedefm_ros.files import write_atomically

import matplotlib
matplotlib.use('Agg')
import matplotlib.pyplot as plt  # noqa: E402

_COLOURS = {'CLL': '#8a8a8a', 'CFL': '#2f6fb0', 'DFL': '#c8552b'}


def bars(rows: Sequence[dict], title: str, path: Path) -> None:
    """Draw the accuracy of each row as a bar, with its spread over seeds and the aggregate's."""
    figure, axes = plt.subplots(figsize=(7, 0.42 * len(rows) + 1.4), layout='constrained')
    places = range(len(rows))
    axes.barh(places, [100 * row['accuracy_mean'] for row in rows],
              xerr=[100 * row['accuracy_std'] for row in rows],
              color=[_COLOURS[row['scenario']] for row in rows])
    axes.plot([100 * row['accuracy_foundation_mean'] for row in rows], places, 'k|',
              markersize=12, label='the mean of all silos')
    axes.set_yticks(places, [f'{row["method"]} ({row["scenario"]})' for row in rows])
    axes.invert_yaxis()
    axes.set(xlabel='accuracy of the silos on all kinds, %', title=title, xlim=(0, 100))
    axes.legend(loc='lower right')
    save_figure(figure, path)


def lines(rows: Sequence[dict], title: str, path: Path) -> None:
    """Draw accuracy against the unseen share, a line for each method."""
    figure, axes = plt.subplots(figsize=(7, 4.5), layout='constrained')
    for method in dict.fromkeys(row['method'] for row in rows):
        own = sorted((row for row in rows if row['method'] == method),
                     key=lambda row: row['unseen'])
        axes.errorbar([100 * row['unseen_reached'] for row in own],
                      [100 * row['accuracy_mean'] for row in own],
                      [100 * row['accuracy_std'] for row in own], marker='o', capsize=3,
                      label=f'{method} ({own[0]["scenario"]})')
    axes.set(xlabel='kinds of a silo that no other has, %',
             ylabel='accuracy of the silos on all kinds, %', title=title, ylim=(0, 100))
    axes.legend()
    save_figure(figure, path)


def save_figure(figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all, and forget it."""
    data = BytesIO()
    figure.savefig(data, format='png', dpi=130)
    plt.close(figure)
    write_atomically(path, data.getvalue())

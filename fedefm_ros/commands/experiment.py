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

"""`experiment`: the paper's tables and figures, on data that anybody can make again."""

from pathlib import Path
from typing import Annotated

from fedefm_ros.commands import output
from fedefm_ros.errors import FedefmError

import typer

_TITLES = {
    'validation': 'what silos know of all kinds in the end',
    'unseen': 'the same, by the share of kinds that only one silo has',
    'ablation': 'the same, for choices within FedEFM',
    'foundation': 'the same, for the network that `finetune` goes on with',
}


def experiment(
    name: Annotated[str, typer.Argument(
        help='validation, unseen, gaia, ablation, foundation, finetune or backbones.')],
    preset: Annotated[str, typer.Option(
        help='smoke (a minute, shows that it runs), small (hours at most), paper (a cluster).',
    )] = 'small',
    seeds: Annotated[int | None, typer.Option(
        min=1, help="How many, from 1 on; the preset's if not given.")] = None,
    out: Annotated[Path | None, typer.Option(
        '-o', '--out', help='Folder of the runs; one that holds a stopped experiment goes on. '
        'Default: output/NAME-PRESET here.')] = None,
    workers: Annotated[int, typer.Option(
        min=1, help='Processes; each computes with one thread.')] = 1,
    engine: Annotated[str, typer.Option(
        help='auto, in-process, processes, or ray (a cluster; pip install fedefm_ros[ray]).',
    )] = 'auto',
    json_file: output.JsonOption = None,
):
    """
    Compare methods of learning together on the foundation task.

    Accuracy is that of a silo's own model on all kinds of data, those it never had included, the
    mean over silos; `aggregate` is that of the mean of all silos' weights. All methods make the
    same gradient steps on the same data. `finetune` and `backbones` segment instruments instead,
    from weights that `foundation` makes. Stop it at will: the same command goes on.
    """
    from fedefm_ros.commands.experiment_finetuning import finetuning
    from fedefm_ros.experiments.finetuning import NAMES
    from fedefm_ros.experiments.foundation_task import CLASSES
    from fedefm_ros.experiments.plots import bars
    from fedefm_ros.experiments.plots import lines
    from fedefm_ros.experiments.presets import load_preset
    from fedefm_ros.experiments.reporting import cell
    from fedefm_ros.experiments.reporting import COLUMNS
    from fedefm_ros.experiments.reporting import write_tables
    from fedefm_ros.experiments.tables import jobs_of
    from fedefm_ros.experiments.tables import prepare_data
    from fedefm_ros.experiments.tables import rows_of
    from fedefm_ros.experiments.tables import run_jobs

    folder = out or Path('output') / f'{name}-{preset}'
    if folder.exists() and not folder.is_dir():
        raise FedefmError(f'{folder} is a file; choose a folder with --out')
    if name in NAMES:
        finetuning(name, preset, seeds, folder, engine, workers, json_file)
        return
    chosen = load_preset(name, preset)
    images = len(CLASSES) * (chosen.data.train + chosen.data.test)
    with output.progress('images', images) as advance:
        prepare_data(chosen, lambda done, _: advance(done, ''))
        advance(images, '')
    jobs = jobs_of(chosen, range(1, (seeds or chosen.seeds) + 1), folder)
    with output.progress('rounds', len(jobs) * chosen.plan.rounds) as advance:
        figures = run_jobs(jobs, workers, advance, engine)
        advance(len(jobs) * chosen.plan.rounds, '')
    rows = rows_of(figures)
    title = f'{name} ({preset}): {_TITLES.get(name, name)}'
    picture = folder / f'{name}.png'
    varied = len({row['unseen'] for row in rows}) > 1
    (lines if varied else bars)(rows, title, picture)
    tables = write_tables(rows, figures, folder, name)
    output.table(title, list(COLUMNS.values()), [[cell(row, key) for key in COLUMNS]
                                                 for row in rows])
    output.say(f'wrote {", ".join(map(str, (picture, *tables)))}')
    output.write_json({'experiment': name, 'preset': preset, 'settings': chosen.identity(),
                       'rows': rows, 'runs': figures, 'pictures': [picture],
                       'tables': tables}, json_file)

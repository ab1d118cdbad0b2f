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

"""What `experiment finetune` and `experiment backbones` do."""

from itertools import count
from pathlib import Path

from fedefm_ros.commands import output


def finetuning(name: str, preset: str, seeds: int | None, folder: Path, engine: str,
               workers: int, json_file: Path | None) -> None:
    """
    Train the foundation weights that are missing, fine-tune from all, and tell the figures.

    The foundations' runs lie beside the folder, in foundation-PRESET, as `experiment foundation`
    leaves them; those that are done are taken as they are.
    """
    from fedefm_ros.experiments.engines import engine_of
    from fedefm_ros.experiments.finetuning import foundation_jobs
    from fedefm_ros.experiments.finetuning import load_tuning_preset
    from fedefm_ros.experiments.finetuning import run_tuning
    from fedefm_ros.experiments.finetuning import tuning_jobs
    from fedefm_ros.experiments.finetuning_report import COLUMNS
    from fedefm_ros.experiments.finetuning_report import tuning_cell
    from fedefm_ros.experiments.finetuning_report import tuning_rows
    from fedefm_ros.experiments.finetuning_report import write_tuning
    from fedefm_ros.experiments.tables import prepare_data
    from fedefm_ros.experiments.tables import run_jobs

    chosen = load_tuning_preset(name, preset)
    foundations = foundation_jobs(chosen, folder.parent / f'foundation-{chosen.foundation}')
    if foundations:
        first = list(foundations.values())
        prepare_data(first[0].preset)
        total = len(first) * first[0].preset.plan.rounds
        with output.progress('foundations', total) as advance:
            told = run_jobs(first, workers, advance, engine)
            advance(total, '')
    jobs = tuning_jobs(chosen, range(1, (seeds or chosen.seeds) + 1), folder, foundations)
    with output.progress('fine-tuning', len(jobs)) as advance:
        done = count(1)
        figures = engine_of(engine, workers).compute(
            run_tuning, jobs, lambda index: advance(next(done), jobs[index].start))
    for job in {job.network: job for job, made in zip(jobs, figures) if made is None}.values():
        output.say(f'{job.network}: nothing of the foundation fits, so it has no such line')
    figures = [made for made in figures if made]
    rows = tuning_rows(figures)
    paths = write_tuning(rows, figures, folder, name)
    output.table(f'{name} ({preset}): segmentation of scenes never trained on',
                 list(COLUMNS.values()), [[tuning_cell(row, key) for key in COLUMNS]
                                          for row in rows])
    output.say(f'wrote {", ".join(map(str, paths))}')
    output.write_json({'experiment': name, 'preset': preset, 'rows': rows, 'runs': figures,
                       'foundations': told if foundations else [],
                       'pictures': [paths[2]], 'tables': paths[:2]}, json_file)

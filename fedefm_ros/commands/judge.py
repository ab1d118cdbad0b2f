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

"""Collect pieces that a model finds, train a judge of them, set its limit (sub-commands)."""

from fedefm_ros.commands import judge_average
from fedefm_ros.commands import judge_collect
from fedefm_ros.commands import judge_limit
from fedefm_ros.commands import judge_relate
from fedefm_ros.commands import judge_train

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
app.command('collect')(judge_collect.collect)
app.command('train')(judge_train.train)
app.command('average')(judge_average.average)
app.command('relate')(judge_relate.relate)
app.command('limit')(judge_limit.limit)

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

"""Measure the budgets: latency, transport, EMD and more, as ratios within one run."""

from fedefm_ros.commands import bench_backbones
from fedefm_ros.commands import bench_console
from fedefm_ros.commands import bench_coordination
from fedefm_ros.commands import bench_emd
from fedefm_ros.commands import bench_latency
from fedefm_ros.commands import bench_preemption
from fedefm_ros.commands import bench_scale
from fedefm_ros.commands import bench_simulator
from fedefm_ros.commands import bench_transfer
from fedefm_ros.commands import bench_transport

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
app.command('backbones')(bench_backbones.backbones)
app.command('console')(bench_console.console)
app.command('coordination')(bench_coordination.coordination)
app.command('emd')(bench_emd.bench_emd)
app.command('latency')(bench_latency.latency)
app.command('preemption')(bench_preemption.preemption)
app.command('scale')(bench_scale.scale)
app.command('simulator')(bench_simulator.simulator)
app.command('transfer')(bench_transfer.transfer)
app.command('transport')(bench_transport.transport)

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

"""A station's segmentation task: a model that it takes into use is as sure as it has to be."""

from fedefm_ros.backbones.checkpoint import load_checkpoint
from fedefm_ros.federation.station.plan import TaskPlan
from fedefm_ros.federation.station.task import make_task
from fedefm_ros.paths import models_dir


def test_what_weights_that_are_less_sure_find_is_not_left_out(tmp_path):
    task = make_task(TaskPlan(data='simulator:simulation', images=1, held_out=6, batch=1,
                              size=256))
    limits = {}
    for name, sureness in (('as sure', 1.0), ('less sure', 0.3)):
        state = {key: value.clone() for key, value in task.network.state_dict().items()}
        # The same labels, with less to spare.
        for key in ('head.weight', 'head.bias'):
            state[key] *= sureness
        task.export(tmp_path / f'{name}.safetensors', state, {})
        limits[name] = load_checkpoint(tmp_path / f'{name}.safetensors').spec.min_confidence
    before = load_checkpoint(models_dir() / 'realtime.safetensors').spec.min_confidence
    assert 0 < limits['less sure'] < limits['as sure'] <= before

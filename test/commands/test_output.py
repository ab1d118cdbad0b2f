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

"""What commands print."""

from fedefm_ros.commands import output


def test_a_table_in_a_file_is_not_cut_off(capsys):
    names = [f'a rather long column name {number}' for number in range(8)]
    output.table('wide', names, [[f'value {name}' for name in names]])
    printed = capsys.readouterr().out
    assert all(f'value {name}' in printed for name in names) and '…' not in printed

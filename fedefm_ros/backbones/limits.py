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

"""Sizes that a configuration may ask for: it may come in a file from a stranger."""


def check_sizes(**sizes: tuple[int, int]) -> None:
    """
    Raise ValueError unless every size is a whole number from 1 to its limit.

    A description that asks for a billion layers would keep a robot busy before the first weight
    is compared.

    :param sizes: name -> (value, largest that makes sense).
    """
    for name, (value, limit) in sizes.items():
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= limit:
            raise ValueError(f'{name} is {value!r}; a whole number from 1 to {limit} was expected')

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

"""
What pyproject.toml cannot say: the data folders of the checkout become part of the package.

fedefm_ros.paths finds them in fedefm_ros/share.
"""

from setuptools import find_packages
from setuptools import setup

DATA = ('config', 'launch', 'models')

setup(
    packages=find_packages(include=['fedefm_ros', 'fedefm_ros.*'])
    + [f'fedefm_ros.share.{folder}' for folder in DATA],
    package_dir={f'fedefm_ros.share.{folder}': folder for folder in DATA},
    package_data={'fedefm_ros.federation.topology': ['data/*.json'],
                  'fedefm_ros.evaluation': ['*.j2'],
                  'fedefm_ros.console': ['static/*'],
                  **{f'fedefm_ros.share.{folder}': ['*', '*/*'] for folder in DATA}},
)

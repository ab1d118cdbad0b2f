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

"""Keep what a robot run showed as a data set: images and masks in AIOZ's layout."""

from pathlib import Path

from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.frame import Frame
from fedefm_ros.learning.datasets.writing import AiozWriter, Sample


class RunRecorder:
    """
    Writes every n-th frame of a run into ``FOLDER/phantom_train/{images,masks}``.

    A run is one patient to those who split the set: its number is the run's seed.
    """

    def __init__(self, folder: Path, seed: int, every: int = 5, test: bool = False):
        """
        Begin.

        :param folder: the data set; runs with other seeds go beside each other.
        :param every: 1 keeps all frames; neighbours at 15 Hz are nearly alike.
        :param test: write into ``phantom_test`` instead.
        :raises FedefmError: ``every`` is below 1.
        """
        if every < 1:
            raise FedefmError(f'every is {every}, expected 1 or more')
        self._seed = seed
        self._every = every
        self._seen = 0
        #: How many frames were written.
        self.written = 0
        patient = f'phantom-{seed:05d}'
        self._writer = AiozWriter(folder, frozenset([patient] if test else []))

    def add(self, frame: Frame) -> None:
        """Write a frame if it is its turn; raises FedefmError."""
        if self._seen % self._every == 0:
            self._writer.add(Sample('phantom', self._seed, frame.index, frame.image, frame.truth))
            self.written += 1
        self._seen += 1

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
What an operator can choose from: names on lists that are made here.

The browser sends back one of the names; a path is only ever looked up in the list it came from.
"""

from dataclasses import dataclass
from pathlib import Path

from fedefm_ros.backbones.checkpoint import segmentation_models
from fedefm_ros.errors import FedefmError
from fedefm_ros.paths import models_dir

SIMULATORS = ('simulator', 'simulator:human', 'simulator:animal', 'simulator:phantom',
              'simulator:simulation')
"""Sources that need no file."""


class Shelf:
    """Names and what each stands for: fixed ones, and the entries of a folder."""

    def __init__(self, fixed: tuple[str, ...], folder: str = '', suffix: str = ''):
        """
        Look nothing up yet.

        :param fixed: names that stand for themselves.
        :param folder: its visible entries stand for their paths; empty: none.
        :param suffix: only files with it; empty: any file or folder.
        """
        self._fixed = fixed
        self._folder = Path(folder).expanduser().resolve() if folder else None
        self._suffix = suffix

    def names(self) -> list[str]:
        """Return what there is now."""
        return [*self._fixed, *sorted(self._files())]

    def value(self, name: str) -> str:
        """Return what a name stands for; FedefmError where it is not on the list now."""
        if name in self._fixed:
            return name
        path = self._files().get(name)
        if path is None:
            raise FedefmError(f'{name!r} is not on the list any more')
        return str(path)

    def _files(self) -> dict[str, Path]:
        if self._folder is None:
            return {}
        try:
            return {path.name: path for path in self._folder.iterdir()
                    if not path.name.startswith('.') and path.name.endswith(self._suffix)
                    and (path.is_file() or not self._suffix) and path.name not in self._fixed}
        except OSError:
            return {}


def models(folder: str = '') -> Shelf:
    """Return the shipped models that find instruments, and the model files of a folder."""
    return Shelf(segmentation_models(models_dir()), folder, '.safetensors')


def sources(folder: str = '') -> Shelf:
    """Return the simulators, and the files and folders of a folder."""
    return Shelf(SIMULATORS, folder)


@dataclass(frozen=True)
class Loaded:
    """A model that runs or ran."""

    path: str
    """As the segmentation node says it, on its machine."""
    model_id: str


class ModelHistory:
    """Which models ran, so that one can go back; learns from the diagnostics."""

    def __init__(self):
        """Start with nothing known."""
        self._ran: list[Loaded] = []

    def saw(self, path: str, model_id: str) -> None:
        """Note the model that runs now."""
        model = Loaded(path, model_id)
        if not path or not model_id or (self._ran and self._ran[-1] == model):
            return
        if len(self._ran) > 1 and self._ran[-2] == model:
            # Gone back: what was left is no longer the one before.
            self._ran.pop()
            return
        self._ran = [*self._ran[-19:], model]

    @property
    def current(self) -> Loaded | None:
        """Return the model that runs; None: not known."""
        return self._ran[-1] if self._ran else None

    @property
    def previous(self) -> Loaded | None:
        """Return the one that ran before; None: there was none, or it is not known."""
        return self._ran[-2] if len(self._ran) > 1 else None

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

"""What the console knows of its station, fed by one thread and looked at by others."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
import threading
import time

from fedefm_ros.console.history import History, Second
from fedefm_ros.segmentation.recent import Recent

NODES = ('fluoroscopy', 'segmentation')
"""The lifecycle nodes that the console commands."""
FLOW_SECONDS = 1.0
"""So long after the last image frames still count as coming."""


@dataclass(frozen=True)
class Diagnosis:
    """What a node says of one of its subsystems on /diagnostics."""

    level: int
    """0 OK, 1 warning, 2 error."""
    message: str
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Tip:
    """Where the leading instrument's tip was: a share of width and height, 0 to 1."""

    at: float
    x: float
    y: float


@dataclass(frozen=True)
class Snapshot:
    """A station at one moment; ages in seconds, None where there was never any."""

    now: float
    running: float
    """Seconds since the console began to look."""
    image_age: float | None = None
    mask_age: float | None = None
    procedure: bool | None = None
    """What procedure_active says; None: nobody says it."""
    flowing: bool = False
    """Frames come, so masks should."""
    rate: float = 0.0
    latency_ms: float = float('nan')
    latency_ms_p99: float = float('nan')
    processing_ms: float = float('nan')
    model_id: str = ''
    size: tuple[int, int] = (0, 0)
    """Width and height of the images in pixels."""
    instruments: int = 0
    states: Mapping[str, str | None] = field(default_factory=dict)
    """Lifecycle state by node; None: no answer."""
    heard: Mapping[str, float | None] = field(default_factory=dict)
    """Seconds since a node last said how it is."""
    diagnoses: Mapping[str, Diagnosis] = field(default_factory=dict)
    """By ``NODE: SUBSYSTEM``."""
    tips: tuple[Tip, ...] = ()
    seconds: tuple[Second, ...] = ()
    refused_lately: int = 0
    skipped_share: float = 0.0
    """Of the frames of the last seconds, how many were skipped or lost: 0 to 1."""

    def value(self, subsystem: str, name: str, default: str = '') -> str:
        """Return a value from the diagnostics."""
        diagnosis = self.diagnoses.get(subsystem)
        return diagnosis.values.get(name, default) if diagnosis else default


class StationView:
    """The newest of everything a station says."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        """Start with nothing known."""
        self._clock = clock
        self._lock = threading.Lock()
        self._began = clock()
        self._image = self._mask = None
        self._procedure: bool | None = None
        self._procedure_since = 0.0
        self._latency = Recent(clock=clock)
        self._states: dict[str, str | None] = {}
        self._heard: dict[str, float] = {}
        self._diagnoses: dict[str, Diagnosis] = {}
        self._tips: deque[Tip] = deque(maxlen=4096)
        self._history = History()
        self._processing = float('nan')
        self._model_id, self._size, self._instruments = '', (0, 0), 0

    def image(self) -> None:
        """Note that a frame has come."""
        with self._lock:
            self._image = self._clock()

    def mask(self, latency: float, size: tuple[int, int]) -> None:
        """
        Note that a mask has come.

        :param latency: seconds from the image's stamp to now.
        :param size: width and height.
        """
        with self._lock:
            self._mask = self._clock()
            self._size = size
            self._history.mask(1e3 * latency)
        self._latency.add(1e3 * latency)

    def instruments(self, model_id: str, processing: float, count: int,
                    tip: tuple[float, float] | None) -> None:
        """
        Note what was found in a frame.

        :param processing: seconds.
        :param tip: of the leading instrument, as shares of width and height; None: not seen.
        """
        with self._lock:
            self._model_id, self._processing = model_id, 1e3 * processing
            self._instruments = count
            if tip is not None:
                self._tips.append(Tip(self._clock(), *tip))

    def procedure(self, active: bool) -> None:
        """Note what procedure_active says."""
        with self._lock:
            self._procedure, self._procedure_since = active, self._clock()

    def state(self, node: str, label: str | None) -> None:
        """Note a lifecycle state; None: the node does not answer."""
        with self._lock:
            self._states[node] = label

    def diagnosis(self, name: str, diagnosis: Diagnosis) -> None:
        """Note what ``NODE: SUBSYSTEM`` says of itself."""
        with self._lock:
            self._heard[name.partition(':')[0]] = self._clock()
            self._diagnoses[name] = diagnosis
            if name == 'segmentation: frames':
                self._history.counters(**{
                    key: int(diagnosis.values[key]) for key in ('skipped', 'missed', 'refused')
                    if diagnosis.values.get(key, '').isdigit()})

    def snapshot(self, trace: float = 5.0) -> Snapshot:
        """
        Return how things stand.

        :param trace: how many seconds of tips.
        """
        with self._lock:
            now = self._clock()
            self._history.close(now)
            seconds = self._history.seconds()
            lately = [s for s in seconds if s.at > now - 5.0]
            skipped, frames = sum(s.skipped for s in lately), sum(s.rate for s in lately)
            heard = {node: now - at for node, at in self._heard.items()}
            return Snapshot(
                now=now, running=now - self._began,
                image_age=None if self._image is None else now - self._image,
                mask_age=None if self._mask is None else now - self._mask,
                procedure=self._procedure, flowing=self._flowing(now, heard),
                rate=self._latency.rate(), latency_ms=self._latency.percentile(0.5),
                latency_ms_p99=self._latency.percentile(0.99), processing_ms=self._processing,
                model_id=self._model_id, size=self._size, instruments=self._instruments,
                states=dict(self._states), heard=heard, diagnoses=dict(self._diagnoses),
                tips=tuple(tip for tip in self._tips if tip.at >= now - trace),
                seconds=seconds, refused_lately=int(sum(s.refused for s in lately)),
                skipped_share=skipped / (skipped + frames) if skipped else 0.0)

    def _flowing(self, now: float, heard: Mapping[str, float]) -> bool:
        """Return whether frames come, by whatever says so."""
        if self._image is not None and now - self._image < FLOW_SECONDS and (
                self._procedure is not False or self._image > self._procedure_since):
            return True
        if self._procedure is not None:
            return self._procedure
        frames = self._diagnoses.get('segmentation: frames')
        return frames is not None and heard.get('segmentation', 9.0) < 2.0 \
            and _number(frames.values.get('rate_in', '')) > 0.0


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0

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

"""The real-time engine: an image in, a mask out, instruments when asked for; models swap live."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
import threading
import time

import cv2

from fedefm_ros.backbones.checkpoint import segmentation_models
from fedefm_ros.backbones.spec import ModelSpec
from fedefm_ros.errors import FedefmError
from fedefm_ros.segmentation.field import find_field
from fedefm_ros.segmentation.geometry import analyse
from fedefm_ros.segmentation.geometry import border_of
from fedefm_ros.segmentation.geometry import GeometryParameters
from fedefm_ros.segmentation.geometry import OVERSHOOT
from fedefm_ros.segmentation.instrument import Instrument
from fedefm_ros.segmentation.judge import is_made_for
from fedefm_ros.segmentation.judge import Judge
from fedefm_ros.segmentation.judgement import judged
from fedefm_ros.segmentation.judgement import Opinion
from fedefm_ros.segmentation.judgement import shown_of
from fedefm_ros.segmentation.orientation import at_edge
from fedefm_ros.segmentation.postprocess import remove_specks
from fedefm_ros.segmentation.postprocess import SpeckParameters
from fedefm_ros.segmentation.preprocess import prepare
from fedefm_ros.segmentation.preprocess import Prepared
from fedefm_ros.segmentation.preprocess import restore
from fedefm_ros.segmentation.runtimes.cache import graph_of
from fedefm_ros.segmentation.runtimes.graph import Graph
from fedefm_ros.segmentation.runtimes.runtime import Runtime
from fedefm_ros.segmentation.runtimes.selection import AGREEMENT
from fedefm_ros.segmentation.runtimes.selection import bare_times
from fedefm_ros.segmentation.runtimes.selection import Measurement
from fedefm_ros.segmentation.runtimes.selection import prepared_test_picture
from fedefm_ros.segmentation.runtimes.selection import select
from fedefm_ros.segmentation.steadying import is_same_scene
from fedefm_ros.segmentation.steadying import lies_near
from fedefm_ros.segmentation.steadying import TipFilter
from fedefm_ros.segmentation.tips import Seen
from fedefm_ros.segmentation.tips import with_seen_tips

import numpy as np


@dataclass(frozen=True)
class EngineInfo:
    """What runs."""

    model_id: str
    """First 16 hex digits of the checkpoint's SHA-256."""
    model_path: Path
    backbone: str
    input_size: int
    """Side of the network's square input in pixels."""
    runtime: str
    precision: str
    threads: int
    measurements: tuple[Measurement, ...]
    """How every candidate did when the model was loaded."""
    judge_id: str
    """As ``model_id``, of the judge of pieces; '' without one."""
    provenance: dict
    """What the checkpoint says about its making."""


@dataclass(frozen=True)
class RawSegmentation:
    """What the critical path yields for one image; the arrays belong to the receiver."""

    mask: np.ndarray
    """(H, W) uint8 of ``labels`` values, the size of the image, without specks."""
    probability: np.ndarray
    """(H, W) uint8: that of any instrument, 255 = sure."""
    model_id: str
    """The model that made it, wholly."""
    inference_ms: float
    """Wall time of the network alone."""
    total_ms: float
    """Wall time of all of ``infer``."""
    image: np.ndarray
    """What it was made from, not copied: its collimated field tells entries from tips."""
    taken_out: int = 0
    """Pieces that the judge took out, wholly or in part."""
    renamed: int = 0
    """Pieces that the judge gave the other class, wholly or in part."""
    unjudged: int = 0
    """Pieces that were too many for the judge."""
    opinions: tuple[Opinion, ...] = ()
    """What the judge said, for the next frame."""
    seen: Seen | None = None
    """What the judge sees tips in; None without one."""


@dataclass(frozen=True)
class _Active:
    info: EngineInfo
    graph: Graph
    runtime: Runtime
    lock: threading.Lock
    """Runtimes are not re-entrant."""
    judge: Judge | None


class SegmentationEngine:
    """
    A model on a runtime.

    ``infer`` may be called from one thread while ``load`` runs in another: each image is
    segmented wholly by the model that was active when it came.
    """

    def __init__(self, active: _Active, precision: str, judge: str | Path,
                 specks: SpeckParameters, geometry: GeometryParameters, steady_tips: bool):
        """Use ``open``."""
        self._active = active
        self._precision = precision
        # A judge that was given stays the same, whatever becomes of its file.
        self._judge = active.judge if active.judge and str(judge) != 'auto' else judge
        self.specks = specks
        self.geometry = geometry
        self._steady = TipFilter() if steady_tips else None

    @classmethod
    def open(cls, model: str | Path = 'realtime', runtime: str = 'auto',  # noqa: A003
             threads: int = 2, precision: str = 'auto', *, judge: str | Path = 'auto',
             specks: SpeckParameters = SpeckParameters(),
             geometry: GeometryParameters = GeometryParameters(),
             steady_tips: bool = False) -> SegmentationEngine:
        """
        Load, check, compile and warm up.

        :param model: a .safetensors file, or the name of a shipped model.
        :param runtime: 'auto' (by a short measurement) or a name of ``runtimes.NAMES``.
        :param threads: cores that one inference may use.
        :param precision: 'auto', 'f32', 'bf16' or 'int8'; auto takes bf16 where it is faster and
            gives the same labels in 99.9 % of a test picture.
        :param judge: of the pieces of each mask: a .safetensors file, 'none', or 'auto' for the
            shipped one where it is made for the model's architecture.
        :param steady_tips: follow tips from frame to frame, see ``TipFilter``.
        Raises FedefmError where the model or the runtime cannot be used.
        """
        active = _activate(model_path(model), runtime, threads, precision, judge)
        return cls(active, precision, judge, specks, geometry, steady_tips)

    @property
    def info(self) -> EngineInfo:
        """Return what runs."""
        return self._active.info

    @property
    def min_confidence(self) -> float:
        """Return how sure the judge (see ``by_length``), else the network, must be of a piece."""
        return self._min_confidence(self._active)

    def _min_confidence(self, active: _Active) -> float:
        given = self.specks.min_confidence
        own = active.judge.limit if active.judge else active.graph.spec.min_confidence
        return own if given is None else given

    def infer(self, image: np.ndarray, before: Sequence[Opinion] = ()) -> RawSegmentation:
        """
        Segment an image, (H, W) uint8 or uint16 of any size.

        :param before: what the judge said of the frame before, which this one follows; it counts
            if it can be of the same scene (``is_same_scene``).

        Raises FedefmError where it is anything else, and where the network marks so much of it
        (``GeometryParameters.max_foreground``) that the mask can only be wrong.
        """
        start = time.perf_counter()
        active = self._active
        spec = active.graph.spec
        prepared = prepare(image, spec.input_size, spec.normalisation)
        with active.lock:
            begun = time.perf_counter()
            labels, probability = active.runtime(prepared)
            inference = time.perf_counter() - begun
            # The runtime's memory is overwritten by the next call.
            labels, probability = labels.copy(), probability.copy()
        limit, judgement, seen = self._min_confidence(active), (), None
        if active.judge is None:
            labels = remove_specks(labels, probability,
                                   replace(self.specks, min_confidence=limit))
        else:
            seen = Seen(prepared, probability, active.judge)
            labels, judgement = self._judged(active, labels, probability, prepared, limit, before)
        mask, probability = restore(labels, probability, prepared.box)
        share = cv2.countNonZero(mask) / mask.size
        if share > self.geometry.max_foreground:
            raise FedefmError(
                f'the model marked {share:.0%} of the image, at most '
                f'{self.geometry.max_foreground:.0%} can be instruments: no mask')
        return RawSegmentation(mask, probability, active.info.model_id, 1e3 * inference,
                               1e3 * (time.perf_counter() - start), image, *judgement, seen=seen)

    def _judged(self, active: _Active, labels: np.ndarray, probability: np.ndarray,
                prepared: Prepared, limit: float,
                before: Sequence[Opinion]) -> tuple[np.ndarray, tuple]:
        """Return the network's labels as the judge wants them, and what it did."""
        # Geometry has to know where the image ends.
        inner = np.s_[:prepared.box.inner_height, :prepared.box.inner_width]
        probability = probability[inner]
        mask = remove_specks(labels[inner], probability, replace(self.specks, min_confidence=0.0))
        pieces = analyse(mask, probability, parameters=self.geometry, quick=True).instruments
        if before and not lies_near(mask, shown_of(before)):
            before = ()
        # Of foreground that makes no piece nobody but the network says anything.
        given = self.specks.min_confidence
        otherwise = remove_specks(mask, probability, replace(
            self.specks, min_confidence=active.graph.spec.min_confidence if given is None
            else given))
        done = judged(mask, otherwise, probability, replace(prepared, image=prepared.image[inner]),
                      pieces, active.judge, limit, before=before)
        # What is left of a crossing with a line that went may be a speck.
        result = done.mask if done.mask is mask else remove_specks(
            done.mask, None, replace(self.specks, min_confidence=0.0))
        if result.shape != labels.shape:
            inside, result = result, np.zeros_like(labels)
            result[inner] = inside
        return result, (done.taken_out, done.renamed, done.unjudged, done.opinions)

    def instruments(self, raw: RawSegmentation, spacing_mm: tuple[float, float] | None = None, *,
                    previous: tuple[Instrument, ...] = (),
                    elapsed: float = 1 / 15) -> tuple[Instrument, ...]:
        """
        Return the instruments in a mask, the leading one first.

        :param spacing_mm: pixel pitch at the patient (row, column) in millimetres.
        :param previous: those of the frame before, which settle doubtful tips; none, or none that
            are near: the image follows no other, and no tip is known.
        :param elapsed: seconds since that frame, see ``TipFilter``.
        """
        if not is_same_scene(raw.mask, previous):
            previous = ()
        field = find_field(raw.image)
        found = analyse(raw.mask, raw.probability, spacing_mm=spacing_mm,
                        parameters=self.geometry, previous=previous, overshoot=OVERSHOOT,
                        field_of_view=field).instruments
        if raw.seen is not None:
            border = border_of(self.geometry, raw.mask.shape)
            try:
                found = with_seen_tips(
                    found, raw.seen, self.geometry.spacing,
                    lambda point: at_edge(point, raw.mask.shape, border, field), spacing_mm)
            except FedefmError as error:
                raw.seen.judge.tell_once('tips stay at the ends of the mask: %s', error)
        if self._steady is None:
            return found
        if not previous:
            self._steady.reset()
        return self._steady(found, raw.mask.shape, elapsed)

    def load(self, model: str | Path) -> EngineInfo:
        """
        Replace the model between two images; return what runs then.

        The new one is checked, compiled and tried out while the old one goes on working; it
        takes over the runtime, and the precision where the new labels allow it. Raises
        FedefmError and keeps the old model where the new one cannot be used.
        """
        old = self._active.info
        path = model_path(model)
        new = _activate(path, old.runtime, old.threads, old.precision, self._judge,
                        background=True)
        if self._precision == 'auto' and new.info.precision != 'f32' \
                and new.info.measurements[0].agreement < AGREEMENT:
            new = _activate(path, old.runtime, old.threads, 'f32', self._judge)
        self._active = new  # one reference: infer sees the old model or the new one
        return new.info

    def bare_inference_ms(self, runs: int = 50, rate: float = 0.0) -> np.ndarray:
        """
        Return the wall times of the network alone on a test picture, (runs,) milliseconds.

        :param rate: inferences a second; 0: one after the other.
        """
        active = self._active
        with active.lock:
            return bare_times(active.runtime, prepared_test_picture(active.graph), runs, rate)


def model_path(model: str | Path) -> Path:
    """Return the file of a model given by path or shipped name; raises FedefmError."""
    path = Path(model)
    if path.suffix or path.exists() or len(path.parts) != 1:
        return path
    from fedefm_ros.paths import models_dir
    folder = models_dir()
    shipped = folder / f'{model}.safetensors'
    if not shipped.is_file():
        known = segmentation_models(folder)
        raise FedefmError(f'model {str(model)!r} is neither a file nor shipped; shipped are: '
                          f'{", ".join(known) or "none"}')
    return shipped


def judge_of(given: str | Path | Judge, spec: ModelSpec) -> Judge | None:
    """Return the judge of a model's pieces, None without one; see ``SegmentationEngine.open``."""
    if str(given) == 'none':
        return None
    if str(given) != 'auto':
        judge = given if isinstance(given, Judge) else Judge(given)
        if judge.input_size != spec.input_size:
            raise FedefmError(f'{judge.path} judges pieces of {judge.input_size} x '
                              f'{judge.input_size} pixels, the model finds them in '
                              f'{spec.input_size} x {spec.input_size}')
        return judge
    from fedefm_ros.paths import models_dir
    shipped = models_dir() / 'judge.safetensors'
    return Judge(shipped) if shipped.is_file() and is_made_for(shipped, spec) else None


def _activate(path: Path, runtime: str, threads: int, precision: str,
              judge: str | Path | Judge, *, background: bool = False) -> _Active:
    graph = graph_of(path, background=background)
    # Before the compilation, which takes seconds: a judge may be refused.
    of_pieces = judge_of(judge, graph.spec)
    chosen, measurements = select(graph, path, runtime=runtime, precision=precision,
                                  threads=threads, timed=not background)
    info = EngineInfo(graph.checkpoint_sha256[:16], path, graph.spec.backbone,
                      graph.spec.input_size, chosen.name, chosen.precision, chosen.threads,
                      measurements, of_pieces.model_id if of_pieces else '',
                      graph.spec.provenance)
    of_pieces = of_pieces and of_pieces.compiled(chosen.threads)
    return _Active(info, graph, chosen, threading.Lock(), of_pieces)

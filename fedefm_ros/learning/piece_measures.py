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

"""What a judge of pieces is worth on pieces of which is known what they are."""

from fedefm_ros import labels
from fedefm_ros.learning.piece_samples import at_places, walls_at_places
from fedefm_ros.learning.piece_truth import UNTOLD
from fedefm_ros.learning.pieces import Pieces
from fedefm_ros.segmentation.division import divided
from fedefm_ros.segmentation.judgement import by_length
from fedefm_ros.segmentation.piece_network import COLUMNS, GRAIN

import numpy as np

from scipy.stats import rankdata

#: Shares of the true length at which false instruments are counted.
KEPT = (0.98, 0.96, 0.94, 0.92)


def measures(chances: np.ndarray, places: np.ndarray, pieces: Pieces,
             kept: float) -> tuple[dict[str, float], float]:
    """
    Return what a judge is worth on pieces, and the limit that leaves ``kept`` of the true length.

    The measures: the area under the curve of true and false pieces; false instruments a frame
    where ``KEPT`` of the true length stay; the share of the length of either class that is called
    the other; the share of the places of true pieces that are called what they are not, nothing
    or another class, as wholes and as they are ``divided``. What stays is decided ``by_length``,
    which the area knows nothing of.

    :param chances: (N, 3).
    :param places: (N, places, 3).
    """
    true, length = pieces.answers > 0, pieces.lengths
    sure = 1.0 - chances[:, 0]
    positive, negative = int(true.sum()), int((~true).sum())
    # Mann and Whitney's statistic: the share of pairs in the right order, ties half.
    scores = {'area': float((rankdata(sure)[true].sum() - positive * (positive + 1) / 2)
                            / (positive * negative))}
    sure = by_length(sure, length)
    for share in KEPT:
        false = (~true & (sure >= _leaving(share, sure, pieces))).sum() / pieces.frames
        scores[f'false_at_{100 * share:.0f}'] = float(false)
    kind = np.where(chances[:, 2] > chances[:, 1], labels.GUIDEWIRE, labels.CATHETER)
    for label in (labels.CATHETER, labels.GUIDEWIRE):
        mine = pieces.answers == label
        wrong = float(length[mine & (kind != label)].sum() / max(length[mine].sum(), 1e-6))
        scores[f'wrong_{labels.NAMES[label]}'] = wrong
    told = at_places(pieces.parts)
    known = (told != UNTOLD) & true[:, None]
    scores['wrong_as_wholes'] = _share((told != kind[:, None])[known])
    found = told.copy()
    for number in np.flatnonzero(known.any(1)):
        inside = told[number] != UNTOLD
        weights = np.full(inside.sum(), GRAIN / COLUMNS)
        found[number, inside] = divided(places[number, inside], weights, kind[number])
    scores['wrong_divided'] = _share((told != found)[known])
    return scores, limit_leaving(kept, sure, pieces)


def limit_leaving(share: float, sure: np.ndarray, pieces: Pieces) -> float:
    """
    Return the highest limit at which so much of the true length stays, at most 0.999.

    :param sure: (N,) how sure the judge is that each is an instrument, ``by_length``.
    """
    return min(_leaving(share, sure, pieces), 0.999)


def _leaving(share: float, sure: np.ndarray, pieces: Pieces) -> float:
    down = sure.argsort(kind='stable')[::-1]
    down = down[pieces.answers[down] > 0]
    length = np.cumsum(pieces.lengths[down])
    enough = np.searchsorted(length, share * pieces.lengths[pieces.answers > 0].sum())
    return float(sure[down[min(enough, len(down) - 1)]])


def tip_measures(said: np.ndarray, tips: np.ndarray) -> dict[str, float]:
    """
    Return the share of ends of which it is said rightly whether a tip is near, and the error.

    Quartiles of the distance from where a tip is said to be to where it is, in pixels, and the
    median without: of the end. Without any tip, the share alone.

    :param said: (N, 2, 3): the probability of a tip, and where it is.
    :param tips: (N, 2, 2), see ``piece_truth.tips_from``.
    """
    there = np.isfinite(tips).all(-1)
    before = np.hypot(*tips[there].T)
    after = np.hypot(*(tips[there] - said[there][:, 1:]).T)
    told = {'tip_told': _share((said[..., 0] > 0.5) == there)}
    if not there.any():
        return told
    return {**told, 'tip_error_before': float(np.median(before)),
            **{f'tip_error_{part}': float(np.percentile(after, part)) for part in (50, 75)}}


def wall_measures(said: np.ndarray, pieces: Pieces) -> dict[str, float]:
    """
    Return the mean error of walls, in pixels, of each class; none where no walls are known.

    :param said: (N, places, 2).
    """
    true = walls_at_places(pieces.walls)
    kinds = at_places(pieces.parts)
    errors = np.abs(said - true).mean(-1)
    found = {}
    for label in (labels.CATHETER, labels.GUIDEWIRE):
        of_class = errors[(kinds == label) & np.isfinite(errors)]
        if of_class.size:
            found[f'wall_error_{labels.NAMES[label]}'] = float(of_class.mean())
    return found


def _share(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else 0.0

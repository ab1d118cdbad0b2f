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

"""A judge between one and what was trained on from it."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from fedefm_ros.backbones.checkpoint import load_checkpoint, save_checkpoint
from fedefm_ros.errors import FedefmError
from fedefm_ros.learning.judge_worth import check_validation, worth
from fedefm_ros.learning.learnt_of import check_can_tell
from fedefm_ros.learning.pieces import Collection, Pieces

import torch


def average_judges(older: Path, newer: Path, share: float, validation: Pieces,
                   collection: Collection, kept: float, out: Path,
                   between: Sequence[Path] = ()) -> tuple[str, dict[str, float]]:
    """
    Write the judge whose weights lie between two; return its id and what it is worth.

    How the newer one weighs what it says by what the others of a frame are is left out: it was
    learnt of what it says (``judge_relations``). What two such judges have in common carries over
    to other images better than what the last training added (WiSE-FT, Wortsman et al., CVPR 2022,
    equation 1).

    :param newer: what was trained on from ``older``, or from one of ``between``.
    :param share: of the newer, 0 to 1.
    :param validation: pieces of ``collection``; the limit leaves ``kept`` of their true length.
    :param between: judges that lead from the older to the newer, in any order.
    :raises FedefmError: the newer is no judge that was trained on from the older, or the pieces
        are not of such models, of frames that one of the two was trained on, or all of one sort.
    """
    check_validation(validation)
    paths = (older, newer, *between)
    checkpoints = [load_checkpoint(path) for path in paths]
    for path, checkpoint in zip(paths, checkpoints):
        check_can_tell(collection, checkpoint.spec, path)
    spec = checkpoints[1].spec
    start_of = {one.model_id: one.spec.provenance.get('plan', {}).get('start')
                for one in checkpoints[1:]}
    ancestor = checkpoints[1].model_id
    while ancestor in start_of:
        ancestor = start_of.pop(ancestor)
    if ancestor != checkpoints[0].model_id:
        raise FedefmError(f'{newer} was not trained on from {older}, nor by way of the judges '
                          'between that were given: their mean would be neither')
    # How the newer one weighs what it says would not do for the mean.
    mine, network = (checkpoint.network().without_relations() for checkpoint in checkpoints[:2])
    with torch.no_grad():
        for weights, before in zip(network.parameters(), mine.parameters()):
            weights.mul_(share).add_(before, alpha=1.0 - share)
    scores, limit = worth(network, validation, kept)
    known = {name: value for name, value in spec.provenance.items() if name != 'relations'}
    model_id = save_checkpoint(out, network, replace(
        spec, config=network.config, min_confidence=limit, provenance={
            **known, 'validation': scores, 'averaged': {
                'older': checkpoints[0].model_id, 'newer': checkpoints[1].model_id,
                'share': share, 'between': sorted(one.model_id for one in checkpoints[2:]),
                'kept': kept, 'validation': asdict(collection)}}))
    return model_id, scores

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

"""What is said of a frame's pieces, weighed by what they are to each other."""

from fedefm_ros.segmentation.relations import SAID, SCALE, shapes_of_weights

import torch
from torch import nn


class PieceRelations(nn.Module):
    """
    Map what is known of a frame's pieces to what is added to the logits of each.

    Each piece is told something by each other one, of what that is and how the two lie to each
    other; the sum and the greatest of it are weighed beside what the piece itself is (one round of
    message passing, Gilmer et al., ICML 2017).
    """

    def __init__(self, own: int, message: int, told: int, joint: int):
        """Make the network; at first it adds nothing."""
        super().__init__()
        for name, (after, before) in shapes_of_weights(own, message, told, joint).items():
            setattr(self, name, nn.Linear(before, after))
        self.dropout = nn.Dropout(0.3)
        nn.init.zeros_(self.more.weight)
        nn.init.zeros_(self.more.bias)

    def forward(self, of_pieces: torch.Tensor, between: torch.Tensor,
                there: torch.Tensor) -> torch.Tensor:
        """
        Return what is added to the logits, (B, N, 3).

        :param of_pieces: (B, N, KNOWN) float32 of ``relations.known``.
        :param between: (B, N, N, RELATIONS) float32 of ``relations.relations``.
        :param there: (B, N) bool: which of the N are pieces of the frame.
        """
        count = of_pieces.shape[1]
        own = self.dropout(self.own(of_pieces).relu())
        theirs = of_pieces[:, None].expand(-1, count, -1, -1)
        told = self.told(self.message(torch.cat([theirs, between], 3)).relu()).relu()
        others = there[:, None] & ~torch.eye(count, dtype=torch.bool, device=there.device)
        told = self.dropout(told * others[..., None])
        joint = torch.cat([own, told.sum(2) / SCALE, told.amax(2)], 2)
        joint = self.dropout(self.joint(joint).relu())
        return self.more(torch.cat([joint, of_pieces[..., :SAID]], 2))

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

"""What ArrayData makes of its images."""

from fedefm_ros.federation.data import ArrayData

import torch

IMAGES = torch.arange(2 * 16.0).reshape(2, 1, 4, 4)
LABELS = torch.tensor([0, 1])


def _views(data):
    """Return all distinct views of the first image that 40 batches show."""
    seen = set()
    for images, labels in data.batches(40, 'here'):
        seen |= {tuple(image.flatten().tolist()) for image in images[labels == 0]}
    return seen


def test_images_are_mirrored_and_turned_only_as_told():
    image = IMAGES[0, 0]
    as_is, mirrored = (tuple(view.flatten().tolist()) for view in (image, image.flip(1)))
    assert _views(ArrayData(IMAGES, LABELS, 4, 0, turn=False)) == {as_is}
    assert _views(ArrayData(IMAGES, LABELS, 4, 0, turn=False, mirror=True)) == {as_is, mirrored}
    assert len(_views(ArrayData(IMAGES, LABELS, 4, 0))) == 8
    assert len(_views(ArrayData(IMAGES, LABELS, 4, 0, mirror=False))) == 4


def test_masks_go_with_their_images():
    masks = IMAGES[:, 0].long()
    for images, turned in ArrayData(IMAGES, masks, 4, 1).batches(8, 'here'):
        assert torch.equal(images[:, 0].long(), turned)


def test_batches_depend_on_the_place_only():
    data = ArrayData(IMAGES, LABELS, 4, 0)
    first, again, other = (list(data.batches(3, place)) for place in ('a', 'a', 'b'))
    assert all(torch.equal(x[0], y[0]) for x, y in zip(first, again))
    assert any(not torch.equal(x[0], y[0]) for x, y in zip(first, other))

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

"""Pictures of what a network makes of frames it was not trained on."""

from pathlib import Path

import cv2

from fedefm_ros import labels
from fedefm_ros.files import write_atomically
from fedefm_ros.learning.simulated import SimulatedFrames

import numpy as np

import torch


def validation_sheet(network: torch.nn.Module, device: torch.device, seed: int, path: Path,
                     count: int = 12, columns: int = 4) -> None:
    """Write frames of a seed: truth on the left, what a network finds there on the right."""
    frames = SimulatedFrames(1, seed, crop=512)
    tiles = []
    for scene in range(count):
        image, target = frames.of_scene(scene)
        with torch.inference_mode():
            found = network(image[None].to(device)).argmax(dim=1)[0].cpu().numpy()
        grey = np.clip(image[0].numpy() * 160 + 60, 0, 255).astype(np.uint8)
        tiles.append(np.hstack([painted(grey, target.numpy()), painted(grey, found)]))
    rows = [np.hstack(tiles[i:i + columns // 2]) for i in range(0, count, columns // 2)]
    sheet = cv2.resize(np.vstack(rows), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    write_atomically(path, cv2.imencode('.png', sheet)[1].tobytes(), push=False)


def painted(grey: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return a grey picture (H, W) uint8 with a label mask over it, (H, W, 3) BGR."""
    picture = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    for label in (labels.CATHETER, labels.GUIDEWIRE):
        picture[mask == label] = labels.COLOURS[label][::-1]
    return picture

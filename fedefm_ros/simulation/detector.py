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
From line integrals to the picture on the screen: what the X-ray chain does.

Beer-Lambert transmission, scatter and veiling glare, focal-spot and detector blur, quantum and
electronic noise at a dose, recursive filtering, automatic exposure, collimation, display, text.
"""

from dataclasses import dataclass

import cv2

from fedefm_ros.simulation import config
from fedefm_ros.simulation.fields import coordinates, soft_step
from fedefm_ros.simulation.overlay import Overlay, random_overlay
from fedefm_ros.simulation.ranges import happens, Range
from fedefm_ros.simulation.settings import Collimator, Xray

import numpy as np


@dataclass(frozen=True)
class XrayChain:
    """The settings of one acquisition; see ``random_chain`` for their usual ranges."""

    scatter: float
    """Scatter-to-primary ratio, 0 to 1.5."""
    blur_px: float
    """Standard deviation of the focal spot and detector blur in pixels."""
    photons: float
    """Mean photons a pixel: the dose; 300 (low-dose fluoroscopy) to 30,000 (exposure)."""
    grain_px: float
    """Correlation length of the noise in pixels (phosphor, interpolation), 0 to 1.2."""
    lag: float
    """Share of the previous frame in this one (recursive filter), 0 to 0.7."""
    gamma: float
    """Exponent of the display curve."""
    black: float
    white: float
    """Where the darkest and brightest percent of the field end up, 0 to 1."""
    sharpen: float
    """Strength of the unsharp mask that consoles apply, 0 to 2."""
    field: np.ndarray
    """(H, W) float32, 0 behind the collimator's blades, 1 in the field."""
    border: float
    """Grey of the area behind the blades, 0 to 1."""
    overlay: Overlay | None = None
    """What the console writes over it."""


def scale_of(shape: tuple[int, int]) -> float:
    """Return how much larger a picture's details are than in one of 512; never smaller."""
    return max(1.0, shape[1] / 512.0)


def random_field(rng: np.random.Generator, ranges: Collimator,
                 shape: tuple[int, int]) -> np.ndarray:
    """Return a random collimated field: whole, rectangular with soft blades, or round."""
    height, width = shape
    scale = scale_of(shape)
    field = np.ones(shape, np.float32)
    if ranges.whole >= 1.0:
        return field
    choice = rng.random()
    if choice < ranges.whole:
        return field
    x, y = coordinates(shape)
    if choice < ranges.whole + ranges.blades:
        softness = ranges.blade_edge_px.draw(rng) * scale
        lean = rng.normal(0, 0.02)
        for axis, far in ((x + lean * y, width), (y - lean * x, height)):
            for distance in (axis, far - 1 - axis):
                if happens(rng, ranges.blade):
                    field *= soft_step(distance - ranges.blade_depth.draw(rng) * far, softness)
    else:
        radius = ranges.radius.draw(rng) * width
        d = radius - np.hypot(x - width / 2 - rng.normal(0, 6) * scale, y - height / 2)
        field *= soft_step(d, ranges.radius_edge_px.draw(rng) * scale)
    return field


def random_chain(rng: np.random.Generator, ranges: Xray | str,
                 shape: tuple[int, int]) -> XrayChain:
    """
    Return the settings of a random acquisition.

    :param ranges: what they are drawn from, or the kind of scene for that kind's default ones.
    :param shape: (height, width) of the picture.
    """
    if isinstance(ranges, str):
        ranges = config.find(ranges).xray
    black, scale = ranges.black.draw(rng), scale_of(shape)
    return XrayChain(
        scatter=ranges.scatter.draw(rng),
        blur_px=ranges.blur_px.draw(rng) * scale,
        photons=ranges.photons.draw(rng),
        grain_px=ranges.grain_px.draw(rng) * scale,
        lag=ranges.lag.draw(rng),
        gamma=float(np.exp(rng.normal(0.0, ranges.gamma_spread))),
        black=black,
        white=Range(max(ranges.white.low, black + 0.2), ranges.white.high).draw(rng),
        sharpen=ranges.sharpen.draw(rng),
        field=random_field(rng, ranges.collimator, shape),
        border=ranges.border.draw(rng),
        overlay=random_overlay(rng, ranges.text, shape))


class Detector:
    """Turns attenuation maps of one sequence into 8-bit frames; remembers exposure and lag."""

    def __init__(self, chain: XrayChain, rng: np.random.Generator):
        self._chain = chain
        self._rng = rng
        self._previous = None
        self._levels = None

    def expose(self, attenuation: np.ndarray) -> np.ndarray:
        """Return the frame (H, W) uint8 of a map of line integrals (H, W) float32."""
        chain = self._chain
        primary = cv2.exp(-attenuation)
        if chain.scatter:
            primary = _with_scatter(primary, chain.scatter)
        primary *= chain.field
        signal = cv2.GaussianBlur(primary, (0, 0), chain.blur_px)
        # Automatic exposure: the generator holds the mean of the field at the chosen dose.
        mean = float(signal[::8, ::8].mean()) / max(float(chain.field[::8, ::8].mean()), 0.05)
        signal *= np.float32(1.0 / max(mean, 1e-6))
        signal += self._noise(signal)
        if self._previous is not None and chain.lag:
            signal = cv2.addWeighted(signal, 1.0 - chain.lag, self._previous, chain.lag, 0.0)
        self._previous = signal
        return self._display(signal)

    def _noise(self, signal):
        chain = self._chain
        noise = self._rng.standard_normal(signal.shape, dtype=np.float32)
        if chain.grain_px > 0.25:
            # Blurred noise, brought back to unit variance.
            noise = cv2.GaussianBlur(noise, (0, 0), chain.grain_px)
            noise *= np.float32(2.0 * np.sqrt(np.pi) * chain.grain_px if chain.grain_px > 0.6
                                else 1.0 / max(float(noise[::4, ::4].std()), 1e-3))
        electronic = 0.02**2 / 4.0
        sigma = cv2.sqrt(cv2.max(signal, 0.0) * np.float32(1.0 / chain.photons)
                         + np.float32(electronic * 0.1))
        return noise * sigma

    def _display(self, signal):
        chain = self._chain
        # Consoles show the logarithm of the signal, or nearly so: thickness, not light.
        grey = cv2.log(cv2.max(signal, 2e-3))
        if chain.sharpen:
            soft = cv2.GaussianBlur(grey, (0, 0), 2.5 * scale_of(grey.shape))
            grey = cv2.addWeighted(grey, 1.0 + chain.sharpen, soft, -chain.sharpen, 0.0)
        if self._levels is None:
            seen = grey[::4, ::4][chain.field[::4, ::4] > 0.5]
            self._levels = np.percentile(seen if seen.size else grey[::4, ::4], (0.5, 99.5))
        low, high = self._levels
        grey = np.clip((grey - np.float32(low)) / np.float32(max(high - low, 0.25)), 0.0, 1.0)
        if abs(chain.gamma - 1.0) > 0.02:
            grey = cv2.pow(grey, chain.gamma)
        grey = chain.black + (chain.white - chain.black) * grey
        grey = chain.border + (grey - chain.border) * chain.field
        image = cv2.convertScaleAbs(grey, alpha=255.0)
        return image if chain.overlay is None else chain.overlay.over(image)


def _with_scatter(primary, ratio):
    """Add what reaches a pixel from within some 80 (in an image of 512) around, as a share."""
    height, width = primary.shape
    cell = round(16 * scale_of(primary.shape))
    small = cv2.resize(primary, (width // cell, height // cell), interpolation=cv2.INTER_AREA)
    glow = cv2.GaussianBlur(small, (0, 0), 5.0)
    glow = cv2.resize(glow, (width, height), interpolation=cv2.INTER_LINEAR)
    return cv2.addWeighted(primary, 1.0, glow, ratio, 0.0)

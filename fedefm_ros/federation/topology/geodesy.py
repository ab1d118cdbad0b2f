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

"""Distances on the Earth."""

import math

# WGS 84: equatorial radius in km and flattening.
_RADIUS = 6378.137
_FLATTENING = 1 / 298.257223563
_ITERATIONS = 200


def geodesic_km(start: tuple[float, float], end: tuple[float, float]) -> float:
    """
    Return the distance in km along the WGS 84 ellipsoid between two places.

    Places are (latitude, longitude) in degrees. Vincenty's inverse formula (Survey Review 23(176),
    1975), right to a millimetre; a spherical Earth is up to 0.5 % off, which moves the published
    cycle times in their second decimal. For nearly antipodal places, where the formula does not
    settle, the last iterate is returned (off by less than 0.5 %).
    """
    f = _FLATTENING
    polar = _RADIUS * (1 - f)
    reduced = [math.atan((1 - f) * math.tan(math.radians(place[0]))) for place in (start, end)]
    (sin1, sin2), (cos1, cos2) = map(math.sin, reduced), map(math.cos, reduced)
    longitude = math.remainder(math.radians(end[1] - start[1]), 2 * math.pi)
    on_sphere = longitude
    for _ in range(_ITERATIONS):
        sin_lon, cos_lon = math.sin(on_sphere), math.cos(on_sphere)
        sin_arc = math.hypot(cos2 * sin_lon, cos1 * sin2 - sin1 * cos2 * cos_lon)
        if sin_arc == 0:
            return 0.0
        cos_arc = sin1 * sin2 + cos1 * cos2 * cos_lon
        arc = math.atan2(sin_arc, cos_arc)
        sin_azimuth = cos1 * cos2 * sin_lon / sin_arc
        cos2_azimuth = 1 - sin_azimuth ** 2
        # On the equator the arc has no middle latitude; the term vanishes.
        middle = cos_arc - 2 * sin1 * sin2 / cos2_azimuth if cos2_azimuth > 1e-15 else 0.0
        c = f / 16 * cos2_azimuth * (4 + f * (4 - 3 * cos2_azimuth))
        previous = on_sphere
        on_sphere = longitude + (1 - c) * f * sin_azimuth * (
            arc + c * sin_arc * (middle + c * cos_arc * (2 * middle ** 2 - 1)))
        if abs(on_sphere - previous) < 1e-13:
            break
    u2 = cos2_azimuth * (_RADIUS ** 2 - polar ** 2) / polar ** 2
    a = 1 + u2 / 16384 * (4096 + u2 * (-768 + u2 * (320 - 175 * u2)))
    b = u2 / 1024 * (256 + u2 * (-128 + u2 * (74 - 47 * u2)))
    correction = b * sin_arc * (middle + b / 4 * (
        cos_arc * (2 * middle ** 2 - 1)
        - b / 6 * middle * (4 * sin_arc ** 2 - 3) * (4 * middle ** 2 - 3)))
    return polar * a * (arc - correction)

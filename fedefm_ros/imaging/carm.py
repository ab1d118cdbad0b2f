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

"""C-arm geometry: pixel spacing at the detector and at the patient, and the pinhole camera."""

from dataclasses import dataclass


@dataclass(frozen=True)
class CArm:
    """
    The X-ray set-up of a sequence; every field may be unknown (None).

    ``imager_spacing_mm`` is the pixel pitch at the detector (row, column) after any binning or
    resizing. Distances are in millimetres, angles in degrees as DICOM gives them.
    ``estimated_magnification`` counts only where the distances are unknown.
    """

    imager_spacing_mm: tuple[float, float] | None = None
    source_detector_mm: float | None = None
    source_patient_mm: float | None = None
    primary_angle_deg: float | None = None
    secondary_angle_deg: float | None = None
    estimated_magnification: float | None = None

    @property
    def magnification(self) -> float | None:
        """Return how much larger the patient appears at the detector (at the isocentre)."""
        if not self.source_detector_mm or not self.source_patient_mm:
            return self.estimated_magnification
        return self.source_detector_mm / self.source_patient_mm

    @property
    def isocenter_mm(self) -> float | None:
        """Return the distance from the source to the isocentre; None where it is unknown."""
        if not self.source_detector_mm or not self.magnification:
            return None
        return self.source_detector_mm / self.magnification

    @property
    def patient_spacing_mm(self) -> tuple[float, float] | None:
        """Return the pixel pitch (row, column) at the isocentre; None where it is unknown."""
        if self.imager_spacing_mm is None or self.magnification is None:
            return None
        row, column = self.imager_spacing_mm
        return row / self.magnification, column / self.magnification

    @property
    def focal_px(self) -> tuple[float, float] | None:
        """Return the focal lengths (fx, fy) in pixels of the C-arm seen as a pinhole camera."""
        if self.imager_spacing_mm is None or not self.source_detector_mm:
            return None
        row, column = self.imager_spacing_mm
        return self.source_detector_mm / column, self.source_detector_mm / row

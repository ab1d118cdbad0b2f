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

"""How a DICOM image is meant to be seen, as one table from stored values to grey levels."""

from collections.abc import Iterator
import math
from typing import Any

from fedefm_ros.imaging.windowing import apply_lut, apply_window

import numpy as np

from pydicom.dataset import Dataset


def scopes(dataset: Dataset) -> Iterator[Dataset]:
    """Yield the dataset, then the functional groups of an enhanced object (first frame's)."""
    yield dataset
    for keyword in ('SharedFunctionalGroupsSequence', 'PerFrameFunctionalGroupsSequence'):
        for groups in (dataset.get(keyword) or [])[:1]:
            for element in groups:
                if element.VR == 'SQ' and element.value:
                    yield element.value[0]


def first_value(dataset: Dataset, keyword: str) -> Any:
    """Return an attribute's (first) value wherever it stands; None where missing or unreadable."""
    for scope in scopes(dataset):
        try:
            value = scope.get(keyword)
        except Exception:  # values are parsed when read, and damaged ones raise anything
            continue
        if isinstance(value, (list, tuple)) or hasattr(value, 'append'):
            value = value[0] if len(value) else None
        if value is not None and value != '':
            return value
    return None


def first_number(dataset: Dataset, keyword: str) -> float | None:
    """Return an attribute's first value as a finite number; None where there is none."""
    value = first_value(dataset, keyword)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def display_table(dataset: Dataset, largest: int | None = None) -> np.ndarray:
    """
    Return the grey level of every stored value, devices dark on light.

    Applied in DICOM's order: modality LUT (sequence or rescale), VOI LUT (sequence, else the first
    window, else the whole stored range), then polarity. The whole stored range of unsigned data
    ends at the power of two that covers the frames so far: many C-arms write 10 or 12 bits and say
    16. Polarity: where the file says how values relate to X-ray intensity, more X-ray is lighter;
    else MONOCHROME1 and an INVERSE presentation LUT are inverted.

    :param dataset: needs BitsStored (1 to 16) and PixelRepresentation.
    :param largest: the largest stored value of the frames so far, if unsigned.
    :return: (2 ** BitsStored,) uint8 where BitsStored <= 8, else uint16 in the range 0 to 65535;
        signed values stand at their two's complement.
    """
    bits = int(dataset.BitsStored)
    stored = np.arange(2**bits, dtype=np.int64)
    signed = dataset.PixelRepresentation == 1
    if signed:
        stored[2**(bits - 1):] -= 2**bits
    values = _modality(dataset, stored, signed)
    grey = _voi(dataset, values, signed)
    if grey is None:
        used = np.ones(len(stored), bool)
        if not signed and largest is not None and bits > 8:
            used = stored < max(2**int(largest).bit_length(), 2**8)
        low, high = float(values[used].min()), float(values[used].max())
        grey = np.clip((values - low) / max(high - low, 1e-9), 0.0, 1.0)
    rises = grey[stored.argmax()] >= grey[stored.argmin()]
    if _is_inverted(dataset, rises):
        grey = 1.0 - grey
    dtype = np.uint8 if bits <= 8 else np.uint16
    return np.rint(grey * np.iinfo(dtype).max).astype(dtype)


def _modality(dataset: Dataset, stored: np.ndarray, signed: bool) -> np.ndarray:
    """Return the values after the modality LUT."""
    sequence = dataset.get('ModalityLUTSequence')
    if sequence:
        first, entries, _ = _lut(sequence[0], dataset, signed)
        return apply_lut(stored, first, entries)
    slope = first_number(dataset, 'RescaleSlope') or 1.0
    intercept = first_number(dataset, 'RescaleIntercept') or 0.0
    return stored * slope + intercept


def _voi(dataset: Dataset, values: np.ndarray, signed: bool) -> np.ndarray | None:
    """Return 0 to 1 after VOI LUT or window; None where the file has neither."""
    for scope in scopes(dataset):
        sequence = scope.get('VOILUTSequence')
        if sequence:
            first, entries, bits = _lut(sequence[0], dataset, signed)
            return apply_lut(values, first, entries) / max(2.0**bits - 1, float(entries.max()))
    center, width = (first_number(dataset, key) for key in ('WindowCenter', 'WindowWidth'))
    if center is None or width is None or width <= 0:
        return None
    function = first_value(dataset, 'VOILUTFunction')
    return apply_window(values, center, width, str(function or 'LINEAR'))


def _lut(item: Dataset, dataset: Dataset, signed: bool) -> tuple[int, np.ndarray, int]:
    """Return first mapped value, entries and bits of a LUT item."""
    count, first, bits = (int(value) for value in item.LUTDescriptor)
    count = count or 2**16
    if first >= 2**15 and signed:  # read as US though it is SS
        first -= 2**16
    data = item.LUTData
    if isinstance(data, bytes):
        order = '<' if dataset.original_encoding[1] else '>'
        data = np.frombuffer(data, np.uint8 if len(data) < 2 * count else f'{order}u2')
    entries = np.atleast_1d(np.asarray(data)).astype(np.float64)[:count]
    if not len(entries) or not 1 <= bits <= 16:
        raise ValueError(f'LUT of {len(entries)} entries with {bits} bits')
    return first, entries, bits


def _is_inverted(dataset: Dataset, rises: bool) -> bool:
    """Return whether grey levels, which rise or fall with stored values, must be turned round."""
    sign = first_number(dataset, 'PixelIntensityRelationshipSign')
    if sign in (1, -1):
        return rises != (sign == 1)
    shape = first_value(dataset, 'PresentationLUTShape')
    return dataset.PhotometricInterpretation == 'MONOCHROME1' or shape == 'INVERSE'

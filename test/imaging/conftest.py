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

import cv2

import numpy as np

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, generate_uid, JPEG2000, JPEG2000Lossless
from pydicom.uid import JPEGBaseline8Bit, JPEGLossless, JPEGLosslessSV1, RLELossless
from pydicom.uid import SecondaryCaptureImageStorage, XRayAngiographicImageStorage

import pytest


@pytest.fixture
def moving_frames():
    """Return a function that makes (N, H, W) smooth frames of some bits, no two alike."""
    def make(count=3, height=40, width=56, bits=8, seed=0):
        noise = np.random.default_rng(seed).random((count, height, width), dtype=np.float32)
        smooth = np.stack([cv2.GaussianBlur(frame, (0, 0), 3) for frame in noise])
        smooth = (smooth - smooth.min()) / np.ptp(smooth)
        return np.rint(smooth * (2**bits - 1)).astype(np.uint8 if bits <= 8 else np.uint16)

    return make


@pytest.fixture
def write_dicom(tmp_path):
    """Return a function that writes frames as a DICOM file and returns its path."""
    def write(frames, name='run.dcm', syntax=ExplicitVRLittleEndian, *, remove=(), **attributes):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset = _dataset(np.asarray(frames), attributes)
        for keyword in remove:
            delattr(dataset, keyword)
        _encode(dataset, np.asarray(frames), syntax)
        dataset.save_as(path, enforce_file_format=True)
        return path

    return write


def _dataset(frames, attributes):
    """Return an angiographic run; ``attributes`` replace or add to what it says."""
    colour = frames.ndim == 4
    allocated = 8 * frames.itemsize
    kind = SecondaryCaptureImageStorage if colour else XRayAngiographicImageStorage
    dataset = Dataset()
    dataset.SOPClassUID = kind
    dataset.SOPInstanceUID = generate_uid()
    dataset.Modality = 'XA'
    dataset.SamplesPerPixel = 3 if colour else 1
    dataset.PhotometricInterpretation = 'RGB' if colour else 'MONOCHROME2'
    if colour:
        dataset.PlanarConfiguration = 0
    dataset.NumberOfFrames = len(frames)
    dataset.Rows, dataset.Columns = frames.shape[1:3]
    dataset.BitsAllocated = dataset.BitsStored = allocated
    dataset.PixelRepresentation = int(frames.dtype.kind == 'i')
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    if 'HighBit' not in attributes:
        dataset.HighBit = dataset.BitsStored - 1
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = kind
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def _encode(dataset, frames, syntax):
    syntax = pydicom.uid.UID(syntax)
    own = {JPEGBaseline8Bit: _jpeg_baseline, JPEGLossless: _jpeg_lossless,
           JPEGLosslessSV1: _jpeg_lossless}
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if syntax in own:
        bits = dataset.BitsStored
        dataset.PixelData = encapsulate([own[syntax](frame, bits) for frame in frames])
        dataset['PixelData'].VR = 'OB'
        dataset.file_meta.TransferSyntaxUID = syntax
    else:
        swapped = frames if syntax.is_little_endian else frames.byteswap()
        dataset.PixelData = swapped.tobytes() + bytes(swapped.nbytes % 2)
        dataset['PixelData'].VR = 'OB' if frames.itemsize == 1 else 'OW'
        if syntax in (RLELossless, JPEG2000Lossless):
            dataset.compress(syntax, generate_instance_uid=False)
        elif syntax == JPEG2000:
            dataset.compress(syntax, j2k_psnr=[60], generate_instance_uid=False)
        else:
            dataset.file_meta.TransferSyntaxUID = syntax


def _jpeg_baseline(frame, bits):
    if frame.ndim == 3:
        frame = frame[..., ::-1]
    return cv2.imencode('.jpg', frame, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def _jpeg_lossless(frame, bits):
    """Return a JPEG of process 14 with predictor 1 (ISO 10918-1, annex H), one component."""
    height, width = frame.shape
    values = frame.astype(np.int64)
    before = np.empty_like(values)
    before[:, 1:] = values[:, :-1]
    before[1:, 0] = values[:-1, 0]
    before[0, 0] = 2**(bits - 1)
    text = []
    for difference in (values - before).ravel().tolist():
        length = abs(difference).bit_length()
        # 17 categories, each with a 5-bit code; a negative number is written minus one.
        rest = difference if difference >= 0 else difference + 2**length - 1
        text.append(f'{length:05b}' + (f'{rest:0{length}b}' if length else ''))
    text = ''.join(text)
    text += '1' * (-len(text) % 8)
    coded = int(text, 2).to_bytes(len(text) // 8, 'big').replace(b'\xff', b'\xff\0')

    def segment(marker, body):
        return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, 'big') + body

    shape = height.to_bytes(2, 'big') + width.to_bytes(2, 'big')
    return (b'\xff\xd8' + segment(0xC3, bytes([bits]) + shape + bytes([1, 1, 0x11, 0]))
            + segment(0xC4, bytes([0, 0, 0, 0, 0, 17] + [0] * 11) + bytes(range(17)))
            + segment(0xDA, bytes([1, 1, 0, 1, 0, 0])) + coded + b'\xff\xd9')

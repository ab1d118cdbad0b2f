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

from fedefm_ros.errors import FedefmError
from fedefm_ros.imaging.dicom import DicomSource

import numpy as np

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, EncapsulatedPDFStorage
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pydicom.uid import JPEG2000, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLossless
from pydicom.uid import JPEGLosslessSV1, MPEG4HP41, RLELossless

import pytest

pytestmark = pytest.mark.filterwarnings('ignore::UserWarning:pydicom')

LOSSLESS = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless,
            JPEG2000Lossless, JPEGLossless, JPEGLosslessSV1]


def images(path):
    with DicomSource(path) as source:
        return np.stack([frame.image for frame in source])


@pytest.mark.parametrize('syntax', LOSSLESS, ids=lambda uid: uid.name[:24])
@pytest.mark.parametrize('bits', [8, 10, 12, 16])
def test_lossless_transfer_syntaxes_keep_every_grey_level(write_dicom, moving_frames, syntax,
                                                          bits):
    frames = moving_frames(bits=bits)
    found = images(write_dicom(frames, syntax=syntax, BitsStored=bits))
    if bits == 8:
        assert np.array_equal(found, frames)
    else:
        assert found.dtype == np.uint16
        assert np.array_equal(found, np.rint(frames / (2**bits - 1) * 65535).astype(np.uint16))


@pytest.mark.parametrize('syntax', [JPEGBaseline8Bit, JPEG2000])
def test_lossy_transfer_syntaxes_come_close(write_dicom, moving_frames, syntax):
    frames = moving_frames()
    found = images(write_dicom(frames, syntax=syntax))
    assert np.abs(found.astype(int) - frames).max() <= 6


def test_the_sample_is_the_same_as_what_pydicom_reads(shared_data):
    path = shared_data / 'xa_human_a.dcm'
    with DicomSource(path) as source:
        frames = list(source)
        assert (source.rate, source.frame_count, source.name) == (15.0, 8, 'xa_human_a.dcm')
        assert source.carm.imager_spacing_mm == (0.390625, 0.390625)
        assert source.carm.magnification == pytest.approx(1193 / 720)
        assert source.carm.patient_spacing_mm[0] == pytest.approx(0.390625 * 720 / 1193)
        assert (source.carm.primary_angle_deg, source.carm.secondary_angle_deg) == (-28.5, 21.9)
    assert [frame.index for frame in frames] == list(range(8))
    assert [frame.time for frame in frames] == pytest.approx([n / 15 for n in range(8)])
    assert np.array_equal(np.stack([frame.image for frame in frames]), dcmread(path).pixel_array)


def test_iterating_twice_starts_anew_and_closing_twice_is_fine(write_dicom, moving_frames):
    source = DicomSource(write_dicom(moving_frames()))
    first = [frame.image for frame in source]
    iterator = iter(source)
    next(iterator)
    assert all(np.array_equal(a, b.image) for a, b in zip(first, source, strict=True))
    source.close()
    source.close()


def test_frames_are_decoded_one_by_one(write_dicom, moving_frames):
    path = write_dicom(moving_frames(count=4))
    data = bytearray(path.read_bytes())
    iterator = iter(DicomSource(path))
    before = next(iterator).image
    data[-40 * 56:] = bytes(40 * 56)
    path.write_bytes(data)
    assert before.any()
    *_, last = iterator
    assert not last.image.any()


def test_frames_brighter_than_the_first_are_not_clipped(write_dicom, moving_frames, caplog):
    frames = moving_frames(count=4, bits=12)
    frames[0] //= 5
    found = images(write_dicom(frames, BitsStored=16))
    for frame, top, image in zip(frames, (1023, 4095, 4095, 4095), found):
        assert np.array_equal(image, np.rint(frame / top * 65535))
    assert [record.args[1] for record in caplog.records if 'window' in record.msg] == [1]
    caplog.clear()
    images(write_dicom(frames, BitsStored=16, WindowCenter=2000, WindowWidth=4000))
    assert not caplog.records


@pytest.mark.parametrize('attributes', [
    {'PhotometricInterpretation': 'MONOCHROME1'},
    {'PresentationLUTShape': 'INVERSE'},
    {'PhotometricInterpretation': 'MONOCHROME1', 'PresentationLUTShape': 'INVERSE'},
    {'PixelIntensityRelationshipSign': -1},
    {'PixelIntensityRelationshipSign': -1, 'PhotometricInterpretation': 'MONOCHROME1'},
])
def test_inverted_images_are_turned_so_that_devices_are_dark(write_dicom, moving_frames,
                                                             attributes):
    frames = moving_frames()
    assert np.array_equal(images(write_dicom(frames, **attributes)), 255 - frames)


def test_a_known_intensity_sign_wins_over_how_the_image_is_shown(write_dicom, moving_frames):
    frames = moving_frames()
    path = write_dicom(frames, PhotometricInterpretation='MONOCHROME1',
                       PixelIntensityRelationshipSign=1)
    assert np.array_equal(images(path), frames)


@pytest.mark.parametrize('function, low, middle, high', [
    ('LINEAR', 0.0, 0.5, 1.0), ('LINEAR_EXACT', 0.0, 0.5, 1.0), ('SIGMOID', 0.119, 0.5, 0.881)])
def test_the_window_is_applied_and_clips(write_dicom, function, low, middle, high):
    frames = np.array([[[0, 1000, 1500, 2000, 2500, 4095]]], np.uint16)
    found = images(write_dicom(frames, BitsStored=12, WindowCenter=[1500, 7],
                               WindowWidth=[1000, 9], VOILUTFunction=function))[0, 0] / 65535
    assert found[1:4] == pytest.approx([low, middle, high], abs=2e-3)
    assert found[0] <= found[1] and found[5] >= found[4] >= found[3]


def test_rescale_comes_before_the_window(write_dicom):
    frames = np.array([[[0, 512, 1023]]], np.uint16)
    found = images(write_dicom(frames, BitsStored=10, RescaleSlope=2, RescaleIntercept=-1000,
                               WindowCenter=23, WindowWidth=2046.0,
                               VOILUTFunction='LINEAR_EXACT'))[0, 0]
    assert found.tolist() == pytest.approx([0, 65535 / 2, 65535], abs=40)


def test_a_negative_slope_turns_the_polarity_once_only(write_dicom, moving_frames):
    frames = moving_frames()
    slope = {'RescaleSlope': -1, 'RescaleIntercept': 255}
    assert np.array_equal(images(write_dicom(frames, **slope)), 255 - frames)
    path = write_dicom(frames, PixelIntensityRelationshipSign=1, **slope)
    assert np.array_equal(images(path), frames)


def lut(entries, first, bits, as_bytes=False):
    item = Dataset()
    item.LUTDescriptor = [len(entries), first, bits]
    item['LUTDescriptor'].VR = 'US' if first >= 0 else 'SS'
    item.LUTData = np.array(entries, '<u2').tobytes() if as_bytes else entries
    item['LUTData'].VR = 'OW' if as_bytes else 'US'
    item.ModalityLUTType = 'US'
    return Sequence([item])


@pytest.mark.parametrize('as_bytes', [False, True])
@pytest.mark.parametrize('keyword', ['ModalityLUTSequence', 'VOILUTSequence'])
def test_lut_sequences_are_applied_and_hold_their_ends(write_dicom, keyword, as_bytes):
    frames = np.array([[[0, 10, 11, 12, 13, 250]]], np.uint8)
    entries = [0, 2**14, 2**15, 2**16 - 1]
    window = {'WindowCenter': 2**15, 'WindowWidth': 2**16} if keyword[0] == 'M' else {}
    path = write_dicom(frames, **{keyword: lut(entries, 10, 16, as_bytes)}, **window)
    assert images(path)[0, 0].tolist() == pytest.approx([0, 0, 64, 128, 255, 255], abs=1)


def test_signed_pixels_are_read_with_their_sign(write_dicom):
    frames = np.zeros((1, 32, 32), np.int16)
    frames[0, 0, :4] = [-2048, -1, 0, 2047]
    for syntax in (ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless):
        found = images(write_dicom(frames, syntax=syntax, BitsStored=12))[0, 0, :4].tolist()
        assert found == pytest.approx([0, 32760, 32775, 65535], abs=20)


def test_bits_beside_the_stored_ones_are_left_out(write_dicom):
    frames = np.array([[[0, 1023, 512]]], np.uint16)
    dirty = frames | 0xF400
    window = {'WindowCenter': 512, 'WindowWidth': 1024}
    clean = images(write_dicom(frames, BitsStored=10, **window))
    assert np.array_equal(images(write_dicom(dirty, BitsStored=10, **window)), clean)
    left = write_dicom(frames << 6 | 0x2A, BitsStored=10, HighBit=15, **window)
    assert np.array_equal(images(left), clean)


def test_twelve_bits_in_sixteen_use_the_whole_range(write_dicom, moving_frames):
    frames = moving_frames(bits=12)
    found = images(write_dicom(frames, BitsStored=16))
    assert found[0].max() > 50000


@pytest.mark.parametrize('attributes, rate', [
    ({}, 15.0), ({'FrameTime': '40'}, 25.0), ({'CineRate': '30'}, 30.0),
    ({'RecommendedDisplayFrameRate': '7'}, 7.0), ({'FrameTime': '0', 'CineRate': '12'}, 12.0),
    ({'FrameTime': '100', 'CineRate': '12'}, 10.0), ({'FrameTimeVector': [0, 1, 2, 3]}, 15.0),
    ({'CineRate': '100000'}, 15.0), ({'ActualFrameDuration': '125'}, 8.0)])
def test_the_rate_comes_from_the_first_attribute_that_makes_sense(write_dicom, moving_frames,
                                                                  attributes, rate):
    source = DicomSource(write_dicom(moving_frames(), **attributes))
    assert source.rate == rate
    assert [frame.time for frame in source] == pytest.approx([0, 1 / rate, 2 / rate])


def test_a_frame_time_vector_gives_each_frame_its_time(write_dicom, moving_frames):
    source = DicomSource(write_dicom(moving_frames(), FrameTimeVector=[0, 50, 150]))
    assert [frame.time for frame in source] == pytest.approx([0, 0.05, 0.2])
    assert source.rate == 10.0


def test_magnification_falls_back_to_the_estimate(write_dicom, moving_frames):
    carm = DicomSource(write_dicom(moving_frames(), ImagerPixelSpacing=[0.3, 0.2],
                                   EstimatedRadiographicMagnificationFactor='1.5',
                                   DistanceSourceToDetector='0')).carm
    assert carm.source_detector_mm is None
    assert carm.patient_spacing_mm == pytest.approx((0.2, 0.2 / 1.5))


def test_enhanced_objects_are_read_from_their_functional_groups(write_dicom, moving_frames):
    frames = moving_frames(bits=12)
    group, spacing, voi = Dataset(), Dataset(), Dataset()
    spacing.ImagerPixelSpacing = [0.2, 0.2]
    voi.WindowCenter, voi.WindowWidth = 2048, 4096
    group.XRayAcquisitionDoseSequence = Sequence([spacing])
    group.FrameVOILUTSequence = Sequence([voi])
    path = write_dicom(frames, BitsStored=16, SharedFunctionalGroupsSequence=Sequence([group]))
    assert DicomSource(path).carm.imager_spacing_mm == (0.2, 0.2)
    assert images(path) == pytest.approx(np.rint(frames / 4095 * 65535), abs=1)


def test_a_folder_plays_its_files_by_series_and_instance(write_dicom, moving_frames, tmp_path):
    frames = moving_frames(count=5)
    write_dicom(frames[4:], 'run/a', SeriesNumber=2, InstanceNumber=1, CineRate='10')
    write_dicom(frames[3:4], 'run/b', SeriesNumber=1, InstanceNumber=10, CineRate='10')
    write_dicom(frames[:3], 'run/c', SeriesNumber=1, InstanceNumber=2, CineRate='10',
                DistanceSourceToDetector='1000')
    (tmp_path / 'run' / 'notes.txt').write_text('no image')
    (tmp_path / 'run' / '.hidden').write_bytes(b'')
    source = DicomSource(tmp_path / 'run')
    found = list(source)
    assert np.array_equal(np.stack([frame.image for frame in found]), frames)
    assert [frame.time for frame in found] == pytest.approx([0, 0.1, 0.2, 1.2, 1.3])
    assert (source.frame_count, source.rate) == (5, 10.0)
    iterator = iter(source)
    next(iterator)
    assert source.carm.source_detector_mm == 1000.0
    assert len(list(iterator)) == 4 and source.carm.source_detector_mm is None


def test_a_folder_of_mixed_sizes_is_refused_and_the_file_named(write_dicom, moving_frames,
                                                               tmp_path):
    write_dicom(moving_frames(), 'run/a.dcm', InstanceNumber=1)
    write_dicom(moving_frames(width=30), 'run/b.dcm', InstanceNumber=2)
    with pytest.raises(FedefmError, match=r'b\.dcm: 30 x 40 pixels, but a\.dcm has 56 x 40'):
        DicomSource(tmp_path / 'run')


def test_colour_that_is_grey_is_taken_and_colour_is_refused(write_dicom, moving_frames):
    grey = np.repeat(moving_frames()[..., None], 3, axis=3)
    assert np.array_equal(images(write_dicom(grey)), grey[..., 0])
    path = write_dicom(grey, syntax=JPEGBaseline8Bit, PhotometricInterpretation='YBR_FULL_422')
    assert np.abs(images(path).astype(int) - grey[..., 0]).max() <= 6
    colour = grey.copy()
    colour[..., 0] = 255 - colour[..., 0]
    with pytest.raises(FedefmError, match=r'frame 0 of 3 is in colour \(RGB\)'):
        DicomSource(write_dicom(colour))


def refusal(path):
    """Return the one line with which a file is refused."""
    with pytest.raises(FedefmError) as caught:
        images(path)
    text = str(caught.value)
    assert path.name in text and '\n' not in text
    return text


@pytest.mark.parametrize('attributes, words', [
    ({'PhotometricInterpretation': 'PALETTE COLOR'}, 'PALETTE COLOR pixels; expected grey'),
    ({'Rows': 0}, '56 x 0'),
    ({'Rows': 60000, 'Columns': 60000}, 'Mpixel'),
    ({'Rows': 41}, 'truncated'),
    ({'NumberOfFrames': 4}, 'truncated'),
    ({'NumberOfFrames': -1}, '-1 frames'),
    ({'BitsAllocated': 32}, 'expected 8 to 16'),
    ({'BitsStored': 12}, 'expected 8 to 16'),
    ({'SamplesPerPixel': 2}, '2 samples'),
])
def test_headers_that_make_no_sense_are_refused(write_dicom, moving_frames, attributes, words):
    assert words in refusal(write_dicom(moving_frames(), **attributes))


def test_other_files_are_refused_by_what_they_are(write_dicom, moving_frames, tmp_path):
    assert 'BitsStored' in refusal(write_dicom(moving_frames(), remove=['BitsStored']))
    path = write_dicom(moving_frames(), 'pdf.dcm', EncapsulatedDocument=b'%PDF-1.4',
                       SOPClassUID=EncapsulatedPDFStorage, remove=['Rows'])
    assert 'holds a document (Encapsulated PDF Storage)' in refusal(path)
    path = write_dicom(moving_frames(), 'report.dcm')
    report = dcmread(path)
    for element in [each for each in report if each.tag.group in (0x28, 0x7FE0)]:
        del report[element.tag]
    report.save_as(path)
    assert 'holds no image' in refusal(path)
    path = write_dicom(moving_frames(), 'header.dcm')
    header = dcmread(path)
    del header.PixelData
    header.save_as(path)
    assert 'no pixel data' in refusal(path)
    for name, data, words in [('empty', b'', 'empty'), ('text', b'x' * 999, 'not a DICOM'),
                              ('short', b'DICM', 'not a DICOM')]:
        (tmp_path / name).write_bytes(data)
        assert words in refusal(tmp_path / name)


@pytest.mark.parametrize('syntax, words', [
    (MPEG4HP41, 'MPEG-4'), (DeflatedExplicitVRLittleEndian, 'Deflated'), ('1.2.3.4', '1.2.3.4')])
def test_transfer_syntaxes_that_cannot_be_read_are_named(write_dicom, moving_frames, syntax,
                                                         words):
    native = syntax == DeflatedExplicitVRLittleEndian
    path = write_dicom(moving_frames(),
                       syntax=ExplicitVRLittleEndian if native else JPEGLosslessSV1)
    dataset = dcmread(path)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path, implicit_vr=False, little_endian=True)
    text = refusal(path)
    assert words in text and 'is not supported' in text


@pytest.mark.parametrize('syntax', [JPEGLosslessSV1, JPEG2000Lossless, RLELossless,
                                    JPEGBaseline8Bit])
def test_a_corrupt_frame_is_named(write_dicom, moving_frames, syntax):
    path = write_dicom(moving_frames(count=4), syntax=syntax)
    dataset = dcmread(path)
    data = bytearray(dataset.PixelData)
    items = [at for at in range(0, len(data) - 8) if data[at:at + 4] == b'\xfe\xff\x00\xe0']
    data[items[3] + 8:items[4]] = b'\x55' * (items[4] - items[3] - 8)
    dataset.PixelData = bytes(data)
    dataset.save_as(path)
    assert 'frame 2 of 4' in refusal(path)


@pytest.mark.parametrize('syntax', [JPEGLosslessSV1, JPEGLossless])
def test_a_lossless_frame_overwritten_in_the_middle_is_named(write_dicom, moving_frames, syntax):
    path = write_dicom(moving_frames(height=256, width=256), syntax=syntax)
    data = path.read_bytes()
    items = [at for at in range(len(data) - 8) if data[at:at + 4] == b'\xfe\xff\x00\xe0']
    random = np.random.default_rng(3)
    for _ in range(20):
        at = random.integers(items[1] + 200, items[2] - 100)
        path.write_bytes(data[:at] + random.bytes(64) + data[at + 64:])
        assert 'frame 0 of 3 cannot be decoded' in refusal(path)


@pytest.mark.parametrize('syntax, marker, offset, size', [
    (JPEGLosslessSV1, b'\xff\xc3', 5, b'\xea\x60\xea\x60'),
    (JPEGBaseline8Bit, b'\xff\xc0', 5, b'\xea\x60\xea\x60'),
    (JPEG2000Lossless, b'\xff\x51', 6, b'\0\0\xea\x60\0\0\xea\x60')])
def test_a_frame_that_claims_another_size_is_refused_before_it_is_decoded(
        write_dicom, moving_frames, syntax, marker, offset, size):
    path = write_dicom(moving_frames(), syntax=syntax)
    data = path.read_bytes()
    at = data.index(marker, data.index(marker) + 1) + offset
    path.write_bytes(data[:at] + size + data[at + len(size):])
    assert ('frame 1 of 3 cannot be decoded: 60000 x 60000 pixels where the header says 56 x 40'
            in refusal(path))


@pytest.mark.parametrize('syntax', [ExplicitVRLittleEndian, JPEGLosslessSV1, JPEG2000Lossless,
                                    RLELossless, JPEGBaseline8Bit])
def test_a_truncated_file_is_refused_wherever_it_ends(write_dicom, moving_frames, syntax):
    path = write_dicom(moving_frames(), syntax=syntax)
    data = path.read_bytes()
    for end in {0, 100, 131, 132, 140, 400, *range(400, len(data), 199), *range(
            len(data) - 12, len(data))}:
        if syntax == ExplicitVRLittleEndian and end == len(data):
            continue
        path.write_bytes(data[:end])
        assert 'Error:' not in refusal(path) or end < 1200


@pytest.mark.parametrize('syntax', [ExplicitVRLittleEndian, JPEGLosslessSV1, JPEG2000Lossless,
                                    RLELossless, JPEGBaseline8Bit])
def test_flipped_bytes_give_frames_or_our_error_and_nothing_else(write_dicom, moving_frames,
                                                                 syntax):
    random = np.random.default_rng(5)
    path = write_dicom(moving_frames(height=32, width=32), syntax=syntax, WindowCenter=128,
                       WindowWidth=256, FrameTimeVector=[0, 10, 10],
                       ImagerPixelSpacing=[0.3, 0.3])
    data = np.frombuffer(path.read_bytes(), np.uint8)
    refused = 0
    for trial in range(120):
        broken = data.copy()
        # Half of the trials in the header, where most decisions are made.
        end = len(data) if trial % 2 else 1000
        broken[random.integers(132, end, random.integers(1, 6))] = random.integers(0, 256)
        path.write_bytes(broken.tobytes())
        try:
            found = images(path)
        except FedefmError as error:
            assert path.name in str(error) and '\n' not in str(error)
            refused += 1
        else:
            assert found.ndim == 3 and found.dtype in (np.uint8, np.uint16)
    assert 10 < refused < 120


def test_the_sample_cut_or_corrupted_is_refused_or_read(shared_data, tmp_path):
    random = np.random.default_rng(6)
    data = np.frombuffer((shared_data / 'xa_human_a.dcm').read_bytes(), np.uint8)
    path = tmp_path / 'cut.dcm'
    for share in (0.0005, 0.01, 0.4, 0.99999):
        path.write_bytes(data[:int(len(data) * share)].tobytes())
        refusal(path)
    for _ in range(6):
        broken = data.copy()
        broken[random.integers(132, len(data), 20)] = random.integers(0, 256, 20)
        path.write_bytes(broken.tobytes())
        try:
            assert images(path).shape[1:] == (512, 512)
        except FedefmError as error:
            assert 'cut.dcm' in str(error)

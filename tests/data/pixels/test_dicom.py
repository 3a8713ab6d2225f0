"""Stored values become what a viewer shows; hostile files become one kind of error."""

import builtins
import io
import struct

import numpy as np
import pytest
from PIL import Image

pydicom = pytest.importorskip("pydicom")

from pydicom.dataset import Dataset  # noqa: E402
from pydicom.sequence import Sequence  # noqa: E402

from gazax.data.pixels import codestreams, dicom, images, levels  # noqa: E402
from gazax.data.pixels.images import DecodeError  # noqa: E402
from gazax.data.pixels.write_dicom import write_radiograph  # noqa: E402
from gazax.typing import InputError  # noqa: E402
from tests.data import dicoms  # noqa: E402

RNG = np.random.Generator(np.random.PCG64(0))
TWELVE_BITS = RNG.integers(0, 2**12, (6, 10), np.uint16)


@pytest.fixture
def shown(tmp_path):
    """What a file of these values and attributes looks like, row by row."""

    def shown(pixels, *, display="standard", syntax="explicit", dtype=np.uint16, **attributes):
        pixels = np.atleast_2d(np.asarray(pixels, dtype))
        path = dicoms.write_dicom(tmp_path / "x.dcm", pixels, syntax=syntax, **attributes)
        return images.read_image(path, display=display).squeeze().tolist()

    return shown


def lut(entries, first=0, bits=8, **attributes):
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries) % 2**16, first % 2**16, bits])
    item.add_new("LUTData", "US", list(entries))
    for name, value in attributes.items():
        setattr(item, name, value)
    return Sequence([item])


class TestStandard:
    def test_without_window_values_are_spread_over_their_own_range(self, shown):
        assert shown([1000, 1600, 4000]) == [0, 51, 255]

    def test_monochrome1_is_inverted(self, shown):
        assert shown([0, 40, 200], PhotometricInterpretation="MONOCHROME1") == [255, 204, 0]

    @pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
    def test_presentation_inverse_inverts_once(self, shown, kind):
        how = dict(PhotometricInterpretation=kind, PresentationLUTShape="INVERSE")
        assert shown([0, 40, 200], **how) == [255, 204, 0]

    @pytest.mark.parametrize("sign", [1, -1])
    def test_relationship_sign_does_not_matter(self, shown, sign):
        assert shown([0, 40, 200], PixelIntensityRelationshipSign=sign) == [0, 51, 255]

    def test_window_cuts_off(self, shown):
        # PS3.3 C.11.2.1.2.1: width 101 around 150.5 takes 100 to 0, 150 to 127.5 and 200 to 255
        got = shown([0, 100, 125, 175, 200, 999], WindowCenter=150.5, WindowWidth=101)
        assert got == [0, 0, 64, 191, 255, 255]

    def test_window_is_not_spread_any_further(self, shown):
        # all values lie within the lower half of the window: the image is dark
        got = shown([0, 50, 100], WindowCenter=128, WindowWidth=256)
        assert got == [0, 50, 100]

    def test_first_of_several_windows_counts(self, shown):
        got = shown([0, 50, 100], WindowCenter=[128, 40], WindowWidth=[256, 10])
        assert got == [0, 50, 100]

    def test_window_is_in_rescaled_units(self, shown):
        attributes = dict(WindowCenter=-849.5, WindowWidth=101)
        attributes |= dict(RescaleSlope=1, RescaleIntercept=-1000)
        assert shown([0, 100, 125, 200, 255], **attributes) == [0, 0, 64, 255, 255]

    def test_linear_exact_window(self, shown):
        how = dict(WindowCenter=100, WindowWidth=200, VOILUTFunction="LINEAR_EXACT")
        assert shown([0, 40, 200, 300], **how) == [0, 51, 255, 255]

    def test_sigmoid_window(self, shown):
        how = dict(WindowCenter=100, WindowWidth=200, VOILUTFunction="SIGMOID")
        # 255 / (1 + exp(-4 (x - 100) / 200)) at 0, 100, 200 and far away
        assert shown([0, 100, 200, 60000], **how) == [30, 128, 225, 255]

    def test_unknown_window_function_is_refused(self, shown):
        with pytest.raises(DecodeError, match="VOILUTFunction 'CUBIC'"):
            shown([0, 1], WindowCenter=1, WindowWidth=2, VOILUTFunction="CUBIC")

    def test_window_of_width_one_is_a_threshold(self, shown):
        assert shown([99, 100, 101], WindowCenter=100.5, WindowWidth=1) == [0, 0, 255]

    @pytest.mark.parametrize(
        "window",
        [
            dict(WindowCenter=100, WindowWidth=0),
            dict(WindowCenter=100, WindowWidth=-5),
            dict(WindowCenter=100, WindowWidth=0.5),
            dict(WindowCenter=100),
            dict(WindowWidth=100),
            dict(WindowCenter="", WindowWidth=""),
        ],
        ids=["zero", "negative", "narrow", "no width", "no centre", "empty"],
    )
    def test_unusable_window_counts_as_none(self, shown, window):
        assert shown([1000, 1600, 4000], **window) == [0, 51, 255]

    def test_voi_lut_comes_before_the_window(self, shown):
        table = [0, 10, 20, 255]
        got = shown(
            [4, 5, 6, 7, 99, 0], VOILUTSequence=lut(table, first=4), WindowCenter=5, WindowWidth=2
        )
        assert got == [0, 10, 20, 255, 255, 0]

    def test_voi_lut_is_scaled_by_the_bits_it_describes(self, shown):
        got = shown([0, 1, 2], VOILUTSequence=lut([0, 2048, 4095], bits=12))
        assert got == [0, 128, 255]

    def test_voi_lut_of_two_to_the_sixteen_entries(self, shown):
        table = np.arange(2**16)
        got = shown([0, 257 * 100, 65535], VOILUTSequence=lut(table.tolist(), bits=16))
        assert got == [0, 100, 255]

    def test_voi_lut_of_signed_values_may_start_below_zero(self, shown):
        got = shown([-2, -1, 0], dtype=np.int16, VOILUTSequence=lut([7, 8, 9], first=-2))
        assert got == [7, 8, 9]

    def test_voi_lut_shorter_than_described_is_refused(self, shown):
        sequence = lut([1, 2, 3])
        sequence[0].LUTDescriptor = [9, 0, 8]
        with pytest.raises(DecodeError, match="VOILUTSequence of 3 entries where 9"):
            shown([0, 1], VOILUTSequence=sequence)

    def test_modality_lut_comes_before_the_window(self, shown):
        got = shown(
            [0, 1, 2],
            ModalityLUTSequence=lut([10, 50, 90], bits=16, ModalityLUTType="US"),
            WindowCenter=50,
            WindowWidth=80,
            VOILUTFunction="LINEAR_EXACT",
        )
        assert got == [0, 128, 255]

    def test_padding_does_not_stretch_the_range(self, shown):
        # a CT slice: air is -1000, and -2000 fills the corners
        got = shown([-2000, -1000, -400, 2000], dtype=np.int16, PixelPaddingValue=-2000)
        assert got == [0, 0, 51, 255]

    def test_range_of_padding_does_not_stretch_the_range(self, shown):
        how = dict(PixelPaddingValue=60000, PixelPaddingRangeLimit=60010)
        assert shown([0, 40, 200, 60005], **how) == [0, 51, 255, 255]

    def test_ct_slice_in_hounsfield_units(self, shown):
        how = dict(RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=40, WindowWidth=400)
        how |= dict(VOILUTFunction="LINEAR_EXACT", BitsStored=12)
        # -160 HU is black, 40 HU grey and 240 HU white
        assert shown([0, 864, 1064, 1264, 4000], **how) == [0, 0, 128, 255, 255]

    def test_mr_slice_with_a_slope_is_spread(self, shown):
        assert shown([10, 22, 70], RescaleSlope=2.5, RescaleIntercept=3) == [0, 51, 255]

    def test_negative_slope_turns_the_order(self, shown):
        assert shown([0, 40, 200], RescaleSlope=-1, RescaleIntercept=0) == [255, 204, 0]

    def test_slope_of_zero_is_refused(self, shown):
        with pytest.raises(DecodeError, match="RescaleSlope 0"):
            shown([0, 1], RescaleSlope=0, RescaleIntercept=0)


class TestReflacx:
    """Expected values are worked out with the formula of the data set's own code."""

    @pytest.mark.parametrize(
        ("attributes", "inverted"),
        [
            (dict(PixelIntensityRelationshipSign=-1), False),
            (dict(PixelIntensityRelationshipSign=1), True),
            (dict(), True),
            (
                dict(PixelIntensityRelationshipSign=-1, PhotometricInterpretation="MONOCHROME1"),
                True,
            ),
            (dict(PixelIntensityRelationshipSign=1, PhotometricInterpretation="MONOCHROME1"), True),
        ],
        ids=["minus one", "plus one", "absent", "monochrome1", "both"],
    )
    @pytest.mark.parametrize("window", [(2000.0, 1000.0), None])
    def test_inverted_by_sign_or_absence_or_monochrome1(self, shown, attributes, inverted, window):
        if window:
            attributes = attributes | dict(WindowCenter=window[0], WindowWidth=window[1])
        level, width = np.array(window or (4095 / 2, 4095)) / 4095
        x = np.array([0, 1500, 1800, 2000, 2300, 2500, 4095]) / 4095
        if inverted:
            x, level = 1 - x, 1 - level
        expected = np.rint(255 * np.clip((x - level) / width + 0.5, 0, 1))
        got = shown(
            [0, 1500, 1800, 2000, 2300, 2500, 4095], display="reflacx", BitsStored=12, **attributes
        )
        np.testing.assert_allclose(got, expected, atol=1)  # 1: ties of rounding

    def test_first_of_several_windows_counts(self, shown):
        how = dict(PixelIntensityRelationshipSign=-1, display="reflacx", BitsStored=12)
        one = shown([1600, 2300], WindowCenter=2000, WindowWidth=1000, **how)
        assert shown([1600, 2300], WindowCenter=[2000, 9], WindowWidth=[1000, 9], **how) == one

    def test_rescale_is_not_applied(self, shown):
        how = dict(PixelIntensityRelationshipSign=-1, WindowCenter=2000, WindowWidth=1000)
        how |= dict(display="reflacx", BitsStored=12)
        plain = shown([1600, 2300], **how)
        assert shown([1600, 2300], RescaleSlope=2, RescaleIntercept=7, **how) == plain

    @pytest.mark.parametrize("falls", [False, True])
    def test_voi_lut_becomes_a_line_through_its_middle(self, shown, falls):
        # 4096 entries that rise by 2 an entry from 0 at 1024: 2048 at 2048, width 4096 / 2
        table = np.clip(2 * (np.arange(4096) - 1024), 0, 4095)
        table = table[::-1] if falls else table
        middle = int(np.abs(table - 2048).argmin())
        x = np.array([1000, 1600, 2047, 2500, 3500])
        expected = np.clip((x - (middle - 1)) / 2048 + 0.5, 0, 1)
        expected = 255 * (1 - expected if falls else expected)
        # neither MONOCHROME1 nor the missing sign matters here
        got = shown(
            x,
            display="reflacx",
            BitsStored=12,
            VOILUTSequence=lut(table.tolist(), bits=12),
            PhotometricInterpretation="MONOCHROME1",
        )
        np.testing.assert_allclose(got, expected, atol=0.51)

    def test_window_comes_before_the_voi_lut(self, shown):
        how = dict(WindowCenter=2000, WindowWidth=1000, display="reflacx", BitsStored=12)
        plain = shown([1600, 2300], **how)
        table = lut(list(range(4096)), bits=12)
        assert shown([1600, 2300], VOILUTSequence=table, **how) == plain

    @pytest.mark.parametrize("table", [[7] * 100, list(range(20))])
    def test_voi_lut_that_is_no_line_is_refused(self, shown, table):
        with pytest.raises(DecodeError, match="VOILUTSequence"):
            shown([0, 1], display="reflacx", VOILUTSequence=lut(table))


class TestStoredValues:
    def test_junk_above_the_stored_bits_is_ignored(self, shown):
        junk = np.array([1000, 1600, 4000]) | 0xF000
        assert shown(junk, BitsStored=12) == [0, 51, 255]

    def test_values_in_the_upper_bits_come_down(self, shown):
        values = (np.array([1000, 1600, 4000]) << 4) | 0x5
        assert shown(values, BitsStored=12, HighBit=15) == [0, 51, 255]

    def test_signed_values(self, shown):
        assert shown([-500, 100, 2500], dtype=np.int16) == [0, 51, 255]

    def test_sign_is_that_of_the_stored_bits(self, shown):
        # -500 in 12 bits, with nothing above them
        values = np.array([-500, 100, 2000]) & 0xFFF
        assert shown(values, BitsStored=12, PixelRepresentation=1) == [0, 61, 255]

    @pytest.mark.parametrize("syntax", ["implicit", "explicit", "big_endian", *dicoms.EXACT])
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_every_transfer_syntax_gives_the_same(self, tmp_path, syntax, dtype):
        pixels = TWELVE_BITS if dtype == np.uint16 else (TWELVE_BITS >> 4).astype(np.uint8)
        bits = 12 if dtype == np.uint16 else 8
        path = dicoms.write_dicom(tmp_path / "x.dcm", pixels, syntax=syntax, BitsStored=bits)
        low, high = int(pixels.min()), int(pixels.max())
        expected = np.rint((pixels.astype(float) - low) * (255 / (high - low)))
        np.testing.assert_array_equal(images.read_image(path), expected)
        assert images.image_size(path) == (6, 10)

    @pytest.mark.parametrize("syntax", ["big_endian", "rle", "jpeg_lossless", "jpeg_ls"])
    def test_signed_values_in_every_transfer_syntax(self, shown, syntax):
        values = np.tile([[-500, 100], [2500, -500]], (8, 8))
        expected = np.tile([[0, 51], [255, 0]], (8, 8)).tolist()
        assert shown(values, dtype=np.int16, syntax=syntax) == expected

    @pytest.mark.parametrize("colour", [False, True])
    def test_jpeg_and_lossy_jpeg_2000_are_near(self, tmp_path, colour):
        smooth = np.add.outer(np.arange(64), np.arange(48)).astype(np.uint8)
        pixels = np.repeat(smooth[..., None], 3, axis=2) if colour else smooth
        kind = "YBR_FULL_422" if colour else "MONOCHROME2"
        how = dict(PhotometricInterpretation=kind, WindowCenter=128, WindowWidth=256)
        path = dicoms.write_dicom(tmp_path / "x.dcm", pixels, syntax="jpeg", **how)
        np.testing.assert_allclose(images.read_image(path).astype(int), smooth, atol=4)

    @pytest.mark.parametrize("syntax", ["implicit", "explicit", "rle"])
    def test_colour_becomes_luma(self, tmp_path, syntax):
        # .299 * 100 + .587 * 50 + .114 * 200 = 82.05; it is not spread
        pixels = np.array([[[100, 50, 200], [7, 7, 7]]], np.uint8)
        path = dicoms.write_dicom(tmp_path / "x.dcm", pixels, syntax=syntax)
        np.testing.assert_array_equal(images.read_image(path), [[82, 7]])

    def test_palette_goes_through_its_colours(self, shown):
        how = dict(PhotometricInterpretation="PALETTE COLOR")
        for name in ("Red", "Green", "Blue"):
            how[f"{name}PaletteColorLookupTableDescriptor"] = [3, 0, 16]
            how[f"{name}PaletteColorLookupTableData"] = struct.pack("<3H", 0, 100 << 8, 200 << 8)
        assert shown([2, 0, 1], dtype=np.uint8, **how) == [200, 0, 100]

    @pytest.mark.parametrize("name", ["BitsStored", "HighBit", "PixelRepresentation"])
    def test_missing_numbers_are_taken_for_the_usual_ones(self, shown, name):
        assert shown([1000, 1600, 4000], **{name: None}) == [0, 51, 255]

    def test_missing_samples_are_taken_for_one(self, shown):
        assert shown([1000, 1600, 4000], SamplesPerPixel=None) == [0, 51, 255]


class TestRefused:
    @pytest.mark.parametrize("name", ["Rows", "Columns", "BitsAllocated", "PixelData"])
    def test_what_is_needed_is_named(self, shown, name):
        word = "None bits allocated" if name == "BitsAllocated" else f"has no {name}"
        with pytest.raises(DecodeError, match=word):
            shown([0, 1], **{name: None})

    def test_unknown_polarity_is_not_guessed(self, shown):
        with pytest.raises(DecodeError, match="PhotometricInterpretation None"):
            shown([0, 1], PhotometricInterpretation=None)

    def test_several_frames(self, shown):
        with pytest.raises(DecodeError, match="3 frames; write each one to a file of its own"):
            shown([0, 1], NumberOfFrames=3)

    def test_depth_that_is_no_byte_or_two(self, shown):
        with pytest.raises(DecodeError, match="32 bits allocated"):
            shown([0, 1], BitsAllocated=32)

    def test_more_bits_stored_than_allocated(self, shown):
        with pytest.raises(DecodeError, match="17 bits stored"):
            shown([0, 1], BitsStored=17)

    def test_fewer_pixels_than_described(self, shown):
        with pytest.raises(DecodeError, match="less than expected"):
            shown([0, 1], Rows=50)

    @pytest.mark.parametrize(("rows", "columns"), [(0, 5), (65535, 65535)])
    def test_size_that_no_image_has(self, shown, rows, columns):
        with pytest.raises(DecodeError, match=f"claims {rows} x {columns} pixels"):
            shown([0, 1], Rows=rows, Columns=columns)

    def test_colour_counts_three_times(self, tmp_path, monkeypatch):
        path = dicoms.write_dicom(tmp_path / "x.dcm", np.zeros((4, 5, 3), np.uint8))
        monkeypatch.setattr(levels, "MAX_PIXELS", 59)
        assert images.image_size(path) == (4, 5)
        with pytest.raises(DecodeError, match="4 x 5 pixels of 3 colours"):
            images.read_image(path)

    def test_deflated_is_not_inflated(self, shown):
        with pytest.raises(DecodeError, match="is deflated"):
            shown([0, 1], syntax="deflated")

    def test_unknown_transfer_syntax_is_named(self, tmp_path):
        data = dicoms.dataset(TWELVE_BITS)
        dicoms.save(tmp_path / "x.dcm", data, "1.2.840.10008.1.2.4.100", frames=[b"mpeg"])
        with pytest.raises(DecodeError, match=r"not read: 1\.2\.840\.10008\.1\.2\.4\.100"):
            images.read_image(tmp_path / "x.dcm")

    @pytest.mark.parametrize("syntax", ["jpeg", "jpeg_lossless", "jpeg_ls", "jpeg_2000"])
    @pytest.mark.parametrize(("rows", "columns"), [(4, 6), (60, 100), (10, 6)])
    def test_codestream_of_another_size(self, tmp_path, syntax, rows, columns):
        data = dicoms.dataset((TWELVE_BITS >> 4).astype(np.uint8))
        frame = dicoms.encode((TWELVE_BITS >> 4).astype(np.uint8), syntax, data)
        data.Rows, data.Columns = rows, columns
        path = dicoms.save(tmp_path / "x.dcm", data, dicoms.COMPRESSED[syntax], frames=[frame])
        with pytest.raises(DecodeError, match="holds a codestream of"):
            images.read_image(path)

    @pytest.mark.parametrize("syntax", ["jpeg_lossless", "jpeg_ls"])
    def test_codestream_of_more_bits_than_allocated(self, tmp_path, syntax):
        data = dicoms.dataset(TWELVE_BITS)
        frame = bytearray(dicoms.encode(TWELVE_BITS, syntax, data))
        assert frame[6] == 16
        frame[6] = 20
        path = dicoms.save(
            tmp_path / "x.dcm", data, dicoms.COMPRESSED[syntax], frames=[bytes(frame)]
        )
        with pytest.raises(
            DecodeError, match=r"\[6, 10, 1\], 20 bits, where \(6, 10, 1\), 16 bits"
        ):
            images.read_image(path)

    def test_jpeg_header_whose_segments_do_not_join(self):
        frame = dicoms.encode(TWELVE_BITS, "jpeg_lossless", dicoms.dataset(TWELVE_BITS))
        assert codestreams.jpeg_claim(frame) == (6, 10, 1, 16)
        table = frame.index(b"\xff\xc4")
        for damaged in (
            frame[:table] + b"\0" + frame[table:],
            frame[: table + 9] + b"\0\0" + frame[table + 9 :],
            frame[: table + 3] + b"\xf0" + frame[table + 4 :],
            frame[:table] + frame[2:],  # a second frame header
        ):
            with pytest.raises(DecodeError, match="damaged JPEG header"):
                codestreams.jpeg_claim(damaged)

    @pytest.mark.parametrize("syntax", [*dicoms.COMPRESSED])
    def test_truncated_frame(self, tmp_path, syntax):
        pixels = RNG.integers(0, 256, (40, 40), np.uint8)
        data = dicoms.dataset(pixels)
        frame = dicoms.encode(pixels, syntax, data)
        path = dicoms.save(
            tmp_path / "x.dcm", data, dicoms.COMPRESSED[syntax], frames=[frame[: len(frame) // 2]]
        )
        with pytest.raises(DecodeError):
            images.read_image(path)

    def test_rle_that_grows_without_bound_stops_at_the_size(self, tmp_path):
        # each pair of bytes says 128 times: 64 times the size claimed
        segment = b"\x81\x07" * 1000
        frame = struct.pack("<16I", 1, 64, *[0] * 14) + segment
        data = dicoms.dataset(np.zeros((10, 100), np.uint8), WindowCenter=128, WindowWidth=256)
        path = dicoms.save(tmp_path / "x.dcm", data, dicoms.COMPRESSED["rle"], frames=[frame])
        np.testing.assert_array_equal(images.read_image(path), np.full((10, 100), 7))
        assert [len(plane) for plane in codestreams.decode_rle(frame, 1, 1000)] == [1000]

    def test_frames_beyond_the_first_are_not_decoded(self, tmp_path):
        pixels = (TWELVE_BITS >> 4).astype(np.uint8)
        data = dicoms.dataset(pixels)
        frame = dicoms.encode(pixels, "jpeg", data)
        path = dicoms.save(tmp_path / "x.dcm", data, dicoms.COMPRESSED["jpeg"], frames=[frame] * 50)
        assert images.read_image(path).shape == (6, 10)

    @pytest.mark.parametrize("levels_deep", [5, 2000])
    def test_sequences_in_sequences(self, tmp_path, levels_deep):
        path = dicoms.write_dicom(tmp_path / "x.dcm", TWELVE_BITS)
        nested = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
        ends = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
        insert_first(path, nested * levels_deep + ends * levels_deep)
        if levels_deep == 5:
            assert images.read_image(path).shape == (6, 10)
        else:
            with pytest.raises(DecodeError, match="RecursionError"):
                images.read_image(path)

    def test_sequence_of_very_many_items(self, tmp_path):
        path = dicoms.write_dicom(tmp_path / "x.dcm", TWELVE_BITS)
        items = b"\xfe\xff\x00\xe0\0\0\0\0" * 60_000
        insert_first(
            path, b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff" + items + b"\xfe\xff\xdd\xe0\0\0\0\0"
        )
        with pytest.raises(DecodeError, match="too many attributes"):
            images.read_image(path)

    def test_window_of_very_many_numbers(self, shown):
        with pytest.raises(DecodeError, match="WindowCenter of 16000 bytes"):
            shown([0, 1], WindowCenter=[1] * 4000, WindowWidth=1)

    def test_length_beyond_the_end_of_the_file(self, tmp_path):
        path = dicoms.write_dicom(tmp_path / "x.dcm", TWELVE_BITS)
        content = path.read_bytes()
        at = content.rindex(b"OW\0\0") + 4
        path.write_bytes(content[:at] + b"\xf0\xff\xff\xff" + content[at + 4 : -40])
        with pytest.raises(DecodeError):
            images.read_image(path)

    def test_jp2_file_in_the_place_of_a_codestream(self, tmp_path):
        data = dicoms.dataset(TWELVE_BITS)
        frames = [b"\0\0\0\x0cjP  \r\n\x87\n" + dicoms.encode(TWELVE_BITS, "jpeg_2000", data)]
        path = dicoms.save(tmp_path / "x.dcm", data, dicoms.COMPRESSED["jpeg_2000"], frames=frames)
        with pytest.raises(DecodeError, match="no JPEG 2000 codestream"):
            images.read_image(path)

    def test_jpeg_2000_of_more_parts_than_pixels_deserve(self):
        code = dicoms.encode(np.zeros((2048, 2048), np.uint8), "jpeg_2000", Dataset())
        assert codestreams.jpeg_2000_claim(code) == (2048, 2048, 1, 8)
        tile, block = 4 + 4 + 16, code.index(b"\xff\x52") + 10
        tiny_tiles = code[:tile] + struct.pack(">2I", 16, 16) + code[tile + 8 :]
        with pytest.raises(DecodeError, match="16384 JPEG 2000 tiles"):
            codestreams.jpeg_2000_claim(tiny_tiles)
        tiny_blocks = code[:block] + b"\1\1" + code[block + 2 :]
        with pytest.raises(DecodeError, match="code-blocks of 64 pixels"):
            codestreams.jpeg_2000_claim(tiny_blocks)

    def test_jpeg_2000_of_tiny_precincts(self):
        stream = io.BytesIO()
        large = Image.fromarray(np.zeros((2048, 2048), np.uint8))
        large.save(stream, "JPEG2000", no_jp2=True, precinct_size=(128, 128))
        code = stream.getvalue()
        assert codestreams.jpeg_2000_claim(code) == (2048, 2048, 1, 8)
        last = code.index(b"\x22\x33\x44\x55\x66\x77") + 5
        with pytest.raises(DecodeError, match="JPEG 2000 precincts"):
            codestreams.jpeg_2000_claim(code[:last] + b"\x33" + code[last + 1 :])

    def test_unknown_display(self, shown):
        with pytest.raises(InputError, match="display='lung' is unknown; known: standard, reflacx"):
            shown([0, 1], display="lung")


class TestPrivacy:
    SECRET = "INVENTED"

    def test_nothing_but_the_allowed_attributes_is_kept(self, tmp_path, monkeypatch):
        names = (
            *("PatientName", "PatientID", "PatientSex", "PatientAddress", "InstitutionName"),
            *("ReferringPhysicianName", "StudyID", "AccessionNumber", "StudyDescription"),
            *("ImageComments", "StationName", "OperatorsName", "DeviceSerialNumber"),
        )
        secrets = dict.fromkeys(names, self.SECRET)
        secrets["PatientBirthDate"] = secrets["StudyDate"] = "18000101"
        inner = Dataset()
        inner.PatientName = self.SECRET
        path = dicoms.write_dicom(
            tmp_path / "x.dcm",
            TWELVE_BITS,
            VOILUTSequence=lut(list(range(4096)), bits=12, LUTExplanation=self.SECRET),
            RequestAttributesSequence=Sequence([inner]),
            **secrets,
        )
        seen = []
        standard = dicom.DISPLAYS["standard"]

        def spy(header, *args):
            seen.append(header)
            return standard(header, *args)

        monkeypatch.setitem(dicom.DISPLAYS, "standard", spy)
        images.read_image(path)
        (header,) = seen
        assert {element.keyword for element in header} <= set(dicom.ALLOWED)
        assert {e.keyword for e in header.VOILUTSequence[0]} == {"LUTDescriptor", "LUTData"}
        assert [e.keyword for e in header.file_meta] == ["TransferSyntaxUID"]
        assert self.SECRET not in str(header)

    def test_allowed_attributes_are_those_of_pixels_and_display(self):
        from pydicom.datadict import tag_for_keyword

        groups = {tag_for_keyword(name) >> 16 for name in dicom.ALLOWED}
        assert groups == {0x0028, 0x2050, 0x7FE0}


class TestInstallation:
    def test_missing_extra_says_how_to_install_it(self, tmp_path, monkeypatch):
        path = dicoms.write_dicom(tmp_path / "x.dcm", TWELVE_BITS)
        real = builtins.__import__

        def absent(name, *args, **kwargs):
            if name == "pydicom":
                raise ImportError(name)
            return real(name, *args, **kwargs)

        monkeypatch.setattr(builtins, "__import__", absent)
        for read in (images.read_image, images.image_size):
            with pytest.raises(InputError, match=r"pip install 'gazax\[dicom\]'"):
                read(path)

    def test_missing_decoder_says_how_to_install_it(self, tmp_path, monkeypatch):
        from pydicom.pixels.decoders import base

        path = dicoms.write_dicom(tmp_path / "x.dcm", TWELVE_BITS, syntax="jpeg_lossless")
        monkeypatch.setattr(base.JPEGLosslessSV1Decoder, "_available", {})
        with pytest.raises(InputError, match=r"needs gdcm: pip install 'gazax\[dicom\]'"):
            images.read_image(path)


IDS = dict(patient_id="p1", study_id="s2", dicom_id="a-b")


class TestWriteRadiograph:
    def test_is_read_back(self, tmp_path):
        write_radiograph(
            tmp_path / "x.dcm", TWELVE_BITS, window=(2048, 4096), relationship_sign=-1, **IDS
        )
        expected = np.rint(TWELVE_BITS * (255 / 4095))
        np.testing.assert_array_equal(images.read_image(tmp_path / "x.dcm"), expected)
        data = pydicom.dcmread(tmp_path / "x.dcm")
        assert (data.PatientID, data.StudyID) == ("p1", "s2")
        assert data.PixelIntensityRelationshipSign == -1

    def test_monochrome1_is_inverted(self, tmp_path):
        write_radiograph(tmp_path / "a.dcm", TWELVE_BITS, **IDS)
        write_radiograph(tmp_path / "b.dcm", TWELVE_BITS, monochrome1=True, **IDS)
        plain, inverted = (images.read_image(tmp_path / f"{name}.dcm") for name in "ab")
        np.testing.assert_allclose(255 - inverted.astype(int), plain, atol=1)

    def test_holds_no_date_and_no_name(self, tmp_path):
        write_radiograph(tmp_path / "x.dcm", TWELVE_BITS, **IDS)
        for element in pydicom.dcmread(tmp_path / "x.dcm"):
            assert element.VR not in ("DA", "TM", "DT", "PN") or not element.value

    def test_same_arguments_give_the_same_bytes(self, tmp_path):
        for name in "ab":
            write_radiograph(tmp_path / f"{name}.dcm", TWELVE_BITS, **IDS)
        assert (tmp_path / "a.dcm").read_bytes() == (tmp_path / "b.dcm").read_bytes()

    def test_values_must_fit(self, tmp_path):
        with pytest.raises(ValueError, match="do not fit 11 bits"):
            write_radiograph(tmp_path / "x.dcm", TWELVE_BITS, bits_stored=11, **IDS)


def insert_first(path, element: bytes) -> None:
    """Puts an element before the first one after the file meta group."""
    content = path.read_bytes()
    (length,) = struct.unpack_from("<I", content, 140)
    at = 144 + length
    path.write_bytes(content[:at] + element + content[at:])

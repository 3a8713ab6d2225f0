"""Every kind of PNG and JPEG file gives grey bytes, or one kind of error."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from gazax.data.pixels import images, levels
from gazax.data.pixels.images import DecodeError

RAMP = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)


def save(tmp_path, image, name="x.png", **kwargs):
    image.save(tmp_path / name, **kwargs)
    return tmp_path / name


def test_eight_bit_grey_is_kept_as_it_is(tmp_path):
    path = save(tmp_path, Image.fromarray(RAMP))
    np.testing.assert_array_equal(images.read_image(path), RAMP)
    assert images.image_size(path) == (4, 6)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_grey_in_another_dress_is_the_same_grey(tmp_path, mode):
    path = save(tmp_path, Image.fromarray(RAMP).convert(mode))
    np.testing.assert_array_equal(images.read_image(path), RAMP)


def test_palette_goes_through_its_colours(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([200, 200, 200, 50, 50, 50])
    image.putdata([0, 1])
    np.testing.assert_array_equal(images.read_image(save(tmp_path, image)), [[200, 50]])


def test_colour_becomes_luma(tmp_path):
    image = Image.new("RGB", (1, 1), (100, 50, 200))
    # .299 * 100 + .587 * 50 + .114 * 200 = 82.05
    assert images.read_image(save(tmp_path, image)).item() == 82


def test_one_bit_becomes_black_and_white(tmp_path):
    path = save(tmp_path, Image.fromarray(RAMP > 100))
    np.testing.assert_array_equal(images.read_image(path), np.where(RAMP > 100, 255, 0))


def test_sixteen_bits_are_spread_over_their_own_range(tmp_path):
    # twelve bits in a 16-bit file: 1000 -> 0, 4000 -> 255, 1600 -> 600 / 3000 * 255 = 51
    path = save(tmp_path, Image.fromarray(np.array([[1000, 1600, 4000]], np.uint16)))
    np.testing.assert_array_equal(images.read_image(path), [[0, 51, 255]])


def test_jpeg_is_read(tmp_path):
    path = save(tmp_path, Image.fromarray(np.full((8, 8), 90, np.uint8)), "x.jpg", quality=95)
    np.testing.assert_allclose(images.read_image(path).astype(int), 90, atol=2)


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.dcm"])
@pytest.mark.parametrize("content", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n" + bytes(20)])
def test_damaged_file_raises_one_kind_of_error(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DecodeError):
        images.read_image(tmp_path / name)


def test_truncated_file_is_no_image(tmp_path):
    noise = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (64, 64), np.uint8)
    path = save(tmp_path, Image.fromarray(noise))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DecodeError, match="does not decode"):
        images.read_image(path)


def test_enormous_header_is_refused_before_decoding(tmp_path, monkeypatch):
    monkeypatch.setattr(levels, "MAX_PIXELS", 20)
    path = save(tmp_path, Image.fromarray(RAMP))
    with pytest.raises(DecodeError, match="claims 4 x 6 pixels"):
        images.read_image(path)


def test_sixteen_bits_go_through_a_table_as_through_plain_arithmetic(tmp_path):
    values = np.random.Generator(np.random.PCG64(0)).integers(37, 40000, (50, 60), np.uint16)
    path = save(tmp_path, Image.fromarray(values))
    low, high = values.min(), values.max()
    expected = np.rint((values - np.float64(low)) * (255 / (int(high) - int(low))))
    np.testing.assert_array_equal(images.read_image(path), expected)


def test_look_up_in_blocks_is_look_up(monkeypatch):
    codes = np.random.Generator(np.random.PCG64(0)).integers(0, 2**16, (41, 30), np.uint16)
    table = np.random.Generator(np.random.PCG64(1)).integers(0, 256, 2**16, np.uint8)
    monkeypatch.setattr(levels, "BLOCK", 100)
    np.testing.assert_array_equal(levels.look_up(table, codes), table[codes])
    assert levels.present(codes).nonzero()[0].tolist() == np.unique(codes).tolist()


def test_constant_sixteen_bits_become_black(tmp_path):
    path = save(tmp_path, Image.fromarray(np.full((2, 3), 900, np.uint16)))
    np.testing.assert_array_equal(images.read_image(path), 0)


def test_transparency_is_dropped(tmp_path):
    image = Image.merge("LA", [Image.fromarray(RAMP), Image.fromarray(RAMP.T.reshape(4, 6))])
    np.testing.assert_array_equal(images.read_image(save(tmp_path, image)), RAMP)


def test_sixteen_bit_colours_keep_their_upper_byte(tmp_path):
    rows = np.array([[[0x1234, 0x1234, 0x1234], [0xFEDC, 0xFEDC, 0xFEDC]]], ">u2")
    path = tmp_path / "x.png"
    path.write_bytes(png(2, 1, bits=16, kind=2, data=b"\0" + rows.tobytes()))
    np.testing.assert_array_equal(images.read_image(path), [[0x12, 0xFE]])


@pytest.mark.parametrize(
    ("mode", "options"),
    [("L", {}), ("RGB", {}), ("CMYK", {}), ("L", {"progressive": True})],
    ids=["grey", "colour", "cmyk", "progressive"],
)
def test_every_kind_of_jpeg_gives_the_same_grey(tmp_path, mode, options):
    smooth = np.add.outer(np.arange(64), np.arange(48)).astype(np.uint8)
    path = save(tmp_path, Image.fromarray(smooth).convert(mode), "x.jpg", quality=95, **options)
    np.testing.assert_allclose(images.read_image(path).astype(int), smooth, atol=4)


def test_rotation_of_a_camera_is_not_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    path = save(tmp_path, Image.new("L", (8, 16), 50), "x.jpg", exif=exif)
    assert images.read_image(path).shape == images.image_size(path) == (16, 8)


def test_gamma_is_not_applied(tmp_path):
    chunk = b"gAMA" + struct.pack(">I", 100000)
    plain = png(1, 1, data=b"\0\x64")
    gamma = struct.pack(">I", 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "x.png").write_bytes(plain[:33] + gamma + plain[33:])
    assert images.read_image(tmp_path / "x.png").item() == 0x64


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "BMP", "EPS"])
def test_other_kinds_are_not_tried_whatever_the_name(tmp_path, kind):
    path = save(tmp_path, Image.new("L", (8, 8)), "x.png", format=kind)
    with pytest.raises(DecodeError, match="neither a PNG nor a JPEG"):
        images.read_image(path)


def test_size_that_pillow_refuses_by_itself_is_a_decode_error(tmp_path):
    (tmp_path / "x.png").write_bytes(png(60000, 60000, data=b"\0"))
    with pytest.raises(DecodeError, match="too many pixels"):
        images.image_size(tmp_path / "x.png")


def test_no_pixel_is_a_decode_error(tmp_path):
    (tmp_path / "x.png").write_bytes(png(0, 5, data=b"\0"))
    with pytest.raises(DecodeError):
        images.read_image(tmp_path / "x.png")


def test_compressed_text_that_grows_without_bound_is_refused(tmp_path):
    plain = png(1, 1, data=b"\0\x64")
    chunk = b"zTXt" + b"key\0\0" + zlib.compress(bytes(2**27), 9)
    text = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "x.png").write_bytes(plain[:33] + text + plain[33:])
    with pytest.raises(DecodeError, match="Decompressed data too large"):
        images.read_image(tmp_path / "x.png")


def test_scan_after_scan_is_refused(tmp_path):
    stream = io.BytesIO()
    Image.fromarray(RAMP).save(stream, "JPEG", progressive=True)
    code = stream.getvalue()
    last = code.rindex(b"\xff\xda")
    (tmp_path / "x.jpg").write_bytes(code[:last] + code[last:-2] * 200 + code[-2:])
    with pytest.raises(DecodeError, match=r"has 2\d\d scans"):
        images.read_image(tmp_path / "x.jpg")


def test_large_file_is_refused_before_it_is_opened(tmp_path, monkeypatch):
    path = save(tmp_path, Image.fromarray(RAMP))
    monkeypatch.setattr(levels, "MAX_BYTES", 10)
    with pytest.raises(DecodeError, match="bytes, more than 10"):
        images.read_image(path)


@pytest.mark.parametrize("name", ["x.png", "x.dcm"])
def test_pipe_is_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(DecodeError, match="no ordinary file"):
        images.read_image(tmp_path / name)


def test_message_of_a_missing_file_leaves_its_place_out(tmp_path):
    with pytest.raises(DecodeError) as caught:
        images.read_image(tmp_path / "x.png")
    assert "No such file" in str(caught.value)
    assert "x.png" not in str(caught.value)


@pytest.mark.parametrize("error", [RecursionError, MemoryError, AssertionError, SystemError])
def test_whatever_a_decoder_raises_is_a_decode_error(tmp_path, monkeypatch, error):
    def broken(*args, **kwargs):
        raise error("far down")

    path = save(tmp_path, Image.fromarray(RAMP))
    monkeypatch.setattr(Image, "open", broken)
    with pytest.raises(DecodeError, match=error.__name__):
        images.read_image(path)


def test_interruption_by_the_user_is_none(tmp_path, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    path = save(tmp_path, Image.fromarray(RAMP))
    monkeypatch.setattr(Image, "open", interrupted)
    with pytest.raises(KeyboardInterrupt):
        images.read_image(path)


def png(width: int, height: int, *, data: bytes, bits: int = 8, kind: int = 0) -> bytes:
    """A PNG with whatever header."""

    def chunk(name: bytes, content: bytes) -> bytes:
        end = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + end

    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunk(b"IDAT", zlib.compress(data)),
            chunk(b"IEND", b""),
        ]
    )


def test_mask_keeps_its_values(tmp_path):
    mask = np.array([[0, 1], [2, 255]], np.uint8)
    np.testing.assert_array_equal(images.read_mask(save(tmp_path, Image.fromarray(mask))), mask)
    palette = Image.fromarray(mask).convert("P")
    palette.putpalette([9, 9, 9] * 256)
    palette.putdata(mask.ravel().tolist())
    np.testing.assert_array_equal(images.read_mask(save(tmp_path, palette)), mask)


def test_colour_is_no_mask(tmp_path):
    with pytest.raises(DecodeError, match="no label map"):
        images.read_mask(save(tmp_path, Image.new("RGB", (2, 2))))

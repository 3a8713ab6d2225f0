"""Sound pictures, and damage that knows their formats."""

import io
import random
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

from tests.data.hostile.damage import NUMBERS


def make_pixels(*shape: int, dtype=np.uint8) -> np.ndarray:
    rng = np.random.Generator(np.random.PCG64(0))
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def _saved(image: Image.Image, form: str, **how: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **how)
    return stream.getvalue()


def pictures() -> dict[str, bytes]:
    """Sound files, one of a kind; the kind ends with the suffix."""
    grey, colour = Image.fromarray(make_pixels(32, 40)), Image.fromarray(make_pixels(32, 40, 3))
    return {
        "grey.png": _saved(grey, "PNG"),
        "16bit.png": _saved(Image.fromarray(make_pixels(32, 40, dtype=np.uint16)), "PNG"),
        "palette.png": _saved(colour.quantize(16), "PNG"),
        "colour.png": _saved(colour, "PNG"),
        "alpha.png": _saved(colour.convert("RGBA"), "PNG"),
        "1bit.png": _saved(grey.convert("1"), "PNG"),
        "grey.jpg": _saved(grey, "JPEG"),
        "colour.jpg": _saved(colour, "JPEG"),
        "progressive.jpg": _saved(colour, "JPEG", progressive=True),
        "cmyk.jpg": _saved(colour.convert("CMYK"), "JPEG"),
    }


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def mutate_png(data: bytes, rng: random.Random) -> bytes:
    """With sums that are right: another header, hostile chunks, or pixels of another size."""
    signature, start, header, end, rest = data[:8], data[8:12], data[16:29], data[29:33], data[33:]
    kind = rng.randrange(4)
    if kind == 0:
        sides = (0, 1, 31, 33, 1000, 5792, 5793, 65_535, 2**31 - 1, 2**31, 2**32 - 1)
        size = struct.pack(">II", rng.choice(sides), rng.choice(sides))
        return signature + _chunk(b"IHDR", size + header[8:]) + rest
    if kind == 1:
        how = bytes(rng.choice((0, 1, 2, 3, 4, 6, 8, 16, 255)) for _ in range(5))
        return signature + _chunk(b"IHDR", header[:8] + how) + rest
    if kind == 2:
        squeezed = zlib.compress(b"\0" * rng.choice((100, 10**6, 10**8)))
        text, profile = b"a\0\0" + squeezed, b"icc\0\0" + squeezed
        frames, alpha = struct.pack(">II", rng.choice(NUMBERS), 0), b"\0" * rng.choice(NUMBERS)
        kinds = {
            b"zTXt": text,
            b"iTXt": b"a\0\1\0\0\0" + squeezed,
            b"iCCP": profile,
            b"PLTE": alpha,
        }
        kinds |= {b"acTL": frames, b"tRNS": alpha, b"eXIf": alpha, b"gAMA": alpha, b"IDAT": alpha}
        kinds |= {b"fdAT": alpha, b"fcTL": alpha + frames, b"IEND": b"", b"tEXt": alpha}
        name = rng.choice(sorted(kinds))
        extra = _chunk(name, kinds[name]) * rng.choice(
            (1, 1, 2, 3000 if len(squeezed) < 200 else 1)
        )
        return signature + start + b"IHDR" + header + end + extra + rest
    size, bits, colours = (
        2 ** rng.choice((5, 11, 12)),
        rng.choice((1, 8, 16)),
        rng.choice((0, 2, 6)),
    )
    line = 1 + size * bits * {0: 1, 2: 3, 6: 4}[colours] // 8
    body = zlib.compress(b"\0" * (line * size), 1)
    form = struct.pack(">IIBBBBB", size, size, bits, colours, 0, 0, rng.choice((0, 0, 1)))
    return signature + _chunk(b"IHDR", form) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def mutate_jpeg(data: bytes, rng: random.Random) -> bytes:
    """Another size in the frame header, or scans over and over."""
    if rng.random() < 0.2:
        scan = data.index(b"\xff\xda")
        return data[:-2] + data[scan:-2] * rng.choice((1, 20, 150)) + data[-2:]
    at = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    sides = (0, 1, 33, 5000, 5792, 65_535)
    size = struct.pack(">HH", rng.choice(sides), rng.choice(sides))
    return data[: at + 5] + size + data[at + 9 :]

"""Hostile and unlucky files, and the proof that nothing but a typed error comes of them.

An input is a kind and a number: the same ones give the same bytes. ``python -m tests.data.hostile
--count=10000 --seed=0`` runs that many of every kind in turn, in processes of their own, and ends
with 1 if one of them hung, died, took too much memory, opened a file outside the source, wrote one
outside the output, raised anything but the two errors of the package, or an error that does not
name a file.
"""

import argparse
import gzip
import io
import json
import os
import random
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gazax.data import cache, datasets, decode, prepared
from gazax.data.pixels import images
from gazax.data.pool import Pool
from gazax.data.raw import RawDataset
from gazax.data.sources import egd_drift
from gazax.data.sources.tables import Faults
from gazax.typing import InputError
from tests.data import dicoms
from tests.data.folders import example_folder
from tests.data.trees.chestxray14 import write_chestxray14
from tests.data.trees.egd_cxr import write_egd_cxr
from tests.data.trees.mimic_cxr import write_mimic_cxr
from tests.data.trees.reflacx import write_reflacx
from tests.data.trees.rsna_pneumonia import write_rsna_pneumonia

SECONDS = 10
"""Of processor time for one input; six times as much on the clock, for one that waits."""
MEBIBYTES = 1000
"""Of memory for one input, above that of the process before it."""
TEN_MB = 10**7

NUMBERS = (0, 1, 2, 7, 8, 12, 15, 16, 17, 32, 255, 256, 4096, 32767, 32768, 65535)
SUBSTITUTES = (
    *("", " ", "=cmd|' /C calc'!A0", "+1+1", "@SUM(A1)", "-", "../../outside/secret", "..", "."),
    *("/etc/passwd", "C:\\secret", "a/b", "a\\b", "\0", "a\0b", "\ufeff", "é" * 200, "😀" * 70),
    *("nan", "NaN", "inf", "-inf", "1e308", "-1e308", "1e400", "1e-320", "0", "-0", "-1", "1", "2"),
    *(
        "2.5",
        "0x10",
        "1_000",
        "\N{FULLWIDTH DIGIT TWO}",
        "9" * 30,
        "9" * 5000,
        "1,5",
        "1;5",
        "True",
    ),
    *("TRUE", "false", "None", "null", "#N/A", '"', "'", "\u202e", "train", "test", "x" * 300),
    *("<script>alert(1)</script>", "$(touch x)", "%s%n", "{0.__class__}", "~", "~root", "-" * 100),
)
"""For cells."""


# --- bytes -> bytes -------------------------------------------------------------------------------


def truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def empty(data: bytes, rng: random.Random) -> bytes:
    return b""


def swap(data: bytes, rng: random.Random) -> bytes:
    """Exchanges pairs of bytes, neighbours or not."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 2, 8, 64))):
        i = rng.randrange(len(found))
        j = min(i + 1, len(found) - 1) if rng.random() < 0.5 else rng.randrange(len(found))
        found[i], found[j] = found[j], found[i]
    return bytes(found)


def flip(data: bytes, rng: random.Random) -> bytes:
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16, 128))):
        found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
    return bytes(found)


def set_bytes(data: bytes, rng: random.Random) -> bytes:
    """Extreme bytes, most often in the first 512."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 2, 4, 8))):
        end = min(len(found), 512) if rng.random() < 0.7 else len(found)
        found[rng.randrange(end)] = rng.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF, rng.randrange(256)))
    return bytes(found)


def set_number(data: bytes, rng: random.Random) -> bytes:
    """A length or a size that is not so."""
    order, size = rng.choice("<>"), rng.choice("HI")
    top = 2 ** (16 if size == "H" else 32)
    value = rng.choice((0, 1, top - 1, top // 2, top // 2 - 1, len(data) % top, rng.randrange(top)))
    at = rng.randrange(max(1, min(len(data), 1024) - 4))
    return data[:at] + struct.pack(order + size, value) + data[at + struct.calcsize(size) :]


def cut_out(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.randrange(1, 1 + max(1, len(data) // 4)) :]


def repeat(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    end = start + rng.randrange(1, 1 + max(1, len(data) // 4))
    return data[:end] + data[start:end] * rng.choice((1, 2, 50)) + data[end:]


def insert(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    junk = rng.choice((b"\0", b"\xff\xfe", b"\r", b"\n", b'"', rng.randbytes(16), b"\0" * 5000))
    return data[:at] + junk + data[at:]


def append(data: bytes, rng: random.Random) -> bytes:
    return data + rng.choice((b"\0" * 1000, data, rng.randbytes(1000), b"\0" * TEN_MB))


def noise(data: bytes, rng: random.Random) -> bytes:
    return rng.randbytes(rng.choice((1, 10, 1000, 100_000)))


BYTES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    *(truncate, truncate, swap, swap, flip, flip, flip, set_bytes, set_bytes, set_bytes),
    *(set_number, set_number, set_number, cut_out, repeat, insert, append, empty, noise),
)


def mutate(data: bytes, rng: random.Random) -> bytes:
    """One to three of `BYTES`, one after the other."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = rng.choice(BYTES)(data, rng) if data else data
    return data


# --- tables ---------------------------------------------------------------------------------------


def mutate_table(data: bytes, rng: random.Random) -> bytes:
    """A csv file with faults of the kinds that people, spreadsheets and attackers make."""
    rows = [line.split(",") for line in data.decode("utf-8").splitlines()]
    return rng.choice(TABLES)(rows, rng)


def _joined(rows: list[list[str]], end: str = "\n") -> bytes:
    return end.join([*(",".join(row) for row in rows), ""]).encode("utf-8", "surrogatepass")


def _some_cell(rows: list[list[str]], rng: random.Random, first: int = 1) -> tuple[list[str], int]:
    row = rows[rng.randrange(min(first, len(rows) - 1), len(rows))]
    return row, rng.randrange(len(row))


def cells(rows: list[list[str]], rng: random.Random) -> bytes:
    for _ in range(rng.choice((1, 1, 1, 3, 20))):
        row, place = _some_cell(rows, rng)
        row[place] = rng.choice(SUBSTITUTES)
    return _joined(rows)


def column(rows: list[list[str]], rng: random.Random) -> bytes:
    """The same in all rows of a column."""
    _, place = _some_cell(rows, rng)
    value = rng.choice(SUBSTITUTES)
    for row in rows[1:]:
        if place < len(row):
            row[place] = value
    return _joined(rows)


def from_elsewhere(rows: list[list[str]], rng: random.Random) -> bytes:
    """The cell of another row or column."""
    for _ in range(rng.choice((1, 2, 10))):
        (row, place), (other, at) = _some_cell(rows, rng), _some_cell(rows, rng)
        row[place], other[at] = other[at], row[place]
    return _joined(rows)


def path_cell(rows: list[list[str]], rng: random.Random) -> bytes:
    """An id or path that is led astray, and stays half right."""
    row, place = _some_cell(rows, rng)
    way = ("../" + row[place], "/" + row[place], f"../../outside/{row[place]}", row[place] + "/..")
    more = (row[place] + "\0", f"/p../../outside/{row[place]}", row[place] + "/", "é" + row[place])
    row[place] = rng.choice(way + more)
    return _joined(rows)


def header(rows: list[list[str]], rng: random.Random) -> bytes:
    place = rng.randrange(len(rows[0]))
    rows[0][place] = rng.choice((*SUBSTITUTES, rng.choice(rows[0]), rows[0][place].upper()))
    return _joined(rows)


def width(rows: list[list[str]], rng: random.Random) -> bytes:
    for _ in range(rng.choice((1, 1, 5))):
        row, place = _some_cell(rows, rng, first=0)
        if rng.random() < 0.5:
            row[place:place] = [""] * rng.choice((1, 2, 1000))
        else:
            del row[place]
        row += [""] * (not row)
    return _joined(rows)


def row_order(rows: list[list[str]], rng: random.Random) -> bytes:
    """Rows lost, twice, many times over, blank or in another order."""
    place = rng.randrange(len(rows))
    some = (
        rows[:place],
        rows[:1],
        rows[1:],
        rows[: place + 1] + rows[place:],
        rows[: place + 1] + rows[place : place + 1] * 20_000 + rows[place + 1 :],
        rows[:place] + [[""]] * 5 + rows[place:],
        rows[:1] + rng.sample(rows[1:], len(rows) - 1),
        rows[:place] + rows[place + 1 :],
    )
    return _joined(rng.choice(some))


def encoding(rows: list[list[str]], rng: random.Random) -> bytes:
    row, place = _some_cell(rows, rng, first=0)
    row[place] += rng.choice(("", "é", "é"))
    name = rng.choice(("utf-8-sig", "utf-16", "utf-16-be", "utf-32", "latin-1", "cp037", "utf-7"))
    return _joined(rows).decode().encode(name)


def ends(rows: list[list[str]], rng: random.Random) -> bytes:
    return _joined(rows, rng.choice(("\r\n", "\r", "\n\n", "\r\r\n", "\n\0", "\u2028", "\x0b", "")))


def separator(rows: list[list[str]], rng: random.Random) -> bytes:
    return _joined(rows).replace(b",", rng.choice((b";", b"\t", b"|", b", ", b",,", b" ")))


def quotes(rows: list[list[str]], rng: random.Random) -> bytes:
    for _ in range(rng.choice((1, 5))):
        row, place = _some_cell(rows, rng, first=0)
        row[place] = rng.choice(
            ('"{}', '{}"', '"{}"', '"{}\n"', '"{}""', '"a,{}"', '"{}"x')
        ).format(row[place])
    return _joined(rows)


def long_field(rows: list[list[str]], rng: random.Random) -> bytes:
    """Just as long as the csv module takes, and 10 MB."""
    row, place = _some_cell(rows, rng, first=rng.choice((0, 1)))
    fill = rng.choice(("x", "9", "é", ",", "\n", '"', "|", "\0", " "))
    row[place] = row[place] + fill * rng.choice((131_000, TEN_MB))
    return _joined(rows)


def of_bytes(rows: list[list[str]], rng: random.Random) -> bytes:
    return mutate(_joined(rows), rng)


TABLES: tuple[Callable[[list[list[str]], random.Random], bytes], ...] = (
    *(cells, cells, cells, cells, column, column, from_elsewhere, from_elsewhere, path_cell),
    *(path_cell, header, width, row_order, row_order, encoding, ends, separator, quotes),
    *(long_field, of_bytes, of_bytes, of_bytes),
)


# --- pictures -------------------------------------------------------------------------------------


def _pixels(*shape: int, dtype=np.uint8) -> np.ndarray:
    rng = np.random.Generator(np.random.PCG64(0))
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def _saved(image: Image.Image, form: str, **how: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **how)
    return stream.getvalue()


def pictures() -> dict[str, bytes]:
    """Sound files, one of a kind; the kind ends with the suffix."""
    grey, colour = Image.fromarray(_pixels(32, 40)), Image.fromarray(_pixels(32, 40, 3))
    return {
        "grey.png": _saved(grey, "PNG"),
        "16bit.png": _saved(Image.fromarray(_pixels(32, 40, dtype=np.uint16)), "PNG"),
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


# --- DICOM ----------------------------------------------------------------------------------------

WRONG: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("Rows", "Columns"), (*NUMBERS, 31, 33, 5792, 20_000, [32, 32], None)),
    **dict.fromkeys(
        ("BitsAllocated", "BitsStored", "HighBit", "SamplesPerPixel"), (*NUMBERS, 3, 4, None)
    ),
    **dict.fromkeys(("PixelRepresentation", "PlanarConfiguration"), (0, 1, 2, 65_535, None)),
    "NumberOfFrames": (0, 1, 2, -1, 2**31 - 1, 10**11, "x", None),
    "PhotometricInterpretation": (
        *("MONOCHROME1", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"),
        *("", "\0", "x" * 10_000, "../..", None),
    ),
    **dict.fromkeys(
        ("WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept"),
        (0, -1, 1, 1e-300, 1e300, "nan", "inf", "-inf", "", "x", [1, 2, 3], "1\\x", "9" * 16, None),
    ),
    "VOILUTFunction": ("SIGMOID", "LINEAR_EXACT", "LINEAR", "x", ""),
    "PresentationLUTShape": ("INVERSE", "IDENTITY", "x"),
    **dict.fromkeys(
        ("PixelPaddingValue", "PixelPaddingRangeLimit"), (0, 1, 65_535, -1, -32_768, [1, 2])
    ),
    "PixelIntensityRelationshipSign": (1, -1, 0, 7),
    "PixelData": (b"", b"\0\0", b"\0" * 100_000, b"\xfe\xff\x00\xe0" * 500, b"\xff" * TEN_MB),
}
"""By keyword, what an attribute may be set to; None leaves it out."""
LUTS = (
    (0, 0, 16),
    (256, 0, 8),
    (256, 65_535, 16),
    (1, 0, 16),
    (65_535, 1, 16),
    (256, 0, 0),
    (3,),
    (),
)
VRS = ("US", "SS", "UL", "FD", "DS", "IS", "CS", "LO", "OW", "OB", "UN", "SQ", "AT", "UI", "UT")
VALUES: tuple[Any, ...] = (
    0,
    1,
    65_535,
    2**31,
    "1",
    "x",
    "\0",
    "",
    1.5,
    b"\0\1",
    b"\xff" * 9,
    [],
    [1, 2],
)


def _photographs() -> dict[str, tuple[np.ndarray, dict[str, Any]]]:
    """Pixels and attributes that files are made of."""
    grey, deep = _pixels(32, 40), _pixels(32, 40, dtype=np.uint16) >> 4
    return {
        "8": (grey, {}),
        "12": (deep, {"BitsStored": 12, "WindowCenter": 2000, "WindowWidth": 3000}),
        "inverse": (deep, {"BitsStored": 12, "PhotometricInterpretation": "MONOCHROME1"}),
        "signed": (deep.astype(np.int16), {"RescaleSlope": 2, "RescaleIntercept": -1024}),
        "colour": (_pixels(32, 40, 3), {}),
    }


def _takes(syntax: str, name: str) -> bool:
    if syntax == "jpeg":
        return name in ("8", "colour")
    return name != "signed" or not syntax.startswith("jpeg_2000")


_FRAMES: dict[tuple[str, str], bytes] = {}


def mutate_dicom(rng: random.Random, folder: Path) -> bytes:
    """A file of any transfer syntax with wrong attributes, VRs, lengths or pixels."""
    import pydicom
    from pydicom.tag import Tag

    pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
    syntax = rng.choice([*dicoms.NATIVE, *dicoms.COMPRESSED])
    name = rng.choice([name for name in _photographs() if _takes(syntax, name)])
    pixels, attributes = _photographs()[name]
    data = dicoms.dataset(pixels, **attributes)
    frames = None
    if syntax in dicoms.COMPRESSED:
        if (syntax, name) not in _FRAMES:
            _FRAMES[syntax, name] = dicoms.encode(
                pixels, syntax, dicoms.dataset(pixels, **attributes)
            )
        frames = [_FRAMES[syntax, name]]
        if rng.random() < 0.5:
            frames = [mutate(frames[0], rng) or b"\0\0"] * rng.choice((1, 1, 2))
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        keyword = rng.choice(sorted(WRONG))
        value = rng.choice(WRONG[keyword])
        if value is None:
            data.pop(keyword, None)
        else:
            _try(lambda keyword=keyword, value=value: setattr(data, keyword, value))
    if rng.random() < 0.2:
        _add_lut(data, rng)
    if rng.random() < 0.2:  # a VR that the attribute does not have
        keyword, vr = rng.choice(sorted(WRONG)), rng.choice(VRS)
        _try(lambda: data.add_new(Tag(keyword), vr, rng.choice(VALUES)))
    if rng.random() < 0.05:
        name = rng.choice(("PatientName", "ImageComments", "WindowCenterWidthExplanation"))
        _try(lambda: setattr(data, name, "x" * TEN_MB))
    uid = {**dicoms.NATIVE, **dicoms.COMPRESSED}[syntax]
    if rng.random() < 0.05:
        uid = rng.choice([*dicoms.NATIVE.values(), *dicoms.COMPRESSED.values(), "1.2.3", ""])
    path = folder / "made.dcm"
    if not _try(lambda: dicoms.save(path, data, uid, frames=frames)):
        dicoms.write_dicom(path, pixels, syntax=syntax, **attributes)
        return mutate(path.read_bytes(), rng)
    found = path.read_bytes()
    if rng.random() < 0.05:
        found = _nested(found, rng)
    if rng.random() < 0.2:  # a length that is not so
        keyword = rng.choice(sorted(WRONG))
        tag = Tag(keyword)
        order = "<" if syntax != "big_endian" else ">"
        at = found.find(struct.pack(order + "HH", tag.group, tag.element), 132) + 4
        wrong = struct.pack(order + "I", rng.choice((0, 1, 3, 2**16 - 1, 2**31, 2**32 - 1, TEN_MB)))
        found = found[:at] + rng.choice((wrong, found[at : at + 2] + wrong, b"UN\0\0" + wrong))
        found += path.read_bytes()[len(found) :]
    return mutate(found, rng) if rng.random() < 0.4 else found


def _try(change: Callable[[], Any]) -> bool:
    """Whether pydicom lets it be written at all."""
    try:
        change()
    except Exception:
        return False
    return True


def _add_lut(data: Any, rng: random.Random) -> None:
    import pydicom

    descriptor = list(rng.choice(LUTS))
    entries = rng.randbytes(rng.choice((0, 1, 2, 256, 512, 131_072, 3_000_000)))
    if rng.random() < 0.3:
        for colour in ("Red", "Green", "Blue"):
            name = f"{colour}PaletteColorLookupTable"
            _try(lambda name=name: setattr(data, f"{name}Descriptor", descriptor))
            _try(lambda name=name: setattr(data, f"{name}Data", entries))
        return
    item = pydicom.Dataset()
    _try(lambda: setattr(item, "LUTDescriptor", descriptor))
    _try(lambda: setattr(item, "LUTData", entries))
    items = [item] * rng.choice((0, 1, 1, 1, 2, 500 if len(entries) < 1000 else 3))
    setattr(data, rng.choice(("VOILUTSequence", "ModalityLUTSequence")), items)


def _nested(data: bytes, rng: random.Random) -> bytes:
    """Sequences in sequences before the pixels of a file in little endian."""
    at = max(132, data.find(b"\xe0\x7f\x10\x00"))
    endless = b"\xff" * 4
    sequence, item = b"\x28\x00\x10\x30" + rng.choice((b"SQ\0\0", b"")), b"\xfe\xff\x00\xe0"
    depth = rng.choice((1, 20, 300, 2_000, 50_000))
    ends = (b"\xfe\xff\x0d\xe0" + bytes(4) + b"\xfe\xff\xdd\xe0" + bytes(4)) * depth
    ends = rng.choice((ends, b""))
    return data[:at] + (sequence + endless + item + endless) * depth + ends + data[at:]


# --- trees ----------------------------------------------------------------------------------------


def _samples(root: Path) -> Path:
    example_folder(root, count=8)
    rows = [
        f"im{i:02},{who},{0.02 * k:.2f},{5 + i + k // 9},{9 + k // 9}"
        for i in range(5)
        for who in ("ann", "bob")
        for k in range(20)
    ]
    (root / "fixations.csv").unlink()
    (root / "samples.csv").write_text("image_id,reader_id,t_s,x_px,y_px\n" + "\n".join(rows) + "\n")
    return root


def _with_splits(write: Callable[[Path], Path], table: str, place: int) -> Callable[[Path], Path]:
    """Adds the list of a user: splits in turn."""

    def make(root: Path) -> Path:
        write(root)
        lines = (root / table).read_text(encoding="utf-8").splitlines()[1:]
        ids = dict.fromkeys(line.split(",")[place] for line in lines)
        people = list(dict.fromkeys(name.split("_")[0] for name in ids))
        rows = [
            f"{name},{('train', 'val', 'test')[people.index(name.split('_')[0]) % 3]}"
            for name in ids
        ]
        (root / "splits.csv").write_text("\n".join(("image_id,split", *rows, "")), encoding="utf-8")
        return root

    return make


def _one_patient_each(root: Path) -> Path:
    return write_chestxray14(root, count=24)


TREES: dict[str, tuple[str, Callable[[Path], Path], dict[str, Any]]] = {
    "gaze_folder": ("gaze_folder", lambda root: example_folder(root, count=9), {}),
    "gaze_folder of samples": ("gaze_folder", _samples, {"fixation_algorithm": "ivt"}),
    "reflacx": ("reflacx", lambda root: write_reflacx(root, count=8), {}),
    "reflacx in MIMIC-Eye": (
        "reflacx",
        lambda root: write_reflacx(root, count=8, mimic_eye=True),
        {"label_set": "merged"},
    ),
    "egd_cxr": ("egd_cxr", lambda root: write_egd_cxr(root, count=6), {}),
    "egd_cxr of samples": (
        "egd_cxr",
        lambda root: write_egd_cxr(root, count=6),
        {"gaze": "samples", "blank": "unknown"},
    ),
    "egd_cxr in MIMIC-Eye": (
        "egd_cxr",
        lambda root: write_egd_cxr(root, count=6, mimic_eye=True),
        {"gaze": "cxrgazelearn"},
    ),
    "mimic_cxr": ("mimic_cxr", lambda root: write_mimic_cxr(root, count=6), {"blank": "unknown"}),
    "mimic_cxr compressed": (
        "mimic_cxr",
        lambda root: write_mimic_cxr(root, count=6, compressed=True, labeller="negbio"),
        {"labels": "negbio", "views": ()},
    ),
    "rsna_pneumonia": ("rsna_pneumonia", lambda root: write_rsna_pneumonia(root, count=9), {}),
    "rsna_pneumonia of a list": (
        "rsna_pneumonia",
        _with_splits(
            lambda root: write_rsna_pneumonia(root, count=9), "stage_2_train_labels.csv", 0
        ),
        {"splits": "splits.csv"},
    ),
    "chestxray14": ("chestxray14", _one_patient_each, {}),
    "chestxray14 of a list": (
        "chestxray14",
        _with_splits(
            lambda root: write_chestxray14(
                root, count=12, parts=2, entries="Data_Entry_2017_v2020.csv"
            ),
            "Data_Entry_2017_v2020.csv",
            0,
        ),
        {"splits": "splits.csv"},
    ),
}
"""Data set, writer and arguments; ``splits`` is a file of the tree."""
KINDS = (*pictures(), *("dicom",) * 10, *(name for name in TREES for _ in range(2)))
"""Of inputs, in turn."""


class Tree:
    """A sound tree beside a folder of secrets; one file at a time is spoiled and restored."""

    def __init__(self, folder: Path, name: str):
        self.dataset, write, arguments = TREES[name]
        self.root = write(folder / name.replace(" ", "_"))
        self.arguments = dict(arguments)
        if "splits" in arguments:
            self.arguments["splits"] = str(self.root / arguments["splits"])
        self.files = sorted(path for path in self.root.rglob("*") if path.is_file())
        self.tables = [path for path in self.files if path.suffix in (".csv", ".txt", ".gz")]
        self.outside = folder / "outside"

    def spoil(self, rng: random.Random) -> tuple[Path, Callable[[], None]]:
        """Changes a file; returns it and what undoes that."""
        if rng.random() < 0.08:
            return self._link(rng)
        path = rng.choice(self.tables if rng.random() < 0.93 else self.files)
        sound = path.read_bytes()
        if path.suffix == ".gz" and rng.random() < 0.6:
            data = gzip.compress(mutate_table(gzip.decompress(sound), rng), 1)
        elif path.suffix in (".csv", ".txt") and sound:
            data = mutate_table(sound, rng)
        else:
            data = mutate(sound, rng)
        path.write_bytes(data)
        return path, lambda: path.write_bytes(sound) and None

    def _link(self, rng: random.Random) -> tuple[Path, Callable[[], None]]:
        """A file or folder becomes a link out of the tree, a link in a circle, a pipe, a folder."""
        path = rng.choice(self.tables if rng.random() < 0.6 else self.files)
        if str(path) == self.arguments.get("splits"):  # which may lie anywhere
            path = self.tables[-1]
        if rng.random() < 0.3 and path.parent != self.root:
            path = path.parent
        away = self.outside / "moved"
        shutil.rmtree(away, ignore_errors=True)
        away.parent.mkdir(exist_ok=True)
        kept = away if rng.random() < 0.7 else self.root / ".kept"
        path.rename(kept)
        kind = rng.randrange(5)
        if kind == 0:
            path.symlink_to(path.name)
        elif kind == 1:
            os.mkfifo(path)
        elif kind == 2:
            path.mkdir()
        elif kind == 3:
            path.symlink_to(os.path.relpath(kept, path.parent))
        else:
            path.symlink_to(kept)

        def undo() -> None:
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
            kept.rename(path)

        return path, undo


def judge(raw: RawDataset) -> str:
    """What is wrong with a data set that was read; '' for nothing."""
    for image in raw.images:
        gaze = image.gaze
        fine = (
            image.split in ("train", "validation", "test")
            and np.isfinite(gaze.xy.astype(np.float32)).all()
            and np.isfinite(gaze.duration.astype(np.float32)).all()
            and (gaze.duration >= 0).all()
            and (np.isnan(gaze.sigma) | (gaze.sigma > 0)).all()
            and np.isfinite(image.box.astype(np.float32)).all()
            and (image.box[:, 2:] > image.box[:, :2]).all()
            and (np.isnan(image.label) | np.isin(image.label, (0, 1))).all()
            and ((image.box_label >= 0) & (image.box_label < len(raw.label_names))).all()
            and ((gaze.reader >= 0) & (gaze.reader < max(1, len(raw.reader_ids)))).all()
            and image.patient_id
        )
        if not fine:
            return f"image {image.image_id!r} has no sensible record: {image}"[:2000]
    return ""


# --- watching -------------------------------------------------------------------------------------


class Watch:
    """Notes whatever is opened outside some folders while it is on; there is one a process."""

    WRITES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.chmod")

    def __init__(self):
        self.read: tuple[str, ...] | None = None
        self.write: tuple[str, ...] = ()
        self.found: list[str] = []
        self.alone = True
        """No other processes are talked to, which is done in pickles."""
        here = Path(__file__).resolve().parents[2]
        self.own = tuple(
            str(path)
            for path in (sys.prefix, sys.base_prefix, here / "gazax", "/proc", "/sys", "/dev/null")
        )
        self.own += tuple(str(Path(path)) for path in sys.path if path and Path(path) != here)
        sys.addaudithook(self._note)

    def _note(self, event: str, args: tuple) -> None:
        if self.read is None:
            return
        if event == "pickle.find_class" and self.alone:
            self.found.append(f"unpickles {args}")
        elif event in ("os.listdir", "os.scandir"):
            self._check(args[0], "reads", (*self.read, *self.write, *self.own))
        elif event == "open":
            path, mode, flags = args
            writes = isinstance(mode, str) and any(letter in mode for letter in "wax+")
            writes |= bool((flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))
            may = self.write if writes else (*self.read, *self.write, *self.own)
            self._check(path, "writes" if writes else "reads", may)
        elif event in self.WRITES:
            for path in args[:2] if event in ("os.rename", "os.link", "os.symlink") else args[:1]:
                self._check(path, "writes", self.write)

    def _check(self, path: Any, does: str, may: tuple[str, ...]) -> None:
        if isinstance(path, int) or path is None:
            return
        real = os.path.realpath(os.fsdecode(path))
        if not any(real == folder or real.startswith(folder + os.sep) for folder in may):
            self.found.append(f"{does} {real}")

    def __call__(self, read: Path, write: Path, action: Callable[[], Any]) -> Any:
        """The result of an action that may read one folder and write another."""
        self.found.clear()
        scratch = os.path.realpath(tempfile.gettempdir())  # of the libraries, while they write
        self.read = (str(read.resolve()),)
        self.write = (str(write.resolve()), *((scratch,) if scratch != "/tmp" else ()))
        try:
            return action()
        finally:
            self.read = None


def _task(path: Path, display: str) -> decode.Task:
    return decode.Task(path, None, None, np.zeros(0, bool), (24, 32), None, display, (path.parent,))


class Range:
    """Where one process tries inputs, and how."""

    def __init__(self, folder: Path, watch: Watch):
        self.folder, self.watch = folder, watch
        self.out = folder / "out"
        self.source = folder / "pictures"
        for path in (self.out, self.source, folder / "outside"):
            path.mkdir(parents=True)
        (folder / "outside/secret").write_text("secret")
        self.pictures = pictures()
        self._begin()
        self.trees: dict[str, Tree] = {}

    def make(self, kind: str, seed: int) -> tuple[random.Random, Path | None]:
        """The generator of an input, and the file where that is a picture."""
        rng = random.Random(f"{kind} {seed}")
        if kind in TREES:
            return rng, None
        path = self.source / ("x.dcm" if kind == "dicom" else f"x.{kind.rsplit('.', 1)[1]}")
        if kind == "dicom":
            data = mutate_dicom(rng, self.folder)
        elif rng.random() < 0.3:
            special = mutate_png if kind.endswith("png") else mutate_jpeg
            data = special(self.pictures[kind], rng)
        else:
            data = mutate(self.pictures[kind], rng)
        path.write_bytes(data)
        return rng, path

    def try_one(self, kind: str, seed: int) -> tuple[str, str]:
        """What became of an input, in a word or two, and what is wrong with that ('' nothing)."""
        try:
            rng, path = self.make(kind, seed)
        except Exception as error:
            return "not made", f"{type(error).__name__}: {error}"[:2000]
        if path is not None:
            self._begin()
            return self._try_picture(rng, path)
        tree = self.trees.get(kind) or self.trees.setdefault(kind, Tree(self.folder, kind))
        spoiled, undo = tree.spoil(rng)
        self._begin()
        try:
            return self._try_tree(rng, tree, spoiled)
        finally:
            undo()

    def _begin(self) -> None:
        """What an input costs counts from here, when it is made."""
        Path("/proc/self/clear_refs").write_text("5")  # the peak becomes what there is
        self._base = memory("VmRSS"), time.process_time(), time.monotonic()

    def cost(self) -> dict[str, float]:
        """Seconds of processor time and on the clock, and MiB at the peak, of the last input."""
        base, start, clock = self._base
        return {
            "cpu": time.process_time() - start,
            "clock": time.monotonic() - clock,
            "mib": (memory("VmHWM") - base) / 1024,
        }

    def _try_picture(self, rng: random.Random, path: Path) -> tuple[str, str]:
        display = rng.choice(("standard", "reflacx"))
        task = _task(path, display)

        def action() -> Any:
            found = decode.decode(task)
            try:
                return found, images.image_size(path)
            except images.DecodeError as error:
                return found, error

        try:
            found, size = self.watch(self.source, self.out, action)
        except Exception as error:
            return type(error).__name__, f"{type(error).__name__}: {error}"[:2000]
        if self.watch.found:
            return "audit", "; ".join(self.watch.found[:3])
        if isinstance(found, images.DecodeError):
            return "DecodeError", "" if path.name in str(found) else f"names no file: {found}"
        if isinstance(size, Exception):
            return "decoded", f"decodes, and its size is not read: {size}"
        wrong = found.image.shape != (24, 32) or found.frame.stored != size
        return "decoded", f"decodes to {found.frame.stored}, its size is {size}" if wrong else ""

    def _try_tree(self, rng: random.Random, tree: Tree, spoiled: Path) -> tuple[str, str]:
        faults = Faults(rng.choice((0.01, 1.0)))
        thorough = rng.random()

        def action() -> tuple[str, str]:
            files, load = (
                datasets.DATASETS[tree.dataset].files,
                datasets.DATASETS[tree.dataset].read,
            )
            found = files(tree.root, **tree.arguments)
            if found.missing:
                return "missing", "" if all(found.missing) else "an empty line"
            cache.describe(found, tree.root)
            raw = load(tree.root, faults=faults, **tree.arguments)
            if wrong := judge(raw):
                return "read", wrong
            if spoiled.suffix not in (".csv", ".txt", ".gz") or spoiled.is_symlink():
                for image in raw.images:
                    decode.decode(decode.task(raw, image, (40, 32)))
            if tree.dataset == "egd_cxr":
                egd_drift.drift_report(tree.root)
            return ("faults counted" if faults.report() else "read"), ""

        try:
            result = self.watch(tree.root, self.out, action)
            if self.watch.found:
                return "audit", "; ".join(self.watch.found[:3])
            if thorough < 0.1:
                self.watch(
                    tree.root,
                    self.out,
                    lambda: prepared.check(tree.dataset, root=tree.root, **tree.arguments),
                )
            if thorough < 0.01:
                self._prepare(tree)
        except InputError as error:
            result = "InputError", "" if _names(str(error), tree) else f"names no file: {error}"
        except Exception as error:
            result = type(error).__name__, f"{type(error).__name__}: {error}"[:2000]
        if self.watch.found:
            return "audit", "; ".join(self.watch.found[:3])
        return result

    def _prepare(self, tree: Tree) -> None:
        out = self.out / "cache"
        self.watch.alone = False
        try:
            self.watch(
                tree.root,
                self.out,
                lambda: prepared.prepare(
                    tree.dataset,
                    root=tree.root,
                    size=(40, 32),
                    cache=out,
                    max_bad_fraction=1.0,
                    workers=1,
                    progress=False,
                    **tree.arguments,
                ),
            )
        finally:
            self.watch.alone = True
            shutil.rmtree(out, ignore_errors=True)


def _names(message: str, tree: Tree) -> bool:
    """Whether a message says of which file or folder it speaks."""
    names = {path.name for path in tree.files} | {
        path.name.removesuffix(".gz") for path in tree.files
    }
    return str(tree.root) in message or any(
        name in message for name in (*names, "images/", "masks/")
    )


# --- processes ------------------------------------------------------------------------------------


def memory(name: str) -> int:
    """VmRSS or VmHWM of this process, KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    raise KeyError(name)


def work(folder: Path) -> None:
    """Tries the inputs named on standard input; a line of json before and after each."""
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    place = Range(folder, Watch())
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 6 * 2**30,) * 2)
    lines.write("ready\n")
    for line in sys.stdin:
        kind, seed = json.loads(line)
        became, wrong = place.try_one(kind, seed)
        lines.write(json.dumps([became, wrong, place.cost()]) + "\n")


class Worker:
    """A process that tries inputs; a new one when it hangs or dies."""

    def __init__(self, folder: Path):
        self._folder, self._count, self._process = folder, 0, None

    def try_one(self, kind: str, seed: int) -> tuple[str, str, dict[str, float]]:
        """What became of it, what is wrong with that, and what it cost."""
        process = self._running()
        process.stdin.write(json.dumps([kind, seed]) + "\n")
        process.stdin.flush()
        start, used = time.monotonic(), _processor_seconds(process.pid)
        while True:
            ready = _readable(process.stdout, 0.5)
            if ready:
                line = process.stdout.readline()
                if not line:
                    process.wait()
                    self._process = None
                    return "died", f"its process ended with {process.returncode}", {}
                became, wrong, cost = json.loads(line)
                if not wrong and cost["cpu"] > SECONDS:
                    wrong = f"takes {cost['cpu']:.1f} s"
                if not wrong and cost["mib"] > MEBIBYTES:
                    wrong = f"takes {cost['mib']:.0f} MiB"
                return became, wrong, cost
            spent = _processor_seconds(process.pid) - used
            if spent > 3 * SECONDS or time.monotonic() - start > 6 * SECONDS:
                self.close()
                return "hang", f"no end after {spent:.0f} s of processor time", {}

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _running(self) -> subprocess.Popen:
        if self._process is None:
            self._count += 1
            folder = self._folder / f"{self._count}"
            command = [sys.executable, "-m", "tests.data.hostile", f"--work={folder}"]
            scratch = self._folder / f"{self._count}-tmp"
            scratch.mkdir()
            environment = {**os.environ, "JAX_PLATFORMS": "cpu", "TMPDIR": str(scratch)}
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=environment,
                cwd=Path(__file__).parents[2],
            )
            assert self._process.stdout.readline() == "ready\n"
        return self._process


def try_in_pool(folder: Path, seed: int) -> tuple[str, str]:
    """As `Range.try_one` of a DICOM file whose decoder ends the process: the package's own pool."""
    folder.mkdir()
    rng, path = random.Random(f"dicom {seed}"), folder / "x.dcm"
    path.write_bytes(mutate_dicom(rng, folder))
    with Pool([path], workers=1) as pool:
        (found,) = pool.results([_task(path, rng.choice(("standard", "reflacx")))])
    fine = isinstance(found, images.DecodeError) and path.name in str(found)
    return "DecodeError by the pool", "" if fine else f"its process ended, and then: {found}"


def _readable(stream: Any, seconds: float) -> bool:
    import select

    return bool(select.select([stream], [], [], seconds)[0])


def _processor_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def inputs(count: int, seed: int) -> Iterator[tuple[str, int]]:
    """Kinds in turn, and numbers."""
    for i in range(count):
        yield KINDS[i % len(KINDS)], seed + i


def run(count: int, seed: int, report: Path | None = None) -> dict[str, Any]:
    """Tries `count` inputs; what became of them, by kind."""
    became: dict[str, Counter[str]] = {}
    wrong, costs = [], []
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        worker = Worker(Path(folder))
        for done, (kind, number) in enumerate(inputs(count, seed), 1):
            result, fault, cost = worker.try_one(kind, number)
            if result == "died" and kind == "dicom":
                result, fault = try_in_pool(Path(folder) / f"pool-{number}", number)
            became.setdefault(kind, Counter())[result] += 1
            costs.append((cost, kind, number))
            if fault:
                wrong.append({"kind": kind, "seed": number, "became": result, "fault": fault})
                print(f"{kind} {number}: {result}: {fault[:300]}", file=sys.stderr, flush=True)
            if report is not None and (done % 200 == 0 or done == count):
                found = _summary(became, wrong, costs)
                report.write_text(json.dumps(found, indent=1), encoding="utf-8")
        worker.close()
    return _summary(became, wrong, costs)


def _summary(became: dict[str, Counter[str]], wrong: list, costs: list) -> dict[str, Any]:
    def most(name: str) -> list:
        cost, kind, number = max(costs, key=lambda entry: entry[0].get(name, 0))
        return [round(cost.get(name, 0), 3), kind, number]

    totals: Counter[str] = Counter()
    for counts in became.values():
        totals.update(counts)
    return {
        "inputs": totals.total(),
        "became": dict(totals),
        "by_kind": {kind: dict(counts) for kind, counts in became.items()},
        "slowest_cpu_s": most("cpu"),
        "slowest_clock_s": most("clock"),
        "largest_peak_mib": most("mib"),
        "wrong": wrong,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report", type=Path)
    parser.add_argument(
        "--one", nargs=2, metavar=("KIND", "SEED"), help="one input, in this process"
    )
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(given.work)
        return 0
    if given.one:
        with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
            print(Range(Path(folder), Watch()).try_one(given.one[0], int(given.one[1])))
        return 0
    found = run(given.count, given.seed, given.report)
    print(json.dumps(found, indent=1))
    return int(bool(found["wrong"]))


if __name__ == "__main__":
    sys.exit(main())

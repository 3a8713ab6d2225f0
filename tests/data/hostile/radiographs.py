"""Sound DICOM files of every transfer syntax, and damage that knows the format."""

import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.data import dicoms
from tests.data.hostile.damage import NUMBERS, TEN_MB, mutate
from tests.data.hostile.pictures import make_pixels

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
    grey, deep = make_pixels(32, 40), make_pixels(32, 40, dtype=np.uint16) >> 4
    return {
        "8": (grey, {}),
        "12": (deep, {"BitsStored": 12, "WindowCenter": 2000, "WindowWidth": 3000}),
        "inverse": (deep, {"BitsStored": 12, "PhotometricInterpretation": "MONOCHROME1"}),
        "signed": (deep.astype(np.int16), {"RescaleSlope": 2, "RescaleIntercept": -1024}),
        "colour": (make_pixels(32, 40, 3), {}),
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

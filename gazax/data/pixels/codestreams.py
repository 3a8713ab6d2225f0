"""Compressed frames: what one claims to be, before a decoder takes memory for it, and RLE.

Layouts: JPEG ITU-T T.81 B.2, JPEG-LS T.87 C.2, JPEG 2000 T.800 A.5; RLE DICOM PS3.5 annex G.
"""

import struct
from typing import NamedTuple

from PIL import Image

from gazax.data.pixels.levels import DecodeError

MAX_SCANS = 100
"""Of a JPEG: each is a pass over the image, so that a small file could take hours."""
MAX_SEGMENTS = 1000
MIN_BLOCK = 2**8
"""Pixels of a JPEG 2000 code-block or precinct: each takes a few hundred bytes."""
MAX_TILES = 2**12
"""Of a JPEG 2000: each takes several thousand bytes."""
FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
"""Markers of a JPEG frame header; F7 is that of JPEG-LS."""


class Claim(NamedTuple):
    """What a codestream's header says."""

    height: int
    width: int
    samples: int
    bits: int


def jpeg_claim(code: bytes) -> Claim:
    """Size of a JPEG or JPEG-LS codestream.

    The header is followed up to the first scan: decoders of rare kinds end the process where its
    segments do not join.

    Raises:
      DecodeError: no such codestream, or too many scans.
    """
    if code[:2] != b"\xff\xd8":
        raise DecodeError("has no JPEG codestream where one should be")
    check_scans(code)
    at, claim = 2, None
    for _ in range(MAX_SEGMENTS):
        if code[at : at + 1] != b"\xff":
            break
        while code[at : at + 1] == b"\xff":  # any number may fill up
            at += 1
        marker, length = struct.unpack_from(">BH", code, at)
        if marker in FRAMES and claim is None:
            bits, height, width, samples = struct.unpack_from(">BHHB", code, at + 3)
            claim = Claim(height, width, samples, bits)
        elif marker in FRAMES or marker == 0xD9:
            break
        if marker == 0xDA and claim:
            return claim
        at += 1 + length
    raise DecodeError("has a damaged JPEG header")


def check_scans(code: bytes) -> None:
    """Refuses a JPEG that goes over its pixels very often.

    Raises:
      DecodeError: more than `MAX_SCANS` scans.
    """
    if (scans := code.count(b"\xff\xda")) > MAX_SCANS:
        raise DecodeError(f"has {scans} scans, more than {MAX_SCANS}")


def jpeg_2000_claim(code: bytes) -> Claim:
    """Size of a JPEG 2000 codestream; bits are those of the deepest colour.

    Raises:
      DecodeError: no such codestream (a JP2 file is none), subsampled colours, or tiles, blocks or
        precincts so small that they would take more memory than the pixels.
    """
    if code[:4] != b"\xff\x4f\xff\x51":
        raise DecodeError("has no JPEG 2000 codestream where one should be")
    length, _, *corners, samples = struct.unpack_from(">HH8IH", code, 4)
    right, bottom, left, top, tile_width, tile_height, tile_left, tile_top = corners
    steps = code[42 : 42 + 3 * samples]
    bits = max((depth & 127) + 1 for depth in steps[::3])
    claim = Claim(bottom - top, right - left, samples, bits)
    if steps[1::3].strip(b"\1") or steps[2::3].strip(b"\1"):
        raise DecodeError("has a subsampled JPEG 2000 codestream")
    tiles = -(-(right - tile_left) // tile_width) * -(-(bottom - tile_top) // tile_height)
    if tiles > MAX_TILES:
        raise DecodeError(f"has {tiles} JPEG 2000 tiles, more than {MAX_TILES}")
    at = 4 + length
    for _ in range(MAX_SEGMENTS):
        marker, length = struct.unpack_from(">HH", code, at)
        if marker == 0xFF52:
            _check_blocks(code[at + 4 : at + 2 + length], claim)
        if marker == 0xFF53:
            raise DecodeError("has JPEG 2000 code-blocks of a size for each colour")
        if marker == 0xFF90:  # the first tile
            return claim
        at += 2 + length
    raise DecodeError("has a damaged JPEG 2000 header")


def _check_blocks(style: bytes, claim: Claim) -> None:
    # Scod, progression, layers (2), transform, levels, code-block width and height, style, wavelet,
    # sides of the precincts from the smallest resolution on
    if (block := 2 ** (style[6] + 2 + style[7] + 2)) < MIN_BLOCK:
        raise DecodeError(f"has JPEG 2000 code-blocks of {block} pixels")
    precincts = 0
    if style[0] & 1:
        for halvings, sides in zip(range(style[5], -1, -1), style[10:], strict=False):
            across = (claim.width >> halvings >> (sides & 15)) + 1
            down = (claim.height >> halvings >> (sides >> 4)) + 1
            precincts += across * down
    if precincts > max(MAX_TILES, claim.height * claim.width // MIN_BLOCK):
        raise DecodeError(f"has {precincts} JPEG 2000 precincts")


def decode_rle(code: bytes, planes: int, pixels: int) -> list[bytes]:
    """Byte planes of an RLE frame, in the order stored; at most as many bytes as asked for.

    Args:
      code: the frame.
      planes: bytes a pixel, over all samples.
      pixels: bytes a plane.

    Raises:
        DecodeError: other planes, or too few bytes in one.
    """
    count, *starts = struct.unpack_from("<16I", code)
    if count != planes:
        raise DecodeError(f"has {count} RLE segments instead of {planes}")
    ends = [*starts[1:count], len(code)]
    return [
        _unpack(code[start:end], pixels) for start, end in zip(starts[:count], ends, strict=True)
    ]


def _unpack(segment: bytes, length: int) -> bytes:
    try:  # as one row: some writers let runs cross the rows
        return Image.frombytes("L", (length, 1), segment, "packbits", "L").tobytes()
    except ValueError as error:
        raise DecodeError(f"has a damaged RLE segment ({error})") from None

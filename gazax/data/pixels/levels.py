"""Grey levels by look-up table, and the error of a file that gives none."""

import stat
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8, UInt16

MAX_PIXELS = 2**25
"""More is taken for a damaged header or an attack, not for an image: the largest mammograms have
2^24.8. It bounds the memory that one file takes to under 1 GB, whatever its format."""
MAX_BYTES = 2**27
"""Of one file. 16-bit images of `MAX_PIXELS` take half as many."""
BLOCK = 2**20
"""Pixels that are looked up at once: an index takes 8 bytes."""

Codes = UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]


class DecodeError(ValueError):
    """One file holds no image that can be read; the message names neither file nor row."""


def check_file(path: Path) -> None:
    """Refuses what is no ordinary file (a pipe would be waited for) or is too large.

    Raises:
      DecodeError: it is either.
      OSError: it is not there.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise DecodeError("is no ordinary file")
    if status.st_size > MAX_BYTES:
        raise DecodeError(f"has {status.st_size} bytes, more than {MAX_BYTES}")


def check_size(height: int, width: int, samples: int = 1) -> None:
    """Refuses a size that no image has, before memory is taken for it.

    Raises:
      DecodeError: no pixel, or more than `MAX_PIXELS` samples.
    """
    colours = f" of {samples} colours" if samples > 1 else ""
    if height < 1 or width < 1:
        raise DecodeError(f"claims {height} x {width} pixels")
    if height * width * samples > MAX_PIXELS:
        raise DecodeError(f"claims {height} x {width} pixels{colours}, more than {MAX_PIXELS}")


def look_up(table: UInt8[np.ndarray, "n"], codes: Codes) -> UInt8[np.ndarray, "h w"]:
    """table[codes], with little memory beside the result."""
    levels = np.empty(codes.shape, np.uint8)
    rows = max(1, BLOCK // codes.shape[1])
    for start in range(0, len(codes), rows):
        # "clip" is the mode that makes no copy of the result; no code is out of the table
        part = codes[start : start + rows]
        np.take(table, part, out=levels[start : start + rows], mode="clip")
    return levels


def present(codes: Codes) -> Bool[np.ndarray, "n"]:
    """Which of all values that the type can hold occur."""
    found = np.zeros(256**codes.itemsize, bool)
    rows = max(1, BLOCK // codes.shape[1])
    for start in range(0, len(codes), rows):
        found[codes[start : start + rows]] = True
    return found


def stretch(codes: Codes) -> UInt8[np.ndarray, "h w"]:
    """Spreads values linearly from their own minimum (0) to their maximum (255).

    A constant image becomes 0.
    """
    low, high = int(codes.min()), int(codes.max())
    values = np.arange(256**codes.itemsize, dtype=np.float64)
    levels = np.clip((values - low) * (255 / (high - low) if high > low else 0), 0, 255)
    return look_up(np.rint(levels).astype(np.uint8), codes)

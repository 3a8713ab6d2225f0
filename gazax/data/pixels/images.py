"""Any picture file to grey bytes.

Pixel coordinates are those of the stored image: a camera's rotation flag is not applied.
"""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from gazax.data.pixels import codestreams, dicom
from gazax.data.pixels.levels import DecodeError, check_file, check_size, stretch
from gazax.typing import InputError, Size

__all__ = ["SUFFIXES", "DecodeError", "image_size", "read_image", "read_mask"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm")
FORMATS = ("PNG", "JPEG")
"""What Pillow may take a file for, whatever its name says: its other readers are not needed."""


def image_size(path: Path) -> Size:
    """(height, width) from the header alone, px.

    Raises:
      DecodeError: no image, or one that is too large.
      InputError: a DICOM file and no pydicom.
    """
    read = dicom.read_size if path.suffix.lower() == ".dcm" else _header_size
    return _guarded(lambda: read(path))


def read_image(path: Path, *, display: str = "standard") -> UInt8[np.ndarray, "h w"]:
    """Reads a PNG, JPEG or DICOM file as grey levels 0 to 255.

    Colour becomes luma (ITU-R 601) and transparency is dropped. Eight-bit greys are kept as they
    are, also where a file says how it wants to be shown (gamma, colour profile). 16-bit greys of a
    PNG are spread linearly from the image's own minimum (0) to its maximum (255), since such a file
    seldom uses its whole range; of 16-bit colours the upper 8 bits are taken. What of a DICOM file
    is shown: `gazax.data.pixels.dicom`.

    Args:
      path: the file; its suffix decides between DICOM and the others.
      display: of a DICOM file; key of `gazax.data.pixels.dicom.DISPLAYS`.

    Raises:
      DecodeError: no image, one that is too large, or one that takes too long.
      InputError: an unknown display, or a decoder is not installed.
    """
    if path.suffix.lower() == ".dcm":
        return _guarded(lambda: dicom.read_pixels(path, display=display))
    pixels = _guarded(lambda: _pillow_pixels(path))
    return pixels if pixels.dtype == np.uint8 else stretch(pixels)


def read_mask(path: Path) -> UInt8[np.ndarray, "h w"]:
    """Reads a label map: the stored 8-bit values as they are (of a palette, the indices).

    Raises:
      DecodeError: no image, or not 8 bits deep in one channel.
    """
    mask = _guarded(lambda: _pillow_pixels(path, labels=True))
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise DecodeError("is no label map: one channel of 8 bits is expected")
    return mask


def _guarded(read):
    """Whatever a decoder raises on a damaged file becomes `DecodeError`."""
    try:
        return read()
    except (DecodeError, InputError):
        raise
    except OSError as error:  # one of the system's names the file
        raise DecodeError(f"does not decode ({error.strerror or error})") from error
    except Exception as error:  # decoders raise anything, from struct.error to MemoryError
        raise DecodeError(f"does not decode ({type(error).__name__}: {error})") from error


def _open(path: Path) -> Image.Image:
    check_file(path)
    try:
        image = Image.open(path, formats=FORMATS)
    except UnidentifiedImageError:
        raise DecodeError("is neither a PNG nor a JPEG file") from None
    except Image.DecompressionBombError as error:  # at over five times our own limit
        raise DecodeError(f"claims too many pixels ({error})") from None
    try:
        check_size(image.height, image.width)
    except DecodeError:
        image.close()
        raise
    return image


def _header_size(path: Path) -> Size:
    with _open(path) as image:
        return image.height, image.width


def _pillow_pixels(path: Path, *, labels: bool = False) -> np.ndarray:
    """Bytes of grey levels, 16-bit numbers as they are; with ``labels`` no colour is translated."""
    with _open(path) as image:
        if image.info.get("progressive"):
            codestreams.check_scans(path.read_bytes())
        if image.mode.startswith("I"):  # some versions of Pillow make 32 bits of 16
            return np.asarray(image).astype(np.uint16, copy=False)
        if labels and image.mode != "1":
            return np.array(image)
        return np.array(image.convert("L"))

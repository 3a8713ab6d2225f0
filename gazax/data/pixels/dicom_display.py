"""What a stored value of a DICOM file looks like: one grey level for every value there can be.

Each recipe is pointwise, so that it is worked out once for the 2^8 or 2^16 values of a type and
looked up for the pixels. The attributes are those of DICOM PS3.3 C.7.6.3 (pixels), C.11.1 (modality
LUT), C.11.2 (VOI LUT and window) and C.11.6 (presentation).
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, UInt8

from gazax.data.pixels.levels import DecodeError

if TYPE_CHECKING:
    from pydicom import Dataset

Values = Float[np.ndarray, "n"]
Present = Callable[[], Bool[np.ndarray, "n"]]
"""Which of the values the image has; looked for only if a recipe asks."""


def standard(header: "Dataset", values: Values, present: Present) -> UInt8[np.ndarray, "n"]:
    """The first image that a viewer shows.

    1. Modality: the ModalityLUTSequence, or slope * value + intercept where given.
    2. Values of interest to 0 ... 1: the first VOILUTSequence; without, the first window by its
       VOILUTFunction (LINEAR unless said); without, the image's own minimum and maximum, values
       that PixelPaddingValue (to PixelPaddingRangeLimit) says are no image left aside. What a
       window or LUT maps is not spread any further: a dark image stays dark.
    3. Inverted for MONOCHROME1, or for PresentationLUTShape INVERSE; once, if both.

    A window without one of its two numbers, not finite, not wider than 0, or a LINEAR one narrower
    than 1, counts as none. Pixels of the padding value go through like all others: whoever pads
    chooses a value that is shown as background. PixelIntensityRelationshipSign says how the values
    came about, not how they are shown, and has no influence here (in `reflacx` it has).

    Args:
      header: display attributes.
      values: every value the type can hold, in the order of its codes.
      present: tells which of them occur in the image.

    Returns:
      Grey levels of the values; 0 and 255 are the ends of the window.

    Raises:
      DecodeError: an attribute makes no sense.
    """
    modality = _modality(header, values)
    shown = _voi_lut(header, modality)
    if shown is None:
        shown = _windowed(header, modality)
    if shown is None:
        shown = _spread(header, values, modality, present())
    inverse = header.get("PresentationLUTShape") == "INVERSE"
    if inverse or header.PhotometricInterpretation == "MONOCHROME1":
        shown = 1 - shown
    return _grey(shown)


def reflacx(header: "Dataset", values: Values, present: Present) -> UInt8[np.ndarray, "n"]:
    """What the readers of REFLACX saw first.

        clip((x - level) / width + 1/2, 0, 1),    x = value / (2^BitsStored - 1)

    Level and width are the first WindowCenter and WindowWidth over the same number; the result is
    inverted for MONOCHROME1, *or* where PixelIntensityRelationshipSign is absent, *or* where it is
    1: a MONOCHROME2 file without the sign is inverted too. Without a window, those of a line
    through the middle of the first VOILUTSequence, inverted where it falls: with n entries, the
    level is the index before the one whose entry is nearest n / 2, the width n over the mean slope,
    measured across 10 to 30 entries on both sides; neither the sign nor MONOCHROME1 matters then.
    Without both, width 1 and level 1/2, inverted as with a window.

    Rescaling and modality LUTs are not applied.

    Args:
      header: display attributes.
      values: every value the type can hold, in the order of its codes.
      present: not used.

    Returns:
      Grey levels of the values.

    Raises:
      DecodeError: a LUT that such a line does not describe.

    Source: the code by Bigolin Lanfredi et al. that goes with REFLACX (Scientific Data, 2022). Ours
    differs where that ends with an error or divides by zero: a window without its centre or not
    wider than 0 counts as none, and a descriptor of 0 entries has the 65536 that the standard says.
    """
    full = 2 ** int(header.BitsStored) - 1
    inverse = (
        header.PhotometricInterpretation == "MONOCHROME1"
        or header.get("PixelIntensityRelationshipSign", 1) == 1
    )
    level, width = _window(header) or (full / 2, full)
    if not _window(header) and header.get("VOILUTSequence"):
        level, width = _line(header)
        inverse, width = width < 0, abs(width)
    shown = (values - level) / width + 0.5
    return _grey(1 - shown if inverse else shown)


def _grey(shown: Values) -> UInt8[np.ndarray, "n"]:
    return np.rint(255 * np.clip(shown, 0, 1)).astype(np.uint8)


def _modality(header: "Dataset", values: Values) -> Values:
    if header.get("ModalityLUTSequence"):
        entries, first, _ = _lut("ModalityLUTSequence", header.ModalityLUTSequence[0], header)
        return entries[_index(values, first, len(entries))]
    slope, intercept = _number(header, "RescaleSlope"), _number(header, "RescaleIntercept")
    slope, intercept = 1 if slope is None else slope, 0 if intercept is None else intercept
    if not np.isfinite([slope, intercept]).all() or slope == 0:
        raise DecodeError(f"has RescaleSlope {slope} and RescaleIntercept {intercept}")
    return values * slope + intercept


def _voi_lut(header: "Dataset", values: Values) -> Values | None:
    if not header.get("VOILUTSequence"):
        return None
    entries, first, bits = _lut("VOILUTSequence", header.VOILUTSequence[0], header)
    return entries[_index(values, first, len(entries))] / (2**bits - 1)


def _windowed(header: "Dataset", values: Values) -> Values | None:
    function = header.get("VOILUTFunction") or "LINEAR"
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise DecodeError(
            f"has VOILUTFunction {function!r}; LINEAR, LINEAR_EXACT and SIGMOID are known"
        )
    if not (window := _window(header)):
        return None
    level, width = window
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - level) / width, -700, 700)))
    if function == "LINEAR_EXACT":
        return (values - level) / width + 0.5
    if width < 1:
        return None
    if width == 1:
        return (values > level - 0.5).astype(np.float64)
    return (values - (level - 0.5)) / (width - 1) + 0.5


def _spread(
    header: "Dataset", values: Values, modality: Values, present: Bool[np.ndarray, "n"]
) -> Values:
    image = present
    padding = _number(header, "PixelPaddingValue")
    if padding is not None:
        limit = _number(header, "PixelPaddingRangeLimit")
        low, high = sorted([padding, padding if limit is None else limit])
        image = present & ~((low <= values) & (values <= high))
    if not image.any():
        image = present
    low, high = modality[image].min(), modality[image].max()
    return (modality - low) / (high - low) if high > low else np.zeros_like(modality)


def _window(header: "Dataset") -> tuple[float, float] | None:
    level, width = _number(header, "WindowCenter"), _number(header, "WindowWidth")
    if level is None or width is None or not np.isfinite([level, width]).all() or width <= 0:
        return None
    return level, width


def _number(header: "Dataset", name: str) -> float | None:
    """The first of an attribute's numbers."""
    value = header.get(name)
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        value = value[0] if len(value) else None
    return None if value in (None, "", b"") else float(value)


def _lut(name: str, item: "Dataset", header: "Dataset") -> tuple[Values, int, int]:
    """Entries, the value that the first one is for, and the bits of a full entry."""
    length, first, bits = (int(n) for n in item.LUTDescriptor)
    length = length or 2**16
    if header.PixelRepresentation and first >= 2**15:  # written as unsigned
        first -= 2**16
    data = item.LUTData
    if isinstance(data, bytes):
        one_byte = bits <= 8 and len(data) < 2 * length
        order = "<" if header.original_encoding[1] else ">"
        data = np.frombuffer(data, np.uint8 if one_byte else f"{order}u2")
    entries = np.atleast_1d(np.asarray(data, np.float64))
    if not 8 <= bits <= 16 or len(entries) < length:
        raise DecodeError(
            f"has a {name} of {len(entries)} entries where {length} of {bits} bits are described"
        )
    return entries[:length], first, bits


def _index(values: Values, first: int, length: int) -> np.ndarray:
    return np.clip(np.rint(values) - first, 0, length - 1).astype(np.int64)


def _line(header: "Dataset") -> tuple[float, float]:
    """Level and width of a line through the middle of the first VOI LUT."""
    entries, _, _ = _lut("VOILUTSequence", header.VOILUTSequence[0], header)
    middle = int(np.abs(entries - len(entries) / 2).argmin())
    steps = np.arange(10, 31)
    if middle < steps[-1] or middle + steps[-1] >= len(entries):
        raise DecodeError(f"has a VOILUTSequence whose middle lies at its end (entry {middle})")
    slope = np.mean((entries[middle + steps] - entries[middle - steps]) / (2 * steps))
    if slope == 0:
        raise DecodeError("has a VOILUTSequence that is flat in the middle")
    return middle - 1, float(len(entries) / slope)

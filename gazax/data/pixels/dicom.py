"""Grey levels out of a DICOM file, as a viewer would show them.

Needs the extra `dicom`: pydicom, and python-gdcm for JPEG lossless and JPEG-LS. Nothing but
`ALLOWED` is read: no attribute of the patient, the study or the device leaves this module.

A file is not trusted. What describes the pixels must be short; their number is checked before
memory is taken for them; a compressed frame must itself claim the size that the file claims.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from gazax.data.pixels import codestreams, dicom_display
from gazax.data.pixels.levels import Codes, DecodeError, check_file, check_size, look_up, present
from gazax.typing import InputError, Size

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset

DISPLAYS = {"standard": dicom_display.standard, "reflacx": dicom_display.reflacx}
"""How stored values become grey levels; colour does not depend on it."""

ALLOWED = (
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames"),
    *("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "PixelIntensityRelationshipSign"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    *("RescaleIntercept", "RescaleSlope", "ModalityLUTSequence", "PresentationLUTShape"),
    *("RedPaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData"),
    *("GreenPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableData"),
    *("BluePaletteColorLookupTableDescriptor", "BluePaletteColorLookupTableData"),
    "PixelData",
)
"""The only attributes that are kept, by keyword: what stored values are and how they look."""
ALLOWED_IN_LUT = ("LUTDescriptor", "LUTData")
"""The same within an item of a LUT sequence."""

DECODERS = {
    "1.2.840.10008.1.2": "",  # implicit VR, little endian
    "1.2.840.10008.1.2.1": "",  # explicit VR, little endian
    "1.2.840.10008.1.2.2": "",  # explicit VR, big endian
    "1.2.840.10008.1.2.5": "",  # RLE
    "1.2.840.10008.1.2.4.50": "pillow",  # JPEG baseline
    "1.2.840.10008.1.2.4.51": "pillow",  # JPEG extended; of 8 bits
    "1.2.840.10008.1.2.4.57": "gdcm",  # JPEG lossless
    "1.2.840.10008.1.2.4.70": "gdcm",  # JPEG lossless, first-order prediction
    "1.2.840.10008.1.2.4.80": "gdcm",  # JPEG-LS
    "1.2.840.10008.1.2.4.81": "gdcm",  # JPEG-LS, near lossless
    "1.2.840.10008.1.2.4.90": "pillow",  # JPEG 2000, lossless
    "1.2.840.10008.1.2.4.91": "pillow",  # JPEG 2000
}
"""Transfer syntaxes that are read, and pydicom's plug-in for each; none for what needs none."""
RLE = "1.2.840.10008.1.2.5"
JPEG_2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
NATIVE = "1.2.840.10008.1.2.1"

GREY = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
MAX_READS = 50_000
"""Of pieces of the file: about half as many attributes, items and fragments, however nested."""
MAX_TABLE_BYTES = 2**20
"""Of a sequence or palette: three LUTs of 2^16 entries and more."""
MAX_VALUE_BYTES = 2**12
"""Of any other attribute but the pixels."""


def read_size(path: Path) -> Size:
    """(Rows, Columns) from the header.

    Raises:
      DecodeError: the file is no image; pydicom raises its own errors for damaged files.
      InputError: pydicom is not installed.
    """
    return _size(_read(path, pixels=False))


def read_pixels(path: Path, *, display: str = "standard") -> UInt8[np.ndarray, "h w"]:
    """Grey levels of a file of one frame, of 8 or 16 allocated bits.

    Bits above HighBit and below it by more than BitsStored are ignored. Colour (also by palette)
    becomes luma (ITU-R 601) of its upper 8 bits, whatever the display. BitsStored and HighBit that
    are missing are as large as they can be, PixelRepresentation is 0, SamplesPerPixel 1.

    Args:
      path: the file.
      display: key of `DISPLAYS`.

    Returns:
      0 is black.

    Raises:
      DecodeError: the file holds no such image; pydicom and the decoders raise their own errors for
        damaged files.
      InputError: an unknown display, or a decoder is not installed.
    """
    if display not in DISPLAYS:
        raise InputError(f"display='{display}' is unknown; known: {', '.join(DISPLAYS)}")
    header = _read(path, pixels=True)
    height, width = _size(header)
    kind = header.get("PhotometricInterpretation")
    if kind not in GREY + COLOUR:
        raise DecodeError(
            f"has the PhotometricInterpretation {kind!r}; {', '.join(GREY + COLOUR)} are known"
        )
    samples = 1 if kind in GREY else 3
    check_size(height, width, samples)
    frames = int(header.get("NumberOfFrames") or 1)
    if frames != 1:
        raise DecodeError(f"has {frames} frames; write each one to a file of its own")
    _complete(header, samples)
    codes = _codes(header)
    if codes.shape != ((height, width) if samples == 1 else (height, width, 3)):
        raise DecodeError(f"decodes to {codes.shape} instead of {height} x {width} pixels")
    if samples == 3:
        return _luma(codes, header.BitsStored)
    values = _values(header)
    if kind == "PALETTE COLOR":
        return look_up(_palette(header, values), codes)
    return look_up(DISPLAYS[display](header, values, lambda: present(codes)), codes)


def import_pydicom():
    """pydicom, or an `InputError` that says how to install it."""
    try:
        import pydicom
    except ImportError:
        raise InputError("a DICOM file (.dcm) needs pydicom: pip install 'gazax[dicom]'") from None
    return pydicom


class _Reader:
    """A file that is read in a bounded number of pieces, none larger than what is left of it."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        self._reads = 0
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        self._reads += 1
        if self._reads > MAX_READS:
            raise DecodeError("has too many attributes")
        if size < 0:  # pydicom does so only to inflate
            raise DecodeError(
                "is deflated, and may inflate to any size; write it without (such as explicit VR "
                "little endian)"
            )
        return self._file.read(min(size, max(self._size - self._file.tell(), 0)))


def _read(path: Path, *, pixels: bool) -> "Dataset":
    """The allowed attributes of a file, and its transfer syntax."""
    pydicom = import_pydicom()
    check_file(path)
    with path.open("rb") as file:
        try:
            data = pydicom.dcmread(
                _Reader(file), stop_before_pixels=not pixels, specific_tags=list(ALLOWED)
            )
        except pydicom.errors.InvalidDicomError:
            raise DecodeError("is no DICOM file (there is no DICM after 128 bytes)") from None
    syntax = str(data.file_meta.get("TransferSyntaxUID", ""))
    if syntax not in DECODERS:
        raise DecodeError(f"has a transfer syntax that is not read: {syntax[:64] or 'none'}")
    header = _allowed(data, ALLOWED)
    header.set_original_encoding(*data.original_encoding)
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    return header


def _allowed(data: "Dataset", names: tuple[str, ...]) -> "Dataset":
    kept = import_pydicom().Dataset()
    for name in names:
        if name in data:
            kept[name] = _short(data, name)
    return kept


def _short(data: "Dataset", name: str) -> "DataElement":
    """An attribute, if it is of a sensible length; of a sequence the first LUT's numbers alone."""
    raw = data.get_item(name).value
    table = name.endswith(("Sequence", "TableData", "LUTData"))
    limit = MAX_TABLE_BYTES if table else MAX_VALUE_BYTES
    if name != "PixelData" and isinstance(raw, bytes) and len(raw) > limit:
        raise DecodeError(f"has a {name} of {len(raw)} bytes")
    element = data[name]
    if name.endswith("Sequence"):
        element.value = [_allowed(item, ALLOWED_IN_LUT) for item in element.value[:1]]
    return element


def _size(header: "Dataset") -> Size:
    for name in ("Rows", "Columns"):
        if not isinstance(header.get(name), int):
            raise DecodeError(f"has no {name}")
    size = int(header.Rows), int(header.Columns)
    check_size(*size)
    return size


def _complete(header: "Dataset", samples: int) -> None:
    """Fills in what may be missing and refuses what makes no sense."""
    if not header.get("PixelData"):
        raise DecodeError("has no PixelData")
    bits = header.get("BitsAllocated")
    if bits not in (8, 16):
        raise DecodeError(f"has {bits} bits allocated for a pixel; 8 and 16 are read")
    defaults = {"SamplesPerPixel": samples, "PixelRepresentation": 0, "BitsStored": bits}
    for name, value in defaults.items():
        if header.get(name) is None:
            setattr(header, name, value)
    if header.get("HighBit") is None:
        header.HighBit = header.BitsStored - 1
    if samples == 3 and header.get("PlanarConfiguration") is None:
        header.PlanarConfiguration = 0
    if header.SamplesPerPixel != samples:
        raise DecodeError(
            f"has {header.SamplesPerPixel} samples a pixel of {header.PhotometricInterpretation}"
        )
    if not 0 < header.BitsStored <= header.HighBit + 1 <= bits:
        raise DecodeError(
            f"has {header.BitsStored} bits stored up to bit {header.HighBit} of {bits}"
        )


def _codes(header: "Dataset") -> Codes | UInt8[np.ndarray, "h w 3"]:
    """The stored bit patterns, as unsigned numbers; colour as RGB."""
    from pydicom.encaps import get_frame
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    syntax = str(header.file_meta.TransferSyntaxUID)
    claim = (header.Rows, header.Columns, header.SamplesPerPixel)
    plugin = DECODERS[syntax]
    if syntax == RLE:
        frame = get_frame(header.PixelData, 0, number_of_frames=1)
        header.PixelData = _from_rle(frame, claim, header.BitsAllocated // 8)
        if header.SamplesPerPixel > 1:
            header.PlanarConfiguration = 1
        syntax = NATIVE
        header.file_meta.TransferSyntaxUID = UID(syntax)
    elif plugin:
        frame = get_frame(header.PixelData, 0, number_of_frames=1)
        read_claim = codestreams.jpeg_2000_claim if syntax in JPEG_2000 else codestreams.jpeg_claim
        *found, bits = read_claim(frame)
        if (*found,) != claim or bits > header.BitsAllocated:
            raise DecodeError(
                f"holds a codestream of {found}, {bits} bits, where {claim}, "
                f"{header.BitsAllocated} bits, is described"
            )
        del frame
    decoder = get_decoder(syntax)
    if plugin and plugin not in decoder.available_plugins:
        raise InputError(
            f"{decoder.UID.name} in a DICOM file needs {plugin}: pip install 'gazax[dicom]'"
        )
    options: dict = dict(view_only=not plugin)
    options |= dict(correct_unused_bits=False)  # it takes the stored bits for the lowest ones
    stored = header.BitsStored
    if plugin == "gdcm" and header.BitsAllocated == 8:  # it ends the process where fewer are stored
        header.BitsStored, header.HighBit = 8, 7
    codes, _ = decoder.as_array(header, index=0, decoding_plugin=plugin, **options)
    header.BitsStored = stored
    if plugin:  # the decoder gives values, not bits in their place
        header.HighBit = stored - 1
    codes = codes.view(f"{codes.dtype.byteorder}u{codes.itemsize}")
    return codes.astype(codes.dtype.newbyteorder("="), copy=False)


def _from_rle(frame: bytes, claim: tuple[int, int, int], depth: int) -> bytes:
    height, width, samples = claim
    planes = codestreams.decode_rle(frame, samples * depth, height * width)
    # a sample's planes come with its highest byte first
    parts = np.empty((samples, height * width, depth), np.uint8)
    for i, plane in enumerate(planes):
        parts[i // depth, :, depth - 1 - i % depth] = np.frombuffer(plane, np.uint8)
    return parts.tobytes()


def _values(header: "Dataset") -> np.ndarray:
    """The number that each bit pattern stands for."""
    bits = header.BitsStored
    codes = np.arange(2**header.BitsAllocated)
    values = (codes >> (header.HighBit + 1 - bits)) & (2**bits - 1)
    if header.PixelRepresentation:
        values[values >= 2 ** (bits - 1)] -= 2**bits
    return values.astype(np.float64)


def _palette(header: "Dataset", values: np.ndarray) -> UInt8[np.ndarray, "n"]:
    from pydicom.pixels import apply_color_lut

    colours = apply_color_lut(values.astype(np.uint16), header)
    return _luma(colours[None], 8 * colours.itemsize)[0]


def _luma(colours: np.ndarray, bits: int) -> UInt8[np.ndarray, "h w"]:
    if colours.dtype != np.uint8:
        colours = (colours >> max(bits - 8, 0)).astype(np.uint8)
    return np.asarray(Image.fromarray(np.ascontiguousarray(colours)).convert("L"))

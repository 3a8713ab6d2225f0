"""Tiny DICOM files of every kind, for tests."""

import io
import tempfile
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom import uid
from pydicom.encaps import encapsulate, get_frame

NATIVE = {
    "implicit": uid.ImplicitVRLittleEndian,
    "explicit": uid.ExplicitVRLittleEndian,
    "big_endian": uid.ExplicitVRBigEndian,
    "deflated": uid.DeflatedExplicitVRLittleEndian,
}
COMPRESSED = {
    "rle": uid.RLELossless,
    "jpeg": uid.JPEGBaseline8Bit,
    "jpeg_lossless": uid.JPEGLosslessSV1,
    "jpeg_lossless_any": uid.JPEGLossless,
    "jpeg_ls": uid.JPEGLSLossless,
    "jpeg_2000": uid.JPEG2000Lossless,
    "jpeg_2000_lossy": uid.JPEG2000,
}
EXACT = ("rle", "jpeg_lossless", "jpeg_lossless_any", "jpeg_ls", "jpeg_2000")
"""What is compressed without loss."""


def write_dicom(path: Path, pixels: np.ndarray, *, syntax: str = "explicit", **attributes) -> Path:
    """Writes an image of any kind.

    Args:
      path: the file.
      pixels: [h, w] or [h, w, 3], of 8 or 16 bits, signed or not.
      syntax: key of `NATIVE` or `COMPRESSED`.
      attributes: by keyword, over those that follow from the pixels; None leaves one out.
    """
    data = dataset(pixels, **attributes)
    if syntax in NATIVE:
        return save(path, data, NATIVE[syntax])
    return save(path, data, COMPRESSED[syntax], frames=[encode(pixels, syntax, data)])


def dataset(pixels: np.ndarray, **attributes) -> pydicom.Dataset:
    """The attributes of an image, with the pixels as they are."""
    data = pydicom.Dataset()
    data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    data.SOPInstanceUID = uid.generate_uid(entropy_srcs=["gazax tests"])
    data.Rows, data.Columns = pixels.shape[:2]
    data.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    data.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    if pixels.ndim == 3:
        data.PlanarConfiguration = 0
    data.BitsAllocated = data.BitsStored = 8 * pixels.itemsize
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    data.PixelData = pixels.tobytes() + bytes(pixels.nbytes % 2)
    if attributes.get("BitsStored"):
        data.HighBit = attributes["BitsStored"] - 1
    for name, value in attributes.items():
        if value is None:
            delattr(data, name)
        else:
            setattr(data, name, value)
    return data


def save(path: Path, data: pydicom.Dataset, syntax: str, frames: list[bytes] | None = None) -> Path:
    """Writes a data set in a transfer syntax; with ``frames``, as compressed ones."""
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = uid.UID(syntax)
    if frames is not None:
        data.PixelData = encapsulate(frames)
        data["PixelData"].is_undefined_length = True
    elif "PixelData" in data:
        data["PixelData"].VR = "OW"
        if syntax == uid.ExplicitVRBigEndian and data.get("BitsAllocated") == 16:
            data.PixelData = np.frombuffer(data.PixelData, "<u2").astype(">u2").tobytes()
        elif syntax == uid.ExplicitVRBigEndian:
            data["PixelData"].VR = "OB"
    data.save_as(path, enforce_file_format=True)
    return path


def encode(pixels: np.ndarray, syntax: str, data: pydicom.Dataset) -> bytes:
    """One frame of a compressed image; JPEG takes 8 bits, JPEG 2000 unsigned values."""
    if syntax == "rle":
        copy = pydicom.Dataset()
        copy.update(data)
        copy.file_meta = pydicom.dataset.FileMetaDataset()
        copy.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        copy.compress(uid.RLELossless, generate_instance_uid=False)  # it would be random
        return get_frame(copy.PixelData, 0, number_of_frames=1)
    if syntax in ("jpeg", "jpeg_2000", "jpeg_2000_lossy"):
        stream = io.BytesIO()
        how = dict(quality=95) if syntax == "jpeg" else dict(no_jp2=True)
        Image.fromarray(pixels).save(stream, syntax[:9].replace("_", "").upper(), **how)
        return stream.getvalue()
    return _by_gdcm(data, COMPRESSED[syntax])


def _by_gdcm(data: pydicom.Dataset, syntax: str) -> bytes:
    import gdcm

    # through files, since gdcm ends the process when objects made in Python are freed
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "x.dcm")
        save(Path(path), data, uid.ExplicitVRLittleEndian)
        reader = gdcm.ImageReader()
        reader.SetFileName(path)
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
        change.SetInput(reader.GetImage())
        assert change.Change(), "gdcm wants more pixels, and an even number of them"
        writer = gdcm.ImageWriter()
        writer.SetFileName(path)
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return get_frame(pydicom.dcmread(path).PixelData, 0, number_of_frames=1)

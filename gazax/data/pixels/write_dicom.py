"""A radiograph written as a DICOM file, for simulated data in the layout of real ones.

Needs the extra `dicom` (pydicom).
"""

from pathlib import Path

import numpy as np
from jaxtyping import UInt16

from gazax.data.pixels.dicom import import_pydicom

COMPUTED_RADIOGRAPHY = "1.2.840.10008.5.1.4.1.1.1"
"""SOP class of the file: Computed Radiography Image Storage."""
BLANK = (
    *("PatientName", "PatientBirthDate", "PatientSex", "PatientOrientation", "ViewPosition"),
    *("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "Manufacturer"),
)
"""Attributes that the file must have and that may be empty."""


def write_radiograph(
    path: Path,
    pixels: UInt16[np.ndarray, "h w"],
    *,
    bits_stored: int = 12,
    monochrome1: bool = False,
    window: tuple[float, float] | None = None,
    relationship_sign: int | None = None,
    patient_id: str,
    study_id: str,
    dicom_id: str,
) -> None:
    """Writes grey levels as a CR image: explicit VR, little endian, not compressed.

    The file holds no date, no time and no name, and its unique identifiers follow from the three
    ids alone: the same arguments give the same bytes.

    Args:
      path: the file; its folder exists.
      pixels: 0 to 2^bits_stored - 1.
      bits_stored: 9 to 16, in 16 allocated.
      monochrome1: that the lowest value is meant to be shown white.
      window: WindowCenter and WindowWidth, stored values; None for a file without.
      relationship_sign: PixelIntensityRelationshipSign: 1 where lower values mean less intensity of
        the x-rays, -1 where higher ones do; None for a file without.
      patient_id: PatientID.
      study_id: StudyID, at most 16 characters.
      dicom_id: what the instance's unique identifier is made of.

    Raises:
      InputError: pydicom is not installed.
      ValueError: a value is not in range.
    """
    if not 9 <= bits_stored <= 16 or pixels.max(initial=0) >= 2**bits_stored:
        raise ValueError(f"values up to {pixels.max(initial=0)} do not fit {bits_stored} bits")
    if relationship_sign not in (None, 1, -1):
        raise ValueError(f"relationship_sign={relationship_sign} is neither 1 nor -1 nor None")
    pydicom = import_pydicom()

    def unique(*ids: str) -> str:
        return pydicom.uid.generate_uid(entropy_srcs=["gazax", *ids])

    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    for name in BLANK:
        setattr(data, name, "")
    data.SOPClassUID = COMPUTED_RADIOGRAPHY
    data.SOPInstanceUID = unique(patient_id, study_id, dicom_id)
    data.StudyInstanceUID = unique(patient_id, study_id)
    data.SeriesInstanceUID = unique(patient_id, study_id, "series")
    data.PatientID, data.StudyID = patient_id, study_id
    data.SeriesNumber = data.InstanceNumber = 1
    data.Modality, data.BodyPartExamined = "CR", "CHEST"
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME1" if monochrome1 else "MONOCHROME2"
    data.Rows, data.Columns = pixels.shape
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, bits_stored, bits_stored - 1
    data.PixelRepresentation = 0
    if relationship_sign is not None:
        data.PixelIntensityRelationshipSign = relationship_sign
    if window is not None:
        data.WindowCenter, data.WindowWidth = window
    data.PixelData = pixels.astype("<u2").tobytes()
    data.save_as(path, enforce_file_format=True)

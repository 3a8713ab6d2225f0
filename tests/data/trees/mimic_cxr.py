"""Trees in the layout of MIMIC-CXR-JPG: invented patients, tiny images, real names of columns."""

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from gazax.config.datasets import CHEXPERT_LABELS

METADATA = (
    "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,"
    "StudyDate,StudyTime,ProcedureCodeSequence_CodeMeaning,ViewCodeSequence_CodeMeaning,"
    "PatientOrientationCodeSequence_CodeMeaning"
)


@dataclass(frozen=True)
class Row:
    """One image."""

    subject: str
    study: str
    dicom: str
    split: str
    view: str
    labels: str | None
    """The 14 cells of its study, joined by commas; None for a study without a row."""


def dicom_id(number: int) -> str:
    """An invented id of the real form: five groups of eight hexadecimal digits."""
    digits = hashlib.sha256(f"radiograph {number}".encode()).hexdigest()
    return "-".join(digits[8 * i : 8 * i + 8] for i in range(5))


def write_image(
    tree_root: Path, subject: str, study: str, dicom: str, pixels: np.ndarray, suffix: str
) -> Path:
    """Writes ``files/pNN/pSUBJECT/sSTUDY/DICOM.suffix`` below `tree_root`.

    Args:
      pixels: uint8 grey levels; a .dcm has them times 16, in 12 bits.
      suffix: ``.jpg`` or ``.dcm``.
    """
    path = tree_root / f"files/p{subject[:2]}/p{subject}/s{study}/{dicom}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    if suffix == ".dcm":
        from gazax.data.pixels.write_dicom import write_radiograph  # only here: it needs pydicom

        write_radiograph(
            path,
            pixels.astype(np.uint16) * 16,
            patient_id=subject,
            study_id=study,
            dicom_id=dicom,
        )
    else:
        Image.fromarray(pixels).save(path)
    return path


def rows(count: int = 12) -> list[Row]:
    """The images of `count` patients, of every kind there is.

    Every patient has a study seen from the front and the side. Of each six, four are in train, one
    in validate and one in test. Every third has a second study of two images from the front. The
    second study of patient 0 has no labels, and patient 1 a last image without a view.
    """
    found: list[Row] = []

    def add(patient: int, number: int, views: tuple[str, ...], labels: str | None) -> None:
        split = ("train", "train", "validate", "test", "train", "train")[patient % 6]
        for view in views:
            ids = (str(10000032 + 7 * patient), str(50000000 + 100 * patient + number))
            found.append(Row(*ids, dicom_id(len(found)), split, view, labels))

    for patient in range(count):
        add(patient, 1, ("PA", "LATERAL"), _cells(patient))
        if patient % 3 == 0:
            add(patient, 2, ("AP", "AP"), _cells(patient + 1) if patient else None)
        if patient == 1:
            add(patient, 3, ("",), _cells(2))
    return found


def _cells(kind: int) -> str:
    """A normal study (kind 0, 3, ...), one with findings, or one with doubts."""
    said = (
        {"No Finding": "1.0", "Pneumothorax": "0.0"},
        {"Edema": "1.0", "Cardiomegaly": "1.0", "Pneumonia": "-1.0", "Pneumothorax": "0.0"},
        {"Support Devices": "1.0", "Pneumonia": "-1.0", "Atelectasis": "1.0"},
    )[kind % 3]
    return ",".join(said.get(name, "") for name in CHEXPERT_LABELS)


def write_mimic_cxr(
    root: Path,
    count: int = 12,
    *,
    images: list[Row] | None = None,
    suffix: str = ".jpg",
    compressed: bool = False,
    labeller: str = "chexpert",
) -> Path:
    """Writes tables and images (and what else a download leaves) of `rows`; returns `root`."""
    images = rows(count) if images is None else images
    rng = np.random.Generator(np.random.PCG64(0))
    for row in images:
        pixels = rng.integers(0, 256, (40, 32), np.uint8)
        study = write_image(root, row.subject, row.study, row.dicom, pixels, suffix).parent
        (study.parent / f"{study.name}.txt").write_text("FINAL REPORT\n", encoding="utf-8")
        (study / "index.html").write_text("<html></html>", encoding="utf-8")
    write_table(
        root / "mimic-cxr-2.0.0-split.csv",
        "dicom_id,study_id,subject_id,split",
        [f"{r.dicom},{r.study},{r.subject},{r.split}" for r in images],
        compressed,
    )
    write_table(
        root / "mimic-cxr-2.0.0-metadata.csv",
        METADATA,
        [
            f"{r.dicom},{r.subject},{r.study},CHEST (PA AND LAT),{r.view},40,32,21800506,"
            "213014.531,CHEST (PA AND LAT),postero-anterior,Erect"
            for r in images
        ],
        compressed,
    )
    studies = {(r.subject, r.study): r.labels for r in images if r.labels is not None}
    write_table(
        root / f"mimic-cxr-2.0.0-{labeller}.csv",
        f"subject_id,study_id,{','.join(CHEXPERT_LABELS)}",
        [f"{subject},{study},{cells}" for (subject, study), cells in studies.items()],
        compressed,
    )
    return root


def write_table(path: Path, header: str, lines: list[str], compressed: bool = False) -> None:
    """Writes a csv file, or the ``.csv.gz`` that PhysioNet has."""
    data = "\n".join((header, *lines, "")).encode()
    if compressed:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(data, mtime=0))
    else:
        path.write_bytes(data)

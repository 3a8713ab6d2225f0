"""Trees in the layout of the RSNA Pneumonia challenge: invented ids, tiny DICOM files."""

import hashlib
from pathlib import Path

import numpy as np

from gazax.data.sources.rsna_pneumonia import BOXES, CLASSES, FOLDER

SIZE = (40, 32)
"""(h, w) px of the images."""


def patient_id(number: int) -> str:
    """An invented id of the real form, such as 0004cfab-14fd-4e49-80ba-63a80b6bddd6."""
    digits = hashlib.sha256(f"case {number}".encode()).hexdigest()
    groups = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:32])
    return "-".join(groups)


def class_of(number: int) -> str:
    """Image 0, 3, ... is positive, the rest is normal or neither."""
    return ("Lung Opacity", "No Lung Opacity / Not Normal", "Normal")[number % 3]


def boxes_of(number: int) -> list[tuple[float, float, float, float]]:
    """x, y, width, height: two boxes for image 0, 6, ..., one for 3, 9, ..., else none."""
    if number % 3:
        return []
    left, right = (3.0, 5.0, 10.0, 20.0), (18.0, 6.0, 12.0, 24.0)
    return [left] if number % 2 else [left, right]


def write_tables(root: Path, count: int) -> Path:
    """Both tables: one row a box, or one with empty cells; the second repeats its rows."""
    boxes, classes = [], []
    for number in range(count):
        for box in boxes_of(number) or [None]:
            cells = ",".join(map(str, box)) if box else ",,,"
            boxes.append(f"{patient_id(number)},{cells},{int(box is not None)}")
            classes.append(f"{patient_id(number)},{class_of(number)}")
    root.mkdir(parents=True, exist_ok=True)
    for name, header, lines in (
        (BOXES, "patientId,x,y,width,height,Target", boxes),
        (CLASSES, "patientId,class", classes),
    ):
        (root / name).write_text("\n".join((header, *lines, "")), encoding="utf-8")
    return root


def write_rsna_pneumonia(root: Path, count: int = 24, *, pixels: bool = True) -> Path:
    """Tables and `count` images (empty files without `pixels`), and the folder of test images."""
    write_tables(root, count)
    rng = np.random.Generator(np.random.PCG64(0))
    for folder, numbers in ((FOLDER, range(count)), ("stage_2_test_images", (1001, 1002))):
        (root / folder).mkdir()
        for number in numbers:
            path = root / folder / f"{patient_id(number)}.dcm"
            if pixels:
                from gazax.data.pixels.write_dicom import (
                    write_radiograph,  # only here: needs pydicom
                )

                name = patient_id(number)
                grey = rng.integers(0, 4096, SIZE, np.uint16)
                write_radiograph(path, grey, patient_id=name, study_id=f"{number}", dicom_id=name)
            else:
                path.touch()
    return root

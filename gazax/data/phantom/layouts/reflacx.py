"""The phantom written as REFLACX 1.0.0 with its MIMIC-CXR images: a tree with known truth.

What REFLACX does not know of the phantom, and the other way round:

- Of every six images one is of phase 1, one of phase 2 and four of phase 3, and all of an image's
  readers are kept in each phase, though the real phase 3 has one.
- A class and each kind of finding stand for columns of both forms (`CLASS`, `FINDING`), with the
  largest certainty; every reading marks all findings, whether its reader looked there or not.
  Effusions have another name in phase 1, so that they are not among the labels of phases 2 and 3.
- A finding's ellipse is the one inscribed in its box; masks are not written.
- The chest box is the whole film. There is no audio: times count from .25 s after the first
  fixation begins, and no transcripts and no raw samples are written.

Positions are rounded to whole px and durations to ms, as in the real tables.
"""

import csv
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from gazax.config.datasets import REFLACX_LABELS
from gazax.data.phantom.example import CLASSES, Example, Reading
from gazax.data.phantom.layouts.tree import check, examples, fresh_folder, image_path, pseudo_id
from gazax.data.pixels.write_dicom import write_radiograph
from gazax.data.sources.reflacx_labels import PHASE_1
from gazax.data.sources.reflacx_metadata import METADATA
from gazax.data.sources.reflacx_readings import (
    CHEST_BOX,
    CORNERS,
    DEGREE,
    ELLIPSES,
    FIXATIONS,
    POSITION,
    SHOWN,
    TIMES,
)
from gazax.data.splits import draw_splits
from gazax.typing import InputError

LEAST = 6
"""Images with which no phase and no split is empty."""
FORMS = {
    phase: tuple(sorted((*(PHASE_1 if phase == 1 else REFLACX_LABELS), "Other")))
    for phase in (1, 2, 3)
}
CLASS = {"pneumonia": "Consolidation", "heart_failure": "Pulmonary edema"}
"""What every image of a class has, found or not."""
FINDING = {
    "opacity": ("Consolidation",),
    "oedema": ("Pulmonary edema",),
    "septal lines": ("Pulmonary edema",),
    "heart": ("Enlarged cardiac silhouette",),
    "right effusion": ("Pleural effusion", "Pleural abnormality"),
    "left effusion": ("Pleural effusion", "Pleural abnormality"),
}
"""Columns of a kind of finding; each form has one of them."""
YES_NO = ("Support devices", "Quality issue")
CERTAIN = 5
SCREEN = (3840, 2160)
"""Width and height, px."""
START_S, SACCADE_S = -0.25, 0.03
BITS = 12


def write_reflacx(
    out: str | os.PathLike,
    *,
    count: int = 1200,
    size: int = 128,
    seed: int = 0,
    contrast: float = 1.0,
    lesions: float = 2.0,
    progress: bool = False,
) -> None:
    """Draws a phantom into main_data/ and files/ of a new folder, in one process.

    Half of the radiographs are MONOCHROME1; ids have the real ones' form and are invented.

    Args:
      out: folder to make; it must not exist yet (an empty one is taken over), and is complete as
        soon as it is there.
      count: images, 6 at the least.
      size, seed, contrast, lesions: as in `gazax.data.phantom.write_gaze_folder`.
      progress: show a bar.

    Raises:
      InputError: an argument out of range, `out` is there and not empty, or pydicom is missing.
    """
    out = Path(out)
    given = dict(count=count, size=size, seed=seed, contrast=contrast, lesions=lesions)
    check(out, workers=None, **given)
    if count < LEAST:
        raise InputError(f"phantom: count={count}: give at least {LEAST} for all phases and splits")
    rows: dict[int, list[dict[str, Any]]] = {1: [], 2: [], 3: []}
    with fresh_folder(out) as beside:
        drawn = examples(
            count=count,
            size=size,
            seed=seed,
            contrast=contrast,
            lesions=lesions,
            progress=progress,
        )
        for number, example in enumerate(drawn):
            phase = min(number % 6 + 1, 3)
            image = _write_image(beside, example, seed, number)
            for rank, reading in enumerate(example.readings):
                trial = number // 6 % 100 if phase < 3 else 0
                reading_id = f"P{phase}{trial:02}R{10 * number + rank:06}"
                _write_reading(beside / "main_data" / reading_id, example, reading, phase)
                answers = _answers(example, phase)
                rows[phase].append({"id": reading_id, **image, **answers})
        split = draw_splits([row["subject_id"] for some in rows.values() for row in some])
        for phase, some in rows.items():
            for row in some:
                name = split[row["subject_id"]]
                row["split"] = "validate" if name == "validation" else name
            some.sort(key=lambda row, phase=phase: row["image" if phase == 3 else "id"])
            header = (*METADATA, *FORMS[phase])
            _write(
                beside / "main_data" / f"metadata_phase_{phase}.csv",
                header,
                ([row[name] for name in header] for row in some),
            )


def _write_image(folder: Path, example: Example, seed: int, number: int) -> dict[str, Any]:
    """The radiograph, and what the metadata say of it."""
    ids = {
        "subject_id": pseudo_id("subject", seed, int(example.patient_id.rpartition("_")[2])),
        "study_id": pseudo_id("study", seed, number),
        "dicom_id": pseudo_id("dicom", seed, number),
    }
    path = image_path(**ids)
    (folder / path.parent).mkdir(parents=True, exist_ok=True)
    negative = number % 2 == 1
    grey = 255 - example.image if negative else example.image
    write_radiograph(
        folder / path,
        np.rint(grey.astype(np.float64) * ((2**BITS - 1) / 255)).astype(np.uint16),
        bits_stored=BITS,
        monochrome1=negative,
        window=(2 ** (BITS - 1), 2**BITS),
        relationship_sign=1 if negative else -1,
        patient_id=ids["subject_id"],
        study_id=ids["study_id"],
        dicom_id=ids["dicom_id"],
    )
    height, width = example.image.shape
    return {
        "eye_tracking_data_discarded": False,
        "image": f"physionet.org/files/mimic-cxr/2.0.0/{path}",
        "dicom_id": ids["dicom_id"],
        "subject_id": ids["subject_id"],
        "image_size_x": width,
        "image_size_y": height,
    }


def _answers(example: Example, phase: int) -> dict[str, Any]:
    """A certainty, yes or no, or text, for every column of a form."""
    found = {CLASS[name] for name in CLASSES[example.label : example.label + 1] if name in CLASS}
    found |= {name for lesion in example.lesions for name in FINDING[lesion.kind]}
    answers: dict[str, Any] = {name: CERTAIN * (name in found) for name in FORMS[phase]}
    return answers | {name: False for name in YES_NO if name in answers} | {"Other": ""}


def _write_reading(folder: Path, example: Example, reading: Reading, phase: int) -> None:
    folder.mkdir(parents=True)
    height, width = example.image.shape
    _write(folder / CHEST_BOX, CORNERS, [(0, 0, width, height)])
    boxes = [
        (x, y, x + w, y + h, CERTAIN, *(name in FINDING[lesion.kind] for name in FORMS[phase]))
        for lesion in example.lesions
        for x, y, w, h in [lesion.box]
    ]
    _write(folder / ELLIPSES, (*CORNERS, "certainty", *FORMS[phase]), boxes)
    degree = max(1, round(max(width, height) / 28))
    scale = min(SCREEN[0] / width, SCREEN[1] / height)
    left, top = (
        (full - scale * side) / 2 for full, side in zip(SCREEN, (width, height), strict=True)
    )
    screen = [round(v) for v in (left, top, SCREEN[0] - left, SCREEN[1] - top)]
    rows, time = [], START_S
    for (x, y), seconds in zip(
        np.rint(reading.xy).tolist(), reading.duration.tolist(), strict=True
    ):
        end = time + round(seconds, 3)
        when, where = (f"{time:.3f}", f"{end:.3f}"), (int(x), int(y))
        shown = (0, 0, width, height, *screen)
        rows.append((*when, *where, "1.0", degree, degree, "1.0", "0.5", *shown))
        time = end + SACCADE_S
    header = (*TIMES, *POSITION, "pupil_area_normalized", *DEGREE, "window_width", "window_level")
    on_screen = tuple(f"{corner}_in_screen_coordinates" for corner in CORNERS)
    _write(folder / FIXATIONS, (*header, *SHOWN, *on_screen), rows)


def _write(path: Path, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)  # which ends lines with CRLF, as the authors do
        writer.writerow(header)
        writer.writerows(rows)

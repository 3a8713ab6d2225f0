"""The phantom as EGD-CXR 1.0.0 (`gazax.data.sources.egd_cxr`) and MIMIC-CXR.

::

    egd-cxr/1.0.0/{master_sheet,fixations,eye_gaze,bounding_boxes}.csv
    mimic-cxr/2.0.0/files/pNN/p<subject>/s<study>/<dicom_id>.dcm

Of the panel that reads an image, its first reader is the one radiologist. The image is taken to
fill 1024 x 1080 px of the screen, and positions are truncated to whole pixels, as the release has
them; a gaze off the image is -1. ``eye_gaze.csv`` samples the fixations at 60 Hz with two samples
of a saccade between them. Every twentieth image is followed by a calibration screen, where the gaze
is off by the error of the reader's session.

What differs: EGD-CXR's boxes are of anatomies and the phantom's of findings, which stand there
under the names of their kinds; there are no outlines, as the phantom has none of the organs; and
cells of what is not simulated (pupils, blinks, reports) are empty.
"""

import csv
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from gazax.data.phantom.example import CLASSES, Example
from gazax.data.phantom.layouts.tree import (
    check,
    examples,
    fresh_folder,
    image_path,
    pseudo_id,
)
from gazax.data.phantom.readers import READERS, SESSION, session_offset
from gazax.data.pixels.write_dicom import write_radiograph

TABLES, IMAGES = "egd-cxr/1.0.0", "mimic-cxr/2.0.0"
SCREEN = np.array([1920, 1080])
PAD = 448
"""Px of the screen to the left and to the right of an image."""
SHOWN = np.array([1024, 1080])
"""(width, height) of an image on the screen, px."""
CALIBRATE = 20
"""Images from one calibration screen to the next."""
RATE_HZ = 60
SACCADE = 2
"""Samples between two fixations."""
LEVEL, BITS = 16, 12
"""Stored value of one grey level, and the bits that hold 255 of them."""
WINDOW = (255 * LEVEL / 2 + 0.5, 255.0 * LEVEL + 1)
"""Centre and width that show stored values as the grey levels they were."""

DIAGNOSES = {"normal": "Normal", "heart_failure": "CHF", "pneumonia": "pneumonia"}
REPORT = {
    "opacity": "lung_opacity__chx",
    "heart": "cardiomegaly__chx",
    "right effusion": "pleural_effusion__chx",
    "left effusion": "pleural_effusion__chx",
    "oedema": "edema__chx",
    "septal lines": "edema__chx",
}
"""Labels of the report, by the kind of finding that they tell of."""
SHEET = (
    *("dicom_id", "path", "study_id", "patient_id", "stay_id", "gender", "anchor_age"),
    *("image_top_pad", "image_bottom_pad", "image_left_pad", "image_right_pad"),
    *(f"dx{k}{part}" for k in range(1, 10) for part in ("", "_icd")),
    *("normal_reports", "Normal", "CHF", "pneumonia"),
    *("consolidation", "enlarged_cardiac_silhouette", "linear__patchy_atelectasis"),
    *("lobar__segmental_collapse",),
    *("not_otherwise_specified_opacity___pleural__parenchymal_opacity__",),
    *("pleural_effusion_or_thickening", "pulmonary_edema__hazy_opacity", "normal_anatomically"),
    *("elevated_hemidiaphragm", "hyperaeration", "vascular_redistribution"),
    *("atelectasis__chx", "cardiomegaly__chx", "consolidation__chx", "edema__chx"),
    *("enlarged_cardiomediastinum__chx", "fracture__chx", "lung_lesion__chx"),
    *("lung_opacity__chx", "no_finding__chx", "pleural_effusion__chx", "pleural_other__chx"),
    *("pneumonia__chx", "pneumothorax__chx", "support_devices__chx", "cxr_exam_indication"),
)
GAZE = (
    *("SESSION_ID", "MEDIA_ID", "DICOM_ID", "CNT", "Time (in secs)", "TIMETICK(f=10000000)"),
    *("FPOGX", "FPOGY", "FPOGS", "FPOGD", "FPOGID", "FPOGV", "BPOGX", "BPOGY", "BPOGV"),
    *("LPCX", "LPCY", "LPD", "LPS", "LPV", "RPCX", "RPCY", "RPD", "RPS", "RPV"),
    *("BKID", "BKDUR", "BKPMIN", "LPMM", "LPMMV", "RPMM", "RPMMV", "SACCADE_MAG", "SACCADE_DIR"),
    *("VID_FRAME", "X_ORIGINAL", "Y_ORIGINAL"),
)
BOXES = ("dicom_id", "bbox_name", "x1", "x2", "y1", "y2")

Row = dict[str, Any]


def write_egd_cxr(
    out: str | os.PathLike,
    *,
    count: int = 1200,
    size: int = 128,
    seed: int = 0,
    contrast: float = 1.0,
    lesions: float = 2.0,
    progress: bool = False,
) -> None:
    """Draws `count` images and writes them as EGD-CXR with their images in MIMIC-CXR's tree.

    Args:
      out: folder to make; absent, or empty. It is complete as soon as it is there.
      count, size, seed, contrast, lesions: as of `gazax.data.phantom.write_gaze_folder`; the same
        arguments draw the same images.
      progress: show a bar.

    Raises:
      InputError: an argument out of range, `out` is there and not empty, or no pydicom.
    """
    out = Path(out)
    drawn = dict(count=count, size=size, seed=seed, contrast=contrast, lesions=lesions)
    check(out, **drawn, workers=None)
    columns = {
        "master_sheet.csv": SHEET,
        "fixations.csv": GAZE,
        "eye_gaze.csv": GAZE,
        "bounding_boxes.csv": BOXES,
    }
    with fresh_folder(out) as folder, ExitStack() as stack:
        (folder / TABLES).mkdir(parents=True)
        tables = {}
        for name, header in columns.items():
            file = stack.enter_context((folder / TABLES / name).open("w", newline=""))
            tables[name] = csv.DictWriter(file, header, lineterminator="\n")
            tables[name].writeheader()
        for number, example in enumerate(examples(**drawn, progress=progress)):
            for name, rows in _rows(example, number, seed, folder / IMAGES).items():
                tables[name].writerows(rows)


def _rows(example: Example, number: int, seed: int, images: Path) -> dict[str, list[Row]]:
    """Rows of the four tables for one image, whose file is written on the way."""
    subject = pseudo_id("subject", seed, int(example.patient_id.rpartition("_")[2]))
    study, dicom = pseudo_id("study", seed, number), pseudo_id("dicom", seed, number)
    path = image_path(subject, study, dicom)
    (images / path).parent.mkdir(parents=True, exist_ok=True)
    write_radiograph(
        images / path,
        example.image.astype(np.uint16) * LEVEL,
        bits_stored=BITS,
        window=WINDOW,
        relationship_sign=-1,
        patient_id=subject,
        study_id=study,
        dicom_id=dicom,
    )
    reading = example.readings[0]
    side = example.image.shape[0]
    fixed = [
        _on_screen(place, side) | {"FPOGD": seconds}
        for place, seconds in zip(reading.xy, reading.duration.tolist(), strict=True)
    ]
    session = {"SESSION_ID": number // SESSION + 1, "MEDIA_ID": number % SESSION}
    fixations, samples = _record(fixed, session | {"DICOM_ID": dicom})
    if number % CALIBRATE == 0:
        reader = [reader.reader_id for reader in READERS].index(reading.reader_id)
        screen = _calibrate(session_offset(seed, reader, number))
        more = _record(screen, session | {"DICOM_ID": dicom[:-5]})
        fixations, samples = fixations + more[0], samples + more[1]
    label = CLASSES[example.label]
    kinds = {REPORT[lesion.kind] for lesion in example.lesions}
    kinds |= {"normal": {"no_finding__chx"}, "pneumonia": {"pneumonia__chx"}}.get(label, set())
    sheet = {
        "dicom_id": dicom,
        "path": path,
        "study_id": study,
        "patient_id": subject,
        "image_top_pad": 0,
        "image_bottom_pad": 0,
        "image_left_pad": PAD,
        "image_right_pad": PAD,
        "dx1": label.replace("_", " "),
        **{column: int(name == label) for name, column in DIAGNOSES.items()},
        **dict.fromkeys(kinds, "1.0"),
        "cxr_exam_indication": "a phantom,\nread by a simulated radiologist",
    }
    boxes = [
        dict(dicom_id=dicom, bbox_name=lesion.kind, x1=x, x2=x + width, y1=y, y2=y + height)
        for lesion in example.lesions
        for x, y, width, height in [lesion.box]
    ]
    return {
        "master_sheet.csv": [sheet],
        "fixations.csv": fixations,
        "eye_gaze.csv": samples,
        "bounding_boxes.csv": boxes,
    }


def _on_screen(place: np.ndarray, side: int) -> Row:
    """A position in an image of `side` px as the tables have it."""
    x, y = ((PAD, 0) + place / side * SHOWN) / SCREEN
    inside = bool(((place > 0) & (place < side)).all())
    pixel = [int(p) for p in place] if inside else [-1, -1]
    return {"FPOGX": x, "FPOGY": y, "X_ORIGINAL": pixel[0], "Y_ORIGINAL": pixel[1]}


def _calibrate(offset: np.ndarray) -> list[Row]:
    """Two fixations on a calibration screen; the second is on the dot, but for the error.

    Args:
      offset: of the reader's session, as a fraction of the image's sides.
    """
    places = [(0.5, 0.8), 0.5 + offset * SHOWN / SCREEN]
    return [
        {
            "FPOGX": x,
            "FPOGY": y,
            "FPOGD": 0.6,
            "X_ORIGINAL": int(x * SCREEN[0]),
            "Y_ORIGINAL": int(y * SCREEN[1]),
        }
        for x, y in places
    ]


def _record(fixations: Sequence[Row], common: Row) -> tuple[list[Row], list[Row]]:
    """Rows of fixations.csv and of eye_gaze.csv: a fixation is the last of its samples."""
    last, samples = [], []
    time, counter = 0.0, 0

    def sample(fixation: Row, number: int, start: float, seconds: float, valid: int) -> None:
        nonlocal counter
        counter += 1
        now = start + seconds
        row = common | fixation
        row |= {"CNT": counter, "FPOGID": number, "FPOGV": valid, "TIMETICK(f=10000000)": 1e7 * now}
        row |= {"Time (in secs)": now, "FPOGS": start, "FPOGD": seconds}
        samples.append({k: _rounded(value) for k, value in row.items()})

    for number, fixation in enumerate(fixations, start=1):
        for seconds in _moments(fixation["FPOGD"]):
            sample(fixation, number, time, seconds, 1)
        last.append(samples[-1])
        time += fixation["FPOGD"]
        for k in range(1, SACCADE + 1):
            sample(fixation, number + 1, time, k / RATE_HZ, 0)
        time += SACCADE / RATE_HZ
    return last, samples


def _moments(duration: float) -> Iterator[float]:
    """Times of a fixation's samples since its start; the last is its end."""
    for k in range(1, max(1, round(RATE_HZ * duration))):
        yield k / RATE_HZ
    yield duration


def _rounded(value: Any) -> Any:
    return f"{value:.5f}" if isinstance(value, float) else value

"""EGD-CXR 1.0.0: one radiologist's gaze on 1,083 radiographs of MIMIC-CXR, of 1,038 patients.

::

    master_sheet.csv     a row an image: dicom_id, path, patient_id, diagnoses, findings
    fixations.csv        a row a fixation
    eye_gaze.csv         a row a sample, 60 a second
    bounding_boxes.csv   a row an anatomy: dicom_id, bbox_name, x1, x2, y1, y2
    audio_segmentation_transcripts/<dicom_id>/
        left_lung.png  right_lung.png  mediastanum.png  aortic_knob.png
        audio.wav  audio.mp3  transcript.json                 (not read)

The images are those of MIMIC-CXR or MIMIC-CXR-JPG (`mimic_tree`), where both have the
same size, to whose pixels all coordinates refer. The merged release MIMIC-Eye is read as well: its
tables lie in ``spreadsheets/EyeGaze/`` with the sheet called
``master_sheet_with_updated_stayId.csv`` and a first column without a name, its outlines in
``patient_<patient_id>/EyeGaze/audio_segmentation_transcripts/``.

- Text in quotes holds line breaks: 1,083 records of the sheet are 1,417 lines.
- Boxes stand in the order x1, x2, y1, y2. ``mediastanum.png`` is spelled so, and its label here is
  ``mediastinum``. Outlines and boxes of one name share a label, of names with spaces.
- Labels are Normal, CHF and pneumonia, of which each image has one, as it was sampled from the
  emergency department's diagnoses; then CheXpert's labels of the report (``..__chx``); then the
  anatomies, 1 where an image has a box or an outline of it and unknown elsewhere. The columns
  between them, findings from the report by another labeller, are not read.
- Patients are drawn into splits (`gazax.data.splits`), as the release has none. Its authors' code
  keeps a patient's images together, too; that of CXRGazeLearn draws images and does not.
- The gaze: `gazax.data.sources.egd_gaze`.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gazax.config import choose
from gazax.data.pixels import images
from gazax.data.raw import RawDataset, RawImage, RawMasks
from gazax.data.sources import egd_gaze
from gazax.data.sources.egd_tables import (
    BOXES,
    DIAGNOSES,
    find,
    find_images,
    read_boxes,
    read_labels,
    read_sheet,
)
from gazax.data.sources.files import SourceFiles, is_inside
from gazax.data.sources.mimic_labels import BLANK, UNCERTAIN
from gazax.data.sources.tables import Faults
from gazax.data.splits import draw_splits
from gazax.typing import InputError, Size

CANVAS = (3200, 2560)
"""Of CXRGazeLearn, (h, w): 3056 and 2544 px rounded up to multiples of 160."""
FROM = {
    "fixations": "fixations.csv",
    "samples": "eye_gaze.csv, 1/60 s a sample",
    "cxrgazelearn": "eye_gaze.csv, as CXRGazeLearn takes it",
}


def canvas_of_egd_cxr(*, gaze: str = "fixations", **others: Any) -> Size | None:
    """The canvas that all images stand on, px; None where each has its own frame."""
    return CANVAS if gaze == "cxrgazelearn" else None


def files_of_egd_cxr(
    root: Path,
    *,
    gaze: str = "fixations",
    uncertain: str = "unknown",
    blank: str = "negative",
    mimic_cxr: str = "",
) -> SourceFiles:
    """The files that records of EGD-CXR depend on; arguments as of `read_egd_cxr`."""
    _choose(gaze, uncertain, blank)
    source = find(root, egd_gaze.TABLES[gaze], mimic_cxr)
    if source.missing:
        return SourceFiles(missing=source.missing)
    sheet = read_sheet(source, Faults(1.0))
    ids, patients = sheet.table.text("dicom_id"), sheet.table.text("patient_id")
    files: list[Path] = []
    for i, path in enumerate(sheet.paths):
        if path and path.is_file():
            files += [path, *source.outlines(patients[i], ids[i]).values()]
    tables = (source.sheet, source.table(egd_gaze.TABLES[gaze]), source.table(BOXES))
    return SourceFiles(tables=tables, files=tuple(files))


def read_egd_cxr(
    root: Path,
    *,
    faults: Faults,
    gaze: str = "fixations",
    uncertain: str = "unknown",
    blank: str = "negative",
    mimic_cxr: str = "",
) -> RawDataset:
    """Reads and checks the tables of EGD-CXR; pixels stay on disk.

    Rows of the gaze tables that are left out though nothing is wrong with them, because the gaze
    was off the image or no fixation, are counted beside the faulty ones and never stop the reading.

    ``gaze="cxrgazelearn"`` gives the gaze map and the frame of CXRGazeLearn's code: each raw sample
    on the image counts one, whether the tracker called it valid or not; a Gaussian of 75.5 px of
    the stored image around each; images centred in 2560 x 3200 px, cropped where they are larger,
    so that a size of 640x512 is a fifth of every image. Not reproduced, since they are slips of
    that code and not part of what the paper describes: counts above 127 that turn negative (int8);
    a Gaussian cut off at 250 px and mirrored at the image's edge; every fifth pixel taken without
    antialiasing, of the image as of the map; grey levels divided by the image's maximum, without a
    display window; a missing reading that stops the program.

    Args:
      root: the folder, or one that holds it; never written to.
      faults: where rows that are left out are counted.
      gaze: ``fixations`` (fixations.csv), ``samples`` (eye_gaze.csv, each a fixation of 1/60 s,
        about 1,400 an image) or ``cxrgazelearn`` (eye_gaze.csv).
      uncertain: what -1 in a label of the report means: ``unknown``, ``positive`` or ``negative``.
      blank: what an empty cell means there: ``negative`` (not mentioned) or ``unknown``; in a row
        without any of these labels they are unknown either way.
      mimic_cxr: folder of MIMIC-CXR, if it is not below `root`.

    Raises:
      InputError: naming file, row and mend.

    Source: Karargyris et al. 2021, "Creation and validation of a chest X-ray dataset with
    eye-tracking and report dictation for AI development"; the formats of its code.
    """
    _choose(gaze, uncertain, blank)
    source = find(root, egd_gaze.TABLES[gaze], mimic_cxr)
    if source.missing:
        raise InputError(f"{root} lacks parts of EGD-CXR:\n  " + "\n  ".join(source.missing))
    roots = (root.resolve(), source.tree.root.resolve())
    sheet = read_sheet(source, faults)
    sheet.table.check()
    ids, patients = sheet.table.text("dicom_id"), sheet.table.text("patient_id")
    used = find_images(sheet, faults)
    left_out = set(ids) - set(used)
    good = np.flatnonzero(sheet.table.good)
    split = draw_splits([patients[i] for i in good], sheet.table.name)
    labels = read_labels(sheet, used.values(), uncertain=uncertain, blank=blank)
    boxes = read_boxes(source, used, left_out, faults)
    outlines = [source.outlines(patients[i], image_id) for image_id, i in used.items()]
    paths = [path for path in (sheet.paths[i] for i in used.values()) if path]
    seen = egd_gaze.read_egd_gaze(
        source.table(egd_gaze.TABLES[gaze]),
        tuple(used),
        left_out,
        faults,
        kind=gaze,
        size=_sizes(paths, roots) if gaze == "cxrgazelearn" else None,
        ragged=source.by_patient,
    )

    known = (*DIAGNOSES, *sheet.report_names)
    anatomies = sorted({*boxes.name, *(name for found in outlines for name in found)} - {*known})
    column = {name: k for k, name in enumerate((*known, *anatomies))}
    raw = []
    for place, (image_id, i) in enumerate(used.items()):
        mine = np.flatnonzero(boxes.image == place)
        box_label = np.array([column[boxes.name[n]] for n in mine], np.int32)
        planes = tuple((column[name], file) for name, file in outlines[place].items())
        label = np.full(len(column), np.nan, np.float32)
        label[[*box_label, *(k for k, _ in planes)]] = 1
        label[: len(known)] = labels[place]
        raw.append(
            RawImage(
                image_id=image_id,
                patient_id=patients[i],
                split=split[patients[i]],
                path=paths[place],
                label=label,
                gaze=seen.gaze[place],
                box=boxes.box[mine],
                box_label=box_label,
                masks=RawMasks(planes=planes),
            )
        )
    return RawDataset(
        label_names=tuple(column),
        reader_ids=("reader 1",),
        reader_weights=(1.0,),
        images=tuple(raw),
        has_masks=any(outlines),
        roots=roots,
        faults=faults,
        exclusive=(DIAGNOSES,),
        canvas=canvas_of_egd_cxr(gaze=gaze),
        fixation_table=egd_gaze.TABLES[gaze],
        rows_left_out=seen.left_out,
        notes={
            "fixations_from": FROM[gaze],
            "ignored_columns": sheet.ignored_columns,
            **seen.notes,
        },
    )


def _choose(gaze: str, uncertain: str, blank: str) -> None:
    choose("data.source.gaze", gaze, tuple(egd_gaze.TABLES))
    choose("data.source.uncertain", uncertain, UNCERTAIN)
    choose("data.source.blank", blank, BLANK)


def _sizes(paths: Sequence[Path], roots: tuple[Path, ...]) -> np.ndarray:
    """(width, height) of each image, px; without bounds where the preparation will name a fault."""
    sizes = np.full((len(paths), 2), np.inf)
    for i, path in enumerate(paths):
        if is_inside(path, roots):
            with contextlib.suppress(images.DecodeError):
                sizes[i] = images.image_size(path)[::-1]
    return sizes

"""The RSNA Pneumonia Detection Challenge of 2018: 26,684 frontal radiographs, boxes on opacities.

::

    stage_2_train_images/<patientId>.dcm
    stage_2_train_labels.csv            patientId, x, y, width, height, Target
    stage_2_detailed_class_info.csv     patientId, class

From https://www.kaggle.com/c/rsna-pneumonia-detection-challenge (an account, and its rules
accepted). ``stage_2_test_images/``, which has no labels, is not read.

``stage_2_train_labels.csv`` has one row a box, so an image with two opacities has two; an image
without (``Target`` 0) has one row whose x, y, width and height are empty. The second table repeats
its rows in the same way. Here an image is one record, with the labels "Pneumonia" (``Target``) and
the three classes, of which an image has one: "Lung Opacity", where ``Target`` is 1, "No Lung
Opacity / Not Normal" and "Normal". Boxes have the label "Pneumonia".

x and y are the box's upper-left corner in px of the DICOM file (1024 x 1024 in the release), and
are taken as edges: a box covers x to x + width. Whether whole numbers there count edges or pixels
is not documented; it makes half a px.

There is no official split. ``patientId`` is the name of an image and the only patient there is,
though the images come from ChestX-ray14, which has several of one person: a draw by ``patientId``
can put two of a person into two splits. The challenge's mapping of names tells them apart; a list
of splits made with it can be given.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from gazax.data.raw import IMAGES, NO_GAZE, RawDataset, RawImage
from gazax.data.sources.files import SourceFiles, find_tree, is_plain, leads_out
from gazax.data.sources.split_list import read_split_list
from gazax.data.sources.tables import Faults, Table
from gazax.data.splits import draw_splits
from gazax.typing import InputError

BOXES = "stage_2_train_labels.csv"
CLASSES = "stage_2_detailed_class_info.csv"
FOLDER = "stage_2_train_images"
CLASS_NAMES = ("Lung Opacity", "No Lung Opacity / Not Normal", "Normal")
LABELS = ("Pneumonia", *CLASS_NAMES)
FROM = "get it from https://www.kaggle.com/c/rsna-pneumonia-detection-challenge"


def files_of_rsna_pneumonia(root: Path, *, splits: str = "") -> SourceFiles:
    """The tables and the folder of images; the argument is that of `read_rsna_pneumonia`."""
    base = _base(root)
    own = (Path(splits).expanduser(),) if splits else ()
    wanted = (base / BOXES, base / CLASSES, *own)
    missing = tuple(
        f"{path} is missing; {'correct splits' if path in own else FROM}"
        for path in (*wanted, base / FOLDER)
        if not path.exists()
    )
    return SourceFiles(
        tables=tuple(path for path in wanted if path.is_file()),
        folders=(base / FOLDER,) if (base / FOLDER).is_dir() else (),
        missing=missing + leads_out((base / BOXES, base / CLASSES, base / FOLDER), (root,)),
    )


def read_rsna_pneumonia(root: Path, *, faults: Faults, splits: str = "") -> RawDataset:
    """Reads and checks the tables of the challenge's training images; pixels stay on disk.

    Args:
      root: the folder of the files, or one above it; never written to.
      faults: where rows and images that are left out are counted.
      splits: a csv file ``image_id,split``, whose image_id is a ``patientId``; images that it does
        not name are left out. Empty: drawn by `gazax.data.splits.draw_splits`.

    Raises:
      InputError: naming file, row and mend.
    """
    if missing := files_of_rsna_pneumonia(root, splits=splits).missing:
        raise InputError("; ".join(missing))
    base = _base(root)
    table = Table(base / BOXES, ("patientId", "x", "y", "width", "height", "Target"), faults=faults)
    box = _read_boxes(table)
    class_of = _read_classes(base / CLASSES, table, faults)
    ids, target = table.text("patientId"), table.text("Target")
    rows_of: dict[str, list[int]] = {}
    for i in np.flatnonzero(table.good).tolist():
        rows_of.setdefault(ids[i], []).append(i)
    split = (
        read_split_list(Path(splits).expanduser(), {i: i for i in rows_of}, faults)
        if splits
        else draw_splits(rows_of, BOXES)
    )
    raw = []
    for image_id, rows in rows_of.items():
        if image_id not in split:
            continue
        path = base / FOLDER / f"{image_id}.dcm"
        if not path.is_file():
            message = f"{path} is missing; fetch it, or remove its rows from the tables"
            faults.add(IMAGES, "no image", message)
            continue
        present = np.array([name == class_of[image_id] for name in CLASS_NAMES])
        positive = target[rows[0]] == "1"
        raw.append(
            RawImage(
                image_id=image_id,
                patient_id=image_id,
                split=split[image_id],
                path=path,
                label=np.array([positive, *present], np.float32),
                gaze=NO_GAZE,
                box=box[rows] if positive else np.zeros((0, 4)),
                box_label=np.zeros(len(rows) if positive else 0, np.int32),
            )
        )
    faults.check(IMAGES, len(split), "images")
    if not raw:
        raise InputError(f"no row of {BOXES} has an image in {base / FOLDER}")
    return RawDataset(
        label_names=LABELS,
        reader_ids=(),
        reader_weights=(),
        images=tuple(raw),
        has_masks=False,
        roots=(root,),
        faults=faults,
        exclusive=(CLASS_NAMES,),
        notes={
            "fixations_from": None,
            "ignored_columns": list(table.other_columns),
            "images_in_no_split": len(rows_of) - len(split),
        },
    )


def _base(root: Path) -> Path:
    found = find_tree(root, BOXES, title="the RSNA Pneumonia data") if root.is_dir() else None
    return found or root


def _read_boxes(table: Table) -> Float[np.ndarray, "rows 4"]:
    """xmin, ymin, xmax, ymax; strikes out the rows that do not hold together."""
    ids, target = table.text("patientId"), table.text("Target")
    xywh = np.stack([table.numbers(column) for column in ("x", "y", "width", "height")], 1)
    table.leave_out(
        np.array([not is_plain(name) for name in ids], bool),
        "no patientId",
        lambda i: f"patientId {ids[i]!r} names no file",
    )
    table.leave_out(
        np.array([cell not in ("0", "1") for cell in target], bool),
        "no target",
        lambda i: f"Target is {target[i]!r}; it is 1 or 0",
    )
    positive = np.array([cell == "1" for cell in target], bool)
    box = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1)
    table.leave_out(  # of numbers large enough, the sum is the larger one, or infinite
        positive & ~(np.isfinite(box).all(axis=1) & (box[:, 2:] > box[:, :2]).all(axis=1)),
        "no box",
        lambda i: f"Target is 1 and the box {_shown(xywh[i])} has no area; mend x to height",
    )
    table.leave_out(
        ~positive & ~np.isnan(xywh).all(axis=1),
        "box without target",
        lambda i: f"Target is 0 and there is a box {_shown(xywh[i])}; mend one of the two",
    )
    _leave_out_disagreeing(table, target, "Target")
    table.check()
    return box


def _read_classes(path: Path, boxes: Table, faults: Faults) -> dict[str, str]:
    """The class of every image; strikes out the rows of `boxes` that have none or another one."""
    table = Table(path, ("patientId", "class"), faults=faults)
    names = table.text("class")
    table.leave_out(
        np.array([name not in CLASS_NAMES for name in names], bool),
        "unknown class",
        lambda i: f"class is {names[i]!r}; known: {', '.join(CLASS_NAMES)}",
    )
    _leave_out_disagreeing(table, names, "class")
    table.check()
    rows = np.flatnonzero(table.good).tolist()
    class_of = {table.text("patientId")[i]: names[i] for i in rows}
    ids, target = boxes.text("patientId"), boxes.text("Target")
    boxes.leave_out(
        np.array([name not in class_of for name in ids], bool),
        "no class",
        lambda i: f"patientId {ids[i]!r} has no usable row in {CLASSES}; add one",
    )
    boxes.leave_out(
        np.array(
            [
                (class_of.get(name) == "Lung Opacity") != (cell == "1")
                for name, cell in zip(ids, target, strict=True)
            ],
            bool,
        ),
        "another class",
        lambda i: (
            f"Target is {target[i]} and the class in {CLASSES} is {class_of[ids[i]]!r}; "
            "'Lung Opacity' belongs to 1 and nothing else does"
        ),
    )
    boxes.check()
    return class_of


def _leave_out_disagreeing(table: Table, cells: Sequence[str], column: str) -> None:
    """Strikes out all rows of an image whose rows say different things."""
    ids = table.text("patientId")
    said: dict[str, set[str]] = {}
    for i in np.flatnonzero(table.good).tolist():
        said.setdefault(ids[i], set()).add(cells[i])
    several = np.array([len(said.get(name, ())) > 1 for name in ids], bool)
    table.leave_out(
        several,
        "contradiction",
        lambda i: (
            f"the rows of patientId {ids[i]!r} disagree: {column} "
            f"{' and '.join(sorted(said[ids[i]]))}; mend them"
        ),
    )


def _shown(xywh: Float[np.ndarray, "4"]) -> str:
    return " ".join("-" if np.isnan(value) else f"{value:g}" for value in xywh)

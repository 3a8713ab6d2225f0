"""ChestX-ray14: 112,120 frontal radiographs of 30,805 patients, 14 findings out of reports.

::

    images/<Image Index>                  or images_001/images/ to images_012/images/
    Data_Entry_2017_v2020.csv             or Data_Entry_2017.csv
    train_val_list.txt, test_list.txt     one Image Index a line
    BBox_List_2017.csv                    boxes on 880 images (see `chestxray14_boxes`)

All from https://nihcc.app.box.com/v/ChestXray-NIHCC; without the last there are no boxes. Where
both tables of entries lie there, the later one is read.

Headers hold commas that are not quoted: ``OriginalImage[Width,Height]`` is two columns, and that
of 2017 ends with one comma more. Of the columns only ``Image Index``, ``Finding Labels`` and
``Patient ID`` are read (that of the sex has two names). ``Finding Labels`` are joined by ``|`` and
compared as whole names; "No Finding" stands alone, and means that all 14 are absent.

The two lists are the release's split; they share no patient. Validation is drawn from
train_val_list.txt by patient: an eighth of its patients, about a tenth of all.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float

from gazax.config import did_you_mean
from gazax.config.datasets import CHESTXRAY14_LABELS
from gazax.data.raw import IMAGES, NO_GAZE, RawDataset, RawImage
from gazax.data.sources.chestxray14_boxes import BOXES, read_boxes
from gazax.data.sources.files import SourceFiles, find_tree, is_inside, leads_out, list_folder
from gazax.data.sources.split_list import read_split_list
from gazax.data.sources.tables import Faults, Table
from gazax.typing import InputError

ENTRIES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
"""The preferred one first."""
LISTS = ("train_val_list.txt", "test_list.txt")
NO_FINDING = "No Finding"
VALIDATION_FRACTION = 1 / 8
"""Of the patients of train_val_list.txt."""
FROM = "get it from https://nihcc.app.box.com/v/ChestXray-NIHCC"
SUFFIXES = (".png", ".jpg", ".jpeg")
_FOLDER = re.compile("images(_[0-9]{3})?")
_LARGEST_LIST = 2**23
"""Bytes; the longer one of the release has 2**20.5, and a name takes 60 in memory."""
_NO_BOXES = np.zeros((0, 4))
_NO_BOX_LABELS = np.zeros(0, np.int32)


def files_of_chestxray14(root: Path, *, splits: str = "") -> SourceFiles:
    """The tables and the folders of images; the argument is that of `read_chestxray14`."""
    base, entries = _base(root)
    lists = (Path(splits).expanduser(),) if splits else tuple(base / name for name in LISTS)
    missing = [] if entries else [f"{base / ENTRIES[0]} (or {ENTRIES[1]}) is missing; {FROM}"]
    missing += [
        f"{path} is missing; {'correct splits' if splits else FROM}"
        for path in lists
        if not path.is_file()
    ]
    folders = tuple(_image_folders(base))
    if not folders:
        missing.append(f"{base / 'images'} (or images_001/images/ and so on) is missing; {FROM}")
    own = (*((entries,) if entries else ()), *(() if splits else lists), base / BOXES)
    missing += leads_out(own, (root,))
    tables = (*((entries,) if entries else ()), *lists, base / BOXES)
    return SourceFiles(
        tables=tuple(path for path in tables if path.is_file()),
        folders=folders,
        missing=tuple(missing),
    )


def read_chestxray14(root: Path, *, faults: Faults, splits: str = "") -> RawDataset:
    """Reads and checks the tables of ChestX-ray14; of images only those with boxes, their size.

    Args:
      root: the folder of the files, or one above it; never written to.
      faults: where rows and images that are left out are counted.
      splits: a csv file ``image_id,split``, whose image_id is an ``Image Index``; images that it
        does not name are left out. Empty: the release's lists.

    Raises:
      InputError: naming file, row and mend.
    """
    if missing := files_of_chestxray14(root, splits=splits).missing:
        raise InputError("; ".join(missing))
    base, entries = _base(root)
    assert entries
    table = Table(
        entries,
        ("Image Index", "Finding Labels", "Patient ID"),
        faults=faults,
        known_only=True,
        ragged=True,
    )
    labels = _read_labels(table)
    ids, patients = table.text("Image Index"), table.text("Patient ID")
    rows = {ids[i]: i for i in np.flatnonzero(table.good).tolist()}
    patient_of = {image_id: patients[i] for image_id, i in rows.items()}
    split = (
        read_split_list(Path(splits).expanduser(), patient_of, faults)
        if splits
        else _read_lists(base, patient_of)
    )
    files = _list_images(base)
    paths: dict[str, Path] = {}
    for image_id in split:
        if file := files.get(os.path.splitext(image_id)[0]):
            paths[image_id] = Path(file)
        else:
            message = f"{base / 'images' / image_id} is missing; fetch it or remove its row"
            faults.add(IMAGES, "no image", message)
    faults.check(IMAGES, len(split), "images")
    if not paths:
        raise InputError(f"no row of {table.name} has an image in {base}")
    boxes, box_notes = read_boxes(base / BOXES, root, set(ids), paths, faults)
    raw = []
    for image_id, path in paths.items():
        i = rows[image_id]
        box, box_label = boxes.get(image_id, (_NO_BOXES, _NO_BOX_LABELS))
        raw.append(
            RawImage(
                image_id=image_id,
                patient_id=patients[i],
                split=split[image_id],
                path=path,
                label=labels[table.text("Finding Labels")[i]],
                gaze=NO_GAZE,
                box=box,
                box_label=box_label,
            )
        )
    return RawDataset(
        label_names=CHESTXRAY14_LABELS,
        reader_ids=(),
        reader_weights=(),
        images=tuple(raw),
        has_masks=False,
        roots=(root,),
        faults=faults,
        notes={
            "fixations_from": None,
            "ignored_columns": [],
            "labels_from": table.name,
            "images_in_no_split": len(rows) - len(split),
        }
        | box_notes,
    )


def _base(root: Path) -> tuple[Path, Path | None]:
    """The folder of the data set and its table of entries; `root` and None where there is none."""
    for name in ENTRIES:
        if (root / name).is_file():
            return root, root / name
    for name in ENTRIES if root.is_dir() else ():
        if folder := find_tree(root, name, title="ChestX-ray14"):
            return folder, folder / name
    return root, None


def _image_folders(base: Path) -> Iterator[Path]:
    if not base.is_dir():
        return
    for folder in list_folder(base):
        if _FOLDER.fullmatch(folder.name) and folder.is_dir() and is_inside(folder, (base,)):
            inner = folder / "images"
            yield inner if inner.is_dir() and is_inside(inner, (base,)) else folder


def _list_images(base: Path) -> dict[str, str]:
    """The image files by name without ending."""
    files: dict[str, str] = {}
    for folder in _image_folders(base):
        with os.scandir(folder) as entries:
            for entry in entries:
                stem, suffix = os.path.splitext(entry.name)
                if suffix.lower() in SUFFIXES and not stem.startswith("."):
                    if stem in files:
                        raise InputError(
                            f"{files[stem]} and {entry.path} are the same image; remove one"
                        )
                    files[stem] = entry.path
    return files


def _read_labels(table: Table) -> dict[str, Float[np.ndarray, "k"]]:
    """What each text of the column ``Finding Labels`` means; strikes out rows without an image."""
    ids, texts = table.text("Image Index"), table.text("Finding Labels")
    patients = table.text("Patient ID")
    first: dict[str, int] = {}
    for i, image_id in enumerate(ids):
        if first.setdefault(image_id, i) != i:
            raise InputError(
                f"{table.where(i)}: Image Index {image_id!r} stands there already in row "
                f"{table.row_numbers[first[image_id]]}; keep one of them"
            )
    table.leave_out(
        np.array([not (a and b) for a, b in zip(ids, patients, strict=True)], bool),
        "no id",
        lambda i: f"Image Index is {ids[i]!r} and Patient ID {patients[i]!r}; both are needed",
    )
    labels: dict[str, Float[np.ndarray, "k"]] = {}
    for i, text in enumerate(texts):
        if text not in labels:
            labels[text] = _label(text, table, i)
    table.leave_out(
        np.array([bool(np.isnan(labels[text][0])) for text in texts], bool),
        "no label",
        lambda i: f"Finding Labels is {texts[i]!r}; {NO_FINDING!r} stands alone, others together",
    )
    table.check()
    return labels


def _label(text: str, table: Table, i: int) -> Float[np.ndarray, "k"]:
    """1 and 0; all NaN where the text says nothing or contradicts itself."""
    names = set(text.split("|")) if text else set()
    for name in names - {NO_FINDING, *CHESTXRAY14_LABELS}:
        raise InputError(
            f"{table.where(i)}: label {name!r} is unknown"
            f"{did_you_mean(name, CHESTXRAY14_LABELS)}; known: {NO_FINDING}, "
            f"{', '.join(CHESTXRAY14_LABELS)}"
        )
    if not names or (NO_FINDING in names and len(names) > 1):
        return np.full(len(CHESTXRAY14_LABELS), np.nan, np.float32)
    return np.array([name in names for name in CHESTXRAY14_LABELS], np.float32)


def _read_lists(base: Path, patient_of: Mapping[str, str]) -> dict[str, str]:
    """The release's split, validation drawn from its train_val_list.txt."""
    listed = [_names(base / name) for name in LISTS]
    both = listed[0] & listed[1]
    if both:
        raise InputError(f"{min(both)} stands in {LISTS[0]} and in {LISTS[1]}; remove one")
    patients = [{patient_of[i] for i in names if i in patient_of} for names in listed]
    if shared := patients[0] & patients[1]:
        raise InputError(
            f"patient {min(shared)!r} has images in {LISTS[0]} and in {LISTS[1]}; a patient "
            "belongs to one split"
        )
    if len(patients[0]) < 2:
        raise InputError(f"{LISTS[0]} has {len(patients[0])} patient(s) of the table; two at least")
    ranked = sorted(patients[0], key=lambda p: hashlib.sha256(p.encode()).digest())
    validation = set(ranked[: max(1, round(VALIDATION_FRACTION * len(ranked)))])
    split = {}
    for image_id, patient in patient_of.items():
        if image_id in listed[1]:
            split[image_id] = "test"
        elif image_id in listed[0]:
            split[image_id] = "validation" if patient in validation else "train"
    return split


def _names(path: Path) -> set[str]:
    try:
        if path.stat().st_size > _LARGEST_LIST:
            raise InputError(f"{path.name} has more than {_LARGEST_LIST} bytes; {FROM}")
        return set(path.read_text(encoding="utf-8-sig").split())
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name} is no text ({error}); {FROM}") from error

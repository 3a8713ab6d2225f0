"""MIMIC-CXR: 377,110 radiographs of 227,835 studies with labels out of their reports.

::

    files/p10/p10000032/s50414267/<dicom_id>.{jpg,dcm}
    mimic-cxr-2.0.0-split.csv[.gz]                     dicom_id, study_id, subject_id, split
    mimic-cxr-2.0.0-{chexpert,negbio}.csv[.gz]         subject_id, study_id, 14 labels
    mimic-cxr-2.0.0-metadata.csv[.gz]                  dicom_id, ViewPosition, ...

All of it is MIMIC-CXR-JPG 2.0.0 or 2.1.0 (https://physionet.org/content/mimic-cxr-jpg/2.1.0/, with
credentials), where the tables lie beside ``files/``; those of 2.1.0 still have 2.0.0 in their
names. The images may instead be the DICOM files of MIMIC-CXR 2.x
(https://physionet.org/content/mimic-cxr/2.1.0/), which come without these tables.
``mimic-cxr-2.1.0-test-set-labeled.csv``, a radiologist's labels of some reports, is not read.

Images are named by ``dicom_id`` and split as the release says (its ``validate`` is validation).
Labels are those of a study (`mimic_labels`): each of its images, front or side, has all
of them.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gazax.config import choose
from gazax.config.datasets import CHEXPERT_LABELS
from gazax.data.raw import IMAGES, NO_GAZE, RawDataset, RawImage
from gazax.data.sources.files import SourceFiles, find_tree, leads_out
from gazax.data.sources.mimic_labels import BLANK, UNCERTAIN, read_labels
from gazax.data.sources.mimic_tree import MimicTree, find_mimic_tree
from gazax.data.sources.tables import Faults, Table
from gazax.typing import InputError

LABELLERS = ("chexpert", "negbio")
SPLITS = {"train": "train", "validate": "validation", "test": "test"}
FROM = "get it from https://physionet.org/content/mimic-cxr-jpg/2.1.0/"
VIEWS = ("AP", "PA", "LATERAL", "LL")
"""Those of nearly all images."""
_UNKNOWN = np.full(len(CHEXPERT_LABELS), np.nan, np.float32)
_NO_BOXES = np.zeros((0, 4))
_NO_BOX_LABELS = np.zeros(0, np.int32)


def files_of_mimic_cxr(
    root: Path,
    *,
    labels: str = "chexpert",
    uncertain: str = "unknown",
    blank: str = "negative",
    views: Sequence[str] = ("AP", "PA"),
    mimic_cxr: str = "",
) -> SourceFiles:
    """The tables and the tree of images; the arguments are those of `read_mimic_cxr`.

    Of the tree the folders of patients count, p10 to p19, whose time of change is that of the last
    patient that came: to walk all 377,110 images would take minutes at the start of every run.
    """
    _check_arguments(labels, uncertain, blank)
    tree, tables, missing = _find(root, labels, views, mimic_cxr)
    folders = sorted(tree.root.iterdir()) if tree else ()
    return SourceFiles(tables=tuple(tables.values()), files=tuple(folders), missing=missing)


def read_mimic_cxr(
    root: Path,
    *,
    faults: Faults,
    labels: str = "chexpert",
    uncertain: str = "unknown",
    blank: str = "negative",
    views: Sequence[str] = ("AP", "PA"),
    mimic_cxr: str = "",
) -> RawDataset:
    """Reads and checks the tables of MIMIC-CXR; of the images only their presence.

    Args:
      root: the folder of the tables, or one above it; never written to.
      faults: where rows and images that are left out are counted.
      labels: which labeller's table, ``chexpert`` or ``negbio``.
      uncertain: what -1 becomes: ``unknown``, the default, which claims nothing (a loss leaves
        it out), ``positive`` or ``negative``.
      blank: what a blank becomes: ``negative``, the default, as in the labellers' own papers: few
        reports name what is absent, and without the blanks most labels have hardly any absent
        case; or ``unknown``, where a study of "No Finding" still has none of the findings, but may
        have a support device.
      views: values of ``ViewPosition`` to keep; () is all. Only the front by default: labels are
        a study's, and not all that a report says is seen from the side.
      mimic_cxr: the folder of the images, where they do not lie below `root`.

    Raises:
      InputError: naming file, row and mend.

    Source: Johnson et al., MIMIC-CXR-JPG, arXiv:1901.07042; the policies are ours.
    """
    _check_arguments(labels, uncertain, blank)
    tree, paths, missing = _find(root, labels, views, mimic_cxr)
    if tree is None or missing:
        raise InputError("; ".join(missing))
    images = _read_split(paths["split"], faults)
    counts: dict[str, Any] = {}
    if views:
        chosen, counts["views"] = _read_views(paths["metadata"], images, views, faults)
    else:
        chosen = images.good.copy()
    subject, study = images.text("subject_id"), images.text("study_id")
    dicom, split = images.text("dicom_id"), images.text("split")
    of_study = read_labels(
        paths[labels], dict(zip(study, subject, strict=True)), uncertain, blank, faults
    )
    rows = np.flatnonzero(chosen & images.good).tolist()
    files = {i: tree.image(subject[i], study[i], dicom[i]) for i in rows}
    images.leave_out(
        np.array([files.get(i, root) is None for i in range(len(images))], bool),
        "no id of MIMIC-CXR",
        lambda i: (
            f"subject_id {subject[i]!r}, study_id {study[i]!r} and dicom_id {dicom[i]!r} name no "
            "image: eight digits, eight digits and five groups of eight hexadecimal digits do"
        ),
    )
    images.check()
    raw, unlabelled = [], 0
    for i, file in files.items():
        if file is None:
            continue
        if not os.path.isfile(file):
            message = f"{file} is missing; fetch it, or remove its row from {images.name}"
            faults.add(IMAGES, "no image", message)
            continue
        label = of_study.get(study[i], _UNKNOWN)
        unlabelled += label is _UNKNOWN
        raw.append(
            RawImage(
                image_id=dicom[i],
                patient_id=subject[i],
                split=SPLITS[split[i]],
                path=file,
                label=label,
                gaze=NO_GAZE,
                box=_NO_BOXES,
                box_label=_NO_BOX_LABELS,
            )
        )
    faults.check(IMAGES, len(rows), "images")
    if not raw:
        raise InputError(
            f"no row of {images.name} has an image in {tree.root} of the views "
            f"{', '.join(views) or '(all)'}"
        )
    return RawDataset(
        label_names=CHEXPERT_LABELS,
        reader_ids=(),
        reader_weights=(),
        images=tuple(raw),
        has_masks=False,
        roots=(root, tree.root),
        faults=faults,
        notes={
            "fixations_from": None,
            "ignored_columns": [],
            "left_out_by_view": int((images.good & ~chosen).sum()),
            "images_of_unlabelled_studies": unlabelled,
        }
        | counts,
    )


def _check_arguments(labels: str, uncertain: str, blank: str) -> None:
    choose("data.source.labels", labels, LABELLERS)
    choose("data.source.uncertain", uncertain, UNCERTAIN)
    choose("data.source.blank", blank, BLANK)


def _find(
    root: Path, labels: str, views: Sequence[str], mimic_cxr: str
) -> tuple[MimicTree | None, dict[str, Path], tuple[str, ...]]:
    """The images, the tables that the arguments need, and a line for what is not there."""
    tree = find_mimic_tree(root, mimic_cxr)
    tables, missing = {}, []
    for kind in ("split", labels, *(("metadata",) if views else ())):
        name = f"mimic-cxr-2.0.0-{kind}.csv"
        if path := _table(name, root, tree):
            tables[kind] = path
        else:
            missing.append(f"{name} (or {name}.gz) is not in {root}; {FROM}")
    roots = (root, *((tree.root, tree.root.parent) if tree else ()))
    missing += leads_out(tables.values(), roots)
    if tree is None:
        missing.append(
            f"no images in {mimic_cxr or root}: files/p10/p.../s.../*.jpg (or .dcm) is expected; "
            f"{FROM}, or give the folder of another copy as mimic_cxr"
        )
    return tree, tables, tuple(missing)


def _table(name: str, root: Path, tree: MimicTree | None) -> Path | None:
    """Where a table lies, plain or compressed: beside the images, else anywhere below `root`."""
    names = (name, f"{name}.gz")
    for folder in (root, tree.root.parent, tree.root) if tree else (root,):
        for name in names:
            if (folder / name).is_file():
                return folder / name
    for name in names if root.is_dir() else ():
        if folder := find_tree(root, name, title="MIMIC-CXR"):
            return folder / name
    return None


def _read_split(path: Path, faults: Faults) -> Table:
    """One row an image, all those of a patient in one split."""
    columns = ("dicom_id", "study_id", "subject_id", "split")
    table = Table(path, columns, faults=faults, known_only=True)
    dicom, _, subject, split = (table.text(column) for column in columns)
    if len(set(dicom)) < len(dicom):
        first: dict[str, int] = {}
        for i, name in enumerate(dicom):
            if first.setdefault(name, i) != i:
                raise InputError(
                    f"{table.where(i)}: dicom_id {name!r} stands there already in row "
                    f"{table.row_numbers[first[name]]}; keep one of them"
                )
    of_patient: dict[str, str] = {}
    for i, name in enumerate(split):
        if name not in SPLITS:
            raise InputError(
                f"{table.where(i)}: split is {name!r}; the release has {', '.join(SPLITS)}"
            )
        if of_patient.setdefault(subject[i], name) != name:
            raise InputError(
                f"{table.where(i)}: subject_id {subject[i]!r} is in {name} here and in "
                f"{of_patient[subject[i]]} above; a patient belongs to one split"
            )
    return table


def _read_views(
    path: Path, images: Table, views: Sequence[str], faults: Faults
) -> tuple[np.ndarray, dict[str, int]]:
    """Which rows of `images` are of the chosen views, and how many there are of each view."""
    table = Table(path, ("dicom_id", "ViewPosition"), faults=faults, known_only=True)
    view = dict(zip(table.text("dicom_id"), table.text("ViewPosition"), strict=True))
    counts: dict[str, int] = {}
    for name in view.values():
        counts[name] = counts.get(name, 0) + 1
    for name in views:  # a subset of the release may lack a view that others have
        choose("data.source.views", name, tuple({*VIEWS, *filter(None, counts)}))
    dicom = images.text("dicom_id")
    images.leave_out(
        np.array([name not in view for name in dicom], bool),
        "no view",
        lambda i: f"dicom_id {dicom[i]!r} has no row in {table.name}; add it, or take views=()",
    )
    images.check()
    chosen = np.array([view.get(name) in views for name in dicom], bool)
    return chosen, {name or "(blank)": counts[name] for name in sorted(counts)}

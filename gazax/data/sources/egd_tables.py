"""Where the parts of EGD-CXR lie, and its tables but those of gaze; see `egd_cxr`."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from gazax.data.raw import IMAGES
from gazax.data.sources.files import find_tree, is_inside
from gazax.data.sources.mimic_labels import decide
from gazax.data.sources.mimic_tree import MimicTree, find_mimic_tree
from gazax.data.sources.tables import Faults, Table
from gazax.typing import InputError

SHEET, BOXES = "master_sheet.csv", "bounding_boxes.csv"
MIMIC_EYE = "spreadsheets/EyeGaze/master_sheet_with_updated_stayId.csv"
DIAGNOSES = ("Normal", "CHF", "pneumonia")
REPORT = "__chx"
"""Ending of CheXpert's labels."""
OUTLINES = {
    "left_lung.png": "left lung",
    "right_lung.png": "right lung",
    "mediastanum.png": "mediastinum",
    "aortic_knob.png": "aortic knob",
}
"""Files and the labels they outline."""


@dataclass(frozen=True)
class Source:
    """Where things lie; `sheet` and `tree` mean nothing while something is missing."""

    sheet: Path
    by_patient: bool
    """The layout is MIMIC-Eye's."""
    tree: MimicTree
    missing: tuple[str, ...]

    def table(self, name: str) -> Path:
        """A table, which lies beside the sheet."""
        return self.sheet.with_name(name)

    def outlines(self, patient_id: str, dicom_id: str) -> dict[str, Path]:
        """The outlines of an image that are there, by label; the ids have been checked."""
        folder = self.sheet.parent
        if self.by_patient:
            folder = self.sheet.parents[2] / f"patient_{patient_id}/EyeGaze"
        folder = folder / "audio_segmentation_transcripts" / dicom_id
        return {
            label: folder / name for name, label in OUTLINES.items() if (folder / name).exists()
        }


def find_sheet(root: Path) -> tuple[Path, bool] | None:
    """The master sheet at or below a folder, and whether it is MIMIC-Eye's; None without one."""
    if (root / SHEET).is_file():
        return root / SHEET, False
    for name, title, by_patient in ((MIMIC_EYE, "MIMIC-Eye", True), (SHEET, "EGD-CXR", False)):
        if folder := find_tree(root, name, title=title):
            return folder / name, by_patient
    return None


def lacks(path: Path, root: Path) -> str:
    """What is wrong with a table's file, in a few words; '' for nothing."""
    if not path.is_file():
        return f"{path} is not there"
    return "" if is_inside(path, (root,)) else f"{path} is a link that leads out of {root}"


def find(root: Path, gaze_table: str, mimic_cxr: str) -> Source:
    """Looks for a release of EGD-CXR or of MIMIC-Eye, and for the images."""
    found = find_sheet(root)
    sheet, by_patient = found or (root / SHEET, False)
    missing = [f"{SHEET} of EGD-CXR (or MIMIC-Eye's {MIMIC_EYE}), at or below {root}"]
    if found:
        paths = (sheet, sheet.with_name(gaze_table), sheet.with_name(BOXES))
        missing = [line for path in paths if (line := lacks(path, root))]
    tree = find_mimic_tree(root, mimic_cxr)
    if tree is None:
        missing.append(
            "the images of MIMIC-CXR or MIMIC-CXR-JPG (files/p10/...), at or below "
            f"{mimic_cxr or root}; mimic_cxr says where else to look"
        )
    return Source(sheet, by_patient, tree or MimicTree(root, ""), tuple(missing))


class Sheet(NamedTuple):
    """The master sheet."""

    table: Table
    paths: tuple[Path | None, ...]
    """Where each row's image should be; None of a row that is struck out."""
    report_names: tuple[str, ...]
    """Columns of CheXpert's labels."""

    @property
    def ignored_columns(self) -> list[str]:
        """Columns that nothing is made of."""
        return [name for name in self.table.other_columns if name not in self.report_names]


def read_sheet(source: Source, faults: Faults) -> Sheet:
    """Reads the master sheet; a row whose path is no image's, or another image's, is struck out.

    Raises:
      InputError: a column is missing, or an image stands there twice.
    """
    required = ("dicom_id", "path", "patient_id", *DIAGNOSES)
    table = Table(source.sheet, required, faults=faults, ragged=source.by_patient)
    ids, cells, patients = (table.text(name) for name in required[:3])
    for name, count in Counter(ids).items():
        if count > 1:
            again = table.where(len(ids) - 1 - ids[::-1].index(name))
            raise InputError(f"{again}: dicom_id {name!r} stands there twice; remove one")
    found = [source.tree.from_table(cell) for cell in cells]
    agree = [
        path is not None and cell.split("/")[-3] == f"p{patient}" and path.stem == dicom_id
        for path, cell, patient, dicom_id in zip(found, cells, patients, ids, strict=True)
    ]
    table.leave_out(
        ~np.array(agree, bool),
        "path",
        lambda i: (
            f"path is {cells[i]!r}; it is files/pNN/p<patient_id>/s<study>/<dicom_id>.dcm, with "
            f"patient_id {patients[i]!r} and dicom_id {ids[i]!r}"
        ),
    )
    paths = tuple(path if good else None for path, good in zip(found, table.good, strict=True))
    names = tuple(name for name in table.columns if name.endswith(REPORT))
    return Sheet(table, paths, names)


def find_images(sheet: Sheet, faults: Faults) -> dict[str, int]:
    """The rows whose image is there, by dicom_id; the others are counted as faults of images."""
    used = {}
    for i, path in enumerate(sheet.paths):
        if path is None:
            continue
        if path.is_file():
            used[sheet.table.text("dicom_id")[i]] = i
        else:
            faults.add(
                IMAGES,
                "no image",
                f"{sheet.table.where(i)}: there is no {path}; download it from MIMIC-CXR, "
                "or remove the row",
            )
    faults.check(IMAGES, len(sheet.table), "images")
    if not used:
        wanted = next((f", such as {path}" for path in sheet.paths if path), "")
        raise InputError(f"no image of {sheet.table.name} is there{wanted}")
    return used


def read_labels(
    sheet: Sheet, rows: Collection[int], *, uncertain: str, blank: str
) -> Float[np.ndarray, "rows k"]:
    """The diagnoses and CheXpert's labels of some rows.

    The policies are those of `mimic_labels`; but a row whose labels are all blank is
    that of a report without labels, and they stay unknown.

    Raises:
      InputError: not exactly one diagnosis is 1 and the others 0, or a label is none of 1, 0, -1
        and blank.
    """
    table, places = sheet.table, list(rows)
    diagnosis = np.stack([table.numbers(name) for name in DIAGNOSES], 1)[places]
    one_hot = np.isin(diagnosis, (0, 1)).all(1) & (diagnosis.sum(1) == 1)
    for n in np.flatnonzero(~one_hot)[:1]:
        cells = ", ".join(f"{name} is {table.text(name)[places[n]]!r}" for name in DIAGNOSES)
        raise InputError(
            f"{table.where(places[n])}: {cells}; of these, one is 1 and the others are 0. Mend the "
            "row or remove it"
        )
    names = sheet.report_names
    codes = [table.numbers(name)[places] for name in names]
    for name, code in zip(names, codes, strict=True):
        for i, value in zip(places, code, strict=True):
            if table.text(name)[i] and value not in (1, 0, -1):
                raise InputError(
                    f"{table.where(i)}: {name} is {table.text(name)[i]!r}; it is 1, 0, -1 "
                    "(uncertain) or empty"
                )
    code = np.stack(codes, 1) if codes else np.zeros((len(places), 0))
    label = decide(code, uncertain, blank, [_spelled(name) for name in names])
    label[np.isnan(code).all(1)] = np.nan
    return np.concatenate([diagnosis, label], 1)


def _spelled(name: str) -> str:
    """``no_finding__chx`` as MIMIC-CXR spells it, No Finding."""
    return name.removesuffix("__chx").replace("_", " ").title()


class Boxes(NamedTuple):
    """Anatomies of all images in one table."""

    image: Int[np.ndarray, "m"]
    """Position of each box's image."""
    box: Float[np.ndarray, "m 4"]
    """xmin, ymin, xmax, ymax, px of the stored image."""
    name: tuple[str, ...]


def read_boxes(
    source: Source, used: Mapping[str, int], left_out: Collection[str], faults: Faults
) -> Boxes:
    """Reads bounding_boxes.csv, whose numbers stand in the order x1, x2, y1, y2.

    Args:
      used: the images, in their order.
      left_out: images that exist and are not used; their boxes go with them.
    """
    columns: Sequence[str] = ("dicom_id", "bbox_name", "x1", "x2", "y1", "y2")
    table = Table(source.table(BOXES), columns, faults=faults, ragged=source.by_patient)
    ids, names = table.text("dicom_id"), table.text("bbox_name")
    place = {image_id: i for i, image_id in enumerate(used)}
    table.leave_out(
        np.array([name not in place and name not in left_out for name in ids], bool),
        "unknown image",
        lambda i: f"no image {ids[i]!r} in the master sheet; remove the row",
    )
    table.leave_out(
        np.array([not name for name in names], bool), "no name", lambda i: "bbox_name is empty"
    )
    x1, x2, y1, y2 = (table.numbers(name) for name in columns[2:])
    finite = np.isfinite(np.stack([x1, x2, y1, y2])).all(0)
    table.leave_out(
        ~(finite & (x2 > x1) & (y2 > y1)),
        "size",
        lambda i: (
            f"x1 {x1[i]:g}, x2 {x2[i]:g}, y1 {y1[i]:g}, y2 {y2[i]:g}: x1 < x2 and y1 < y2 are "
            "expected, in px"
        ),
    )
    table.check()
    image = np.array([place.get(name, -1) for name in ids], np.int64)
    rows = np.flatnonzero(table.good & (image >= 0))
    return Boxes(image[rows], np.stack([x1, y1, x2, y2], 1)[rows], tuple(names[i] for i in rows))

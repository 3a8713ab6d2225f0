"""The list of REFLACX's readings: a row each, in a table a phase."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from gazax.data.sources.files import find_tree
from gazax.data.sources.mimic_tree import MimicTree
from gazax.data.sources.reflacx_labels import read_labels
from gazax.data.sources.tables import Faults, Table
from gazax.typing import InputError

WHERE = "https://physionet.org/content/reflacx-xray-localization/1.0.0/"
METADATA = (
    "id",
    "split",
    "eye_tracking_data_discarded",
    "image",
    "dicom_id",
    "subject_id",
    "image_size_x",
    "image_size_y",
)
"""Columns; the others are labels."""
SPLITS = {"train": "train", "validate": "validation", "test": "test"}
MIMIC_EYE = "spreadsheets/REFLACX/metadata.csv"
_ID = re.compile("P([1-3])[0-9]{2,3}R[0-9]{6}")


@dataclass(frozen=True)
class Tree:
    """Where the tables lie."""

    metadata: tuple[Path, ...]
    main: Path
    """main_data/, or the root of MIMIC-Eye."""
    by_patient: bool

    def reading(self, subject_id: str, reading_id: str) -> Path:
        """The folder of one reading; both ids have been checked."""
        if not self.by_patient:
            return self.main / reading_id
        folder = self.main / f"patient_{subject_id}" / "REFLACX"
        nested = folder / "main_data"
        return (nested if nested.is_dir() else folder) / reading_id


@dataclass(frozen=True)
class Reading:
    """A row of the metadata."""

    where: str
    """File and row, for messages."""
    reading_id: str
    folder: Path
    dicom_id: str
    subject_id: str
    path: Path
    """Where the image is, if it is there."""
    split: str
    size: tuple[float, float]
    """Width and height of the image, px."""
    discarded: bool
    """There is no eye tracking."""
    label: Float[np.ndarray, "k"]


def find_tables(root: Path, phases: Sequence[int]) -> Tree | None:
    """The tables at or below a folder; None where there are none.

    Raises:
      InputError: two data sets are equally near.
    """
    names = [f"metadata_phase_{phase}.csv" for phase in phases]
    if not root.is_dir():
        return None
    if (root / names[0]).exists():
        return Tree(tuple(root / name for name in names), root, by_patient=False)
    if folder := find_tree(root, f"main_data/{names[0]}", title="REFLACX"):
        main = folder / "main_data"
        return Tree(tuple(main / name for name in names), main, by_patient=False)
    folder = find_tree(root, MIMIC_EYE, title="MIMIC-Eye")
    return Tree((folder / MIMIC_EYE,), folder, by_patient=True) if folder else None


def read_metadata(
    tree: Tree,
    mimic: MimicTree,
    phases: Sequence[int],
    label_set: str,
    certainty: float,
    faults: Faults,
) -> tuple[list[Reading], tuple[str, ...]]:
    """The readings in the order of the tables, and the label columns that are not used.

    Raises:
      InputError: an id twice, no readings, too many faulty rows.
    """
    readings: dict[str, Reading] = {}
    ignored: set[str] = set()
    for path in tree.metadata:
        table = Table(path, METADATA, faults=faults)
        label, others = read_labels(table, label_set, certainty)
        ignored.update(others)
        paths = [mimic.from_table(cell) for cell in table.text("image")]
        _check_rows(table, paths)
        table.check()
        text = {name: table.text(name) for name in METADATA}
        size = np.stack([table.numbers(name) for name in METADATA[-2:]], 1)
        for i in np.flatnonzero(table.good).tolist():
            reading_id, found = text["id"][i], paths[i]
            if found is None or int(reading_id[1]) not in phases:
                continue
            if reading_id in readings:
                raise InputError(
                    f"{table.where(i)}: id {reading_id!r} stands there already in "
                    f"{readings[reading_id].where}; keep one of them"
                )
            readings[reading_id] = Reading(
                where=table.where(i),
                reading_id=reading_id,
                folder=tree.reading(text["subject_id"][i], reading_id),
                dicom_id=text["dicom_id"][i],
                subject_id=text["subject_id"][i],
                path=found,
                split=SPLITS[text["split"][i]],
                size=(float(size[i, 0]), float(size[i, 1])),
                discarded=_is_true(text["eye_tracking_data_discarded"][i]),
                label=label[i],
            )
    if not readings:
        named = ", ".join(map(str, phases))
        raise InputError(f"{tree.metadata[0].parent} has no reading of phase {named}")
    return list(readings.values()), tuple(sorted(ignored))


def _check_rows(table: Table, paths: list[Path | None]) -> None:
    """Strikes out rows whose cells are not of REFLACX or contradict one another."""
    ids, subjects, dicoms = (table.text(name) for name in ("id", "subject_id", "dicom_id"))
    size = np.stack([table.numbers(name) for name in METADATA[-2:]], 1)
    discarded = table.text("eye_tracking_data_discarded")
    bad = {
        "id": [_ID.fullmatch(cell) is None for cell in ids],
        "split": [cell not in SPLITS for cell in table.text("split")],
        "eye_tracking_data_discarded": [
            cell.lower() not in ("true", "false") for cell in discarded
        ],
        "image": [path is None for path in paths],
        # the parts of the path have been checked to be those of an image
        "dicom_id": [p is not None and p.stem != d for p, d in zip(paths, dicoms, strict=True)],
        "subject_id": [
            path is not None and image.split("/")[-3] != f"p{subject}"
            for path, subject, image in zip(paths, subjects, table.text("image"), strict=True)
        ],
        "image_size_x": ~(np.isfinite(size[:, 0]) & (size[:, 0] > 0)),
        "image_size_y": ~(np.isfinite(size[:, 1]) & (size[:, 1] > 0)),
    }
    for column, rows in bad.items():
        table.leave_out(
            np.array(rows, bool),
            column,
            lambda i, column=column: (
                f"{column} is {table.text(column)[i][:200]!r}: not what REFLACX has, or at odds "
                f"with the path of the image; restore the row from {WHERE}"
            ),
        )


def _is_true(cell: str) -> bool:
    return cell.lower() == "true"

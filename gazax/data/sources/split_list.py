"""A user's own list of splits, for data sets without one or with one that a paper replaced."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from gazax.data.sources.tables import Faults, Table
from gazax.data.splits import NAMES
from gazax.typing import InputError


def read_split_list(path: Path, patient_of: Mapping[str, str], faults: Faults) -> dict[str, str]:
    """The split of each image that a csv file with the columns ``image_id,split`` names.

    Args:
      path: the file; a split is train, validation (or val) or test.
      patient_of: every image of the data set and its patient.
      faults: where rows of images that the data set does not have are counted.

    Raises:
      InputError: another split, an image twice, a patient in two splits, too many unknown images.
    """
    table = Table(path, ("image_id", "split"), faults=faults, known_only=True)
    ids, cells = table.text("image_id"), table.text("split")
    example = next(iter(patient_of), "")
    table.leave_out(
        np.array([image_id not in patient_of for image_id in ids], bool),
        "unknown image",
        lambda i: f"there is no image {ids[i]!r}; an image_id looks like {example!r}",
    )
    table.check()
    split: dict[str, str] = {}
    of_patient: dict[str, str] = {}
    for i, (image_id, cell) in enumerate(zip(ids, cells, strict=True)):
        if not table.good[i]:
            continue
        name = NAMES.get(cell.lower())
        if name is None:
            raise InputError(
                f"{table.where(i)}: split is {cell!r}; write train, validation or test"
            )
        if image_id in split:
            raise InputError(f"{table.where(i)}: image {image_id!r} stands there twice; keep one")
        patient = patient_of[image_id]
        if of_patient.setdefault(patient, name) != name:
            raise InputError(
                f"{table.where(i)}: patient {patient!r} is in {name} here and in "
                f"{of_patient[patient]} above; a patient belongs to one split"
            )
        split[image_id] = name
    return split

"""The labels of MIMIC-CXR: one row a study, out of its report, by one of two labellers.

A label is 1 (said to be there), 0 (said to be absent), -1 (said with doubt) or blank (not
mentioned). Some studies have no row, since a labeller found no text to work on, and some a row of
blanks. "No Finding" is what a labeller concludes rather than finds: there, a blank is absent.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from gazax.config.datasets import CHEXPERT_LABELS
from gazax.data.sources.tables import Faults, Table
from gazax.typing import InputError

UNCERTAIN = {"unknown": np.nan, "positive": 1.0, "negative": 0.0}
"""What a label of -1 becomes."""
BLANK = ("negative", "unknown")
"""What a blank becomes."""


def read_labels(
    path: Path, subject_of: Mapping[str, str], uncertain: str, blank: str, faults: Faults
) -> dict[str, Float[np.ndarray, "k"]]:
    """The labels of every study, by ``study_id``; one without a usable row is not there.

    Args:
      path: the table of a labeller.
      subject_of: the studies that have images, and their patients.
      uncertain: a key of `UNCERTAIN`.
      blank: one of `BLANK`.
      faults: where rows that are left out are counted.

    Raises:
      InputError: two rows of a study disagree, or too many rows are faulty.
    """
    ids = ("subject_id", "study_id")
    table = Table(path, (*ids, *CHEXPERT_LABELS), faults=faults, known_only=True)
    subject, study = (table.text(column) for column in ids)
    code = np.stack([_codes(table.text(name)) for name in CHEXPERT_LABELS], 1)
    table.leave_out(
        np.isin(np.arange(len(code)), np.flatnonzero(np.isinf(code)) // code.shape[1]),
        "no label",
        lambda i: (
            f"{CHEXPERT_LABELS[int(np.isinf(code[i]).argmax())]!r} is none of 1, 0, -1 and blank"
        ),
    )
    # a study belongs to one patient: another subject_id is a slip of one of the tables
    table.leave_out(
        np.array([subject_of.get(s, p) != p for s, p in zip(study, subject, strict=True)], bool),
        "another patient",
        lambda i: (
            f"study {study[i]!r} is of subject_id {subject[i]!r} here and of "
            f"{subject_of[study[i]]!r} in the table of splits; mend one"
        ),
    )
    table.check()
    label = decide(code, uncertain, blank)
    row: dict[str, int] = {}
    for i in np.flatnonzero(table.good).tolist():
        first = row.setdefault(study[i], i)
        if first != i and not np.array_equal(code[first], code[i], equal_nan=True):
            raise InputError(
                f"{table.where(i)}: study {study[i]!r} has other labels than in row "
                f"{table.row_numbers[first]}; keep one of the rows"
            )
    return {name: label[i] for name, i in row.items() if name in subject_of}


def _codes(cells: Sequence[str]) -> Float[np.ndarray, "rows"]:
    """1, 0, -1, NaN for a blank and inf for anything else."""
    known = {cell: _code(cell) for cell in set(cells)}
    return np.array([known[cell] for cell in cells], np.float32)


def _code(cell: str) -> float:
    if cell.lower() in ("", "nan"):
        return np.nan
    try:
        return float(cell) if float(cell) in (1, 0, -1) else np.inf
    except ValueError:
        return np.inf


def decide(
    code: Float[np.ndarray, "rows k"],
    uncertain: str,
    blank: str,
    names: Sequence[str] = CHEXPERT_LABELS,
) -> Float[np.ndarray, "rows k"]:
    """Labels of 1, 0 and NaN by the policies for -1 and blank.

    Args:
      code: 1, 0, -1, NaN for a blank.
      uncertain: a key of `UNCERTAIN`.
      blank: ``negative``; or ``unknown``, but for the findings of a row whose "No Finding" is 1
        and for a "No Finding" that is blank, which are absent all the same.
      names: of the columns, as `CHEXPERT_LABELS` has them.
    """
    blanks = np.isnan(code)
    label = np.where(code == -1, UNCERTAIN[uncertain], code).astype(np.float32)
    if blank == "negative":
        label[blanks] = 0
        return label
    conclusion = np.array([name == "No Finding" for name in names], bool)
    finding = np.array([name not in ("No Finding", "Support Devices") for name in names], bool)
    normal = (code[:, conclusion] == 1).any(axis=1, keepdims=True)
    label[blanks & (conclusion | (normal & finding))] = 0
    return label

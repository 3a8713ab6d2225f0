"""The labels of REFLACX: the two forms that readers filled in, and one set that both lead to.

Phase 1 asked for other findings than phases 2 and 3. A finding is answered by a certainty, 0 (not
there) to 5 (more than 90 % sure), or by True and False where no place was asked for.

Source: columns of metadata_phase_*.csv as the authors' dataset builder writes them
(github.com/ricbl/eyetracking, create_main_table.py); the common labels, which are close to those of
CheXpert, and what leads to them are those of the authors' later work
(github.com/ricbl/eye-tracking-localization, src/list_labels.py).
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from gazax.config.datasets import REFLACX_LABELS
from gazax.data.sources.tables import Table

PHASE_1 = (
    "Airway wall thickening",
    "Atelectasis",
    "Consolidation",
    "Emphysema",
    "Enlarged cardiac silhouette",
    "Fibrosis",
    "Fracture",
    "Groundglass opacity",
    "Mass",
    "Nodule",
    "Pleural effusion",
    "Pleural thickening",
    "Pneumothorax",
    "Pulmonary edema",
    "Quality issue",
    "Support devices",
    "Wide mediastinum",
)
"""Columns of phase 1 but its free text ('Other')."""

_OPACITY = (
    "Atelectasis",
    "Consolidation",
    "Fibrosis",
    "Groundglass opacity",
    "Interstitial lung disease",
    "Lung nodule or mass",
    "Mass",
    "Nodule",
    "Pulmonary edema",
)
LABEL_SETS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "phase_1": {name: (name,) for name in PHASE_1},
    "phases_2_3": {name: (name,) for name in REFLACX_LABELS},
    "merged": {
        "Edema": ("Pulmonary edema",),
        "Opacity": _OPACITY,
        "Pneumothorax": ("Pneumothorax",),
        "Pleural abnormality": ("Pleural abnormality", "Pleural effusion", "Pleural thickening"),
        "Lung Lesion": ("Lung nodule or mass", "Mass", "Nodule"),
        "Atelectasis": ("Atelectasis",),
        "Consolidation": ("Consolidation",),
        "Fracture": ("Acute fracture", "Fracture"),
        "Cardiomegaly": ("Enlarged cardiac silhouette",),
        "Abnormal Mediastinum Contour": ("Abnormal mediastinal contour", "Wide mediastinum"),
    },
}
"""Names of each set, and the columns of either form that lead to them; any of them is enough."""


def read_labels(
    table: Table, label_set: str, certainty: float
) -> tuple[Float[np.ndarray, "rows k"], tuple[str, ...]]:
    """1, 0 or NaN of every label of a set; rows with any other answer are struck out.

    The case of letters in the header does not count: it differs between the tables. A label that
    several columns lead to has the largest of their answers.

    Args:
      table: its `other_columns` are looked at.
      label_set: a key of `LABEL_SETS`.
      certainty: the least one that counts as present.

    Returns:
      The answers, and the columns that do not belong to the set.
    """
    columns = {name: name.casefold() for name in table.other_columns if name}
    label = np.full((len(table), len(LABEL_SETS[label_set])), np.nan)
    used: set[str] = set()
    for k, sources in enumerate(LABEL_SETS[label_set].values()):
        wanted = {source.casefold() for source in sources}
        for name in (name for name, folded in columns.items() if folded in wanted):
            label[:, k] = np.fmax(label[:, k], _answers(table, name, certainty))
            used.add(name)
    return label, tuple(name for name in columns if name not in used)


def _answers(table: Table, column: str, certainty: float) -> Float[np.ndarray, "rows"]:
    cells = table.text(column)
    known = {cell: answer(cell, certainty) for cell in set(cells)}
    table.leave_out(
        np.array([known[cell] is None for cell in cells], bool),
        "label",
        lambda i: (
            f"{column!r} is {cells[i][:200]!r}; it is a certainty 0 to 5, True, False or empty"
        ),
    )
    return np.array([known[cell] for cell in cells], np.float64)


def answer(cell: str, certainty: float) -> float | None:
    """1 present, 0 absent, NaN not answered, of one cell; None for what is no answer.

    Args:
      cell: True, False, or a certainty 0 to 5; empty where the form did not ask.
      certainty: the least one that counts as present.
    """
    text = cell.lower()
    if text in ("", "nan"):
        return np.nan
    if text in ("true", "false"):
        return float(text == "true")
    try:
        value = float(text)
    except ValueError:
        return None
    return float(value >= certainty) if 0 <= value <= 5 else None

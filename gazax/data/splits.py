"""Which part of the data a patient belongs to: all images of one patient, to one split."""

import hashlib
from collections.abc import Collection

from gazax.typing import InputError

SPLITS = ("train", "validation", "test")
NAMES = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
"""What a `split` cell may say, and the split it means."""

VALIDATION_FRACTION = 0.1
TEST_FRACTION = 0.2


def draw_splits(patients: Collection[str], table: str = "") -> dict[str, str]:
    """Draws a split for every patient: .7 train, .1 validation, .2 test, none of them empty.

    Patients are ranked by the SHA-256 of their id and the ranking is cut; the draw depends on
    nothing but the set of ids. Ranking rather than thresholding the hash keeps the fractions (and
    no split empty) in small folders; the price is that a patient added later can move another one
    that stands next to a cut.

    Args:
      patients: ids; order and repetition do not matter.
      table: where they stand, for the message.

    Returns:
      Split by patient id.

    Raises:
      InputError: fewer than three patients.

    Source: ours.
    """
    ranked = sorted(set(patients), key=lambda p: hashlib.sha256(p.encode()).digest())
    if len(ranked) < len(SPLITS):
        raise InputError(
            f"{table and f'{table}: '}there are {len(ranked)} patient(s), and train, validation "
            "and test each need one: add patients, or say yourself where each image goes (a gaze "
            "folder: in a column 'split' of labels.csv)"
        )
    validation = max(1, round(VALIDATION_FRACTION * len(ranked)))
    test = max(1, round(TEST_FRACTION * len(ranked)))
    train = len(ranked) - validation - test
    names = ["train"] * train + ["validation"] * validation + ["test"] * test
    return dict(zip(ranked, names, strict=True))

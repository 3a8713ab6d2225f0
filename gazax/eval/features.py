"""Frozen features of the splits of a data set, with labels and patients: what is measured here."""

import dataclasses

import numpy as np

from gazax.typing import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Examples:
    """One split; every array has its images in the same order.

    Attributes:
      features: [n, d], finite.
      label: [n, k] 1, 0 or NaN (unknown); k can be 0.
      patient: [n] any type that sorts.
    """

    features: np.ndarray
    label: np.ndarray
    patient: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Features:
    """What one encoder makes of a data set.

    Attributes:
      train, validation, test: the splits; validation can be empty.
      exclusive: whether an image has one label and no more. Its class is then known where the whole
        row is: other rows become NaN here.
      label_names: of the k columns.

    Raises:
      InputError: shapes do not match, a feature is not finite, training or test is empty, there is
        no feature, or a row of exclusive labels is not one-hot.
    """

    train: Examples
    validation: Examples
    test: Examples
    exclusive: bool
    label_names: tuple[str, ...]

    def __post_init__(self) -> None:
        """Checks the splits and hides labels that are known in part."""
        width = self.train.features.shape[-1]
        if not width:
            raise InputError("the features have no column; there is nothing to measure")
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        for name, examples in splits.items():
            num = len(examples.features)
            if not num and name != "validation":
                raise InputError(f"the {name} split has no image; there is nothing to measure")
            wanted = ((num, width), (num, len(self.label_names)), (num,))
            found = (examples.features.shape, examples.label.shape, examples.patient.shape)
            if found != wanted:
                raise InputError(
                    f"features, labels and patients of the {name} split are {found}; "
                    f"with {len(self.label_names)} labels they should be {wanted}"
                )
            bad = np.argwhere(~np.isfinite(examples.features))
            if bad.size:
                raise InputError(
                    f"feature {bad[0][1]} of row {bad[0][0]} of the {name} split is not finite "
                    f"({len(np.unique(bad[:, 0]))} such images): the weights have diverged"
                )
            if self.exclusive:
                label = one_hot_or_unknown(examples.label, where=f"{name} split")
                object.__setattr__(self, name, dataclasses.replace(examples, label=label))


def exclude_each_other(*labels: np.ndarray) -> bool:
    """Whether labels are the classes of one question, by how they are: one an image and no more.

    There are two columns or more, and every row that is known is one-hot. A row that is known in
    part is a row of separate labels.

    Args:
      labels: [n, k] 1, 0 or NaN, of each split there is; n can be 0. One known row is needed.
    """
    rows = np.concatenate(labels)
    rows = rows[~np.isnan(rows).all(axis=1)] if rows.shape[1] > 1 else rows[:0]
    one_hot = np.isin(rows, (0, 1)).all(axis=1) & (rows.sum(axis=1) == 1)
    return bool(len(rows) and one_hot.all())


def one_hot_or_unknown(label: np.ndarray, *, where: str) -> np.ndarray:
    """[n, k] labels of classes that exclude each other: rows known in part become NaN.

    Args:
      label: [n, k] 1, 0 or NaN.
      where: what the message calls them.

    Raises:
      InputError: a row that is known is not one-hot.
    """
    known = np.logical_not(np.isnan(label).any(axis=1))
    wrong = np.flatnonzero(known & (label.sum(axis=1) != 1))
    if wrong.size:
        raise InputError(
            f"row {wrong[0]} of the labels of the {where} is {label[wrong[0]]}, not one-hot "
            f"({wrong.size} such rows); labels that do not exclude each other are not exclusive"
        )
    return np.where(known[:, None], label, np.nan)

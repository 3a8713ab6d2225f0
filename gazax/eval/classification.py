"""Everything there is to say of probabilities of labels, with intervals."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Real, Shaped

from gazax.eval.report import Numbers, block
from gazax.metrics.calibration import calibration_gaps
from gazax.metrics.classification import (
    ResampledRocAuc,
    f1_thresholds,
    known_rows,
    means_of_defined,
)
from gazax.metrics.curves import ResampledAveragePrecision, specificity_thresholds
from gazax.metrics.hierarchical import hierarchical_statistic
from gazax.metrics.statistics import Interval, Resamples
from gazax.typing import InputError

COLUMNS = {
    "accuracy": "accuracy",
    "f1_macro": "macro F1",
    "auc_macro": "macro AUC",
    "auc_micro": "micro AUC",
    "ap_macro": "macro AP",
    "sensitivity_at_95": "sens. at 95 % spec.",
    "ece": "calibration error",
}
"""What a table calls them."""


def measure(
    scores: Float[np.ndarray, "d n k"],
    labels: Real[np.ndarray, "n k"],
    *,
    validation_scores: Float[np.ndarray, "_ m k"],
    validation_labels: Real[np.ndarray, "m k"],
    patients: Shaped[np.ndarray, "n"],
    exclusive: bool,
    seed: int,
    num_samples: int = 1000,
) -> dict[str, Interval]:
    """The columns of `COLUMNS`, each with its interval over draws and patients.

    Args:
      scores: probabilities, one set a draw of the training images; d is 1 where there are no draws.
      labels: 1, 0 or NaN; one-hot or NaN in the whole row where exclusive.
      validation_scores: thresholds are chosen on these, for each draw by itself; m can be 0.
      validation_labels: as labels.
      patients: who are drawn whole.
      exclusive: whether labels exclude each other.
      seed: of the bootstrap: the same patients are drawn for whatever is measured with it.
      num_samples: of the bootstrap.

    Returns:
      column -> (estimate, low, high): the mean over draws of what `statistics` says; accuracy where
      labels exclude each other only. All three are NaN where no draw has a value, the last two
      where there are fewer than two patients.

    Raises:
      InputError: shapes do not match, or what a metric refuses.
    """
    num_draws = len(scores)
    if np.shape(patients) != (len(labels),):
        raise InputError(f"{len(labels)} rows of labels, but patients of {np.shape(patients)}")
    if not num_draws or len(validation_scores) != num_draws:
        raise InputError(
            f"scores are of {num_draws} draws and those of validation of {len(validation_scores)}; "
            "give the same number, 1 or more"
        )
    of_draws = [
        statistics(
            scores[draw],
            labels,
            validation_scores=validation_scores[draw],
            validation_labels=validation_labels,
            exclusive=exclusive,
        )
        for draw in range(num_draws)
    ]
    numbers = {}
    for column in of_draws[0]:
        of_column = [of_draw[column] for of_draw in of_draws]
        numbers[column] = hierarchical_statistic(
            lambda _, draw, times, of_column=of_column: of_column[draw](times),
            (1, num_draws),
            patients,
            num_samples=num_samples,
            seed=seed,
        ).interval
    return numbers


def statistics(
    scores: Float[np.ndarray, "n k"],
    labels: Real[np.ndarray, "n k"],
    *,
    validation_scores: Float[np.ndarray, "m k"],
    validation_labels: Real[np.ndarray, "m k"],
    exclusive: bool,
) -> dict[str, Resamples]:
    """The columns of one set of scores, as functions of how often each row is there.

    - accuracy: of the most probable class; where labels exclude each other.
    - f1_macro: the most probable class is called where labels exclude each other; otherwise a label
      is called from the threshold on that gives the highest F1 on validation, .5 for a label that
      nothing in validation has.
    - auc_macro, auc_micro, ap_macro: as `roc_auc` and `average_precision` have them.
    - sensitivity_at_95: macro, at the threshold of 95 % specificity on validation; a label that
      validation does not know to be absent from any image is left out.
    - ece: `expected_calibration_error`.

    Labels that have one value only in all of `labels` are left out of macro means (`left_out` names
    them); in a draw of rows, also those that have one value there and need two.

    Args:
      scores, labels, validation_scores, validation_labels, exclusive: as in `measure`, of one draw.

    Raises:
      InputError: what a metric refuses, such as scores that are no probabilities.
    """
    roc = ResampledRocAuc(scores, labels)
    precision = ResampledAveragePrecision(scores, labels)
    cuts = specificity_thresholds(validation_scores, validation_labels, specificity=0.95)
    if exclusive:
        called = np.eye(labels.shape[1], dtype=bool)[scores.argmax(axis=1)]
    else:
        from_ = f1_thresholds(validation_scores, validation_labels)
        called = scores >= np.where(np.isnan(from_), 0.5, from_)
    known, present, varied = ~np.isnan(labels), labels == 1, _varied(labels)
    found: dict[str, Resamples] = {
        "f1_macro": _macro_share(
            2.0 * (called & present), 1.0 * (called & known) + present, present & varied
        ),
        "auc_macro": roc.macro,
        "auc_micro": roc.micro,
        "ap_macro": precision.macro,
        "sensitivity_at_95": _macro_share(
            (scores >= cuts) & present, present, present & varied & ~np.isnan(cuts)
        ),
        "ece": _calibration_error(scores, labels, exclusive=exclusive),
    }
    if not exclusive:
        return found
    right = correct(scores[None], labels)[0][:, None]
    return {"accuracy": _macro_share(right == 1, ~np.isnan(right), ~np.isnan(right)), **found}


def correct(
    scores: Float[np.ndarray, "d n k"], labels: Real[np.ndarray, "n k"]
) -> Float[np.ndarray, "d n"]:
    """1 where the most probable class is the right one, 0 where it is not, NaN unknown.

    Args:
      scores: larger is more probable.
      labels: one-hot, or NaN in the whole row.

    Raises:
      InputError: a row of labels is neither.
    """
    known = known_rows(labels)
    right = scores.argmax(axis=2) == np.where(known, np.nan_to_num(labels).argmax(axis=1), -1)
    return np.where(known, right, np.nan)


def table(numbers: Numbers, *, rows: dict[str, str]) -> list[str]:
    """Lines of a table of `measure`'s numbers, called ``row/column``, in blocks of three columns.

    Args:
      numbers: of all rows.
      rows: name -> what the table calls it.
    """
    names = list(COLUMNS)
    return [
        line
        for start in range(0, len(names), 3)
        for line in block(
            numbers, rows=rows, columns={name: COLUMNS[name] for name in names[start : start + 3]}
        )
    ]


def left_out(labels: Real[np.ndarray, "n k"], label_names: Sequence[str]) -> list[str]:
    """Lines of a table that name the labels of one value only, which macro means leave out.

    Args:
      labels: of the test split.
      label_names: of the columns.
    """
    lines = []
    for name, column, varied in zip(label_names, labels.T, _varied(labels), strict=True):
        if not varied:
            values = np.unique(column[~np.isnan(column)])
            has = f"it is {values[0]:g} wherever it is known" if values.size else "unknown"
            lines.append(f"{name}: left out of macro means ({has} in the test split)")
    return lines


def _macro_share(parts: np.ndarray, wholes: np.ndarray, needed: np.ndarray) -> Resamples:
    """Mean over labels of sum(parts) / sum(wholes), [n, k] each, where any of `needed` is drawn.

    `accuracy`, `f1` and `sensitivity_at_specificity` say the same, but check and compare at every
    draw.
    """
    num_labels = parts.shape[1]
    counted = np.concatenate([parts, wholes, needed], axis=1).astype(np.float64)

    def share(times: np.ndarray) -> np.ndarray:
        part, whole, some = np.moveaxis((times @ counted).reshape(-1, 3, num_labels), 1, 0)
        shares = np.divide(part, whole, out=np.full(part.shape, np.nan), where=some > 0)
        return means_of_defined(shares)

    return share


def _calibration_error(scores: np.ndarray, labels: np.ndarray, *, exclusive: bool) -> Resamples:
    """`expected_calibration_error`."""
    gaps, counts = calibration_gaps(scores, labels, exclusive=exclusive)

    def error(times: np.ndarray) -> np.ndarray:
        known = times @ counts
        total = np.abs(times @ gaps).sum(axis=1)
        return np.divide(total, known, out=np.full(len(times), np.nan), where=known > 0)

    return error


def _varied(labels: np.ndarray) -> np.ndarray:
    """[k]: whether a label has both values."""
    return (labels == 0).any(axis=0) & (labels == 1).any(axis=0)

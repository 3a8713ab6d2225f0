"""Whether probabilities are what they say. Labels are 1 present, 0 absent, NaN unknown."""

import numpy as np
from jaxtyping import Float, Int, Real

from gazax.metrics.classification import check_scores, known_rows
from gazax.typing import InputError

_ROUNDING = 0.01  # of the sum of a row of probabilities: bfloat16 has three digits


def expected_calibration_error(
    probabilities: Real[np.ndarray, "n k"],
    labels: Real[np.ndarray, "n k"],
    *,
    num_bins: int = 15,
    exclusive: bool,
) -> float:
    """How far probabilities are from the frequencies of what they predict, on average.

    sum over bins of (entries in the bin / entries) |mean probability - frequency|

    The bins are ((i - 1) / num_bins, i / num_bins], and 0 lies in the first.

    Args:
      probabilities: in [0, 1].
      labels: 1, 0 or NaN (left out, one by one); one-hot or NaN in the whole row where exclusive.
      num_bins: of equal width.
      exclusive: the classes exclude each other, and an entry is the most probable class of a row
        (the first of equal ones), its frequency how often it is right. Otherwise every known entry
        of every class counts by itself, its frequency how often the label is 1.

    Returns:
      In [0, 1]; 0 is perfect. NaN if nothing is known. Of few data it lies above the error that
      many data would give, by chance alone; that of bootstrap samples even more so.

    Raises:
      InputError: shapes differ, a probability is not in [0, 1], a label is not 1, 0 or NaN,
        num_bins is below 1; or, where exclusive, a row of labels is neither one-hot nor unknown,
        or a row of probabilities does not sum to 1.

    Source: Naeini et al. 2015, AAAI, "Obtaining well calibrated probabilities using Bayesian
    binning"; of the most probable class: Guo et al. 2017, arXiv:1706.04599, §2.
    """
    probabilities, labels = check_scores(probabilities, labels)
    gaps, counts = calibration_gaps(probabilities, labels, num_bins=num_bins, exclusive=exclusive)
    known = counts.sum()
    return float(np.abs(gaps.sum(axis=0)).sum() / known) if known else np.nan


def calibration_gaps(
    probabilities: Real[np.ndarray, "n k"],
    labels: Real[np.ndarray, "n k"],
    *,
    num_bins: int = 15,
    exclusive: bool,
) -> tuple[Float[np.ndarray, "n bins"], Int[np.ndarray, "n"]]:
    """What `expected_calibration_error` adds up, row by row, for rows that are drawn again.

    Args:
      probabilities, labels, num_bins, exclusive: as there.

    Returns:
      The sum of probability - label over a row's entries in each bin, and how many entries the row
      has: the error of rows drawn t times each is sum over bins |t gaps| / (t counts).

    Raises:
      InputError: as there.
    """
    probabilities, labels = check_scores(probabilities, labels)
    if num_bins < 1:
        raise InputError(f"num_bins is {num_bins}; give 1 or more")
    bad = np.argwhere((probabilities < 0) | (probabilities > 1 + 1e-6))  # float32 rounds above 1
    if bad.size:
        row, column = bad[0]
        raise InputError(
            f"the probability of row {row}, class {column} is {probabilities[row, column]:g}; "
            "give numbers from 0 to 1, not logits"
        )
    if exclusive:
        known = known_rows(labels)
        wrong = np.flatnonzero(known & (np.abs(probabilities.sum(axis=1) - 1) > _ROUNDING))
        if wrong.size:
            raise InputError(
                f"the probabilities of known row {np.count_nonzero(known[: wrong[0]])} sum to "
                f"{probabilities[wrong[0]].sum():g}; those of exclusive classes sum to 1"
            )
        rows = np.flatnonzero(known)
        columns = probabilities[rows].argmax(axis=1)
    else:
        rows, columns = np.nonzero(~np.isnan(labels))
    said, true = probabilities[rows, columns], labels[rows, columns]
    bins = np.digitize(said, np.linspace(0, 1, num_bins + 1)[1:-1], right=True)
    place, size = rows * num_bins + bins, len(labels) * num_bins
    gaps = np.bincount(place, weights=said - true, minlength=size)
    gaps = gaps.astype(np.float64)  # numpy counts nothing in integers
    return gaps.reshape(len(labels), num_bins), np.bincount(rows, minlength=len(labels))

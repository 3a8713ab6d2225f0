"""What can be reached at each threshold. Labels are 1 present, 0 absent, NaN unknown (left out).

A threshold takes in every entry of its score: entries of equal scores come into a curve together,
never in the order in which they happen to lie.
"""

import math
from typing import TypedDict

import numpy as np
import sklearn.metrics
from jaxtyping import Float, Real

from gazax.metrics.classification import Resampled, check_scores, mean_of_defined
from gazax.typing import InputError

Curve = tuple[Float[np.ndarray, "p"], Float[np.ndarray, "p"]]
"""(x, y) of its points."""


class AveragePrecision(TypedDict):
    """Areas under the precision-recall curve, in [0, 1]; NaN where there is none."""

    per_class: Float[np.ndarray, "k"]
    macro: float
    micro: float


class Sensitivity(TypedDict):
    """Shares of the present ones that are found, in [0, 1]; NaN where there is none."""

    per_class: Float[np.ndarray, "k"]
    macro: float


def roc_curve(scores: Real[np.ndarray, "n"], labels: Real[np.ndarray, "n"]) -> Curve:
    """The receiver operating characteristic of one class.

    Args:
      scores: any scale; larger means present.
      labels: 1, 0 or NaN.

    Returns:
      (fpr, tpr), the false and the true positive rate, from (0, 0) to (1, 1), to be joined by
      straight lines; points in the middle of a line are left out. The area below is `roc_auc`'s.
      One point, (NaN, NaN), if the known labels are all alike or there are none.

    Raises:
      InputError: shapes differ, a score is not finite, or a label is not 1, 0 or NaN.

    Source: scikit-learn's `roc_curve`.
    """
    scores, labels = _known(scores, labels)
    if _alike(labels):
        return np.array([np.nan]), np.array([np.nan])
    fpr, tpr, _ = sklearn.metrics.roc_curve(labels, scores)
    return fpr, tpr


def precision_recall_curve(scores: Real[np.ndarray, "n"], labels: Real[np.ndarray, "n"]) -> Curve:
    """Precision against recall of one class.

    Args:
      scores: any scale; larger means present.
      labels: 1, 0 or NaN.

    Returns:
      (recall, precision), from (0, 1), where nothing is called, to recall 1, where the precision
      is the share of present ones if everything is called. To be drawn as steps: a point's
      precision holds from the recall before it to its own, and the area below is
      `average_precision`. A straight line between two points runs too high. One point, (NaN, NaN),
      if the known labels are all alike or there are none.

    Raises:
      InputError: as `roc_curve`.

    Source: scikit-learn's `precision_recall_curve`, the other way round; why not to join the
    points by lines: Davis and Goadrich 2006, doi:10.1145/1143844.1143874.
    """
    scores, labels = _known(scores, labels)
    if _alike(labels):
        return np.array([np.nan]), np.array([np.nan])
    precision, recall, _ = sklearn.metrics.precision_recall_curve(labels, scores)
    return recall[::-1].copy(), precision[::-1].copy()


def average_precision(
    scores: Real[np.ndarray, "n k"], labels: Real[np.ndarray, "n k"]
) -> AveragePrecision:
    """Mean precision over the recall, of each class, their mean, and of all entries together.

    sum_i (recall_i - recall_(i-1)) precision_i, over the distinct scores from high to low

    Args:
      scores: any scale; larger means present. Their order counts, within a class for `per_class`
        and `macro`, over all classes for `micro`.
      labels: 1, 0 or NaN.

    Returns:
      per_class: NaN for a class whose known labels are all 1, all 0, or none. Chance, and the
        value if all scores are equal, is the share of present ones.
      macro: mean of the classes that have a value; NaN if none has.
      micro: of all known entries as if they were one class; NaN if they are all alike.

    Raises:
      InputError: shapes differ, a score is not finite, or a label is not 1, 0 or NaN.

    Numerics: scikit-learn's `average_precision_score` gives the same, but 0 for a class that
    nothing has and 1 for one that everything has.
    Source: the usual definition, without interpolation.
    """
    scores, labels = check_scores(scores, labels)
    resampled = ResampledAveragePrecision(scores, labels)
    once = np.ones((1, len(scores)), np.int64)
    return AveragePrecision(
        per_class=np.array([resampled.of_class(k, once)[0] for k in range(scores.shape[1])]),
        macro=float(resampled.macro(once)[0]),
        micro=float(resampled.micro(once)[0]),
    )


class ResampledAveragePrecision(Resampled):
    """`average_precision` of drawn rows.

    The scores are sorted once, so that a draw costs the counting of its rows.

    Args:
      scores, labels: of all rows, as `average_precision` takes them.

    Raises:
      InputError: as `average_precision`.
    """

    def __init__(self, scores: Real[np.ndarray, "n k"], labels: Real[np.ndarray, "n k"]) -> None:
        super().__init__(scores, labels, _Descending)


class _Descending:
    """Entries from the highest score to the lowest, and where each run of equal scores ends."""

    def __init__(self, scores: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> None:
        known = ~np.isnan(labels)
        scores, labels, rows = scores[known], labels[known], rows[known]
        order = np.argsort(-scores, kind="stable")
        scores = scores[order]
        self._rows = rows[order]
        self._present = (labels[order] == 1).astype(np.int64)
        self._ends = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)[: scores.size])

    def __call__(self, times: np.ndarray) -> np.ndarray:
        """Average precisions, where row r is there times[i, r] times."""
        nothing = np.full(len(times), np.nan)
        if not self._ends.size:
            return nothing
        times = np.take(times, self._rows, axis=1)
        found = np.take(np.cumsum(times * self._present, axis=1), self._ends, axis=1)
        called = np.take(np.cumsum(times, axis=1), self._ends, axis=1)
        present = found[:, -1]
        more = np.diff(found, axis=1, prepend=0)
        # Above the highest score that was drawn nothing is called, and nothing more is found.
        total = (more * found / np.maximum(called, 1)).sum(axis=1)
        varied = (present > 0) & (present < called[:, -1])
        return np.divide(total, present, out=nothing, where=varied)


def specificity_thresholds(
    scores: Real[np.ndarray, "n k"],
    labels: Real[np.ndarray, "n k"],
    *,
    specificity: float = 0.95,
) -> Float[np.ndarray, "k"]:
    """The lowest threshold of each class at which enough of the absent ones are not called.

    To be chosen on validation and used on test: chosen on the data that it is used on, the
    sensitivity is too high.

    Args:
      scores: any scale; larger means present, and a class is called where score >= threshold.
      labels: 1, 0 or NaN.
      specificity: the least share of absent ones that lie below the threshold, in (0, 1].

    Returns:
      The next float64 above the score of an absent one; NaN for a class of which no known label
      is 0.

    Raises:
      InputError: shapes differ, a score is not finite, a label is not 1, 0 or NaN, or the
        specificity is out of range.

    Source: the usual definition; the choice between the equally good thresholds is ours.
    """
    scores, labels = check_scores(scores, labels)
    if not 0 < specificity <= 1:
        raise InputError(f"specificity is {specificity}; give a number above 0, up to 1")
    thresholds = np.full(labels.shape[1], np.nan)
    for k, (score, label) in enumerate(zip(scores.T, labels.T, strict=True)):
        absent = np.sort(score[label == 0])
        if absent.size:
            below = math.ceil(specificity * absent.size - 1e-9)  # .55 * 100 is above 55
            thresholds[k] = np.nextafter(absent[below - 1], np.inf)
    return thresholds


def sensitivity_at_specificity(
    scores: Real[np.ndarray, "n k"],
    labels: Real[np.ndarray, "n k"],
    *,
    thresholds: Real[np.ndarray, "k"],
) -> Sensitivity:
    """Share of the present ones of each class that are called, and the mean of the classes.

    TP / (TP + FN), called = score >= threshold

    Args:
      scores: any scale.
      labels: 1, 0 or NaN.
      thresholds: one a class, from other data than these (`specificity_thresholds` on validation);
        the specificity on these data is therefore near the wanted one and not equal to it.

    Returns:
      per_class: NaN for a class of which no known label is 1, or whose threshold is NaN.
      macro: mean of the classes that have a value; NaN if none has.

    Raises:
      InputError: shapes differ, a score is not finite, or a label is not 1, 0 or NaN.

    Source: the usual definition.
    """
    scores, labels = check_scores(scores, labels)
    thresholds = np.asarray(thresholds, np.float64)
    present = labels == 1
    found = ((scores >= thresholds) & present).sum(axis=0)
    per_class = np.full(labels.shape[1], np.nan)
    defined = present.any(axis=0) & ~np.isnan(thresholds)
    np.divide(found, present.sum(axis=0), out=per_class, where=defined)
    return Sensitivity(per_class=per_class, macro=mean_of_defined(per_class))


def _known(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if np.ndim(scores) != 1 or np.shape(scores) != np.shape(labels):
        raise InputError(
            f"a curve is of one class: scores and labels are [n]; these scores are "
            f"{np.shape(scores)}, labels {np.shape(labels)}"
        )
    scores, labels = check_scores(np.asarray(scores)[:, None], np.asarray(labels)[:, None])
    known = ~np.isnan(labels)
    return scores[known], labels[known]


def _alike(labels: np.ndarray) -> bool:
    return not labels.size or bool((labels == labels[0]).all())

"""How well scores tell classes apart. Labels are 1 present, 0 absent, NaN unknown.

Unknown entries are left out one by one, not with their row.
"""

from collections.abc import Callable
from typing import TypedDict

import numpy as np
from jaxtyping import Float, Int, Real
from scipy.stats import rankdata

from gazax.typing import InputError


class RocAuc(TypedDict):
    """Areas under the ROC curve, in [0, 1], chance .5; NaN where there is none."""

    per_class: Float[np.ndarray, "k"]
    macro: float
    micro: float


class F1(TypedDict):
    """F1 scores, in [0, 1]; NaN where there is none."""

    per_class: Float[np.ndarray, "k"]
    macro: float


def roc_auc(scores: Real[np.ndarray, "n k"], labels: Real[np.ndarray, "n k"]) -> RocAuc:
    """Area under the ROC curve of each class, their mean, and of all entries together.

    P(score of a present > score of an absent) + P(equal) / 2

    Args:
      scores: logits, probabilities or any other scale; larger means present. Their order counts,
        within a class for `per_class` and `macro`, over all classes for `micro`.
      labels: 1, 0 or NaN.

    Returns:
      per_class: NaN for a class whose known labels are all 1, all 0, or none.
      macro: mean of the classes that have a value; NaN if none has.
      micro: of all known entries as if they were one class; NaN if they are all alike.

    Raises:
      InputError: shapes differ, a score is not finite, or a label is not 1, 0 or NaN.

    Numerics: exact, by the Mann-Whitney rank sum; scikit-learn's `roc_auc_score` gives the same.
    Source: Hanley and McNeil 1982, doi:10.1148/radiology.143.1.7063747.
    """
    scores, labels = check_scores(scores, labels)
    columns = zip(scores.T, labels.T, strict=True)
    per_class = np.array([_auc(score, label) for score, label in columns])
    return RocAuc(
        per_class=per_class,
        macro=mean_of_defined(per_class),
        micro=_auc(scores.ravel(), labels.ravel()),
    )


class Resampled:
    """A number of each class, its mean and that of all entries, of rows drawn again and again.

    For `gazax.metrics.statistics.bootstrap_statistic`: what can be done once, such as sorting, is
    not done at every draw, and many draws are done at once. Its methods take times [s, n], how
    often each row is in each of s samples, and give [s].

    Args:
      scores, labels: of all rows, as `roc_auc` takes them.
      prepare: from scores, labels and rows of entries, [m] each, to what gives their numbers, [s],
        of times [s, n].

    Raises:
      InputError: as `roc_auc`.
    """

    def __init__(
        self,
        scores: Real[np.ndarray, "n k"],
        labels: Real[np.ndarray, "n k"],
        prepare: Callable[[np.ndarray, np.ndarray, np.ndarray], Callable[[np.ndarray], np.ndarray]],
    ) -> None:
        scores, labels = check_scores(scores, labels)
        num_rows, num_classes = scores.shape
        rows = np.arange(num_rows)
        columns = zip(scores.T, labels.T, strict=True)
        self._classes = [prepare(score, label, rows) for score, label in columns]
        self._all = prepare(scores.ravel(), labels.ravel(), np.repeat(rows, num_classes))

    def of_class(self, column: int, times: Int[np.ndarray, "s n"]) -> Float[np.ndarray, "s"]:
        """That of one class."""
        return self._classes[column](times)

    def macro(self, times: Int[np.ndarray, "s n"]) -> Float[np.ndarray, "s"]:
        """The mean of the classes that have a value."""
        return means_of_defined(np.stack([one(times) for one in self._classes], axis=1))

    def micro(self, times: Int[np.ndarray, "s n"]) -> Float[np.ndarray, "s"]:
        """That of all known entries as if they were one class."""
        return self._all(times)


class ResampledRocAuc(Resampled):
    """`roc_auc` of drawn rows.

    The scores are sorted once, so that a draw costs the counting of its rows.

    Args:
      scores, labels: of all rows, as `roc_auc` takes them.

    Raises:
      InputError: as `roc_auc`.
    """

    def __init__(self, scores: Real[np.ndarray, "n k"], labels: Real[np.ndarray, "n k"]) -> None:
        super().__init__(scores, labels, _Ranked)


class _Ranked:
    """Entries in the order of their scores, each with the run of equal scores that it is in."""

    def __init__(self, scores: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> None:
        known = ~np.isnan(labels)
        scores, labels, rows = scores[known], labels[known], rows[known]
        order = np.argsort(scores, kind="stable")
        scores, present = scores[order], labels[order] == 1
        self._rows = rows[order]
        self._present = np.flatnonzero(present)
        self._absent = (~present).astype(np.int64)
        self._first = np.searchsorted(scores, scores[present], side="left")
        self._last = np.searchsorted(scores, scores[present], side="right")

    def __call__(self, times: np.ndarray) -> np.ndarray:
        """Areas, where row r is there times[i, r] times."""
        times = np.take(times, self._rows, axis=1)  # contiguous, as times[:, rows] is not
        below = np.cumsum(times * self._absent, axis=1)
        absent_below = np.concatenate([np.zeros((len(times), 1), np.int64), below], axis=1)
        present = np.take(times, self._present, axis=1)
        # Absent ones below count whole, those of the same score half: in halves, to stay exact.
        halves = np.take(absent_below, self._first, axis=1)
        halves = halves + np.take(absent_below, self._last, axis=1)
        pairs = present.sum(axis=1) * absent_below[:, -1]
        twice = (present * halves).sum(axis=1)
        return np.divide(twice, 2 * pairs, out=np.full(len(times), np.nan), where=pairs > 0)


def f1(
    scores: Real[np.ndarray, "n k"],
    labels: Real[np.ndarray, "n k"],
    *,
    thresholds: Real[np.ndarray, "k"],
) -> F1:
    """F1 score of each class and their mean: a class is predicted where its score is high enough.

    2 TP / (2 TP + FP + FN), predicted = score >= threshold

    Args:
      scores: any scale.
      labels: 1, 0 or NaN (left out, one by one).
      thresholds: one a class, from other data than these (`f1_thresholds` on validation). For
        classes that exclude each other, give the one-hot arg max as scores and thresholds of 1.

    Returns:
      per_class: NaN for a class of which no known label is 1.
      macro: mean of the classes that have a value; NaN if none has.

    Raises:
      InputError: shapes differ, a score is not finite, or a label is not 1, 0 or NaN.

    Source: the usual definition; scikit-learn's `f1_score` where no label is unknown.
    """
    scores, labels = check_scores(scores, labels)
    predicted = scores >= np.asarray(thresholds, np.float64)
    hits = (predicted & (labels == 1)).sum(axis=0)
    called = (predicted & ~np.isnan(labels)).sum(axis=0)
    present = (labels == 1).sum(axis=0)
    per_class = np.full(labels.shape[1], np.nan)
    np.divide(2.0 * hits, called + present, out=per_class, where=present > 0)
    return F1(per_class=per_class, macro=mean_of_defined(per_class))


def f1_thresholds(
    scores: Real[np.ndarray, "n k"], labels: Real[np.ndarray, "n k"]
) -> Float[np.ndarray, "k"]:
    """The threshold of each class that gives the highest F1, among the scores that occur.

    To be chosen on validation and used on test: on the data that it is chosen on, the F1 is too
    high. The highest threshold of equally good ones is taken.

    Args:
      scores, labels: as in `f1`.

    Returns:
      NaN for a class of which no known label is 1.

    Raises:
      InputError: as `f1`.
    """
    scores, labels = check_scores(scores, labels)
    return np.array([_f1_threshold(*column) for column in zip(scores.T, labels.T, strict=True)])


def _f1_threshold(scores: np.ndarray, labels: np.ndarray) -> float:
    known = ~np.isnan(labels)
    scores, present = scores[known], labels[known] == 1
    if not present.any():
        return np.nan
    order = np.argsort(-scores, kind="stable")
    scores, present = scores[order], present[order]
    # A threshold takes in every entry of its score: only the last of equal ones is a cut.
    cut = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))
    achieved = 2 * np.cumsum(present)[cut] / (cut + 1 + present.sum())
    return float(scores[cut[achieved.argmax()]])


def accuracy(scores: Real[np.ndarray, "n k"], labels: Real[np.ndarray, "n k"]) -> float:
    """Share of the rows whose largest score is that of their class; for one-hot labels.

    Args:
      scores: any scale that is the same for the classes of a row; the first of equal ones wins.
      labels: one-hot, or NaN in the whole row: unknown, left out.

    Returns:
      In [0, 1]; NaN if no row is known.

    Raises:
      InputError: shapes differ, a score is not finite, or a row of labels is neither one-hot nor
        unknown.

    Source: the usual definition; scikit-learn's `accuracy_score` of the arg max.
    """
    scores, labels = check_scores(scores, labels)
    known = known_rows(labels)
    if not known.any():
        return np.nan
    return float((scores[known].argmax(axis=1) == labels[known].argmax(axis=1)).mean())


def known_rows(labels: np.ndarray) -> np.ndarray:
    """[n]: true where the labels [n, k] of a row are one-hot, false where all are NaN.

    Raises:
      InputError: a row is neither.
    """
    known = np.any(~np.isnan(labels), axis=1)
    wrong = np.flatnonzero(known & (labels.sum(axis=1) != 1))
    if wrong.size:
        raise InputError(
            f"row {wrong[0]} of the labels is {labels[wrong[0]]}, neither one-hot nor unknown "
            f"({wrong.size} such rows), as those of classes that exclude each other are"
        )
    return known


def mean_of_defined(values: np.ndarray) -> float:
    """The mean of what is not NaN; NaN if all is."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else np.nan


def means_of_defined(values: Float[np.ndarray, "s k"]) -> Float[np.ndarray, "s"]:
    """`mean_of_defined` of each row."""
    known = ~np.isnan(values)
    count, total = known.sum(axis=1), np.where(known, values, 0).sum(axis=1)
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)


def check_scores(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels [n, k] as float64; `InputError` as `roc_auc` says."""
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels, np.float64)
    if scores.ndim != 2 or scores.shape != labels.shape:
        raise InputError(
            f"scores and labels are [n, k]; these scores are {scores.shape}, labels {labels.shape}"
        )
    bad = np.argwhere(~np.isfinite(scores))
    if bad.size:
        raise InputError(f"the score of row {bad[0][0]}, class {bad[0][1]} is not finite")
    bad = np.argwhere(~(np.isnan(labels) | (labels == 0) | (labels == 1)))
    if bad.size:
        row, column = bad[0]
        raise InputError(
            f"the label of row {row}, class {column} is {labels[row, column]:g}; "
            "give 1 (present), 0 (absent) or NaN (unknown)"
        )
    return scores, labels


def _auc(scores: np.ndarray, labels: np.ndarray) -> float:
    known = ~np.isnan(labels)
    scores, labels = scores[known], labels[known]
    present = labels == 1
    num_present, num_absent = int(present.sum()), int((~present).sum())
    if not num_present or not num_absent:
        return np.nan
    # By ranks: scikit-learn's checks of its input would take longer than the rest of a bootstrap.
    wins = rankdata(scores)[present].sum() - num_present * (num_present + 1) / 2
    return float(wins / (num_present * num_absent))

"""One metric of the records of several seeds: its values, or what makes it, and its interval.

Two tests are there beside the bootstrap, and neither knows everything. The t test of a `Mean` is
over patients, of values averaged over seeds and draws: it says nothing of another seed. That of a
`Statistic` is over seeds: it says nothing of other patients.
"""

import dataclasses
import functools
from collections.abc import Sequence, Sized

import numpy as np
from scipy.special import stdtr, stdtrit

from gazax.eval.record import Record
from gazax.metrics.classification import ResampledRocAuc
from gazax.metrics.curves import ResampledAveragePrecision
from gazax.metrics.hierarchical import Estimate, hierarchical_interval, hierarchical_statistic
from gazax.metrics.statistics import Resamples, paired_difference

STATISTICS = {"auc": ResampledRocAuc, "ap": ResampledAveragePrecision}
"""Columns ``<key>_macro``, ``<key>_micro`` and ``<key>/LABEL`` are made of scores and labels; the
others are means of one value an image."""

LOWER_IS_BETTER = ("kl", "ece", "false_positive_rate")
"""Columns of which less is better, those of a single label too."""

SEED = 0  # of every bootstrap


class IncomparableError(Exception):
    """Says why a number cannot be had, in half a sentence."""


@dataclasses.dataclass(frozen=True)
class Mean:
    """The mean of one value an image."""

    values: np.ndarray
    """[seeds, draws, n]"""

    @property
    def shape(self) -> tuple[int, ...]:
        """(seeds, draws, n)"""
        return self.values.shape

    def per_seed(self) -> np.ndarray:
        """[seeds]"""
        return _mean_known(self.values, (1, 2))

    def sd_images(self) -> float:
        """Deviation over images (divided by n), of values averaged over draws; mean over seeds."""
        images = _mean_known(self.values, (1,))
        centred = images - _mean_known(images, (1,))[:, None]
        return float(np.sqrt(_mean_known(centred**2, (1,))).mean())

    def t_test(self, patients: np.ndarray) -> float:
        """`t_test` over patients, of values averaged over seeds and draws, then a patient's images.

        Of a difference it is the paired one. It knows no other seed. Patients instead of images:
        those of one patient are alike, and would count as if they were independent.
        """
        images = _mean_known(self.values, (0, 1))
        known = ~np.isnan(images)
        _, group = np.unique(patients[known], return_inverse=True)
        return t_test(np.bincount(group, weights=images[known]) / np.bincount(group))

    def estimate(self, patients: np.ndarray, *, num_differences: int = 0) -> Estimate:
        """Over seeds, draws and patients; see `_num_samples`."""
        num_samples = _num_samples(2000, num_differences)
        return hierarchical_interval(self.values, patients, num_samples=num_samples, seed=SEED)


@dataclasses.dataclass(frozen=True)
class Statistic:
    """A statistic of scores and labels."""

    of: tuple[tuple[Resamples, ...], ...]
    """[seeds][draws]"""
    num_images: int

    @property
    def shape(self) -> tuple[int, ...]:
        """(seeds, draws, n)"""
        return len(self.of), len(self.of[0]), self.num_images

    def per_seed(self) -> np.ndarray:
        """[seeds]"""
        once = np.ones((1, self.num_images), np.int64)
        return np.array([np.mean([one(once)[0] for one in draws]) for draws in self.of])

    def sd_images(self) -> float:
        """NaN: no image has a value of its own."""
        return np.nan

    def t_test(self, patients: np.ndarray) -> float:
        """`t_test` over seeds; of a difference it is the paired one. It knows no other patient."""
        return t_test(self.per_seed())

    def estimate(self, patients: np.ndarray, *, num_differences: int = 0) -> Estimate:
        """Over seeds, draws and patients; see `_num_samples`."""
        num_samples = _num_samples(500, num_differences)
        return hierarchical_statistic(
            lambda s, d, times: self.of[s][d](times),
            (len(self.of), len(self.of[0])),
            patients,
            num_samples=num_samples,
            seed=SEED,
        )


def _num_samples(least: int, num_differences: int) -> int:
    """Bootstrap samples, so many that the smallest p, 2 / (samples + 1), can bear a correction.

    By Holm it is multiplied by up to the number of differences: it stays at .01 for means and at
    .04 for statistics, which cost more, until ten times the least samples no longer do.
    """
    return int(np.clip(least // 10 * num_differences, least, 10 * least))


def _mean_known(values: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """The mean of what is not NaN; NaN where all is."""
    known = ~np.isnan(values)
    sums, counts = np.where(known, values, 0).sum(axis=axes), known.sum(axis=axes)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def t_test(values: np.ndarray) -> float:
    """Two-sided p of the mean's being 0, by Student's t.

    Args:
      values: [n], independent; of a paired test the differences.

    Returns:
      NaN for fewer than two. All 0: 1, no sign of any difference. All the same and not 0: 0, which
      is the limit.

    Source: Student 1908; `scipy.stats.ttest_1samp`, which warns where all are the same.
    """
    if values.size < 2:
        return np.nan
    error = values.std(ddof=1) / np.sqrt(values.size)
    if not error:
        return float(values[0] == 0)
    return float(2 * stdtr(values.size - 1, -abs(values.mean()) / error))


def t_interval(values: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean of [n] independent values by Student's t; NaN for fewer than two.

    mean -+ t_{.975, n-1} sd / sqrt(n)
    """
    if values.size < 2:
        return np.nan, np.nan
    half = stdtrit(values.size - 1, 0.975) * values.std(ddof=1) / np.sqrt(values.size)
    return float(values.mean() - half), float(values.mean() + half)


Measured = Mean | Statistic


def minus(first: Measured, second: Measured) -> Measured:
    """The paired difference of two that have the same seeds, draws and images.

    Raises:
      IncomparableError: they differ in number, or in kind.
    """
    if first.shape != second.shape:
        raise IncomparableError(f"there are {first.shape[1]} and {second.shape[1]} draws")
    if isinstance(first, Mean) and isinstance(second, Mean):
        return Mean(first.values - second.values)
    if isinstance(first, Statistic) and isinstance(second, Statistic):
        pairs = zip(first.of, second.of, strict=True)
        of = tuple(tuple(map(paired_difference, *pair)) for pair in pairs)
        return Statistic(of, first.num_images)
    raise IncomparableError("one has a value an image, the other scores")


def measure(records: Sequence[Record], metric: str) -> Measured:
    """A metric of several seeds' records of the same images.

    Args:
      records: one a seed.
      metric: ``row/column``, or ``row-other/column``, the difference of two rows of a record. A
        column may be of one label: ``classifier/auc/normal``.

    Raises:
      IncomparableError: the metric is not in all of them, or not in as many draws; see also
        `check_images`.
    """
    check_images(records)
    row, _, column = metric.partition("/")
    if "-" in row:
        first, _, second = row.partition("-")
        return minus(*(measure(records, f"{one}/{column}") for one in (first, second)))
    if all(metric in one.values for one in records):
        values = [np.asarray(one.values[metric], np.float64) for one in records]
        _check_draws(values)
        return Mean(np.stack(values))
    if all(row in one.scores for one in records):
        seeds = [_statistics(one, row, column) for one in records]
        if all(seeds):
            _check_draws(seeds)
            return Statistic(tuple(seeds), len(records[0].index))
    raise IncomparableError("it was not measured")


def _check_draws(seeds: Sequence[Sized]) -> None:
    if len({len(draws) for draws in seeds}) > 1:
        raise IncomparableError(
            f"there are {' and '.join(str(len(draws)) for draws in seeds)} draws"
        )


def _statistics(record: Record, row: str, column: str) -> tuple[Resamples, ...]:
    """One a draw; none where the column is not of `STATISTICS`, or of a label without a column."""
    name, _, label = column.partition("/")
    kind, _, average = name.partition("_")
    names = [] if row in record.targets else list(map(str, record.label_names))
    known = label in names and not average if label else average in ("macro", "micro")
    if kind not in STATISTICS or not known:
        return ()
    target = record.target(row)
    draws = [STATISTICS[kind](scores, target) for scores in record.scores[row]]
    if label:
        return tuple(functools.partial(one.of_class, names.index(label)) for one in draws)
    return tuple(one.macro if average == "macro" else one.micro for one in draws)


def check_images(records: Sequence[Record]) -> None:
    """Raises an `IncomparableError` where records are of different images, patients or labels."""
    first = records[0]
    for other in records[1:]:
        for name in ("image_id", "patient", "label_names"):
            if not np.array_equal(getattr(first, name), getattr(other, name)):
                raise IncomparableError("their test images, patients or labels differ")
        if not np.array_equal(first.label, other.label, equal_nan=True):
            raise IncomparableError("their test images, patients or labels differ")


def lower_is_better(column: str) -> bool:
    """Whether the one with less of it is the better one."""
    return column.partition("/")[0] in LOWER_IS_BETTER

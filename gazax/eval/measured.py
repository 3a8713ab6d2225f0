"""One metric of the records of several seeds: its values, or what makes it, and its interval."""

import dataclasses
from collections.abc import Callable, Sequence, Sized

import numpy as np

from gazax.eval.record import Record
from gazax.metrics.classification import ResampledRocAuc
from gazax.metrics.curves import ResampledAveragePrecision
from gazax.metrics.hierarchical import Estimate, hierarchical_interval, hierarchical_statistic

STATISTICS = {"auc": ResampledRocAuc, "ap": ResampledAveragePrecision}
"""Columns ``<key>_macro`` and ``<key>_micro`` are made of scores and labels; the others are means
of one value an image."""

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
        known = ~np.isnan(self.values)
        sums = np.where(known, self.values, 0).sum(axis=(1, 2))
        counts = known.sum(axis=(1, 2))
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)

    def estimate(self, patients: np.ndarray, *, num_differences: int = 0) -> Estimate:
        """Over seeds, draws and patients; see `_num_samples`."""
        num_samples = _num_samples(2000, num_differences)
        return hierarchical_interval(self.values, patients, num_samples=num_samples, seed=SEED)


OfRows = Callable[[np.ndarray], float]
"""From rows, some of them repeated, to a number."""


@dataclasses.dataclass(frozen=True)
class Statistic:
    """A statistic of scores and labels."""

    of: tuple[tuple[OfRows, ...], ...]
    """[seeds][draws]"""
    num_images: int

    @property
    def shape(self) -> tuple[int, ...]:
        """(seeds, draws, n)"""
        return len(self.of), len(self.of[0]), self.num_images

    def per_seed(self) -> np.ndarray:
        """[seeds]"""
        rows = np.arange(self.num_images)
        return np.array([np.mean([one(rows) for one in draws]) for draws in self.of])

    def estimate(self, patients: np.ndarray, *, num_differences: int = 0) -> Estimate:
        """Over seeds, draws and patients; see `_num_samples`."""
        num_samples = _num_samples(500, num_differences)
        return hierarchical_statistic(
            lambda s, d, rows: self.of[s][d](rows),
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

        def difference(one: OfRows, other: OfRows) -> OfRows:
            return lambda rows: one(rows) - other(rows)

        pairs = zip(first.of, second.of, strict=True)
        of = tuple(tuple(map(difference, *pair)) for pair in pairs)
        return Statistic(of, first.num_images)
    raise IncomparableError("one has a value an image, the other scores")


def measure(records: Sequence[Record], metric: str) -> Measured:
    """A metric of several seeds' records of the same images.

    Args:
      records: one a seed.
      metric: ``row/column``, or ``row-other/column``, the difference of two rows of a record.

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
    kind, _, average = column.partition("_")
    if (
        kind in STATISTICS
        and average in ("macro", "micro")
        and all(row in one.scores for one in records)
    ):
        of = tuple(_statistics(one, row, kind, average == "macro") for one in records)
        _check_draws(of)
        return Statistic(of, len(records[0].index))
    raise IncomparableError("it was not measured")


def _check_draws(seeds: Sequence[Sized]) -> None:
    if len({len(draws) for draws in seeds}) > 1:
        raise IncomparableError(
            f"there are {' and '.join(str(len(draws)) for draws in seeds)} draws"
        )


def _statistics(record: Record, row: str, kind: str, macro: bool) -> tuple[OfRows, ...]:
    """One a draw."""
    target = record.target(row)
    draws = [STATISTICS[kind](scores, target) for scores in record.scores[row]]
    return tuple(one.macro if macro else one.micro for one in draws)


def check_images(records: Sequence[Record]) -> None:
    """Raises an `IncomparableError` where records are of different images, patients or labels."""
    first = records[0]
    for other in records[1:]:
        for name in ("image_id", "patient", "label_names"):
            if not np.array_equal(getattr(first, name), getattr(other, name)):
                raise IncomparableError("their test images, patients or labels differ")
        if not np.array_equal(first.label, other.label, equal_nan=True):
            raise IncomparableError("their test images, patients or labels differ")

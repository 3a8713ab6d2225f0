"""Bootstrap intervals over seeds, draws and patients.

A number of a method has three sources of chance: the seed that the model was trained with, the
draw of the training images (few-shot draws; one where there are none) and the test patients. All
three are crossed: draw j is the same set of training images under every seed, and the patients are
the same under all. A bootstrap sample takes as many seeds as there are, as many draws and as many
patients, each with replacement and independently; patients come whole.

Too few seeds: the deviation between s seeds is taken from these s alone, so that the part of the
interval that is due to seeds is too narrow by about sqrt((s - 1) / s): .71 of what it should be
for 2 seeds, .82 for 3, .89 for 5, and 0 for 1, whose interval says nothing of other seeds. A
percentile interval has no allowance for that, as Student's t has: if seeds were all there is to
chance, three would give at most their range, which holds their median in 3 of 4 cases, not in 95
of 100. The same goes for draws.

Source: Owen 2007, doi:10.1214/07-AOAS122 (rows and columns are drawn independently, and a cell
counts as often as its row times its column); Davison and Hinkley 1997, "Bootstrap Methods and their
Application", §3.8 (patients whole).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Real, Shaped

from gazax.metrics.statistics import (
    Interval,
    check_bootstrap,
    draw_groups,
    draw_times,
    percentiles,
)
from gazax.typing import InputError


class Estimate(NamedTuple):
    """An estimate, its interval and the p value of its being 0."""

    estimate: float
    low: float
    high: float
    p_value: float

    @property
    def interval(self) -> Interval:
        """(estimate, low, high)."""
        return self.estimate, self.low, self.high


def hierarchical_interval(
    values: Float[np.ndarray, "s d n"],
    groups: Shaped[np.ndarray, "n"],
    *,
    num_samples: int = 2000,
    seed: int,
    confidence: float = 0.95,
) -> Estimate:
    """Mean over everything known, with an interval over seeds, draws and patients.

    A paired difference is that of two methods' values, under the same seeds, draws and images.

    Args:
      values: one a seed, draw and example; NaN (no score) is left out, one by one.
      groups: the patient of each example, any type that sorts.
      num_samples: bootstrap samples.
      seed: of the samples.
      confidence: the interval's, in (0, 1).

    Returns:
      The mean, the percentiles (1 -+ confidence) / 2, and the two-sided p value against 0:
      2 (1 + the smaller of how many samples are <= 0 and >= 0) / (1 + samples), at most 1.
      Constant values v give (v, v, v). Fewer than two patients: low, high and p_value are NaN;
      nothing known: all four are. With one seed and one draw, `bootstrap_interval`'s numbers.

    Raises:
      InputError: lengths differ, or confidence or num_samples is out of range.

    Numerics: s d + 1 operations a patient and sample; 2000 samples of 3 seeds, 5 draws and 250
    images take about .02 s.
    Source: see the module.
    """
    values, groups = np.asarray(values, np.float64), np.asarray(groups)
    if values.ndim != 3:
        raise InputError(f"values are [seeds, draws, n], these have the shape {values.shape}")
    check_bootstrap(values.shape[2], groups, num_samples, confidence)
    known = ~np.isnan(values)
    some = known.any(axis=(0, 1))
    if not some.any():
        return Estimate(np.nan, np.nan, np.nan, np.nan)
    values, known = values[:, :, some], known[:, :, some]
    _, group = np.unique(groups[some], return_inverse=True)
    num_groups = int(group.max()) + 1
    # about a value that is there, so that the means of constant values are exact
    origin = values[known][0]

    def by_group(rows: np.ndarray) -> np.ndarray:
        return np.array([[np.bincount(group, weights=row) for row in draws] for draws in rows])

    sums, counts = by_group(np.where(known, values - origin, 0)), by_group(known)
    estimate = float(sums.sum() / counts.sum() + origin)
    slots = _times_drawn(values.shape[:2], num_samples, seed)
    samples, done = [], 0
    for drawn in draw_groups(num_groups, num_samples, seed):
        times = np.apply_along_axis(np.bincount, 1, drawn, minlength=num_groups)
        weights = slots[done : done + len(drawn)]
        done += len(drawn)
        total, size = (
            (np.tensordot(weights, part, axes=2) * times).sum(axis=1) for part in (sums, counts)
        )
        # a sample of nothing but what is unknown has no mean
        mean = np.divide(total, size, out=np.full(size.shape, np.nan), where=size > 0)
        samples.append(mean + origin)
    return _estimate(estimate, np.concatenate(samples), num_groups, confidence)


def hierarchical_statistic(
    statistic: Callable[[int, int, Int[np.ndarray, "some n"]], Float[np.ndarray, "some"]],
    shape: tuple[int, int],
    groups: Shaped[np.ndarray, "n"],
    *,
    num_samples: int = 500,
    seed: int,
    confidence: float = 0.95,
) -> Estimate:
    """Mean over seeds and draws of a statistic of whole arrays, such as an AUC, with an interval.

        macro = [[ResampledRocAuc(scores[s, d], labels).macro for d in range(5)] for s in range(3)]
        hierarchical_statistic(lambda s, d, times: macro[s][d](times), (3, 5), patients, seed=0)

    A paired difference is a statistic too: that of one method minus that of the other, of the same
    seed, draw and samples.

    Args:
      statistic: from the number of a seed, that of a draw, and how often each row is in each of
        some samples, to a number for each of them (`gazax.metrics.statistics.Resamples`); NaN (an
        AUC of one class only) is left out of the mean.
      shape: how many seeds there are, and how many draws of each.
      groups, num_samples, seed, confidence: as in `hierarchical_interval`.

    Returns:
      As `hierarchical_interval`; the estimate is the mean over seeds and draws of the statistic of
      all rows. Samples without a value are left out. No rows: all four are NaN, and nothing is
      called.

    Raises:
      InputError: there is no seed or no draw, or confidence or num_samples is out of range.

    Source: see the module.
    """
    groups = np.asarray(groups)
    check_bootstrap(len(groups), groups, num_samples, confidence)
    if min(shape) < 1:
        raise InputError(f"shape is {shape}; give how many seeds and draws there are, 1 or more")
    if not groups.size:
        return Estimate(np.nan, np.nan, np.nan, np.nan)

    def means(times: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """[some] of times [some, n] and how often each seed and draw is taken, [some, s, d]."""
        cells = [[statistic(s, d, times) for d in range(shape[1])] for s in range(shape[0])]
        found = np.moveaxis(np.array(cells, np.float64), 2, 0)
        weights = np.where(np.isnan(found), 0, weights)
        total = (np.nan_to_num(found) * weights).sum(axis=(1, 2))
        size = weights.sum(axis=(1, 2))
        return np.divide(total, size, out=np.full(size.shape, np.nan), where=size > 0)

    estimate = float(means(np.ones((1, groups.size), np.int64), np.ones((1, *shape)))[0])
    num_groups = len(np.unique(groups))
    if num_groups < 2:
        return Estimate(estimate, np.nan, np.nan, np.nan)
    slots = _times_drawn(shape, num_samples, seed)
    samples, done = [], 0
    for times in draw_times(groups, num_samples, seed):
        samples.append(means(times, slots[done : done + len(times)]))
        done += len(times)
    return _estimate(estimate, np.concatenate(samples), num_groups, confidence)


def holm(p_values: Real[np.ndarray, "m"]) -> Float[np.ndarray, "m"]:
    """Holm's correction of the p values of m comparisons.

    The i-th smallest becomes the largest of (m - j + 1) p_j over j <= i, and at most 1. Calling
    those below a level different keeps the chance of any false call below that level, whether the
    comparisons depend on each other or not.

    Args:
      p_values: in [0, 1]; NaN is no comparison: it stays NaN and does not count in m.

    Returns:
      The adjusted p values, in the order given.

    Raises:
      InputError: a p value is not in [0, 1].

    Source: Holm 1979, Scandinavian Journal of Statistics 6, 65-70.
    """
    p_values = np.asarray(p_values, np.float64)
    bad = np.flatnonzero((p_values < 0) | (p_values > 1))
    if bad.size:
        raise InputError(f"p value {bad[0]} is {p_values[bad[0]]:g}; give numbers from 0 to 1")
    adjusted = np.full(p_values.shape, np.nan)
    order = np.argsort(p_values, kind="stable")[: np.count_nonzero(~np.isnan(p_values))]
    raised = np.arange(order.size, 0, -1) * p_values[order]
    adjusted[order] = np.minimum(np.maximum.accumulate(raised), 1)
    return adjusted


def _times_drawn(shape: tuple[int, ...], num_samples: int, seed: int) -> np.ndarray:
    """[samples, seeds, draws]: how often each draw of each seed is in each sample."""
    # A stream of its own: the patients are then drawn as in every other function of this seed.
    rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])
    by_seed, by_draw = (
        (rng.integers(number, size=(num_samples, number))[:, :, None] == np.arange(number)).sum(1)
        for number in shape
    )
    return by_seed[:, :, None] * by_draw[:, None, :]


def _estimate(estimate: float, samples: np.ndarray, num_groups: int, confidence: float) -> Estimate:
    _, low, high = percentiles(estimate, samples, num_groups, confidence)
    if np.isnan(low):
        return Estimate(estimate, low, high, np.nan)
    samples = samples[~np.isnan(samples)]
    beyond = min(int((samples <= 0).sum()), int((samples >= 0).sum()))
    return Estimate(estimate, low, high, min(1.0, 2 * (1 + beyond) / (1 + samples.size)))

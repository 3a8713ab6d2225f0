"""Bootstrap intervals in which patients, not images, are drawn.

Images of one patient are alike, so that drawing images as if they were independent makes intervals
too narrow. Here all rows of a patient are drawn together: as many patients as there are, with
replacement, and the interval lies between percentiles of the statistic over the draws. One seed
gives one sequence of draws, the same in every function here.

Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", §13.3 (percentile); Davison
and Hinkley 1997, "Bootstrap Methods and their Application", §3.8 (clusters, drawn whole).
"""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float, Int, Shaped

from gazax.typing import InputError

Interval = tuple[float, float, float]
"""(estimate, low, high)."""

Resamples = Callable[[Int[np.ndarray, "s n"]], Float[np.ndarray, "s"]]
"""A statistic of some samples at once: row r is there times[i, r] times in sample i."""

_CHUNK = 2**22  # drawn patients held at a time: 32 MiB
_TIMES = 2**16  # entries of `times` made at a time: half a MiB, to stay in cache


def bootstrap_interval(
    values: Float[np.ndarray, "n"],
    groups: Shaped[np.ndarray, "n"],
    *,
    num_samples: int = 2000,
    seed: int,
    confidence: float = 0.95,
) -> Interval:
    """Mean of per-example values, with an interval.

    Args:
      values: one an example; NaN (no score, such as the NSS of an image without fixations) is left
        out.
      groups: the patient of each example, any type that sorts.
      num_samples: draws.
      seed: of the draws.
      confidence: the interval's, in (0, 1).

    Returns:
      (estimate, low, high): the mean over all examples and the percentiles (1 -+ confidence) / 2.
      Constant values give (value, value, value). Fewer than two patients: low and high are NaN;
      none: all three are.

    Raises:
      InputError: lengths differ, or confidence or num_samples is out of range.

    Numerics: n values of g patients cost num_samples * g additions, whatever n is.
    Source: see the module.
    """
    values = np.asarray(values, np.float64)
    check_bootstrap(len(values), groups, num_samples, confidence)
    known = ~np.isnan(values)
    values = values[known]
    _, group = np.unique(np.asarray(groups)[known], return_inverse=True)
    if not values.size:
        return np.nan, np.nan, np.nan
    counts = np.bincount(group)
    # about the first value, so that the means of constant values are exact
    sums = np.bincount(group, weights=values - values[0])
    means = [
        sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
        for drawn in draw_groups(counts.size, num_samples, seed)
    ]
    estimate = float(sums.sum() / values.size + values[0])
    return percentiles(estimate, np.concatenate(means) + values[0], counts.size, confidence)


def bootstrap_difference(
    first: Float[np.ndarray, "n"],
    second: Float[np.ndarray, "n"],
    groups: Shaped[np.ndarray, "n"],
    *,
    num_samples: int = 2000,
    seed: int,
    confidence: float = 0.95,
) -> Interval:
    """Mean of the paired differences first - second of the same examples, with an interval.

    Args:
      first, second: the two models' values of the same examples, in the same order; an example
        that is NaN in either is left out.
      groups, num_samples, seed, confidence: as in `bootstrap_interval`.

    Returns:
      (estimate, low, high) as in `bootstrap_interval`; an interval that leaves out 0 says that the
      two differ. Equal values give (0, 0, 0).

    Raises:
      InputError: lengths differ, or confidence or num_samples is out of range.

    Source: see the module.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.shape != second.shape:
        raise InputError(f"paired values differ in length: {len(first)} and {len(second)}")
    return bootstrap_interval(
        first - second, groups, num_samples=num_samples, seed=seed, confidence=confidence
    )


def bootstrap_statistic(
    statistic: Resamples,
    groups: Shaped[np.ndarray, "n"],
    *,
    num_samples: int = 1000,
    seed: int,
    confidence: float = 0.95,
) -> Interval:
    """A statistic of whole arrays, such as an AUC, with an interval.

        bootstrap_statistic(ResampledRocAuc(scores, labels).macro, patients, seed=0)

    A paired difference is a statistic too, see `paired_difference`.

    Args:
      statistic: of samples, by how often each row is in them; `of_rows` makes one of a statistic
        of row numbers.
      groups, num_samples, seed, confidence: as in `bootstrap_interval`.

    Returns:
      (estimate, low, high): the statistic of all rows, and the percentiles. Draws whose
      statistic is NaN (an AUC of one class only) are left out; if all are, or there are fewer than
      two patients, low and high are NaN. No rows: all three are, and nothing is called.

    Raises:
      InputError: confidence or num_samples is out of range.

    Source: see the module.
    """
    groups = np.asarray(groups)
    check_bootstrap(len(groups), groups, num_samples, confidence)
    if not groups.size:
        return np.nan, np.nan, np.nan
    estimate = float(statistic(np.ones((1, groups.size), np.int64))[0])
    num_groups = len(np.unique(groups))
    if num_groups < 2:
        return estimate, np.nan, np.nan
    samples = [statistic(times) for times in draw_times(groups, num_samples, seed)]
    return percentiles(estimate, np.concatenate(samples), num_groups, confidence)


def of_rows(statistic: Callable[[Int[np.ndarray, "rows"]], float]) -> Resamples:
    """For statistics that are not of counts: one sample at a time, by its row numbers.

    Args:
      statistic: from row numbers in their order, some of them repeated, to a number.
    """

    def each(times: np.ndarray) -> np.ndarray:
        rows = np.arange(times.shape[1])
        return np.array([statistic(np.repeat(rows, one)) for one in times], np.float64)

    return each


def paired_difference(first: Resamples, second: Resamples) -> Resamples:
    """The first statistic minus the second, of the same samples."""
    return lambda times: first(times) - second(times)


def draw_times(
    groups: Shaped[np.ndarray, "n"], num_samples: int, seed: int
) -> Iterator[Int[np.ndarray, "s n"]]:
    """How often each row is in each sample, some samples at a time: as often as its group."""
    _, group = np.unique(groups, return_inverse=True)
    num_groups = int(group.max()) + 1
    step = max(1, _TIMES // group.size)
    for drawn in draw_groups(num_groups, num_samples, seed):
        for start in range(0, len(drawn), step):
            some = drawn[start : start + step]
            apart = some + num_groups * np.arange(len(some))[:, None]
            counts = np.bincount(apart.ravel(), minlength=num_groups * len(some))
            yield counts.reshape(len(some), num_groups)[:, group]


def check_bootstrap(num_rows: int, groups: np.ndarray, num_samples: int, confidence: float) -> None:
    """Refuses groups of another length and what no interval can be made with."""
    if np.shape(groups) != (num_rows,):
        raise InputError(f"{num_rows} values, but groups of shape {np.shape(groups)}")
    if not 0 < confidence < 1:
        raise InputError(f"confidence is {confidence}; give a number between 0 and 1, such as 0.95")
    if num_samples < 1:
        raise InputError(f"num_samples is {num_samples}; give 1 or more")


def draw_groups(num_groups: int, num_samples: int, seed: int) -> Iterator[np.ndarray]:
    """Numbers of the drawn groups, [some samples, num_groups] at a time."""
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // num_groups)
    for start in range(0, num_samples, step):
        yield rng.integers(num_groups, size=(min(step, num_samples - start), num_groups))


def percentiles(
    estimate: float, samples: np.ndarray, num_groups: int, confidence: float
) -> Interval:
    """The interval about an estimate; samples that are NaN are left out."""
    samples = samples[~np.isnan(samples)]
    if num_groups < 2 or not samples.size:
        return estimate, np.nan, np.nan
    low, high = np.quantile(samples, [(1 - confidence) / 2, (1 + confidence) / 2])
    return estimate, float(low), float(high)

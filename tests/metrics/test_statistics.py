import inspect
import math

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import roc_auc_score

from gazax.metrics import statistics
from gazax.metrics.statistics import (
    bootstrap_difference,
    bootstrap_interval,
    bootstrap_statistic,
    draw_times,
    of_rows,
)
from gazax.typing import InputError


def patients_of(num_patients, seed=0):
    """1 to 4 images a patient, in no order."""
    numbers = np.random.default_rng(seed)
    return numbers.permutation(np.repeat(range(num_patients), numbers.integers(1, 5, num_patients)))


@pytest.fixture
def groups():
    return patients_of(30)


@pytest.fixture
def values(groups):
    return np.random.default_rng(1).normal(3, 1, len(groups))


def test_interval_by_hand():
    # Two patients, means 0 and 1: draws are (0 0) (0 1) (1 0) (1 1), means 0, 1/2, 1/2, 1.
    estimate, low, high = bootstrap_interval(
        np.array([0.0, 1.0]), np.array(["a", "b"]), seed=0, num_samples=400
    )
    assert (estimate, low, high) == (0.5, 0.0, 1.0)
    # Each end has a quarter of the draws: the middle 40 % are all 1/2.
    inner = bootstrap_interval(
        np.array([0.0, 1.0]), np.array(["a", "b"]), seed=0, num_samples=400, confidence=0.4
    )
    assert inner == (0.5, 0.5, 0.5)


def test_interval_weights_patients_by_their_images():
    # Patient a has three images: the mean of a draw of both is 3/4, not 1/2.
    values, groups = np.array([1.0, 1.0, 1.0, 0.0]), np.array(["a", "a", "a", "b"])
    estimate, *ends = bootstrap_interval(values, groups, seed=0, num_samples=400, confidence=0.4)
    assert (estimate, *ends) == (0.75, 0.75, 0.75)


def test_interval_equals_the_statistic_that_is_a_mean(values, groups):
    kwargs = dict(seed=3, num_samples=200)
    fast = bootstrap_interval(values, groups, **kwargs)
    slow = bootstrap_statistic(of_rows(lambda rows: values[rows].mean()), groups, **kwargs)
    np.testing.assert_allclose(fast, slow, rtol=1e-12)


def test_interval_of_single_images_is_scipys(groups):
    values = np.random.default_rng(4).exponential(size=100)
    _, low, high = bootstrap_interval(values, np.arange(100), seed=0, num_samples=20_000)
    expected = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=1
    ).confidence_interval
    np.testing.assert_allclose([low, high], expected, atol=0.01)


def test_interval_covers_the_truth_of_correlated_images():
    # 5 images a patient that are nearly the same: 95 % intervals over patients hold the true mean
    # about as often as they say, intervals over images do not come near.
    numbers = np.random.default_rng(5)
    groups, covered = np.repeat(np.arange(40), 5), {"patients": 0, "images": 0}
    for seed in range(200):
        values = np.repeat(numbers.normal(size=40), 5) + numbers.normal(scale=0.1, size=200)
        for name, unit in (("patients", groups), ("images", np.arange(200))):
            _, low, high = bootstrap_interval(values, unit, seed=seed, num_samples=400)
            covered[name] += low <= 0 <= high
    assert 0.9 <= covered["patients"] / 200 <= 0.98
    assert covered["images"] / 200 < 0.8


def test_interval_is_deterministic_by_seed(values, groups):
    assert bootstrap_interval(values, groups, seed=1) == bootstrap_interval(values, groups, seed=1)
    assert bootstrap_interval(values, groups, seed=1) != bootstrap_interval(values, groups, seed=2)


def test_interval_does_not_depend_on_how_draws_are_held(values, groups, monkeypatch):
    whole = bootstrap_interval(values, groups, seed=1, num_samples=50)
    monkeypatch.setattr(statistics, "_CHUNK", 100)  # 3 draws of 30 patients at a time
    assert bootstrap_interval(values, groups, seed=1, num_samples=50) == whole


def test_interval_grows_with_confidence(values, groups):
    estimate, low, high = bootstrap_interval(values, groups, seed=0)
    _, wider_low, wider_high = bootstrap_interval(values, groups, seed=0, confidence=0.99)
    assert wider_low < low < estimate < high < wider_high
    assert estimate == pytest.approx(values.mean())


def test_interval_names_of_patients_do_not_matter(values, groups):
    names = np.array([f"patient {g:02}" for g in groups])
    assert bootstrap_interval(values, names, seed=0) == bootstrap_interval(values, groups, seed=0)


def test_interval_leaves_missing_values_out(values, groups):
    missing = np.random.default_rng(6).random(len(values)) < 0.2
    with_missing = np.where(missing, np.nan, values)
    assert bootstrap_interval(with_missing, groups, seed=0) == bootstrap_interval(
        values[~missing], groups[~missing], seed=0
    )


def test_interval_of_constant_values_is_that_value(groups):
    values = np.full(len(groups), 0.1)
    assert bootstrap_interval(values, groups, seed=0) == (0.1, 0.1, 0.1)


def test_interval_of_one_patient_is_unknown():
    estimate, low, high = bootstrap_interval(np.array([1.0, 3.0]), np.array([7, 7]), seed=0)
    assert estimate == 2
    assert math.isnan(low)
    assert math.isnan(high)
    estimate, low, high = bootstrap_statistic(of_rows(lambda rows: 2.0), np.array([7, 7]), seed=0)
    assert (estimate, math.isnan(low), math.isnan(high)) == (2.0, True, True)


def test_interval_of_nothing_is_nan():
    for values in (np.zeros(0), np.full(3, np.nan)):
        groups = np.arange(len(values))
        assert np.isnan(bootstrap_interval(values, groups, seed=0)).all()
    assert np.isnan(bootstrap_statistic(of_rows(lambda rows: 1.0), np.zeros(0, int), seed=0)).all()


def test_difference_is_paired(values, groups):
    noise = np.random.default_rng(7).normal(scale=0.01, size=len(values))
    better = values + 0.1 + noise
    estimate, low, high = bootstrap_difference(better, values, groups, seed=0)
    assert estimate == pytest.approx(0.1 + noise.mean())
    assert 0.08 < low < high < 0.12  # the spread of the values themselves, 1, plays no part
    swapped = bootstrap_difference(values, better, groups, seed=0)
    np.testing.assert_allclose(swapped, (-estimate, -high, -low), rtol=1e-9)
    assert bootstrap_difference(values, values, groups, seed=0) == (0, 0, 0)


def test_statistic_gets_whole_patients(groups):
    rows_of = {g: set(np.flatnonzero(groups == g)) for g in np.unique(groups)}
    seen = []

    def statistic(rows):
        seen.append(rows)
        return 0.0

    bootstrap_statistic(of_rows(statistic), groups, seed=0, num_samples=20)
    np.testing.assert_array_equal(seen[0], np.arange(len(groups)))  # the estimate
    assert len(seen) == 21
    for rows in seen[1:]:
        place, times = np.unique(rows, return_counts=True)
        drawn = dict(zip(place, times, strict=True))
        in_draw = {groups[row] for row in place}
        assert set(place) == set().union(*(rows_of[g] for g in in_draw))
        repeats = {g: {drawn[row] for row in rows_of[g]} for g in in_draw}
        assert all(len(times) == 1 for times in repeats.values())
        assert sum(times.pop() for times in repeats.values()) == len(rows_of)


def test_samples_are_the_same_however_many_are_made_at_once(values, groups, monkeypatch):
    def mean(times):
        return times @ values / times.sum(axis=1)

    found = bootstrap_statistic(mean, groups, seed=0, num_samples=50)
    monkeypatch.setattr(statistics, "_TIMES", 3 * len(groups))
    assert max(len(times) for times in draw_times(groups, 50, 0)) == 3
    np.testing.assert_allclose(
        bootstrap_statistic(mean, groups, seed=0, num_samples=50), found, rtol=1e-12
    )


def test_statistic_of_an_auc_holds_it(groups):
    numbers = np.random.default_rng(8)
    labels = numbers.integers(0, 2, len(groups))
    scores = labels + numbers.normal(size=len(groups))
    estimate, low, high = bootstrap_statistic(
        of_rows(lambda rows: roc_auc_score(labels[rows], scores[rows])),
        groups,
        seed=0,
        num_samples=200,
    )
    assert estimate == roc_auc_score(labels, scores)
    assert 0.5 < low < estimate < high < 1


def test_statistic_leaves_draws_without_a_value_out():
    def mean_unless_first_patient_is_missing(rows):
        return float(rows.mean()) if 0 in rows else np.nan

    groups = np.arange(3)
    estimate, low, high = bootstrap_statistic(
        of_rows(mean_unless_first_patient_is_missing), groups, seed=0, num_samples=300
    )
    assert (estimate, low, high) == (1.0, 0.0, pytest.approx(4 / 3))  # 0 2 2 is the largest left
    _, low, high = bootstrap_statistic(of_rows(lambda rows: np.nan), groups, seed=0, num_samples=5)
    assert math.isnan(low)
    assert math.isnan(high)


def test_wrong_input_is_refused(values, groups):
    # the session's checker of shapes would answer first: `unwrap` takes it off
    with pytest.raises(InputError, match="values, but groups of shape"):
        inspect.unwrap(bootstrap_interval)(values, groups[:-1], seed=0)
    with pytest.raises(InputError, match="paired values differ in length"):
        inspect.unwrap(bootstrap_difference)(values, values[:-1], groups, seed=0)
    for confidence in (0.0, 1.0, 95.0):
        with pytest.raises(InputError, match="confidence is"):
            bootstrap_interval(values, groups, seed=0, confidence=confidence)
    with pytest.raises(InputError, match="num_samples is 0"):
        bootstrap_statistic(of_rows(lambda rows: 0.0), groups, seed=0, num_samples=0)

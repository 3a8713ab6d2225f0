import inspect
import math
import random

import numpy as np
import pytest

from gazax.metrics import statistics
from gazax.metrics.hierarchical import (
    Estimate,
    hierarchical_interval,
    hierarchical_statistic,
    holm,
)
from gazax.metrics.statistics import bootstrap_interval, bootstrap_statistic, of_rows
from gazax.typing import InputError
from tests.reference import evaluation as slow

NAN = np.nan


@pytest.fixture
def groups():
    """1 to 4 images a patient, in no order."""
    numbers = np.random.default_rng(0)
    return numbers.permutation(np.repeat(range(30), numbers.integers(1, 5, 30)))


@pytest.fixture
def values(groups):
    numbers = np.random.default_rng(1)
    seeds, draws, patients = (
        numbers.normal(size=shape, scale=scale)
        for shape, scale in (((3, 1, 1), 0.3), ((3, 4, 1), 0.3), ((1, 1, 30), 1))
    )
    return 0.5 + seeds + draws + patients[..., groups]


def mean_of(values):
    return lambda s, d, times: of_rows(lambda rows: np.nanmean(values[s, d, rows]))(times)


def constant(value):
    return lambda s, d, times: np.full(len(times), value)


# The interval


def test_one_seed_and_one_draw_give_the_bootstrap_over_patients(values, groups):
    one = values[:1, :1].copy()
    one[0, 0, ::5] = NAN
    found = hierarchical_interval(one, groups, seed=3)
    np.testing.assert_allclose(
        found.interval, bootstrap_interval(one[0, 0], groups, seed=3), rtol=1e-12
    )
    other = hierarchical_interval(one, groups, seed=4)  # of other draws: up to chance
    np.testing.assert_allclose(other, found, atol=0.05)
    assert other != found

    def mean(rows):
        return float(np.nanmean(one[0, 0, rows]))

    statistic = hierarchical_statistic(mean_of(one), (1, 1), groups, seed=3, num_samples=200)
    expected = bootstrap_statistic(of_rows(mean), groups, seed=3, num_samples=200)
    np.testing.assert_allclose(statistic.interval, expected, rtol=1e-12)


def test_interval_equals_the_statistic_that_is_a_mean(values, groups):
    kwargs = dict(seed=3, num_samples=200)
    fast = hierarchical_interval(values, groups, **kwargs)
    slow_one = hierarchical_statistic(mean_of(values), (3, 4), groups, **kwargs)
    np.testing.assert_allclose(fast, slow_one, rtol=1e-12)
    assert fast.estimate == pytest.approx(values.mean())
    assert fast.low < fast.estimate < fast.high


def test_samples_have_the_distribution_of_the_slow_twin(groups):
    groups = groups[:12]
    numbers = np.random.default_rng(2)
    values = numbers.normal(size=(2, 3, 12)) + numbers.normal(size=(2, 1, 1))
    values[0, 1, 3:7] = NAN
    means = slow.hierarchical_means(values.tolist(), groups.tolist(), 4000, random.Random(0))
    for confidence in (0.5, 0.8, 0.95):
        found = hierarchical_interval(
            values, groups, seed=0, num_samples=20_000, confidence=confidence
        )
        ends = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
        np.testing.assert_allclose([found.low, found.high], ends, atol=0.05 * np.std(means) * 2)


def test_patients_are_the_same_under_every_seed_and_draw(groups):
    # Of two methods whose values differ by the patient alone: with patients drawn anew for each
    # slot, their chance would average out, and the interval be narrower by sqrt(12).
    patients = np.random.default_rng(4).normal(size=30)[groups]
    many = np.broadcast_to(patients, (3, 4, groups.size)).copy()
    found = hierarchical_interval(many, groups, seed=0)
    np.testing.assert_allclose(
        found.interval, bootstrap_interval(patients, groups, seed=0), rtol=1e-9
    )


def test_many_draws_do_not_stand_for_many_seeds():
    # Seed 0 has 0, seed 1 has 1, under each of many draws: samples are 0, 1/2 or 1. Were seeds
    # and draws in one pot, nearly every sample would be near 1/2.
    values = np.zeros((2, 50, 2))
    values[1] = 1
    found = hierarchical_interval(values, np.arange(2), seed=0, num_samples=400)
    assert found.interval == (0.5, 0.0, 1.0)


def test_draws_are_the_same_under_every_seed():
    # Draw 0 gives 0 and draw 1 gives 1, under both seeds. One sample in four takes draw 0 only: the
    # percentile 10 is 0. Had each seed draws of its own, it would be 1/4.
    values = np.zeros((2, 2, 2))
    values[:, 1] = 1
    found = hierarchical_interval(values, np.arange(2), seed=0, confidence=0.8)
    assert found.interval == (0.5, 0.0, 1.0)


def test_interval_of_seeds_is_too_narrow_by_what_the_module_says():
    # Values that differ by the seed alone. The middle 68 % of the samples are two deviations wide.
    seeds = np.array([0.0, 1.0, 2.5, 3.0, 4.5])
    values = np.broadcast_to(seeds[:, None, None], (5, 1, 40)).copy()
    found = hierarchical_interval(
        values, np.arange(40), seed=0, num_samples=20_000, confidence=0.6827
    )
    honest = seeds.std(ddof=1) / math.sqrt(5)
    assert (found.high - found.low) / 2 / honest == pytest.approx(math.sqrt(4 / 5), abs=0.04)


def test_interval_of_three_seeds_is_at_most_their_range():
    values = np.broadcast_to(np.array([0.0, 2.0, 3.0])[:, None, None], (3, 1, 40)).copy()
    found = hierarchical_interval(values, np.arange(40), seed=0)
    assert found.interval == (pytest.approx(5 / 3), 0, 3)


def test_interval_does_not_depend_on_how_samples_are_held(values, groups, monkeypatch):
    whole = hierarchical_interval(values, groups, seed=1, num_samples=50)
    monkeypatch.setattr(statistics, "_CHUNK", 100)  # 3 draws of 30 patients at a time
    assert hierarchical_interval(values, groups, seed=1, num_samples=50) == whole


def test_interval_grows_with_confidence(values, groups):
    narrow = hierarchical_interval(values, groups, seed=0)
    wide = hierarchical_interval(values, groups, seed=0, confidence=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high
    assert wide.p_value == narrow.p_value


def test_missing_values_are_left_out_one_by_one(values, groups):
    values[1, 2] = NAN
    values[0, :, ::3] = NAN
    found = hierarchical_interval(values, groups, seed=0)
    assert found.estimate == pytest.approx(np.nanmean(values))
    nowhere = np.concatenate([values, np.full((3, 4, 5), NAN)], axis=2)
    more = np.concatenate([groups, [90, 91, 92, 93, 94]])
    assert hierarchical_interval(nowhere, more, seed=0) == found


def test_seed_without_any_value_leaves_samples_of_it_alone_out():
    values = np.full((2, 1, 3), NAN)
    values[0] = 0.25
    with np.errstate(all="raise"):  # NaN on purpose, not by 0 / 0
        found = hierarchical_interval(values, np.arange(3), seed=0, num_samples=50)
    assert found.interval == (0.25, 0.25, 0.25)
    statistic = hierarchical_statistic(
        lambda s, d, times: np.full(len(times), values[s, d, 0]),
        (2, 1),
        np.arange(3),
        seed=0,
        num_samples=50,
    )
    assert statistic == found
    assert found.p_value > 2 / 51  # some of the 50 samples were of seed 1 alone


def test_constant_values_give_that_value(groups):
    found = hierarchical_interval(np.full((3, 2, groups.size), 0.1), groups, seed=0)
    assert found.interval == (0.1, 0.1, 0.1)


def test_one_patient_or_none_is_unknown():
    found = hierarchical_interval(np.array([[[1.0, 3.0]]]), np.array([7, 7]), seed=0)
    assert found.estimate == 2
    assert np.isnan(found[1:]).all()
    found = hierarchical_statistic(constant(2.0), (2, 3), np.array([7, 7]), seed=0)
    assert found.estimate == 2
    assert np.isnan(found[1:]).all()
    for values in (np.zeros((2, 3, 0)), np.full((2, 3, 4), NAN)):
        groups = np.arange(values.shape[2])
        assert np.isnan(hierarchical_interval(values, groups, seed=0)).all()
    nothing = hierarchical_statistic(constant(1.0), (2, 3), np.zeros(0, int), seed=0)
    assert np.isnan(nothing).all()


# The statistic


def test_statistic_gets_the_same_samples_for_every_seed_and_draw(groups):
    seen = []

    def statistic(s, d, times):
        seen.append((s, d, times))
        return np.full(len(times), 10.0 * s + d)

    found = hierarchical_statistic(statistic, (2, 3), groups, seed=0, num_samples=30)
    assert found.estimate == pytest.approx(5 + 1)
    cells = [(s, d) for s in range(2) for d in range(3)]
    assert [(s, d) for s, d, _ in seen] == cells + cells  # the estimate, and the samples
    for start, (*_, expected) in ((0, (1,)), (6, seen[6])):
        for _, _, times in seen[start : start + 6]:
            np.testing.assert_array_equal(times, np.broadcast_to(expected, times.shape))
    assert seen[6][2].shape == (30, groups.size)
    assert (seen[6][2].sum(axis=1) > 0).all()


def test_statistic_counts_a_draw_as_often_as_it_is_drawn(groups):
    table = np.random.default_rng(5).normal(size=(3, 4))
    by_statistic = hierarchical_statistic(
        lambda s, d, times: np.full(len(times), table[s, d]),
        (3, 4),
        groups,
        seed=0,
        num_samples=300,
    )
    values = np.broadcast_to(table[:, :, None], (3, 4, groups.size)).copy()
    by_mean = hierarchical_interval(values, groups, seed=0, num_samples=300)
    np.testing.assert_allclose(by_statistic, by_mean, rtol=1e-9)


# The p value


def test_p_value_by_hand():
    # Samples of two patients with -1 and 3: -1 in a quarter of them, else 1 or 3.
    values = np.array([[[-1.0, 3.0]]])
    found = hierarchical_interval(values, np.arange(2), seed=0, num_samples=4000)
    assert found.p_value == pytest.approx(2 / 4, abs=0.03)
    negative = hierarchical_interval(-values, np.arange(2), seed=0, num_samples=4000)
    assert negative.p_value == found.p_value


def test_p_value_is_never_zero_and_at_most_one(groups):
    values = np.ones((1, 1, groups.size))
    certain = hierarchical_interval(values, groups, seed=0, num_samples=99)
    assert certain.p_value == pytest.approx(2 / 100)
    assert hierarchical_interval(0 * values, groups, seed=0).p_value == 1


def test_p_value_below_a_level_goes_with_an_interval_clear_of_zero(values, groups):
    verdicts = []
    for shift in np.linspace(-1.5, 1.5, 13):
        found = hierarchical_interval(values + shift, groups, seed=0)
        assert isinstance(found, Estimate)
        clear = found.low > 0 or found.high < 0
        assert clear == (found.p_value < 0.05) or abs(found.p_value - 0.05) < 0.002
        verdicts.append(clear)
    assert len(set(verdicts)) == 2


# Holm's correction


def test_holm_by_hand():
    # 4 * .01; 3 * .02 = .06; 2 * .04 = .08; 1 * .03 stays below the one before it
    np.testing.assert_allclose(holm(np.array([0.04, 0.01, 0.9, 0.02])), [0.08, 0.04, 0.9, 0.06])
    np.testing.assert_allclose(holm(np.array([0.03, 0.02])), [0.04, 0.04])
    np.testing.assert_allclose(holm(np.array([0.6, 0.7])), [1, 1])


def test_holm_equals_its_slow_twin():
    numbers = np.random.default_rng(6)
    for size in range(8):
        p_values = numbers.random(size).round(1) / 5
        np.testing.assert_allclose(holm(p_values), slow.holm(p_values.tolist()))


def test_holm_leaves_what_is_no_comparison_out():
    found = holm(np.array([0.01, NAN, 0.02]))
    np.testing.assert_allclose(found, [0.02, NAN, 0.02])


def test_wrong_input_is_refused(values, groups):
    # the session's checker of shapes would answer first: `unwrap` takes it off
    plain = inspect.unwrap(hierarchical_interval)
    with pytest.raises(InputError, match=r"\[seeds, draws, n\].*\(3, 4\)"):
        plain(values[:, :, 0], groups, seed=0)
    with pytest.raises(InputError, match="values, but groups of shape"):
        plain(values, groups[1:], seed=0)
    with pytest.raises(InputError, match="confidence is 95"):
        hierarchical_interval(values, groups, seed=0, confidence=95)
    with pytest.raises(InputError, match="num_samples is 0"):
        hierarchical_statistic(constant(0.0), (1, 1), groups, seed=0, num_samples=0)
    with pytest.raises(InputError, match=r"shape is \(3, 0\)"):
        hierarchical_statistic(constant(0.0), (3, 0), groups, seed=0)
    with pytest.raises(InputError, match=r"p value 1 is 1\.5"):
        holm(np.array([0.1, 1.5]))

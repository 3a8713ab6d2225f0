"""Saliency metrics: hand cases, slow twins, pysaliency, properties, degenerate input."""

import inspect
import math

import hypothesis
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import strategies as st

from gazax.metrics.saliency import (
    auc_borji,
    auc_judd,
    auc_shuffled,
    cc,
    information_gain,
    kl,
    nss,
    sim,
)
from gazax.typing import InputError
from tests.reference import saliency as slow

EPSILON = 2.2204e-16
SHAPE = (7, 9)
examples = hypothesis.settings(max_examples=60, deadline=None, derandomize=True)
# Steps of 1/64: sums and differences of these are exact, so that equal means equal.
maps = hnp.arrays(float, SHAPE, elements=st.integers(0, 640).map(lambda n: n / 64))
points = hnp.arrays(
    float,
    st.tuples(st.integers(1, 12), st.just(2)),
    elements=st.floats(0, 6.99, allow_subnormal=False),
)


def rng():
    return np.random.default_rng(5)


def judd(saliency_map, xy, **kwargs):
    return auc_judd(saliency_map, xy, **kwargs)


def borji(saliency_map, xy, **kwargs):
    return auc_borji(saliency_map, xy, rng=rng(), **kwargs)


def shuffled(saliency_map, xy, **kwargs):
    other = np.random.default_rng(6).uniform(0, 7, (30, 2))
    return auc_shuffled(saliency_map, xy, other, rng=rng(), **kwargs)


def gain(saliency_map, xy, **kwargs):
    baseline = np.random.default_rng(7).uniform(0.1, 1, saliency_map.shape)
    return information_gain(saliency_map, xy, baseline, **kwargs)


AUCS = [judd, borji, shuffled]
OF_POINTS = [nss, gain, *AUCS]
OF_MAPS = [cc, sim, kl]
BY_NAME = pytest.mark.parametrize("metric", OF_POINTS, ids=lambda f: f.__name__)
BY_NAME_AUC = pytest.mark.parametrize("metric", AUCS, ids=lambda f: f.__name__)
BY_NAME_MAPS = pytest.mark.parametrize("metric", OF_MAPS, ids=lambda f: f.__name__)


@pytest.fixture
def saliency_map():
    return np.random.default_rng(0).uniform(0, 3, SHAPE)


@pytest.fixture
def other_map():
    return np.random.default_rng(1).uniform(0, 2, SHAPE)


@pytest.fixture
def xy():
    numbers = np.random.default_rng(2)
    row, column = np.divmod(numbers.choice(63, 12, replace=False), SHAPE[1])
    points = np.stack([column, row], axis=1) + numbers.uniform(0, 0.99, (12, 2))
    return np.concatenate([points, points[:2]])  # two pixels are fixated twice


# By hand


def test_nss_by_hand():
    # mean 1, deviations -1 -1 -1 3, variance 12 / 4; the fixated 4 has (4 - 1) / sqrt(3)
    one_peak = np.array([[0.0, 0.0], [0.0, 4.0]])
    assert nss(one_peak, np.array([[1.5, 1.5]])) == pytest.approx(math.sqrt(3))
    # and a 0 has -1 / sqrt(3); the mean of both
    both = np.array([[1.5, 1.5], [0.5, 1.5]])
    assert nss(one_peak, both) == pytest.approx(1 / math.sqrt(3))


def test_auc_judd_by_hand():
    # Positives 4 and 2, negatives 3 and 1. At 4: tpr 1/2, fpr 0. At 2: tpr 1, fpr 1/2.
    # From fpr 0 to 1/2 the line goes from 1/2 to 1: 3/8; from there on 1: 1/2.
    values = np.array([[4.0, 3.0], [2.0, 1.0]])
    assert auc_judd(values, np.array([[0.5, 0.5], [0.5, 1.5]])) == pytest.approx(7 / 8)


def test_auc_judd_ties_count_one_half():
    # One positive, 1; negatives 1, 1, 0. At 1: tpr 1, fpr 2/3. The line from (0, 0): 1/3, then 1/3.
    values = np.array([[1.0, 1.0], [1.0, 0.0]])
    assert auc_judd(values, np.array([[0.5, 0.5]])) == pytest.approx(2 / 3)


def test_auc_judd_counts_a_fixated_pixel_once():
    values = np.array([[4.0, 3.0], [2.0, 1.0]])
    once = np.array([[0.5, 0.5], [0.5, 1.5]])
    twice = np.array([[0.5, 0.5], [0.1, 0.9], [0.5, 1.5]])
    assert auc_judd(values, once) == auc_judd(values, twice)


def test_auc_shuffled_by_hand():
    # 4 beats 1 and 3, 2 beats 1 only: 3 of 4 pairs. As many others as fixations: nothing is drawn.
    values = np.array([[4.0, 3.0], [2.0, 1.0]])
    xy, other = np.array([[0.5, 0.5], [0.5, 1.5]]), np.array([[1.5, 0.5], [1.5, 1.5]])
    assert auc_shuffled(values, xy, other, rng=rng()) == pytest.approx(3 / 4)


def test_cc_by_hand():
    # a: deviations -3 -1 1 3, b: -1 -1 1 1; 8 / sqrt(20 * 4)
    a, b = np.array([[0.0, 2.0], [4.0, 6.0]]), np.array([[1.0, 1.0], [3.0, 3.0]])
    assert cc(a, b) == pytest.approx(8 / math.sqrt(80))


def test_sim_by_hand():
    # densities .1 .2 .3 .4 and .25 each: .1 + .2 + .25 + .25
    a, b = np.array([[1.0, 2.0], [3.0, 4.0]]), np.full((2, 2), 7.0)
    assert sim(a, b) == pytest.approx(0.8)


def test_kl_by_hand():
    # target 1/2 1/2, predicted 1/4 3/4: ln 2 / 2 + ln(2/3) / 2
    predicted, target = np.array([[1.0, 3.0]]), np.array([[5.0, 5.0]])
    assert kl(predicted, target) == pytest.approx((math.log(2) + math.log(2 / 3)) / 2)
    # the other way round, 1/4 ln(1/2) + 3/4 ln(3/2): the order of the arguments matters
    expected = math.log(1 / 2) / 4 + 3 * math.log(3 / 2) / 4
    assert kl(target, predicted) == pytest.approx(expected)


def test_kl_of_a_prediction_of_zero_is_what_epsilon_says():
    predicted, target = np.array([[0.0, 1.0]]), np.array([[1.0, 0.0]])
    assert kl(predicted, target) == pytest.approx(-math.log(EPSILON))
    assert kl(predicted, target, epsilon=1e-3) == pytest.approx(
        (1.001 * math.log(1001) - 0.001 * math.log(1001)) / 1.002
    )
    assert kl(predicted, target, epsilon=0.0) == math.inf


def test_information_gain_by_hand():
    # 1/2 against 1/8 is 2 bits; 1/4 against 1/8 is 1
    predicted, baseline = np.array([[4.0, 2.0, 1.0, 1.0]] * 2), np.ones((2, 4))
    fixations = np.array([[0.5, 0.5], [1.5, 1.5]])
    assert information_gain(predicted, fixations, baseline) == pytest.approx((1 + 0) / 2)


def test_point_belongs_to_the_pixel_of_its_floor():
    values = np.zeros((4, 5))
    values[1, 3] = 1.0
    assert nss(values, np.array([[3.0, 1.0]])) > 0
    assert nss(values, np.array([[3.999, 1.999]])) > 0
    assert nss(values, np.array([[4.0, 1.5]])) < 0
    assert nss(values, np.array([[1.5, 3.5]])) < 0  # x and y the wrong way round


# Slow twins


def test_metrics_of_points_equal_their_slow_twins(saliency_map, other_map, xy):
    assert nss(saliency_map, xy) == pytest.approx(slow.nss(saliency_map, xy))
    assert auc_judd(saliency_map, xy) == pytest.approx(slow.auc_judd(saliency_map, xy))
    assert information_gain(saliency_map, xy, other_map) == pytest.approx(
        slow.information_gain(saliency_map, xy, other_map, EPSILON)
    )


def test_metrics_of_maps_equal_their_slow_twins(saliency_map, other_map):
    assert cc(saliency_map, other_map) == pytest.approx(slow.cc(saliency_map, other_map))
    assert sim(saliency_map, other_map) == pytest.approx(slow.sim(saliency_map, other_map))
    for epsilon in (EPSILON, 1e-2, 0.0):
        assert kl(saliency_map, other_map, epsilon=epsilon) == pytest.approx(
            slow.kl(saliency_map, other_map, epsilon)
        )


@examples
@hypothesis.given(maps, points)
def test_auc_judd_equals_its_slow_twin_with_ties(values, xy):
    assert auc_judd(values, xy) == pytest.approx(slow.auc_judd(values, xy))


def test_auc_borji_tends_to_the_auc_against_all_pixels(saliency_map, xy):
    expected = slow.auc_all_pixels(saliency_map, xy)
    value = auc_borji(saliency_map, xy, rng=rng(), num_splits=20_000)
    assert value == pytest.approx(expected, abs=0.003)
    assert abs(expected - 0.5) > 0.01  # or the line above would hold for anything


def test_auc_shuffled_tends_to_the_auc_against_all_other_fixations(saliency_map, xy):
    other = np.random.default_rng(3).uniform(0, 7, (50, 2))
    expected = slow.auc_all_others(saliency_map, xy, other)
    value = auc_shuffled(saliency_map, xy, other, rng=rng(), num_splits=20_000)
    assert value == pytest.approx(expected, abs=0.003)
    assert abs(expected - 0.5) > 0.01


def test_auc_borji_and_shuffled_are_deterministic_by_the_generator(saliency_map, xy):
    for metric in (borji, shuffled):
        assert metric(saliency_map, xy) == metric(saliency_map, xy)
    first, second = (auc_borji(saliency_map, xy, rng=np.random.default_rng(i)) for i in (0, 1))
    assert first != second


# An independent package


@pytest.fixture
def oracle(monkeypatch):
    pytest.importorskip("torch")
    # numpy 2.4 has only the new name of the trapezoidal rule
    monkeypatch.setattr(np, "trapz", np.trapezoid, raising=False)
    return pytest.importorskip("pysaliency")


class EveryPixelInTurn(np.random.Generator):
    """Draws without chance, so that an AUC against drawn pixels is that against all pixels."""

    def integers(self, high, *, size):
        return np.arange(size) % high


@pytest.mark.torch
def test_metrics_of_maps_equal_pysaliency(oracle, saliency_map, other_map):
    metrics = oracle.metrics
    with_zeros = np.where(saliency_map > 1, saliency_map, 0)
    for a, b in ((saliency_map, other_map), (with_zeros, other_map), (other_map, with_zeros)):
        assert cc(a, b) == pytest.approx(metrics.CC(a, b), abs=1e-6)
        assert sim(a, b) == pytest.approx(metrics.SIM(a, b), abs=1e-6)
        with np.errstate(divide="ignore"):  # it takes log 0 on its way
            expected = metrics.MIT_KLDiv(a, b)
        assert kl(a, b) == pytest.approx(expected, abs=1e-6)
    exact = metrics.image_based_kl_divergence(saliency_map, other_map)
    assert kl(saliency_map, other_map) == pytest.approx(exact, abs=1e-6)


@pytest.mark.torch
def test_metrics_of_points_equal_pysaliency(oracle, saliency_map, other_map, xy):
    once = xy[:-2]  # pysaliency's Judd counts a pixel with two fixations twice
    for values in (saliency_map, np.round(saliency_map, 0)):  # without ties and with many

        class Fixed(oracle.SaliencyMapModel):
            def _saliency_map(self, stimulus, values=values):
                return values

        stimuli = oracle.Stimuli([np.zeros((*SHAPE, 3)), np.ones((*SHAPE, 3))])
        other = np.random.default_rng(3).uniform(0, 7, (10, 2))

        def fixations_of(*points):
            x, y = np.concatenate(points).T
            image = np.repeat(range(len(points)), [len(p) for p in points])
            return oracle.Fixations.create_without_history(x, y, image)

        alone = fixations_of(once)
        twice = fixations_of(xy)
        assert nss(values, xy) == pytest.approx(Fixed().NSS(stimuli, twice), abs=1e-6)
        assert auc_judd(values, once) == pytest.approx(
            Fixed().AUC_Judd(stimuli, alone, jitter=False), abs=1e-6
        )
        per_image = Fixed().AUC_per_image(stimuli, fixations_of(xy, other), "shuffled")
        assert auc_shuffled(values, other[:10], xy[:10], rng=rng()) == pytest.approx(
            Fixed().AUC_per_image(stimuli, fixations_of(xy[:10], other), "shuffled")[1], abs=1e-6
        )
        assert auc_shuffled(values, xy, other, rng=rng(), num_splits=20_000) == pytest.approx(
            per_image[0], abs=0.01
        )
        uniform = Fixed().AUC(stimuli, twice, nonfixations="uniform")
        in_turn = EveryPixelInTurn(np.random.PCG64(0))  # 9 splits of 14: each of 63 pixels twice
        assert auc_borji(values, xy, rng=in_turn, num_splits=9) == pytest.approx(uniform, abs=1e-6)
        assert auc_borji(values, xy, rng=rng(), num_splits=20_000) == pytest.approx(
            uniform, abs=0.01
        )


@pytest.mark.torch
def test_information_gain_equals_pysaliency(oracle, saliency_map, other_map, xy):
    def model(values):
        class Fixed(oracle.Model):
            def _log_density(self, stimulus):
                return np.log(values / values.sum())

        return Fixed()

    stimuli = oracle.Stimuli([np.zeros((*SHAPE, 3))])
    x, y = xy.T
    fixations = oracle.Fixations.create_without_history(x, y, np.zeros(len(x), int))
    expected = model(saliency_map).information_gain(stimuli, fixations, model(other_map))
    assert information_gain(saliency_map, xy, other_map) == pytest.approx(expected, abs=1e-6)


# Properties


@examples
@hypothesis.given(maps, maps)
def test_metrics_of_maps_keep_their_bounds_and_symmetries(a, b):
    assert -1 <= cc(a, b) <= 1
    assert 0 <= sim(a, b) <= 1
    assert kl(a, b) >= 0
    assert cc(a, b) == pytest.approx(cc(b, a))
    assert sim(a, b) == pytest.approx(sim(b, a))


@examples
@hypothesis.given(maps, maps)
def test_kl_is_zero_and_sim_one_only_for_equal_densities(a, b):
    def density(values):
        return values / values.sum() if values.any() else np.full(SHAPE, 1 / values.size)

    distance = np.abs(density(a) - density(b)).sum()
    assert kl(a, b) >= distance**2 / 2 - 1e-12  # Pinsker's inequality
    assert sim(a, b) == pytest.approx(1 - distance / 2)
    assert kl(a, 3 * a) == pytest.approx(0, abs=1e-12)
    assert sim(a, 3 * a) == pytest.approx(1)


@examples
@hypothesis.given(maps)
def test_cc_of_a_map_with_itself_is_one_unless_constant(a):
    expected = 0 if np.ptp(a) == 0 else 1
    assert cc(a, 2 * a + 3) == pytest.approx(expected)
    assert cc(a, -a) == pytest.approx(-expected)


@examples
@hypothesis.given(maps, points)
def test_aucs_are_in_bounds_and_depend_on_the_order_only(values, xy):
    for metric in AUCS:
        area = metric(values, xy)
        assert 0 <= area <= 1
        assert metric(np.exp(values) - 5, xy) == area


@examples
@hypothesis.given(maps, points)
def test_auc_borji_of_the_reversed_map_is_the_complement(values, xy):
    assert borji(values, xy) + borji(-values, xy) == pytest.approx(1)


@BY_NAME
def test_order_of_fixations_does_not_matter(metric, saliency_map, xy):
    assert metric(saliency_map, xy[::-1]) == pytest.approx(metric(saliency_map, xy))


@pytest.mark.parametrize("metric", [nss, gain], ids=lambda f: f.__name__)
def test_scale_of_the_map_does_not_matter(metric, saliency_map, xy):
    for scale in (1e-9, 1e9):
        assert metric(scale * saliency_map, xy) == pytest.approx(metric(saliency_map, xy))


@BY_NAME_MAPS
def test_scale_of_maps_does_not_matter(metric, saliency_map, other_map):
    expected = metric(saliency_map, other_map)
    for scale in (1e-200, 1e-9, 1e9):
        assert metric(scale * saliency_map, other_map) == pytest.approx(expected)
        assert metric(saliency_map, scale * other_map) == pytest.approx(expected)


# What is left out


@BY_NAME
def test_points_outside_are_ignored(metric, saliency_map, xy):
    height, width = SHAPE
    outside = [[-0.1, 2], [2, -1e-9], [width, 2], [2, height], [np.nan, 2], [2, np.inf]]
    extended = np.concatenate([xy, np.array(outside)])
    assert metric(saliency_map, extended) == metric(saliency_map, xy)


@pytest.fixture
def padded(saliency_map):
    """The map inside a larger one, and where it lies: x from 3, y from 2."""
    whole, where = np.full((11, 14), np.nan), np.zeros((11, 14), bool)  # padding may hold anything
    whole[2:9, 3:12], where[2:9, 3:12] = saliency_map, True
    return whole, where


def moved(xy):
    """The same points in the larger map, and one in the padding."""
    return np.concatenate([xy + np.array([3, 2]), [[0.5, 0.5]]])


@pytest.mark.parametrize("metric", [nss, judd, borji], ids=lambda f: f.__name__)
def test_where_equals_cutting_the_map_out(metric, saliency_map, padded, xy):
    whole, where = padded
    assert metric(whole, moved(xy), where=where) == metric(saliency_map, xy)


def test_auc_shuffled_where_equals_cutting_the_map_out(saliency_map, padded, xy):
    whole, where = padded
    other = np.random.default_rng(6).uniform(0, 7, (30, 2))
    assert auc_shuffled(whole, moved(xy), moved(other), rng=rng(), where=where) == auc_shuffled(
        saliency_map, xy, other, rng=rng()
    )


def test_information_gain_where_equals_cutting_both_maps_out(saliency_map, other_map, padded, xy):
    whole, where = padded
    baseline = np.full(where.shape, np.nan)
    baseline[where] = other_map.ravel()
    assert information_gain(whole, moved(xy), baseline, where=where) == information_gain(
        saliency_map, xy, other_map
    )


@BY_NAME_MAPS
def test_where_equals_cutting_both_maps_out(metric, saliency_map, other_map):
    where = np.zeros((11, 14), bool)
    where[2:9, 3:12] = True
    a, b = np.full(where.shape, np.nan), np.full(where.shape, -1.0)
    a[where], b[where] = saliency_map.ravel(), other_map.ravel()
    assert metric(a, b, where=where) == metric(saliency_map, other_map)


# Degenerate input


@BY_NAME
def test_no_fixation_is_nan(metric, saliency_map):
    assert math.isnan(metric(saliency_map, np.zeros((0, 2))))
    assert math.isnan(metric(saliency_map, np.array([[-1.0, 2.0], [np.nan, np.nan]])))


@pytest.mark.parametrize("value", [0.0, 0.1, 5.0])
def test_constant_map_is_chance(value, other_map, xy):
    constant = np.full(SHAPE, value)  # the mean of 0.1 is not exactly 0.1
    assert nss(constant, xy) == 0
    assert [metric(constant, xy) for metric in AUCS] == [0.5, 0.5, 0.5]
    assert cc(constant, other_map) == cc(other_map, constant) == cc(constant, constant) == 0
    assert sim(constant, np.ones(SHAPE)) == pytest.approx(1)
    assert kl(constant, np.ones(SHAPE)) == pytest.approx(0, abs=1e-12)
    assert information_gain(constant, xy, np.ones(SHAPE)) == pytest.approx(0, abs=1e-12)


def test_auc_judd_without_an_unfixated_pixel_is_nan():
    assert math.isnan(auc_judd(np.array([[1.0, 2.0]]), np.array([[0.5, 0.5], [1.5, 0.5]])))


def test_auc_shuffled_without_other_fixations_is_nan(saliency_map, xy):
    assert math.isnan(auc_shuffled(saliency_map, xy, np.zeros((0, 2)), rng=rng()))


def test_best_and_worst_map_have_auc_one_and_zero():
    values = np.arange(12.0).reshape(3, 4)
    best, worst = np.array([[3.5, 2.5]]), np.array([[0.5, 0.5]])
    others = np.array([[1.5, 1.5], [2.5, 1.5]])
    assert auc_judd(values, best) == 1
    assert auc_judd(values, worst) == pytest.approx(0.5)  # as documented: 0 + 1 / (2 * 1)
    assert auc_shuffled(values, best, others, rng=rng()) == 1
    assert auc_shuffled(values, worst, others, rng=rng()) == 0


def test_integer_maps_are_taken_as_they_are(saliency_map, other_map, xy):
    grey = (80 * saliency_map).astype(np.uint8)
    other_grey = (120 * other_map).astype(np.uint8)
    assert nss(grey, xy) == nss(grey.astype(float), xy)
    assert cc(grey, other_grey) == cc(grey.astype(float), other_grey.astype(float))
    assert sim(grey, other_grey) == sim(grey.astype(float), other_grey.astype(float))


def test_input_is_left_as_it_was(saliency_map, other_map, xy):
    copies = saliency_map.copy(), other_map.copy(), xy.copy()
    for metric in OF_POINTS:
        metric(saliency_map, xy)
    for metric in OF_MAPS:
        metric(saliency_map, other_map)
    for array, copy in zip((saliency_map, other_map, xy), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


# Wrong input. The session's checker of shapes would answer first: `unwrap` takes it off.


@BY_NAME_MAPS
def test_maps_of_different_shape_are_refused(metric, saliency_map, other_map):
    with pytest.raises(InputError, match=r"\(7, 9\) and \(7, 8\)"):
        inspect.unwrap(metric)(saliency_map, other_map[:, :-1])


def test_wrong_shapes_are_refused(saliency_map, xy):
    plain = inspect.unwrap(nss)
    with pytest.raises(InputError, match=r"\(h, w\)|\[h, w\].*\(1, 7, 9\)"):
        plain(saliency_map[None], xy)
    with pytest.raises(InputError, match=r"\[f, 2\].*\(2, 14\)"):
        plain(saliency_map, xy.T)
    with pytest.raises(InputError, match=r"`where` is \(7, 8\)"):
        plain(saliency_map, xy, where=np.ones((7, 8), bool))
    with pytest.raises(InputError, match="no pixel counts"):
        plain(saliency_map, xy, where=np.zeros(SHAPE, bool))


@BY_NAME
def test_map_that_is_not_finite_is_refused(metric, saliency_map, xy):
    saliency_map[2, 3] = np.nan
    with pytest.raises(InputError, match="1 of the map's 63 pixels"):
        metric(saliency_map, xy)


def test_negative_map_makes_no_density(saliency_map, other_map, xy):
    saliency_map[2, 3] = -0.5
    for metric in (sim, kl):
        with pytest.raises(InputError, match=r"down to -0\.5"):
            metric(saliency_map, other_map)
        with pytest.raises(InputError, match=r"down to -0\.5"):
            metric(other_map, saliency_map)
    with pytest.raises(InputError, match=r"down to -0\.5"):
        information_gain(saliency_map, xy, other_map)

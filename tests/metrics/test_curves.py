import inspect
import itertools
import math

import hypothesis
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import sklearn.metrics
from hypothesis import strategies as st

from gazax.metrics.classification import roc_auc
from gazax.metrics.curves import (
    ResampledAveragePrecision,
    average_precision,
    precision_recall_curve,
    roc_curve,
    sensitivity_at_specificity,
    specificity_thresholds,
)
from gazax.typing import InputError
from tests.reference import evaluation as slow

NAN = np.nan
examples = hypothesis.settings(max_examples=60, deadline=None, derandomize=True)
# Few scores, so that many are equal; labels of both kinds, and unknown ones.
entries = st.integers(4, 25).flatmap(
    lambda n: st.tuples(
        hnp.arrays(float, n, elements=st.integers(0, 6).map(float)),
        hnp.arrays(float, n - 2, elements=st.sampled_from([0.0, 1.0, NAN])).map(
            lambda some: np.r_[0.0, some, 1.0]
        ),
    )
)


@pytest.fixture
def scores():
    return np.random.default_rng(0).normal(size=(40, 3))


@pytest.fixture
def labels():
    return np.random.default_rng(1).integers(0, 2, (40, 3)).astype(float)


def is_on(point, curve):
    """Whether a point lies on one of the straight lines between the points of a curve."""
    lines = itertools.pairwise(zip(*curve, strict=True))
    return any(
        math.dist(start, point) + math.dist(point, end) == pytest.approx(math.dist(start, end))
        for start, end in lines
    )


# Curves


def test_roc_curve_by_hand():
    # .9 present; .5 present and absent, together; .1 absent
    fpr, tpr = roc_curve(np.array([0.5, 0.9, 0.1, 0.5, 0.7]), np.array([1, 1, 0, 0, NAN]))
    np.testing.assert_allclose(fpr, [0, 0, 1 / 2, 1])
    np.testing.assert_allclose(tpr, [0, 1 / 2, 1, 1])


def test_precision_recall_curve_by_hand():
    # .9 absent; .5 present and absent, together; .1 present
    recall, precision = precision_recall_curve(
        np.array([0.5, 0.9, 0.1, 0.5, 0.7]), np.array([1, 0, 1, 0, NAN])
    )
    np.testing.assert_allclose(recall, [0, 0, 1 / 2, 1])
    np.testing.assert_allclose(precision, [1, 0, 1 / 3, 1 / 2])


@examples
@hypothesis.given(entries)
def test_roc_curve_holds_the_point_of_every_threshold(both):
    curve = roc_curve(*both)
    points = slow.roc_points(*both)
    assert all(is_on(point, curve) for point in points)
    assert set(zip(*(axis.tolist() for axis in curve), strict=True)) <= set(points)


@examples
@hypothesis.given(entries)
def test_precision_recall_curve_equals_its_slow_twin(both):
    curve = precision_recall_curve(*both)
    np.testing.assert_allclose(np.transpose(curve), slow.precision_recall_points(*both))


@examples
@hypothesis.given(entries)
def test_areas_below_the_curves_are_the_metrics(both):
    scores, labels = both
    columns = scores[:, None], labels[:, None]
    fpr, tpr = roc_curve(*both)
    assert np.trapezoid(tpr, fpr) == pytest.approx(roc_auc(*columns)["macro"])
    recall, precision = precision_recall_curve(*both)
    steps = (np.diff(recall) * precision[1:]).sum()
    assert steps == pytest.approx(average_precision(*columns)["macro"])


@pytest.mark.parametrize("labels", [[1, 1, NAN], [0, 0, NAN], [NAN, NAN, NAN]])
def test_curve_of_one_kind_is_one_point_of_nan(labels):
    for curve in (roc_curve, precision_recall_curve):
        for axis in curve(np.array([0.1, 0.2, 0.3]), np.array(labels, float)):
            np.testing.assert_array_equal(axis, [NAN])
        for axis in curve(np.zeros(0), np.zeros(0)):
            np.testing.assert_array_equal(axis, [NAN])


# Average precision


def test_average_precision_by_hand():
    # class 0, present .9 .4, absent .6 .1: 1/2 * 1 + 1/2 * 2/3
    # class 1, present .5 with an absent .5, absent .2: at .5 one of two
    scores = np.array([[0.9, 0.5], [0.4, 0.5], [0.6, 0.2], [0.1, 0.7]])
    labels = np.array([[1, 1], [1, 0], [0, 0], [0, NAN]])
    found = average_precision(scores, labels)
    np.testing.assert_allclose(found["per_class"], [5 / 6, 1 / 2])
    assert found["macro"] == pytest.approx(2 / 3)
    # together: .9 present, .6 absent, .5 present and absent, .4 present: 1/3 (1 + 2/4 + 3/5)
    assert found["micro"] == pytest.approx((1 + 1 / 2 + 3 / 5) / 3)


@pytest.mark.parametrize("decimals", [8, 0])  # without ties, and with many
def test_average_precision_without_unknown_labels_is_scikit_learns(scores, labels, decimals):
    scores = scores.round(decimals)
    found = average_precision(scores, labels)
    for average, value in (
        (None, found["per_class"]),
        ("macro", found["macro"]),
        ("micro", found["micro"]),
    ):
        theirs = sklearn.metrics.average_precision_score(labels, scores, average=average)
        np.testing.assert_allclose(value, theirs)


@examples
@hypothesis.given(entries)
def test_average_precision_equals_its_slow_twin_with_ties(both):
    found = average_precision(*(one[:, None] for one in both))
    assert found["macro"] == found["micro"] == pytest.approx(slow.average_precision(*both))


def test_average_precision_of_equal_scores_is_the_share_of_the_present(labels):
    found = average_precision(np.zeros((40, 3)), labels)
    np.testing.assert_allclose(found["per_class"], labels.mean(axis=0))


def test_average_precision_class_of_one_kind_is_nan_and_left_out_of_macro(scores, labels):
    for value in (0, 1, NAN):
        labels[:, 1] = value
        with np.errstate(all="raise"):  # NaN on purpose, not by 0 / 0
            found = average_precision(scores, labels)
        np.testing.assert_array_equal(np.isnan(found["per_class"]), [False, True, False])
        assert found["macro"] == pytest.approx(found["per_class"][[0, 2]].mean())
        assert 0 < found["micro"] < 1
    nothing = average_precision(scores, np.full((40, 3), NAN))
    assert math.isnan(nothing["macro"])
    assert math.isnan(nothing["micro"])


@pytest.mark.parametrize("decimals", [8, 0])
def test_resampled_average_precision_is_that_of_the_drawn_rows(scores, labels, decimals):
    labels[np.random.default_rng(2).random(labels.shape) < 0.2] = NAN
    labels[:, 2] = np.where(np.arange(40) < 2, 1, 0)  # missing from some draws
    scores = scores.round(decimals)
    resampled = ResampledAveragePrecision(scores, labels)
    missing = 0
    for seed in range(20):
        rows = np.random.default_rng(seed).integers(40, size=37)
        with np.errstate(all="raise"):
            times = np.bincount(rows, minlength=40)[None]
            per_class = [resampled.of_class(k, times)[0] for k in range(3)]
        for k, value in enumerate(per_class):
            drawn = labels[rows, k]
            if {0.0, 1.0} <= set(drawn):
                assert value == pytest.approx(slow.average_precision(scores[rows, k], drawn))
            else:
                assert math.isnan(value)
                missing += 1
        assert resampled.macro(times)[0] == pytest.approx(np.nanmean(per_class))
        flat = slow.average_precision(scores[rows].ravel(), labels[rows].ravel())
        assert resampled.micro(times)[0] == pytest.approx(flat)
    assert missing > 0


# Sensitivity at a specificity


def test_sensitivity_by_hand():
    # Absent 1 2 3 4 and .75: three of four lie below anything above 3; present 3.5 and 9 do not.
    scores = np.array([[1.0], [2], [3], [4], [3], [3.5], [9], [99]])
    labels = np.array([[0.0], [0], [0], [0], [1], [1], [1], [NAN]])
    thresholds = specificity_thresholds(scores, labels, specificity=0.75)
    assert 3 < thresholds[0] < 3 + 1e-12
    found = sensitivity_at_specificity(scores, labels, thresholds=thresholds)
    assert found["per_class"][0] == found["macro"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("specificity", [0.05, 0.5, 0.8, 0.95, 1.0])
@pytest.mark.parametrize("decimals", [8, 0])
def test_specificity_threshold_is_the_lowest_that_keeps_it(scores, labels, decimals, specificity):
    scores = scores.round(decimals)
    labels[np.random.default_rng(2).random(labels.shape) < 0.2] = NAN
    thresholds = specificity_thresholds(scores, labels, specificity=specificity)
    for k, threshold in enumerate(thresholds):
        _, _, called, left = slow.counts_at(threshold, scores[:, k], labels[:, k])
        assert left / (called + left) >= specificity
        lower = np.nextafter(threshold, -np.inf)
        _, _, called, left = slow.counts_at(lower, scores[:, k], labels[:, k])
        assert left / (called + left) < specificity


def test_specificity_threshold_is_not_led_astray_by_rounding():
    for share, count, below in ((0.95, 20, 19), (0.55, 100, 55), (0.07, 100, 7)):
        absent = np.arange(count, dtype=float)
        found = specificity_thresholds(absent[:, None], np.zeros((count, 1)), specificity=share)
        assert found[0] == np.nextafter(below - 1, np.inf)


def test_sensitivity_equals_its_slow_twin(scores, labels):
    labels[np.random.default_rng(2).random(labels.shape) < 0.2] = NAN
    thresholds = np.array([-0.5, 0.0, 0.7])
    found = sensitivity_at_specificity(scores, labels, thresholds=thresholds)
    for k in range(3):
        hits, missed, _, _ = slow.counts_at(thresholds[k], scores[:, k], labels[:, k])
        assert found["per_class"][k] == pytest.approx(hits / (hits + missed))
    assert found["macro"] == pytest.approx(found["per_class"].mean())


def test_sensitivity_without_present_or_absent_ones_is_nan(scores, labels):
    labels[:, 0] = 1
    thresholds = specificity_thresholds(scores, labels)
    np.testing.assert_array_equal(np.isnan(thresholds), [True, False, False])
    labels[:, 1] = 0
    with np.errstate(all="raise"):
        found = sensitivity_at_specificity(scores, labels, thresholds=thresholds)
    np.testing.assert_array_equal(np.isnan(found["per_class"]), [True, True, False])
    assert found["macro"] == found["per_class"][2]
    nothing = sensitivity_at_specificity(scores, np.zeros((40, 3)), thresholds=np.zeros(3))
    assert math.isnan(nothing["macro"])


# Wrong input. The session's checker of shapes would answer first: `unwrap` takes it off.


@pytest.mark.parametrize("curve", [roc_curve, precision_recall_curve])
def test_curves_refuse_wrong_input(curve, scores, labels):
    plain = inspect.unwrap(curve)
    with pytest.raises(InputError, match=r"one class.*\(40, 3\)"):
        plain(scores, labels)
    with pytest.raises(InputError, match=r"\(40,\).*\(39,\)"):
        plain(scores[:, 0], labels[1:, 0])
    labels[5, 0] = -1
    with pytest.raises(InputError, match="row 5, class 0 is -1"):
        curve(scores[:, 0], labels[:, 0])


@pytest.mark.parametrize(
    "metric",
    [average_precision, specificity_thresholds],
)
def test_wrong_input_is_refused(metric, scores, labels):
    with pytest.raises(InputError, match=r"\(40, 3\).*\(40, 2\)"):
        inspect.unwrap(metric)(scores, labels[:, :2])
    labels[5, 2] = 0.5
    with pytest.raises(InputError, match="row 5, class 2 is 0.5"):
        metric(scores, labels)
    scores[4, 1] = np.nan
    with pytest.raises(InputError, match="row 4, class 1 is not finite"):
        metric(scores, labels)


@pytest.mark.parametrize("specificity", [0.0, 95.0])
def test_specificity_out_of_range_is_refused(scores, labels, specificity):
    with pytest.raises(InputError, match="specificity is"):
        specificity_thresholds(scores, labels, specificity=specificity)

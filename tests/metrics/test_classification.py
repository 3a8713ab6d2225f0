import inspect
import math

import numpy as np
import pytest
import sklearn.metrics

from gazax.metrics.classification import (
    ResampledRocAuc,
    accuracy,
    f1,
    f1_thresholds,
    roc_auc,
)
from gazax.typing import InputError

NAN = np.nan


@pytest.fixture
def scores():
    return np.random.default_rng(0).normal(size=(40, 3))


@pytest.fixture
def labels():
    return np.random.default_rng(1).integers(0, 2, (40, 3)).astype(float)


def test_roc_auc_by_hand():
    # class 0: present .9 .4, absent .6 .1: 3 of 4 pairs; class 1: .5 against .5 .2: 1.5 of 2
    scores = np.array([[0.9, 0.5], [0.4, 0.5], [0.6, 0.2], [0.1, 0.7]])
    labels = np.array([[1, 1], [1, 0], [0, 0], [0, NAN]])
    areas = roc_auc(scores, labels)
    np.testing.assert_allclose(areas["per_class"], [3 / 4, 3 / 4])
    assert areas["macro"] == pytest.approx(3 / 4)
    # together: present .9 .4 .5 against absent .6 .1 .5 .2; .9 wins 4, .4 wins 2, .5 wins 2.5
    assert areas["micro"] == pytest.approx(8.5 / 12)


@pytest.mark.parametrize("decimals", [8, 0])  # without ties, and with many
def test_roc_auc_without_unknown_labels_is_scikit_learns(scores, labels, decimals):
    scores = scores.round(decimals)
    areas = roc_auc(scores, labels)
    for average, value in (
        (None, areas["per_class"]),
        ("macro", areas["macro"]),
        ("micro", areas["micro"]),
    ):
        np.testing.assert_allclose(
            value, sklearn.metrics.roc_auc_score(labels, scores, average=average)
        )


def test_roc_auc_unknown_labels_equal_deleting_the_entries(scores, labels):
    unknown = np.random.default_rng(2).random(labels.shape) < 0.3
    with_unknown = np.where(unknown, NAN, labels)
    areas = roc_auc(scores, with_unknown)
    for k in range(3):
        keep = ~unknown[:, k]
        alone = roc_auc(scores[keep, k : k + 1], labels[keep, k : k + 1])
        assert areas["per_class"][k] == alone["macro"] == alone["micro"]
    flat = roc_auc(scores[~unknown][:, None], labels[~unknown][:, None])
    assert areas["micro"] == flat["macro"]
    assert areas["macro"] == pytest.approx(areas["per_class"].mean())


def test_roc_auc_depends_on_order_only(scores, labels):
    monotone = roc_auc(np.exp(scores) + 3, labels)
    np.testing.assert_array_equal(monotone["per_class"], roc_auc(scores, labels)["per_class"])
    reversed_order = roc_auc(-scores, labels)
    np.testing.assert_allclose(
        reversed_order["per_class"], 1 - roc_auc(scores, labels)["per_class"]
    )


def test_roc_auc_class_of_one_kind_is_nan_and_left_out_of_macro(scores, labels):
    for value in (0, 1, NAN):
        labels[:, 1] = value
        with np.errstate(all="raise"):  # NaN on purpose, not by 0 / 0
            areas = roc_auc(scores, labels)
        np.testing.assert_array_equal(np.isnan(areas["per_class"]), [False, True, False])
        assert areas["macro"] == pytest.approx(areas["per_class"][[0, 2]].mean())
        assert 0 < areas["micro"] < 1


def test_roc_auc_of_nothing_known_is_nan(scores):
    areas = roc_auc(scores, np.full((40, 3), NAN))
    assert np.isnan(areas["per_class"]).all()
    assert math.isnan(areas["macro"])
    assert math.isnan(areas["micro"])


def test_accuracy_by_hand():
    scores = np.array([[3.0, 1.0, 2.0], [0.1, 0.2, 0.3], [9.0, 0.0, 0.0], [5.0, 5.0, 1.0]])
    labels = np.array([[1, 0, 0], [0, 1, 0], [NAN, NAN, NAN], [1, 0, 0]])
    assert accuracy(scores, labels) == pytest.approx(2 / 3)


def test_accuracy_is_scikit_learns(scores):
    labels = np.eye(3)[np.random.default_rng(3).integers(0, 3, 40)]
    expected = sklearn.metrics.accuracy_score(labels.argmax(1), scores.argmax(1))
    assert accuracy(scores, labels) == pytest.approx(expected)
    assert accuracy(labels, labels) == 1


def test_accuracy_of_nothing_known_is_nan(scores):
    assert math.isnan(accuracy(scores, np.full((40, 3), NAN)))


@pytest.mark.parametrize("row", [[1, 1, 0], [0, 0, 0], [1, 0, NAN]])
def test_accuracy_refuses_rows_that_are_not_one_hot(row, scores):
    labels = np.eye(3)[np.zeros(40, int)]
    labels[7] = row
    with pytest.raises(InputError, match=r"row 7 .*neither one-hot nor unknown"):
        accuracy(scores, labels)


@pytest.mark.parametrize("decimals", [8, 0])  # without ties, and with many
def test_resampled_roc_auc_is_that_of_the_drawn_rows(scores, labels, decimals):
    labels[np.random.default_rng(2).random(labels.shape) < 0.2] = NAN
    labels[:, 2] = np.where(np.arange(40) < 2, 1, 0)  # missing from some draws
    scores = scores.round(decimals)
    resampled = ResampledRocAuc(scores, labels)
    missing = 0
    for seed in range(20):
        rows = np.random.default_rng(seed).integers(40, size=37)
        expected = roc_auc(scores[rows], labels[rows])
        times = np.bincount(rows, minlength=40)[None]
        per_class = np.concatenate([resampled.of_class(k, times) for k in range(3)])
        np.testing.assert_allclose(per_class, expected["per_class"], rtol=1e-12)
        np.testing.assert_allclose(resampled.macro(times)[0], expected["macro"], rtol=1e-12)
        np.testing.assert_allclose(resampled.micro(times)[0], expected["micro"], rtol=1e-12)
        missing += np.isnan(per_class[2])
    assert missing > 0


def test_f1_by_hand():
    # class 0 at .5: called .9 .6, present .9 .4: TP 1, FP 1, FN 1; class 1 at .2: all called.
    scores = np.array([[0.9, 0.5], [0.4, 0.5], [0.6, 0.2], [0.1, 0.7]])
    labels = np.array([[1, 1], [1, 0], [0, 0], [0, NAN]])
    found = f1(scores, labels, thresholds=np.array([0.5, 0.2]))
    np.testing.assert_allclose(found["per_class"], [1 / 2, 1 / 2])
    assert found["macro"] == pytest.approx(1 / 2)


def test_f1_is_scikit_learns(scores, labels):
    thresholds = np.array([-0.5, 0.0, 0.7])
    found = f1(scores, labels, thresholds=thresholds)
    called = scores >= thresholds
    theirs = sklearn.metrics.f1_score(labels, called, average=None)
    np.testing.assert_allclose(found["per_class"], theirs)
    macro = sklearn.metrics.f1_score(labels, called, average="macro")
    assert found["macro"] == pytest.approx(macro)


def test_f1_of_exclusive_classes_is_scikit_learns(scores):
    truth = np.random.default_rng(3).integers(0, 3, 40)
    called = np.eye(3)[scores.argmax(axis=1)]
    found = f1(called, np.eye(3)[truth], thresholds=np.ones(3))
    theirs = sklearn.metrics.f1_score(truth, scores.argmax(axis=1), average="macro")
    assert found["macro"] == pytest.approx(theirs)


def test_f1_unknown_labels_equal_deleting_the_entries(scores, labels):
    unknown = np.random.default_rng(2).random(labels.shape) < 0.3
    found = f1(scores, np.where(unknown, NAN, labels), thresholds=np.zeros(3))
    for k in range(3):
        keep = ~unknown[:, k]
        alone = f1(scores[keep, k : k + 1], labels[keep, k : k + 1], thresholds=np.zeros(1))
        assert found["per_class"][k] == alone["macro"]


def test_f1_of_a_class_that_nothing_has_is_nan_and_left_out(scores, labels):
    labels[:, 1] = 0
    with np.errstate(all="raise"):
        found = f1(scores, labels, thresholds=np.zeros(3))
    np.testing.assert_array_equal(np.isnan(found["per_class"]), [False, True, False])
    assert found["macro"] == pytest.approx(found["per_class"][[0, 2]].mean())


@pytest.mark.parametrize("decimals", [8, 1])
def test_f1_thresholds_are_the_best_of_all_scores(scores, labels, decimals):
    scores = scores.round(decimals)
    labels[np.random.default_rng(2).random(labels.shape) < 0.2] = NAN
    found = f1_thresholds(scores, labels)
    for k in range(3):
        tried = {
            t: f1(scores[:, [k]], labels[:, [k]], thresholds=np.array([t]))["macro"]
            for t in scores[~np.isnan(labels[:, k]), k]
        }
        best = max(tried.values())
        assert found[k] == max(t for t, value in tried.items() if value == best)


def test_f1_thresholds_take_in_all_equal_scores():
    # At .5 all three are called: 2 * 1 / (3 + 2); at .1 all four: 2 * 2 / (4 + 2).
    scores = np.array([[0.5], [0.5], [0.5], [0.1]])
    np.testing.assert_array_equal(f1_thresholds(scores, np.array([[1], [0], [0], [1]])), [0.1])


def test_f1_thresholds_of_a_class_that_nothing_has_is_nan(scores, labels):
    labels[:, 1] = 0
    np.testing.assert_array_equal(np.isnan(f1_thresholds(scores, labels)), [False, True, False])


@pytest.mark.parametrize("metric", [roc_auc, accuracy, f1_thresholds])
def test_wrong_input_is_refused(metric, scores, labels):
    plain = inspect.unwrap(metric)  # the session's checker of shapes would answer first
    with pytest.raises(InputError, match=r"\(40, 3\).*\(40, 2\)"):
        plain(scores, labels[:, :2])
    with pytest.raises(InputError, match=r"\(40,\)"):
        plain(scores[:, 0], labels[:, 0])
    labels[5, 2] = -1
    with pytest.raises(InputError, match="row 5, class 2 is -1"):
        metric(scores, labels)
    scores[4, 1] = np.inf
    with pytest.raises(InputError, match="row 4, class 1 is not finite"):
        metric(scores, labels)

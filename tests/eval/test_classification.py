import numpy as np
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, roc_auc_score

from gazax.eval.classification import COLUMNS, correct, left_out, measure, statistics, table
from gazax.metrics.calibration import expected_calibration_error
from gazax.metrics.classification import accuracy, f1, f1_thresholds, roc_auc
from gazax.metrics.curves import (
    average_precision,
    sensitivity_at_specificity,
    specificity_thresholds,
)
from gazax.metrics.statistics import bootstrap_statistic, of_rows
from gazax.typing import InputError

PATIENTS = np.arange(60) // 2


def exclusive(n, seed, *, draws=1):
    rng = np.random.default_rng(seed)
    label = np.eye(3)[rng.permutation(n) % 3]
    scores = rng.random((draws, n, 3)) + 0.7 * label
    return scores / scores.sum(axis=2, keepdims=True), label


def several(n, seed, *, draws=1):
    rng = np.random.default_rng(seed)
    label = (rng.random((n, 3)) < [0.5, 0.3, 0.2]).astype(float)
    scores = np.round(np.clip(rng.random((draws, n, 3)) * 0.7 + 0.3 * label, 0, 1), 2)
    label[rng.random((n, 3)) < 0.2] = np.nan
    return scores, label


def options(scores, labels, *, is_exclusive):
    return {
        "validation_scores": scores,
        "validation_labels": labels,
        "exclusive": is_exclusive,
    }


def by_metrics(scores, labels, validation_scores, validation_labels, *, is_exclusive):
    """The columns, from the metrics' own functions on whole arrays."""
    if is_exclusive:
        called, from_ = np.eye(3)[scores.argmax(axis=1)], np.ones(3)
    else:
        called, from_ = scores, f1_thresholds(validation_scores, validation_labels)
    cuts = specificity_thresholds(validation_scores, validation_labels, specificity=0.95)
    found = {
        "f1_macro": f1(called, labels, thresholds=from_)["macro"],
        "auc_macro": roc_auc(scores, labels)["macro"],
        "auc_micro": roc_auc(scores, labels)["micro"],
        "ap_macro": average_precision(scores, labels)["macro"],
        "sensitivity_at_95": sensitivity_at_specificity(scores, labels, thresholds=cuts)["macro"],
        "ece": expected_calibration_error(scores, labels, exclusive=is_exclusive),
    }
    return found | ({"accuracy": accuracy(scores, labels)} if is_exclusive else {})


@pytest.mark.parametrize(("make", "is_exclusive"), [(exclusive, True), (several, False)])
def test_statistics_of_drawn_rows_equal_the_metrics(make, is_exclusive):
    (scores,), labels = make(60, 0)
    (held_out,), of_held_out = make(60, 1)
    found = statistics(scores, labels, **options(held_out, of_held_out, is_exclusive=is_exclusive))
    rng = np.random.default_rng(0)
    for rows in (np.arange(60), rng.integers(60, size=60), rng.integers(60, size=60)):
        expected = by_metrics(
            scores[rows], labels[rows], held_out, of_held_out, is_exclusive=is_exclusive
        )
        assert set(found) == set(expected)
        for name, statistic in found.items():
            times = np.bincount(rows, minlength=60)[None]
            np.testing.assert_allclose(statistic(times)[0], expected[name], err_msg=name)


def test_columns_of_classes_equal_scikit_learn():
    scores, labels = exclusive(60, 0)
    numbers = measure(
        scores,
        labels,
        **options(*exclusive(60, 1), is_exclusive=True),
        patients=PATIENTS,
        seed=0,
        num_samples=10,
    )
    assert list(numbers) == list(COLUMNS)
    called, true = scores[0].argmax(axis=1), labels.argmax(axis=1)
    expected = {
        "accuracy": accuracy_score(true, called),
        "f1_macro": f1_score(true, called, average="macro"),
        "auc_macro": roc_auc_score(labels, scores[0], average="macro"),
        "auc_micro": roc_auc_score(labels, scores[0], average="micro"),
        "ap_macro": average_precision_score(labels, scores[0], average="macro"),
    }
    for name, value in expected.items():
        estimate, low, high = numbers[name]
        np.testing.assert_allclose(estimate, value, err_msg=name)
        assert low < estimate < high


def test_one_draw_is_a_bootstrap_over_patients():
    scores, labels = several(60, 0)
    validation = options(*several(60, 1), is_exclusive=False)
    numbers = measure(scores, labels, **validation, patients=PATIENTS, seed=3, num_samples=50)
    expected = bootstrap_statistic(
        of_rows(lambda rows: roc_auc(scores[0][rows], labels[rows])["macro"]),
        PATIENTS,
        num_samples=50,
        seed=3,
    )
    np.testing.assert_allclose(numbers["auc_macro"], expected)


def test_draws_are_averaged_and_widen_the_interval():
    """Three draws, one of them useless: the mean, and an interval that knows of the spread."""
    scores, labels = exclusive(60, 0, draws=3)
    scores[2] = 1 / 3
    held_out, of_held_out = exclusive(60, 1, draws=3)
    numbers = measure(
        scores,
        labels,
        **options(held_out, of_held_out, is_exclusive=True),
        patients=PATIENTS,
        seed=0,
        num_samples=200,
    )
    one = [
        measure(
            scores[[d]],
            labels,
            **options(held_out[[d]], of_held_out, is_exclusive=True),
            patients=PATIENTS,
            seed=0,
            num_samples=200,
        )
        for d in range(3)
    ]
    for name, (estimate, low, high) in numbers.items():
        np.testing.assert_allclose(estimate, np.mean([of_draw[name][0] for of_draw in one]))
        if name == "auc_macro":
            assert high - low > one[0][name][2] - one[0][name][1]


def test_thresholds_come_from_validation():
    """Test scores are those of validation moved down: nothing reaches the thresholds."""
    held_out, of_held_out = several(60, 1)
    numbers = measure(
        held_out * 1e-3,
        of_held_out,
        **options(held_out, of_held_out, is_exclusive=False),
        patients=PATIENTS,
        seed=0,
        num_samples=5,
    )
    assert numbers["f1_macro"] == (0, 0, 0)
    assert numbers["sensitivity_at_95"] == (0, 0, 0)
    assert numbers["auc_macro"][0] > 0.5


def test_a_label_of_one_value_is_left_out_and_named():
    scores, labels = several(60, 0)
    held_out, of_held_out = several(60, 1)
    labels[:, 1] = np.where(np.isnan(labels[:, 1]), np.nan, 1)
    kept = [0, 2]
    common = {"patients": PATIENTS, "seed": 0, "num_samples": 20}
    all_ = measure(scores, labels, **options(held_out, of_held_out, is_exclusive=False), **common)
    without = measure(
        scores[..., kept],
        labels[:, kept],
        **options(held_out[..., kept], of_held_out[:, kept], is_exclusive=False),
        **common,
    )
    for name in ("f1_macro", "auc_macro", "ap_macro", "sensitivity_at_95"):
        assert all_[name] == without[name], name
    assert left_out(labels, ("a", "b", "c")) == [
        "b: left out of macro means (it is 1 wherever it is known in the test split)"
    ]
    labels[:, 0] = np.nan
    assert "a: left out of macro means (unknown" in left_out(labels, ("a", "b", "c"))[0]


def test_nothing_known_has_no_number():
    scores, labels = several(60, 0)
    numbers = measure(
        scores,
        np.full_like(labels, np.nan),
        **options(scores, labels, is_exclusive=False),
        patients=PATIENTS,
        seed=0,
        num_samples=5,
    )
    assert np.isnan(list(numbers.values())).all()


def test_one_patient_has_no_interval():
    scores, labels = exclusive(60, 0)
    numbers = measure(
        scores,
        labels,
        **options(scores, labels, is_exclusive=True),
        patients=np.zeros(60),
        seed=0,
        num_samples=5,
    )
    assert not np.isnan([estimate for estimate, _, _ in numbers.values()]).any()
    assert np.isnan([ends for _, *ends in numbers.values()]).all()


def test_empty_validation_has_documented_thresholds():
    scores, labels = several(60, 0)
    found = statistics(scores[0], labels, **options(scores[0][:0], labels[:0], is_exclusive=False))
    once = np.ones((1, 60), int)
    assert found["f1_macro"](once)[0] == f1(scores[0], labels, thresholds=np.full(3, 0.5))["macro"]
    assert np.isnan(found["sensitivity_at_95"](once)[0])


def test_scores_of_other_draws_are_refused():
    scores, labels = exclusive(60, 0, draws=2)
    with pytest.raises(InputError, match="of 2 draws and those of validation of 1"):
        measure(
            scores,
            labels,
            **options(*exclusive(60, 1), is_exclusive=True),
            patients=PATIENTS,
            seed=0,
        )


def test_correct_is_the_accuracy_image_by_image():
    scores, labels = exclusive(60, 0, draws=2)
    labels[:7] = np.nan
    found = correct(scores, labels)
    assert np.isnan(found[:, :7]).all()
    np.testing.assert_allclose(
        np.nanmean(found, axis=1), [accuracy(of_draw, labels) for of_draw in scores]
    )


def test_the_table_shows_all_columns():
    lines = table(
        {f"probe/{name}": (0.5, 0.25, 0.75) for name in COLUMNS}, rows={"probe": "linear"}
    )
    text = "\n".join(lines)
    assert text.count("0.500 [0.250, 0.750]") == len(COLUMNS)
    assert all(title in text for title in COLUMNS.values())
    assert max(map(len, lines)) < 130

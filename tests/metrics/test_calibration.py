import inspect
import math

import numpy as np
import pytest

from gazax.metrics.calibration import expected_calibration_error
from gazax.typing import InputError
from tests.reference import evaluation as slow

NAN = np.nan


@pytest.fixture
def probabilities():
    logits = np.random.default_rng(0).normal(size=(60, 3), scale=2)
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


@pytest.fixture
def classes():
    return np.eye(3)[np.random.default_rng(1).integers(0, 3, 60)]


def test_error_of_the_most_probable_class_by_hand():
    # Bins of .5: one holds .8 and .6, one of them right: |.7 - .5|. The other is empty but for .4,
    # which is right: |.4 - 1|. The last row is unknown.
    said = np.array([[0.8, 0.1, 0.1], [0.6, 0.2, 0.2], [0.4, 0.3, 0.3], [0.2, 0.2, 0.6]])
    labels = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0], [NAN, NAN, NAN]])
    error = expected_calibration_error(said, labels, num_bins=2, exclusive=True)
    assert error == pytest.approx(2 / 3 * 0.2 + 1 / 3 * 0.6)


def test_error_of_all_entries_by_hand():
    # (0, 1/2]: .2 .4 .5 of which one is there; (1/2, 1]: .9, there. The NaN is left out.
    said = np.array([[0.2, 0.4], [0.5, 0.9], [0.0, 1.0]])
    labels = np.array([[0, 0], [1, 1], [NAN, NAN]])
    error = expected_calibration_error(said, labels, num_bins=2, exclusive=False)
    assert error == pytest.approx(3 / 4 * abs(1.1 / 3 - 1 / 3) + 1 / 4 * 0.1)


@pytest.mark.parametrize("num_bins", [1, 4, 15])
def test_error_equals_its_slow_twin(probabilities, classes, num_bins):
    classes[::7] = NAN
    found = expected_calibration_error(probabilities, classes, num_bins=num_bins, exclusive=True)
    known = ~np.isnan(classes[:, 0])
    said = probabilities[known].max(axis=1)
    right = classes[known][np.arange(known.sum()), probabilities[known].argmax(axis=1)]
    assert found == pytest.approx(slow.expected_calibration_error(said, right, num_bins))

    labels = (probabilities > 0.3).astype(float)
    labels[3:20, 1] = NAN
    found = expected_calibration_error(probabilities, labels, num_bins=num_bins, exclusive=False)
    known = ~np.isnan(labels)
    twin = slow.expected_calibration_error(probabilities[known], labels[known], num_bins)
    assert found == pytest.approx(twin)


def test_edges_of_bins_belong_to_the_bin_below():
    # 0 with .5, and 1 by itself: |.25 - .5| and 0. Were .5 in the upper bin: |0 - 1|, |.75 - .5|.
    said, labels = np.array([[0.0], [0.5], [1.0]]), np.array([[1.0], [0.0], [1.0]])
    error = expected_calibration_error(said, labels, num_bins=2, exclusive=False)
    assert error == pytest.approx(2 / 3 * 0.25)


def test_perfect_and_worst():
    sure = np.eye(3)
    assert expected_calibration_error(sure, sure, exclusive=True) == 0
    assert expected_calibration_error(sure, sure, exclusive=False) == 0
    assert expected_calibration_error(sure, np.roll(sure, 1, axis=0), exclusive=True) == 1


def test_error_of_labels_drawn_from_the_probabilities_is_small():
    numbers = np.random.default_rng(2)
    said = numbers.dirichlet(np.ones(3), 20_000)
    drawn = (numbers.random(20_000)[:, None] < said.cumsum(axis=1)).argmax(axis=1)
    assert expected_calibration_error(said, np.eye(3)[drawn], exclusive=True) < 0.02
    sharpened = said**3 / (said**3).sum(axis=1, keepdims=True)
    assert expected_calibration_error(sharpened, np.eye(3)[drawn], exclusive=True) > 0.1


@pytest.mark.parametrize("exclusive", [True, False])
def test_error_of_nothing_known_is_nan(probabilities, exclusive):
    unknown = np.full((60, 3), NAN)
    assert math.isnan(expected_calibration_error(probabilities, unknown, exclusive=exclusive))


def test_rounding_of_float32_is_taken(classes):
    said = np.where(classes == 1, np.float32(1 + 1e-7), np.float32(0))
    assert expected_calibration_error(said, classes, exclusive=True) == pytest.approx(0, abs=1e-6)


def test_wrong_input_is_refused(probabilities, classes):
    error = expected_calibration_error
    with pytest.raises(InputError, match=r"\(60, 3\).*\(60, 2\)"):
        inspect.unwrap(error)(probabilities, classes[:, :2], exclusive=True)
    with pytest.raises(InputError, match="num_bins is 0"):
        error(probabilities, classes, num_bins=0, exclusive=True)
    with pytest.raises(InputError, match=r"row 0, class \d is .*not logits"):
        error(3 * probabilities + 1, classes, exclusive=False)
    with pytest.raises(InputError, match=r"known row 0 sum to 1\.5"):
        error(np.full((60, 3), 0.5), classes, exclusive=True)
    classes[4] = [1, 1, 0]
    with pytest.raises(InputError, match="row 4 of the labels"):
        error(probabilities, classes, exclusive=True)
    error(probabilities, classes, exclusive=False)  # where two may be there at once

import numpy as np
import pytest

from gazax.eval.values import Values
from gazax.metrics.statistics import bootstrap_difference, bootstrap_interval

PATIENTS = np.array(["a", "a", "b", "c"])


@pytest.fixture
def values():
    """Images 7, 5, 9 and 8 of a data set; the third has no value."""
    values = Values(np.array([7, 5, 9, 8]))
    for index, value in ((5, 0.5), (7, 0.25), (8, 1.0)):
        values.put("one", index, {"cc": value, "nss": 2 * value})
    for index in (5, 8):
        values.put("other/row", index, {"cc": 0.25})
    return values


def test_values_are_in_the_order_of_the_images(values):
    np.testing.assert_array_equal(values["one/cc"], [0.25, 0.5, np.nan, 1.0])
    np.testing.assert_array_equal(values["one/nope"], [np.nan] * 4)
    assert values.rows == ["one", "other/row"]
    assert {name: array.shape for name, array in values.draws.items()} == {
        "one/cc": (1, 4),
        "one/nss": (1, 4),
        "other/row/cc": (1, 4),
    }


def test_numbers_are_bootstrap_means_and_paired_differences(values):
    found = values.numbers(
        PATIENTS, columns=("cc", "nss"), differences=[("one", "other/row")], seed=3
    )
    # No image has the other row's NSS, nor a difference to it.
    assert list(found) == ["one/cc", "other/row/cc", "one-other/row/cc", "one/nss"]
    one, other = values["one/cc"], values["other/row/cc"]
    assert found["one/cc"] == bootstrap_interval(one, PATIENTS, seed=3)
    assert found["one-other/row/cc"] == bootstrap_difference(one, other, PATIENTS, seed=3)
    assert found["one-other/row/cc"][0] == 0.5  # of images 5 and 8

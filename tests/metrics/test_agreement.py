import inspect
import math

import numpy as np
import pytest

from gazax.metrics.agreement import fleiss_kappa
from gazax.typing import InputError
from tests.reference import evaluation as slow


def count(ratings, num_categories):
    return np.array([[item.count(c) for c in range(num_categories)] for item in ratings])


def test_kappa_by_hand():
    # Three raters: pairs that agree are all, 1 of 3, 1 of 3: P = 5/9. Shares 5/9 and 4/9:
    # P_e = 41/81. (45 - 41) / (81 - 41).
    counts = np.array([[3, 0], [1, 2], [1, 2]])
    assert fleiss_kappa(counts) == pytest.approx(1 / 10)


def test_kappa_of_a_known_table():
    # 14 raters, 10 items, 5 categories: the worked example of the encyclopaedias
    counts = np.array(
        [
            [0, 0, 0, 0, 14],
            [0, 2, 6, 4, 2],
            [0, 0, 3, 5, 6],
            [0, 3, 9, 2, 0],
            [2, 2, 8, 1, 1],
            [7, 7, 0, 0, 0],
            [3, 2, 6, 3, 0],
            [2, 5, 3, 2, 2],
            [6, 5, 2, 1, 0],
            [0, 2, 2, 3, 7],
        ]
    )
    assert fleiss_kappa(counts) == pytest.approx(0.210, abs=5e-4)


def test_kappa_of_a_known_table_with_missing_ratings():
    # Gwet's example of 12 units and 4 raters, some of whom rated nothing
    ratings = [[0, 0, 0], [1, 1, 2, 1], [2] * 4, [2] * 4, [1] * 4, [0, 1, 2, 3], [3] * 4]
    ratings += [[0, 0, 1, 0], [1] * 4, [4] * 3, [0, 0], [2]]
    assert fleiss_kappa(count(ratings, 5)) == pytest.approx(0.76117, abs=5e-6)


def test_kappa_equals_its_slow_twin():
    numbers = np.random.default_rng(0)
    for _ in range(20):
        ratings = [numbers.integers(0, 4, numbers.integers(1, 6)).tolist() for _ in range(12)]
        found = fleiss_kappa(count(ratings, 4))
        assert found == pytest.approx(slow.fleiss_kappa(ratings))
        unrated = np.concatenate([count(ratings, 4), np.zeros((2, 4), int)])
        assert fleiss_kappa(unrated) == pytest.approx(found)


def test_perfect_agreement_is_one_and_chance_is_near_zero():
    assert fleiss_kappa(5 * np.eye(4)) == pytest.approx(1)
    chance = np.random.default_rng(1).multinomial(6, [0.5, 0.3, 0.2], size=4000)
    assert fleiss_kappa(chance) == pytest.approx(0, abs=0.02)
    assert fleiss_kappa(np.full((3, 2), 1)) == pytest.approx(-1)  # no pair agrees


def test_order_of_items_and_categories_does_not_matter():
    counts = np.random.default_rng(2).multinomial(6, [0.5, 0.3, 0.2], size=9)
    assert fleiss_kappa(counts[::-1, [2, 0, 1]]) == pytest.approx(fleiss_kappa(counts))


@pytest.mark.parametrize(
    "counts", [[[3, 0], [4, 0]], [[1, 0], [0, 1]], [[0, 0], [0, 0]], np.zeros((0, 3))]
)
def test_nothing_to_agree_on_is_nan(counts):
    with np.errstate(all="raise"):  # NaN on purpose, not by 0 / 0
        assert math.isnan(fleiss_kappa(np.array(counts)))


def test_wrong_input_is_refused():
    with pytest.raises(InputError, match=r"\(3,\)"):
        inspect.unwrap(fleiss_kappa)(np.ones(3))  # the checker of shapes would answer first
    for wrong in (-1.0, 0.5, np.nan, np.inf):
        with pytest.raises(InputError, match="item 1, category 0"):
            fleiss_kappa(np.array([[1.0, 2.0], [wrong, 3.0]]))

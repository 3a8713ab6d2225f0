import jax
import numpy as np
import pytest

from gazax.ops.boxes import box_masks
from tests.reference import boxes as reference


def test_a_box_by_hand():
    # [.5, 2.5) x [1, 2) holds the centres .5 and 1.5 of the second row, and not 2.5
    mask = box_masks(np.float32([[0.5, 1, 2.5, 2]]), np.int32([1]), size=(3, 4), num_labels=2)
    expected = np.zeros((3, 4, 2))
    expected[1, :2, 1] = 1
    np.testing.assert_array_equal(mask, expected)
    assert mask.dtype == np.float32


def test_padding_may_hold_anything():
    box = np.float32([[0, 0, 2, 2], [np.nan] * 4, [-np.inf, 0, np.inf, 9]])
    mask = box_masks(box, np.int32([0, -1, -1]), size=(2, 3), num_labels=2)
    np.testing.assert_array_equal(mask[..., 0], [[1, 1, 0], [1, 1, 0]])
    np.testing.assert_array_equal(mask[..., 1], 0)


@pytest.mark.parametrize(("m", "num_labels"), [(0, 2), (7, 3), (7, 0)])
def test_box_masks_equal_loops(m, num_labels):
    rng = np.random.default_rng(m)
    corner, side = rng.uniform(-2, 8, (4, m, 2)), rng.uniform(0, 5, (4, m, 2))
    box = np.concatenate([corner, corner + side], -1).round(1).astype(np.float32)
    label = rng.integers(-1, max(num_labels, 1), (4, m)).astype(np.int32)
    found = jax.vmap(lambda b, k: box_masks(b, k, size=(6, 9), num_labels=num_labels))(box, label)
    for i in range(4):
        expected = reference.box_masks(box[i], label[i], (6, 9), num_labels)
        np.testing.assert_array_equal(found[i], expected)
    assert num_labels == 0 or m == 0 or 0 < np.mean(found) < 1

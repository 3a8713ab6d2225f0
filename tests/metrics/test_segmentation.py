import inspect
import math

import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score

from gazax.metrics.segmentation import dice, iou
from gazax.typing import InputError
from tests.reference import supervised as reference


@pytest.fixture
def masks():
    """True and predicted masks [b, h, w, k] in which some planes are empty."""
    rng = np.random.default_rng(0)
    true, pred = rng.random((2, 5, 6, 7, 3)) < 0.3
    true[0, :, :, 1] = pred[0, :, :, 1] = False
    true[1, :, :, 2] = False
    pred[2, :, :, 0] = False
    return true, pred


def test_overlap_by_hand():
    # |T| = 3, |P| = 2, both 2: Dice 4/5, IoU 2/3.
    true, pred = np.array([[1, 1], [1, 0]])[..., None], np.array([[1, 1], [0, 0]])[..., None]
    np.testing.assert_allclose(dice(true, pred), [4 / 5])
    np.testing.assert_allclose(iou(true, pred), [2 / 3])


def test_overlap_is_scikit_learns(masks):
    for true, pred in zip(*masks, strict=True):
        for k in range(3):
            one, other = true[:, :, k].ravel(), pred[:, :, k].ravel()
            if one.any() or other.any():
                np.testing.assert_allclose(dice(true, pred)[k], f1_score(one, other))
                np.testing.assert_allclose(iou(true, pred)[k], jaccard_score(one, other))


def test_overlap_equals_loops(masks):
    true, pred = masks
    where = np.random.default_rng(1).random((5, 6, 7)) < 0.6
    for content in (None, where):
        got = dice(true, pred, where=content), iou(true, pred, where=content)
        assert got[0].shape == (5, 3)
        assert got[0].dtype == np.float64
        for i, k in np.ndindex(5, 3):
            expected = reference.overlap(
                true[i, :, :, k], pred[i, :, :, k], None if content is None else content[i]
            )
            np.testing.assert_allclose((got[0][i, k], got[1][i, k]), expected)


def test_two_empty_masks_are_not_counted_and_one_gives_zero(masks):
    with np.errstate(all="raise"):  # NaN on purpose, not by 0 / 0
        for metric in (dice, iou):
            found = metric(*masks)
            assert math.isnan(found[0, 1])
            assert found[1, 2] == found[2, 0] == 0
            assert np.isnan(found).sum() == 1


def test_numbers_of_one_and_zero_are_as_good_as_bools(masks):
    true, pred = masks
    np.testing.assert_array_equal(
        dice(true.astype(np.uint8), pred.astype(np.float32)), dice(true, pred)
    )


@pytest.mark.parametrize("metric", [dice, iou])
def test_masks_that_are_no_masks_are_refused(metric, masks):
    true, pred = masks
    with pytest.raises(InputError, match=r"predicted mask has the value 0\.3"):
        metric(true, np.where(pred, 0.3, 0.0))
    with pytest.raises(InputError, match=r"true mask has the value nan"):
        metric(np.where(true, np.nan, 0.0), pred)
    plain = inspect.unwrap(metric)  # the session's checker of shapes would answer first
    with pytest.raises(InputError, match="of one shape"):
        plain(true, pred[:3])

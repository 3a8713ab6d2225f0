"""How well a predicted mask overlaps the true one. Each image and plane by itself; float64."""

import numpy as np
from jaxtyping import Bool, Float, Real

from gazax.typing import InputError


def dice(
    mask_true: Real[np.ndarray, "*b h w k"] | Bool[np.ndarray, "*b h w k"],
    mask_pred: Real[np.ndarray, "*b h w k"] | Bool[np.ndarray, "*b h w k"],
    *,
    where: Real[np.ndarray, "*b h w"] | Bool[np.ndarray, "*b h w"] | None = None,
) -> Float[np.ndarray, "*b k"]:
    """Dice coefficient of each image and plane.

    2 |T and P| / (|T| + |P|)

    Args:
      mask_true, mask_pred: T and P, 1 or 0 (True or False); planes may overlap.
      where: 1 on the pixels that count, such as the content. None: all count.

    Returns:
      In [0, 1]. NaN where both masks are empty: there was nothing to find and nothing was found,
      which is to be left out of a mean and not to be counted as perfect. 0 where one is empty.

    Raises:
      InputError: a mask is neither 1 nor 0 somewhere, or shapes differ.

    Source: Dice 1945, doi:10.2307/1932409; equal to the F1 score of the pixels.
    """
    both, in_true, in_pred = _count(mask_true, mask_pred, where)
    return _ratio(2 * both, in_true + in_pred)


def iou(
    mask_true: Real[np.ndarray, "*b h w k"] | Bool[np.ndarray, "*b h w k"],
    mask_pred: Real[np.ndarray, "*b h w k"] | Bool[np.ndarray, "*b h w k"],
    *,
    where: Real[np.ndarray, "*b h w"] | Bool[np.ndarray, "*b h w"] | None = None,
) -> Float[np.ndarray, "*b k"]:
    """Intersection over union (Jaccard index) of each image and plane.

    |T and P| / |T or P|,  or d / (2 - d) with d the Dice coefficient

    Arguments, NaN and errors as in `dice`.

    Source: Jaccard 1912, doi:10.1111/j.1469-8137.1912.tb05611.x.
    """
    both, in_true, in_pred = _count(mask_true, mask_pred, where)
    return _ratio(both, in_true + in_pred - both)


def _count(
    mask_true: np.ndarray, mask_pred: np.ndarray, where: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels in both masks, in the true one and in the predicted one."""
    if mask_true.shape != mask_pred.shape or mask_true.ndim < 3:
        raise InputError(
            f"masks are [..., h, w, k] and of one shape; the true one is {mask_true.shape}, the "
            f"predicted one {mask_pred.shape}"
        )
    masks = []
    for name, mask in (("true", mask_true), ("predicted", mask_pred)):
        if mask.dtype != bool and not ((mask == 0) | (mask == 1)).all():
            wrong = mask[(mask != 0) & (mask != 1)][0]
            raise InputError(
                f"the {name} mask has the value {wrong:g}; give 1 (inside) and 0, such as "
                "probabilities >= .5"
            )
        inside = mask.astype(bool)
        masks.append(inside if where is None else inside & (np.asarray(where) > 0)[..., None])
    true, pred = masks
    return tuple(one.sum(axis=(-3, -2)) for one in (true & pred, true, pred))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    part, whole = part.astype(np.float64), whole.astype(np.float64)
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)

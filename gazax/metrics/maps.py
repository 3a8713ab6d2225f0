"""The pixels of a map that count, and what is refused: for every metric that takes a map."""

import numpy as np
from jaxtyping import Bool, Real

from gazax.typing import InputError

Map = Real[np.ndarray, "h w"]
Where = Bool[np.ndarray, "h w"]
"""True on the pixels that count."""


def flatten(saliency_map: np.ndarray, where: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The values that count, float64, and the mask that says which they are."""
    saliency_map = np.asarray(saliency_map)
    if saliency_map.ndim != 2:
        raise InputError(f"a map is [h, w], this one has the shape {saliency_map.shape}")
    inside = np.ones(saliency_map.shape, bool) if where is None else np.asarray(where)
    if inside.shape != saliency_map.shape:
        raise InputError(f"`where` is {inside.shape}, the map is {saliency_map.shape}")
    values = saliency_map[inside].astype(np.float64)
    if not values.size:
        raise InputError("no pixel counts: `where` is false everywhere, or the map is empty")
    bad = values.size - int(np.isfinite(values).sum())
    if bad:
        raise InputError(f"{bad} of the map's {values.size} pixels are not finite")
    return values, inside


def flatten_pair(
    first: np.ndarray, second: np.ndarray, where: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """The values of two maps of one shape, as `flatten` gives them."""
    if np.shape(first) != np.shape(second):
        raise InputError(f"the maps differ in shape, {np.shape(first)} and {np.shape(second)}")
    return flatten(first, where)[0], flatten(second, where)[0]


def density(values: np.ndarray) -> np.ndarray:
    """Divided by their sum; zeros become uniform, values below 0 are refused."""
    low = values.min()
    if low < 0:
        raise InputError(f"a density is made of values >= 0, the map goes down to {low:g}")
    total = values.sum()
    return values / total if total > 0 else np.full(values.shape, 1 / values.size)

"""The mean gaze map of a data set, and fixations that draw a given map."""

import functools
import itertools
import math
from collections.abc import Iterable

import jax
import numpy as np
from jaxtyping import Float

from gazax.ops.gaze import gaze_maps
from gazax.typing import InputError, Size

MIN_FIXATIONS = 144
"""12 x 12: maps of some tens of images come out with a correlation of .98 to .99 (measured on the
phantom and on photographs); 16 x 16 reach .998."""
SIGMA_IN_SPACINGS = 0.6
"""Of the Gaussians of a grid: narrow enough not to blur, wide enough not to show between (ours)."""
_ROUNDS = 50
_CHUNK = 16


def mean_gaze_map(
    examples: Iterable[tuple[dict, Float[np.ndarray, "r"]]], *, size: Size
) -> Float[np.ndarray, "h w"]:
    """Mean of the gaze maps (`gazax.ops.gaze.gaze_map`) of the images that have one.

    Args:
      examples: (padded fixations, weights of the readers' slots) of each image.
      size: (h, w) of the maps, px.

    Returns:
      Mean map in [0, 1], float64.

    Raises:
      InputError: no image has a gaze map, as where every duration is 0.
    """
    draw = jax.jit(functools.partial(gaze_maps, size=size))
    total, number = np.zeros(size), 0
    stream = iter(examples)
    while chunk := list(itertools.islice(stream, _CHUNK)):
        full = chunk + chunk[-1:] * (_CHUNK - len(chunk))  # one shape, one compilation
        fixations, weight = jax.tree.map(lambda *rows: np.stack(rows), *full)
        maps = np.asarray(draw(fixations, weight), np.float64)[: len(chunk)]
        seen = maps.max((1, 2)) > 0
        total += maps[seen].sum(0)
        number += int(seen.sum())
    if not number:
        raise InputError("no training image has gaze of any duration; a mean map needs some")
    return total / number


def fit_fixations(map: Float[np.ndarray, "h w"], max_fixations: int) -> dict[str, np.ndarray]:
    """Fixations whose heat map is, nearly, a given map.

    They stand on a grid of n x n points in the middle of equal cells, n as large as
    `max_fixations` and the map's sides allow. Their durations solve ``map = heat(duration)`` under
    ``duration >= 0`` by Richardson's and Lucy's iteration, from the mean of the map on each cell.

    Args:
      map: not negative.
      max_fixations: at most so many.

    Returns:
      The fields of a record's fixations, in px of the map, of one reader 0, without a window.

    Source: ours.
    """
    height, width = map.shape
    n = min(math.isqrt(max_fixations), height, width)

    def profile(length: int) -> Float[np.ndarray, "n length"]:
        spacing = length / n
        point = (np.arange(n)[:, None] + 0.5) * spacing
        z = (np.arange(length)[None, :] + 0.5 - point) / (SIGMA_IN_SPACINGS * spacing)
        return np.exp(-0.5 * z * z)

    rows, columns = profile(height), profile(width)
    reach = rows.sum(1)[:, None] * columns.sum(1)[None, :]
    duration = rows @ map @ columns.T / reach
    for _ in range(_ROUNDS):
        heat = np.maximum(rows.T @ duration @ columns, np.finfo(np.float64).tiny)
        duration = duration * (rows @ (map / heat) @ columns.T) / reach
    y, x = (np.indices((n, n)) + 0.5).reshape(2, -1)
    spacing = np.array([width / n, height / n])
    return {
        "xy": (np.stack([x, y], 1) * spacing[None]).astype(np.float32),
        "duration": duration.reshape(-1).astype(np.float32),
        "sigma": np.tile(SIGMA_IN_SPACINGS * spacing, (n * n, 1)).astype(np.float32),
        "window": np.full((n * n, 4), np.nan, np.float32),
        "reader": np.zeros(n * n, np.int32),
    }

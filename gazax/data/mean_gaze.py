"""The mean gaze map of a data set, and fixations that draw a given map, on a grid."""

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


def fit_fixations(
    map: Float[np.ndarray, "h w"],
    max_fixations: int,
    *,
    content: Float[np.ndarray, "4"] | None = None,
) -> dict[str, np.ndarray]:
    """Fixations whose heat map is, nearly, a given map.

    They stand on a grid (`grid_fixations`) with as many points a side as `max_fixations` and the
    map's sides allow. Their durations solve ``map = heat(duration)`` under ``duration >= 0`` by
    Richardson's and Lucy's iteration, from the mean of the map on each cell.

    Args:
      map: not negative.
      max_fixations: at most so many.
      content: xmin, ymin, xmax, ymax, px: the grid stands on it, and what lies outside is not
        looked at. None: the whole map.

    Returns:
      The fields of a record's fixations, see `grid_fixations`.

    Source: ours.
    """
    height, width = map.shape
    n = grid_side(max_fixations, (height, width))
    content = np.array([0.0, 0.0, width, height]) if content is None else content

    def profile(low: float, high: float, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Which pixels are inside, and what a fixation at each point draws on them [n, inside]."""
        spacing = (high - low) / n
        point = low + (np.arange(n)[:, None] + 0.5) * spacing
        centre = np.arange(length) + 0.5
        inside = (centre >= low) & (centre < high)
        z = (centre[inside][None, :] - point) / (SIGMA_IN_SPACINGS * spacing)
        return inside, np.exp(-0.5 * z * z)

    xmin, ymin, xmax, ymax = (float(side) for side in content)
    (inside_y, rows), (inside_x, columns) = profile(ymin, ymax, height), profile(xmin, xmax, width)
    map = map[inside_y][:, inside_x]
    tiny = np.finfo(np.float64).tiny
    reach = np.maximum(rows.sum(1)[:, None] * columns.sum(1)[None, :], tiny)
    duration = rows @ map @ columns.T / reach
    for _ in range(_ROUNDS):
        heat = np.maximum(rows.T @ duration @ columns, tiny)
        duration = duration * (rows @ (map / heat) @ columns.T) / reach
    return grid_fixations(duration, content)


def grid_side(max_fixations: int, size: Size) -> int:
    """Points a side of the grid that draws a map of this size, px; 22 for 512 fixations."""
    return min(math.isqrt(max_fixations), *size)


def grid_fixations(
    duration: Float[np.ndarray, "n n"], content: Float[np.ndarray, "4"]
) -> dict[str, np.ndarray]:
    """Fixations in the middle of n x n equal cells of a content rectangle, row by row.

    Args:
      duration: of each, by row and column.
      content: xmin, ymin, xmax, ymax, px.

    Returns:
      The fields of a record's fixations, in px of the content's frame, of one reader 0, without a
      window; a sigma is `SIGMA_IN_SPACINGS` of a cell.
    """
    n = len(duration)
    content = content.astype(np.float64)
    y, x = (np.indices((n, n)) + 0.5).reshape(2, -1)
    spacing = (content[2:] - content[:2]) / n
    return {
        "xy": (content[None, :2] + np.stack([x, y], 1) * spacing[None]).astype(np.float32),
        "duration": duration.reshape(-1).astype(np.float32),
        "sigma": np.tile(SIGMA_IN_SPACINGS * spacing, (n * n, 1)).astype(np.float32),
        "window": np.full((n * n, 4), np.nan, np.float32),
        "reader": np.zeros(n * n, np.int32),
    }

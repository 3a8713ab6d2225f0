"""How alike two gaze maps are: by their moments, and by a difference hash.

Each measure has a description of one image, small enough to keep, and a similarity in [0, 1] of two
descriptions, so that pairs are compared as they are wanted and no table of all pairs is ever made.
Scanpaths are compared by `gazax.ops.scanpaths`. Every function takes one example; `jax.vmap` does a
batch.
"""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from gazax.ops.image import area_pool
from gazax.typing import Scalar

MOMENT_GRID = (32, 32)
HASH_GRID = (8, 9)
_LEVELS = 255
"""Grey levels: a hash looks at gaze maps as they are written to files."""


def moments(gaze_map: Float[ArrayLike, "h w"]) -> Float[Array, "2"]:
    """Mass M00 of a gaze map and its first Hu invariant, eta20 + eta02, on a grid of 32 x 32.

    Hu = sum_ij m[i, j] ((i - i_mean)^2 + (j - j_mean)^2) / M00^2, in cells

    Args:
      gaze_map: in [0, 1].

    Returns:
      (M00, Hu): how much is looked at and how widely. A map of ones has (1024, 0.1665), a single
      cell (its value, 0), a map of zeros (0, 0).

    Source: Zhao et al. 2024 (arXiv:2312.06069), gaze heat maps; they resize by interpolation.
    """
    mass = area_pool(gaze_map, size=MOMENT_GRID)
    total = mass.sum()
    weight = mass / jnp.where(total > 0, total, 1.0)
    i = jnp.arange(MOMENT_GRID[0], dtype=jnp.float32)[:, None]
    j = jnp.arange(MOMENT_GRID[1], dtype=jnp.float32)[None, :]
    square = (i - (weight * i).sum()) ** 2 + (j - (weight * j).sum()) ** 2
    return jnp.stack([total, (weight * square).sum() / jnp.where(total > 0, total, 1.0)])


def moment_similarity(a: Float[ArrayLike, "2"], b: Float[ArrayLike, "2"]) -> Scalar:
    """1 - (d(M00) + d(Hu)) / 2, with d(x, y) = |x - y| / max(x, y).

    Args:
      a, b: of `moments`.

    Returns:
      In [0, 1]; 1 for the same moments. 0 where a map has no mass: nobody looked.

    Source: as `moments`. Equal values differ by 0, two zeros too, as in the published code; there
    two maps of zeros are alike by half, ours are not alike.
    """
    a, b = jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32)
    seen = (a[0] > 0) & (b[0] > 0)
    return jnp.where(seen, 1.0 - relative_difference(a, b).mean(), 0.0)


def relative_difference(a: Float[ArrayLike, "*n"], b: Float[ArrayLike, "*n"]) -> Float[Array, "*n"]:
    """|a - b| / max(a, b) of values >= 0; equal values, zeros included, differ by 0."""
    a, b = jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32)
    larger = jnp.maximum(a, b)
    return jnp.abs(a - b) / jnp.where(larger > 0, larger, 1.0)


def difference_hash(gaze_map: Float[ArrayLike, "h w"]) -> Bool[Array, "64"]:
    """Where a gaze map falls from left to right: a bit for each two neighbours of an 8 x 9 grid.

    bit[i, j] = g[i, j] > g[i, j + 1]

    Args:
      gaze_map: in [0, 1].

    Returns:
      8 x 8 bits, row by row. A constant map has none.

    Numerics: cells are compared in 255 levels, so that the tails of Gaussians, which fall
    everywhere, count as level ground.

    Source: as `moments`, for structured images; they resize by interpolation. The levels are those
    of the files that they read.
    """
    grid = jnp.round(_LEVELS * area_pool(gaze_map, size=HASH_GRID))
    return (grid[:, :-1] > grid[:, 1:]).reshape(-1)


def hash_similarity(a: Bool[ArrayLike, "64"], b: Bool[ArrayLike, "64"]) -> Scalar:
    """Cosine of two hashes: n(a and b) / sqrt(n(a) n(b)), n counting bits.

    Args:
      a, b: of `difference_hash`.

    Returns:
      In [0, 1]; 0 where a hash has no bit.
    """
    a, b = jnp.asarray(a), jnp.asarray(b)
    product = (a.sum() * b.sum()).astype(jnp.float32)
    return (a & b).sum() / jnp.sqrt(jnp.where(product > 0, product, 1.0))

"""Random windows and rectangles: many drawn at once, what a map holds in each, the first that fits.

Drawing until something fits is a loop that, in a batch, runs as long as its slowest example. All
draws at once and then the first that fits give the same window, as two matrix products.

A window is xmin, ymin, xmax, ymax, px, and lies within ``content``, the rectangle of real pixels.
"""

import jax
import jax.numpy as jnp
from jax.lax import Precision
from jaxtyping import Array, Bool, Float, Int

from gazax.typing import Key, Scalar, Size


def draw_windows(
    rng: Key,
    content: Float[Array, "4"],
    *,
    zoom: tuple[float | Scalar, float | Scalar],
    count: int,
) -> Float[Array, "n 4"]:
    """Windows of one size, 1 / zoom of the content's sides, anywhere within it; px."""
    rng_zoom, rng_place = jax.random.split(rng)
    share = 1.0 / jax.random.uniform(rng_zoom, minval=zoom[0], maxval=zoom[1])
    lower, extent = content[:2], content[2:] - content[:2]
    place = jax.random.uniform(rng_place, (count, 2))
    corner = lower[None, :] + place * ((1.0 - share) * extent)[None, :]
    return jnp.concatenate([corner, corner + (share * extent)[None, :]], axis=1)


def draw_rectangles(
    rng: Key, content: Float[Array, "4"], *, side: tuple[float, float], count: int
) -> Float[Array, "n 4"]:
    """Rectangles of any shape within the content, see `focus_cutout`; px."""
    near, far = jax.random.uniform(rng, (2, count, 2))
    near = near * (1.0 - side[0])
    far = near + side[0] + far * (jnp.minimum(1.0 - near, side[1]) - side[0])
    lower, extent = content[None, :2], (content[2:] - content[:2])[None, :]
    return jnp.concatenate([lower + near * extent, lower + far * extent], axis=1)


def area_shares(
    windows: Float[Array, "n 4"], size: Size
) -> tuple[Float[Array, "n h"], Float[Array, "n w"]]:
    """How much of each row and of each column of pixels lies within each window, 0 to 1."""

    def shares(lower: Array, upper: Array, length: int) -> Array:
        edge = jnp.arange(length, dtype=jnp.float32)[None, :]
        shared = jnp.minimum(edge + 1.0, upper[:, None]) - jnp.maximum(edge, lower[:, None])
        return jnp.maximum(shared, 0.0)

    height, width = size
    return shares(windows[:, 1], windows[:, 3], height), shares(windows[:, 0], windows[:, 2], width)


def centres_inside(
    windows: Float[Array, "n 4"], size: Size
) -> tuple[Float[Array, "n h"], Float[Array, "n w"]]:
    """1 for each row and each column of pixels whose centre lies within a window, else 0."""

    def inside(lower: Array, upper: Array, length: int) -> Array:
        centre = jnp.arange(length, dtype=jnp.float32)[None, :] + 0.5
        return ((centre >= lower[:, None]) & (centre < upper[:, None])).astype(jnp.float32)

    height, width = size
    return inside(windows[:, 1], windows[:, 3], height), inside(windows[:, 0], windows[:, 2], width)


def window_sums(
    map: Float[Array, "h w"], rows: Float[Array, "n h"], columns: Float[Array, "n w"]
) -> Float[Array, "n"]:
    """Sum of a map within each window: sum_ij rows[n, i] map[i, j] columns[n, j].

    Numerics: exact to rounding. Differences of an integral image would need gathers, and lose the
    digits of small sums.
    """
    sums = jnp.matmul(rows, map, precision=Precision.HIGHEST)
    return (sums * columns).sum(axis=1)


def first_accepted(accepted: Bool[Array, "n"]) -> Int[Array, ""]:
    """Place of the first True; of the last one if there is none."""
    return jnp.where(accepted.any(), jnp.argmax(accepted), len(accepted) - 1)

"""Features of the regions that people looked at and of those that they did not."""

import jax.numpy as jnp
from jax.lax import Precision
from jaxtyping import Array, ArrayLike, Float


def pool_regions(
    features: Float[ArrayLike, "gh gw d"] | Float[ArrayLike, "n d"],
    gaze_map_level: Float[ArrayLike, "gh gw"],
    content_level: Float[ArrayLike, "gh gw"],
) -> tuple[Float[Array, "d"], Float[Array, "d"]]:
    """Mean feature where people looked and mean feature where they did not.

    r_high = sum_p C_p A_p F_p / sum_p C_p A_p, over the cells p
    r_low  = sum_p C_p (1 - A_p) F_p / sum_p C_p (1 - A_p)

    Args:
      features: a feature a cell, as a grid or as n = gh * gw rows, row by row.
      gaze_map_level: A, the gaze map pooled to the grid (`ops.image.area_pool`), in [0, 1].
      content_level: C, the share of each cell that is no padding, in [0, 1].

    Returns:
      (r_high, r_low), float32. A region without any weight (no gaze at all, or gaze of 1
      everywhere) gives zeros, with a gradient of zero. The same feature in every cell comes back
      as both.

    Source: proposal §2.3.3; the soft weights are ours, so that there is no threshold to choose.
    """
    gaze = jnp.asarray(gaze_map_level, jnp.float32).reshape(-1)
    content = jnp.asarray(content_level, jnp.float32).reshape(-1)
    features = jnp.asarray(features, jnp.float32)
    features = features.reshape(-1, features.shape[-1])

    def mean(weight: Float[Array, "n"]) -> Float[Array, "d"]:
        total = weight.sum()
        weight = weight / jnp.where(total > 0, total, 1.0)
        return jnp.einsum("n,nd->d", weight, features, precision=Precision.HIGHEST)

    return mean(content * gaze), mean(content * (1.0 - gaze))


def top_region(
    gaze_map_level: Float[ArrayLike, "gh gw"],
    content_level: Float[ArrayLike, "gh gw"],
    *,
    fraction: float,
) -> Float[Array, "gh gw"]:
    """The most looked-at cells: 1 in the top ``fraction`` of the cells by gaze, 0 in the others.

    In place of the gaze map it makes the regions of `pool_regions` hard.

    Args:
      gaze_map_level: the gaze map pooled to the grid.
      content_level: the share of each cell that is no padding; cells of 0 are not counted.
      fraction: q in (0, 1]; ceil(q n) of n cells are taken, of equal ones those that come first.

    Returns:
      float32, without gradient. A cell without any gaze is never taken.

    Source: proposal §2.3.3 leaves the regions open; the quantile is ours.
    """
    gaze = jnp.asarray(gaze_map_level, jnp.float32)
    content = jnp.asarray(content_level) > 0
    wanted = jnp.where(content & (gaze > 0), gaze, -1.0).reshape(-1)
    order = jnp.argsort(-wanted, stable=True)
    rank = jnp.zeros_like(order).at[order].set(jnp.arange(order.size, dtype=order.dtype))
    # A rounding error must not make the third of four cells out of 0.5 * 4.
    count = jnp.ceil(fraction * content.sum() - 1e-4)
    taken = (rank < count) & (wanted > 0)
    return taken.reshape(gaze.shape).astype(jnp.float32)

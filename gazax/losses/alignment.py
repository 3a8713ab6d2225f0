"""Attention alignment: how far a model's attention lies from where people looked."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from gazax.ops.gaze import minmax_normalize, to_density
from gazax.ops.image import area_pool
from gazax.ops.maxima import at_least
from gazax.typing import InputError

_MIN_DENSITY = 1e-8


def attention_alignment(
    attention_maps: Sequence[Float[ArrayLike, "b _ _"]],
    gaze_map: Float[ArrayLike, "b h w"],
    *,
    distance: str,
    level_weights: Sequence[float | Float[ArrayLike, ""]] | Float[Array, "l"],
    valid: Bool[ArrayLike, "b"] | Float[ArrayLike, "b"] | None = None,
) -> Float[Array, "b"]:
    """Weighted sum over levels of a distance between attention and gaze.

    sum_l w_l D(A_l, G_l), G_l = the gaze map, area-pooled to the size of A_l, and

    D = 'kl':  sum_p g_p ln(g_p / a_p),        a, g = A_l, G_l divided by their sums (nats)
    D = 'l2':  mean over p of (a_p - g_p)^2,   a, g = A_l, G_l min-max normalised

    Args:
      attention_maps: one batch of maps a level, of any sizes; not negative, any scale.
      gaze_map: in [0, 1]; any scale does.
      distance: 'kl', the divergence of attention from gaze, or 'l2'.
      level_weights: one weight a level.
      valid: True, or anything above 0, where the row counts: where there is gaze. Other rows give
        exactly 0 and get a gradient of exactly 0, whatever they hold. None: all count.

    Returns:
      Loss of each example, float32. 0 where attention is proportional to the pooled gaze; ln(n)
      for 'kl' where all gaze is in one of n cells and attention is uniform.

    Raises:
      InputError: another distance, or as many weights as levels are not given.

    Numerics: for 'kl', an attention density below 1e-8 counts as 1e-8, with a gradient of zero, so
    that no cell costs more than 18.4 nats; 0 ln 0 = 0; a map of zeros is the uniform density. For
    'l2', a constant map is a map of zeros.

    Source: proposal §2.3.3; pooling, floor and normalisations are ours.
    """
    if distance not in _DISTANCES:
        raise InputError(
            f"attention_alignment: distance={distance!r}; known: {', '.join(_DISTANCES)}"
        )
    if len(level_weights) != len(attention_maps):
        raise InputError(
            f"attention_alignment: {len(level_weights)} level_weights for {len(attention_maps)}"
            " attention maps; give one weight a level"
        )
    gaze_map = jnp.asarray(gaze_map, jnp.float32)
    counts = jnp.ones(gaze_map.shape[0], bool) if valid is None else jnp.asarray(valid) > 0
    row = counts[:, None, None]
    # What does not count is replaced before the logarithm and the division, not only after: a NaN
    # would come back in the gradient.
    gaze_map = jnp.where(row, gaze_map, 1.0)
    loss = jnp.zeros(gaze_map.shape[0], jnp.float32)
    for weight, attention in zip(level_weights, attention_maps, strict=True):
        attention = jnp.where(row, jnp.asarray(attention, jnp.float32), 1.0)
        _, height, width = attention.shape
        gaze = jax.vmap(partial(area_pool, size=(height, width)))(gaze_map)
        loss = loss + weight * jax.vmap(_DISTANCES[distance])(attention, gaze)
    return jnp.where(counts, loss, 0.0)


def _kl(attention: Float[Array, "h w"], gaze: Float[Array, "h w"]) -> Float[Array, ""]:
    gaze = to_density(gaze)
    attention = at_least(to_density(attention), _MIN_DENSITY)
    seen = gaze > 0
    log_ratio = jnp.log(jnp.where(seen, gaze, 1.0)) - jnp.log(attention)
    return jnp.where(seen, gaze * log_ratio, 0.0).sum()


def _l2(attention: Float[Array, "h w"], gaze: Float[Array, "h w"]) -> Float[Array, ""]:
    return jnp.square(minmax_normalize(attention) - minmax_normalize(gaze)).mean()


_DISTANCES = {"kl": _kl, "l2": _l2}

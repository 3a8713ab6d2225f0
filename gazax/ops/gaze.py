"""Gaze maps: from fixations to a picture of where people looked.

A heat map is what the Gaussians add up to, in seconds; a gaze map lies in [0, 1]; a density sums
to 1. Every function takes one example, computes in float32 whatever comes in, and is batched with
`jax.vmap`. An image that nobody looked at has a gaze map of zeros, and nothing else has:
``has_gaze = gaze_map.max() > 0``.

    >>> heat = render_gaze(jnp.array([[4.5, 2.5]]), jnp.array([0.3]), sigma_px=1.0, size=(5, 9))
    >>> float(heat[2, 4])  # the fixation lies on the centre of pixel (2, 4)
    0.30000001192092896
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from gazax.ops.maxima import largest
from gazax.typing import Fixations, Size

_RENDER_PRECISION = jax.lax.Precision.HIGHEST
"""A TPU's default product has 8 bits, which shows as bands in a gaze map."""


def render_gaze(
    xy: Float[ArrayLike, "f 2"],
    duration: Float[ArrayLike, "f"],
    *,
    sigma_px: float | Float[ArrayLike, ""] | Float[ArrayLike, "f 2"],
    size: Size,
    window: Float[ArrayLike, "f 4"] | None = None,
    where: Bool[ArrayLike, "f"] | None = None,
) -> Float[Array, "h w"]:
    """Render fixations as a sum of Gaussians, weighted by their duration.

    heat[i, j] = sum_f d_f exp(-(j + .5 - x_f)^2 / 2 sx_f^2 - (i + .5 - y_f)^2 / 2 sy_f^2)

    Args:
      xy: positions, px; outside the image is allowed, the tail that reaches it is drawn.
      duration: seconds, >= 0; any other weight does as well.
      sigma_px: standard deviation, px, > 0: one for all, or x and y of each fixation.
      size: (h, w) of the map, px.
      window: xmin, ymin, xmax, ymax of each fixation, px: it is drawn only on the pixels whose
        centre lies in [xmin, xmax) x [ymin, ymax). None: on all.
      where: False drops the fixation from value and gradient, whatever its row holds (NaN,
        infinity, a sigma of 0). None: all count.

    Returns:
      Heat map, unnormalised, float32. A pixel centred on a lone fixation has its duration.

    Numerics: a Gaussian is a product of a row and a column profile, so memory is f * (h + w) and
    the sum over fixations is one matrix product; there is no array of h * w * f.

    Source: proposal §2.2.2. Sigma and window of a fixation are ours (REFLACX records both).
    """
    rows, columns = _profiles(xy, duration, sigma_px, window, where, size)
    return jnp.einsum("fh,fw->hw", rows, columns, precision=_RENDER_PRECISION)


def minmax_normalize(heat: Float[ArrayLike, "h w"]) -> Float[Array, "h w"]:
    """Stretch a map to [0, 1]: (heat - min) / (max - min).

    Returns:
      Gaze map, float32. A constant map gives zeros, with a gradient of zero.

    Source: proposal §2.2.2; the constant map is ours.
    """
    heat = jnp.asarray(heat, jnp.float32)
    low, high = -largest(-heat.ravel(), 0), largest(heat.ravel(), 0)
    varies = high > low
    scale = jnp.where(varies, high - low, 1.0)
    return jnp.where(varies, (heat - low) / scale, 0.0)


def to_density(map: Float[ArrayLike, "h w"]) -> Float[Array, "h w"]:
    """Divide a map by its sum.

    Args:
      map: not negative, any scale.

    Returns:
      Density, float32, sums to 1. A map of zeros gives the uniform density, with a gradient of
      zero.
    """
    map = jnp.asarray(map, jnp.float32)
    total = map.sum()
    seen = total > 0
    return jnp.where(seen, map / jnp.where(seen, total, 1.0), 1.0 / map.size)


def aggregate_readers(
    maps: Float[ArrayLike, "r h w"], weights: Float[ArrayLike, "r"]
) -> Float[Array, "h w"]:
    """Average the maps of the readers who looked, by their weight.

    sum_r w_r map_r / sum_r w_r, over the readers with w_r > 0

    Args:
      maps: one map a reader; those of readers with no weight may hold anything.
      weights: any scale; 0 where nobody looked.

    Returns:
      Mean map, float32; zeros when nobody looked.

    Source: proposal §2.2.2, step 4.
    """
    maps, weights = jnp.asarray(maps, jnp.float32), jnp.asarray(weights, jnp.float32)
    looked = weights > 0
    weights = jnp.where(looked, weights, 0.0)
    maps = jnp.where(looked[:, None, None], maps, 0.0)
    total = weights.sum()
    weights = weights / jnp.where(total > 0, total, 1.0)
    return jnp.einsum("r,rhw->hw", weights, maps, precision=_RENDER_PRECISION)


def gaze_map(
    xy: Float[ArrayLike, "f 2"],
    duration: Float[ArrayLike, "f"],
    sigma: Float[ArrayLike, "f 2"],
    window: Float[ArrayLike, "f 4"],
    reader: Int[ArrayLike, "f"],
    reader_weight: Float[ArrayLike, "r"],
    *,
    size: Size,
) -> Float[Array, "h w"]:
    """Gaze map of one image from the fixations of all its readers.

    Each reader's fixations are rendered and min-max normalised, so that a slow reader counts no
    more than a quick one; the maps are averaged by `reader_weight` over the readers who looked;
    the mean is min-max normalised.

    Args:
      xy, duration, sigma, window: as in `render_gaze`.
      reader: slot of the fixation's reader; -1 is padding, and its row may hold anything.
      reader_weight: weight of each slot; 0 where nobody looked.
      size: (h, w), px.

    Returns:
      Gaze map in [0, 1], float32: its maximum is 1 up to rounding, or 0 where there is no gaze.

    Numerics: equal to `render_gaze`, `minmax_normalize` and `aggregate_readers` one after the
    other, but the readers pass one at a time, so that there are never r maps in memory.

    Source: proposal §2.2.2; the order of the steps is ours.
    """
    reader, reader_weight = jnp.asarray(reader), jnp.asarray(reader_weight, jnp.float32)
    rows, columns = _profiles(xy, duration, sigma, window, reader >= 0, size)

    def add_reader(mean, slot_weight):
        slot, weight = slot_weight
        own_rows = jnp.where((reader == slot)[:, None], rows, 0.0)
        heat = jnp.einsum("fh,fw->hw", own_rows, columns, precision=_RENDER_PRECISION)
        return mean + jnp.where(weight > 0, weight, 0.0) * minmax_normalize(heat), None

    slots = jnp.arange(reader_weight.shape[0], dtype=reader.dtype)
    # Zero, but of the fixations' type: under shard_map a constant would not be a legal carry.
    nothing = jnp.where(reader_weight[0] > 0, 0.0, jnp.zeros(size, jnp.float32))
    mean, _ = jax.lax.scan(add_reader, nothing, (slots, reader_weight))
    # The sum of the weights, by which the mean is divided, cancels in the last min-max.
    return minmax_normalize(mean)


def gaze_maps(
    fixations: Fixations, reader_weight: Float[ArrayLike, "b r"], *, size: Size
) -> Float[Array, "b h w"]:
    """`gaze_map` of each image of a batch, in the image's own frame."""
    return jax.vmap(functools.partial(gaze_map, size=size))(
        fixations["xy"],
        fixations["duration"],
        fixations["sigma"],
        fixations["window"],
        fixations["reader"],
        jnp.asarray(reader_weight),
    )


def _profiles(
    xy, duration, sigma_px, window, where, size: Size
) -> tuple[Float[Array, "f h"], Float[Array, "f w"]]:
    """The two matrices whose product is the heat map; the durations are in the first."""
    xy, duration = jnp.asarray(xy, jnp.float32), jnp.asarray(duration, jnp.float32)
    sigma = jnp.broadcast_to(jnp.asarray(sigma_px, jnp.float32), xy.shape)
    if window is None:
        lower, upper = jnp.full_like(xy, -jnp.inf), jnp.full_like(xy, jnp.inf)
    else:
        window = jnp.asarray(window, jnp.float32)
        lower, upper = window[:, :2], window[:, 2:]
    if where is not None:
        # What a padding row holds must not enter the exponential: NaN times a duration of zero
        # is NaN, in the value and in the gradient.
        row = jnp.asarray(where)[:, None]
        xy, sigma = jnp.where(row, xy, 0.0), jnp.where(row, sigma, 1.0)
        lower, upper = jnp.where(row, lower, 0.0), jnp.where(row, upper, 0.0)
        duration = jnp.where(row[:, 0], duration, 0.0)

    def profile(axis: int, length: int) -> Float[Array, "f n"]:
        centre = jnp.arange(length, dtype=jnp.float32)[None, :] + 0.5
        z = (centre - xy[:, axis, None]) / sigma[:, axis, None]
        inside = (centre >= lower[:, axis, None]) & (centre < upper[:, axis, None])
        return jnp.where(inside, jnp.exp(-0.5 * z * z), 0.0)

    height, width = size
    return profile(1, height) * duration[:, None], profile(0, width)

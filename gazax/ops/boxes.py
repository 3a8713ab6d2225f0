"""Boxes: rectangles that readers drew, as pixels."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from gazax.typing import Size


def box_masks(
    box: Float[ArrayLike, "m 4"],
    box_label: Int[ArrayLike, "m"],
    *,
    size: Size,
    num_labels: int,
) -> Float[Array, "h w k"]:
    """Masks of the pixels that lie in any box of a label; one image, `jax.vmap` for a batch.

    mask[i, j, k] = 1 where a box m with label k has (j + .5, i + .5) in
    [xmin_m, xmax_m) x [ymin_m, ymax_m)

    Args:
      box: xmin, ymin, xmax, ymax, px; parts outside the image are cut off.
      box_label: 0 to k - 1; -1 is padding, and its box may hold anything, NaN included.
      size: (h, w) of the masks, px.
      num_labels: k.

    Returns:
      1 inside and 0 outside, float32. A label without a box has a plane of zeros, and so has a
      box that holds no pixel's centre.
    """
    box, box_label = jnp.asarray(box, jnp.float32), jnp.asarray(box_label)

    def inside(axis: int, length: int) -> Float[Array, "m n"]:
        centre = jnp.arange(length, dtype=jnp.float32)[None, :] + 0.5
        low, high = box[:, axis, None], box[:, axis + 2, None]
        return ((centre >= low) & (centre < high)).astype(jnp.float32)

    height, width = size
    labels = jnp.arange(num_labels, dtype=box_label.dtype)
    of_label = (box_label[:, None] == labels[None, :]).astype(jnp.float32)
    # sums of zeros and ones: right at any precision of the product
    boxes = jnp.einsum("mh,mw,mk->hwk", inside(1, height), inside(0, width), of_label)
    return (boxes > 0).astype(jnp.float32)

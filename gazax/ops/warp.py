"""Moving what an image shows: one affine warp for the image and all that has its place in it."""

import jax
import jax.numpy as jnp
from jax.lax import Precision
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, ArrayLike, Bool, Float

from gazax.ops.image import content_mask
from gazax.typing import Scalar


def warp(
    stack: Float[ArrayLike, "n h w"],
    content: Float[ArrayLike, "4"],
    *,
    source_centre: Float[Array, "2"],
    matrix: Float[Array, "2 2"],
) -> tuple[Float[Array, "n h w"], Float[Array, "h w"]]:
    """Show at p what the maps have at source_centre + matrix (p - centre of the content).

    Args:
      stack: maps that move as one.
      content: xmin, ymin, xmax, ymax of the real pixels, px.
      source_centre: what comes to lie on the centre of the content, (x, y) px.
      matrix: see above; the half of a rotation enlarges twice and turns.

    Returns:
      (maps, content_mask), float32: the maps are 0 where the mask is, that is where nothing real
      is shown.

    Numerics: bilinear; at the border of the content the nearest real pixel counts, so that no
    padding bleeds in.
    """
    stack = jnp.asarray(stack, jnp.float32)
    content = jnp.asarray(content, jnp.float32)
    _, height, width = stack.shape
    x = jnp.broadcast_to(jnp.arange(width, dtype=jnp.float32)[None, :] + 0.5, (height, width))
    y = jnp.broadcast_to(jnp.arange(height, dtype=jnp.float32)[:, None] + 0.5, (height, width))
    centre = (content[:2] + content[2:]) / 2
    offset = source_centre - jnp.matmul(matrix, centre, precision=Precision.HIGHEST)
    # As a product, so that XLA keeps the coordinates: it would work out the sine for every pixel
    # of every gather.
    affine = jnp.concatenate([matrix, offset[:, None]], axis=1)
    grid = jnp.stack([x, y, jnp.ones_like(x)])
    source_x, source_y = jnp.einsum("ak,khw->ahw", affine, grid, precision=Precision.HIGHEST)
    xmin, ymin, xmax, ymax = content
    inside = (source_x >= xmin) & (source_x < xmax) & (source_y >= ymin) & (source_y < ymax)
    # Array indices, kept between the first and the last pixel whose centre lies in the content.
    column = jnp.clip(source_x - 0.5, jnp.ceil(xmin - 0.5), jnp.ceil(xmax - 0.5) - 1)
    row = jnp.clip(source_y - 0.5, jnp.ceil(ymin - 0.5), jnp.ceil(ymax - 0.5) - 1)

    def pull(channel: Array) -> Array:
        return map_coordinates(channel, [row, column], order=1, mode="nearest")

    # Over all maps at once: looping over them computes the indices anew and takes 3 times as long.
    stack = jnp.where(inside[None, :, :], jax.vmap(pull)(stack), 0.0)
    # The product with 1 makes XLA:CPU finish the maps before anyone takes one of them: else it
    # runs the gathers apart from the rest, which takes twice as long or more.
    stack = jnp.einsum("mn,nhw->mhw", jnp.eye(len(stack)), stack, precision=Precision.HIGHEST)
    return stack, inside.astype(jnp.float32)


def show_window(
    stack: Float[Array, "n h w"],
    content: Float[Array, "4"],
    window: Float[Array, "4"],
    *,
    angle: float | Scalar = 0.0,
    mirrored: bool | Bool[Array, ""] = False,
) -> tuple[Float[Array, "n h w"], Float[Array, "h w"]]:
    """Stretch a window to the size of the content, turned about its centre and mirrored.

    Args:
      stack: maps that move as one.
      content: xmin, ymin, xmax, ymax of the real pixels, px.
      window: the same of the window, within the content.
      angle: radians; what turns in from beyond the window is shown if it is real.
      mirrored: left to right.

    Returns:
      (maps, content_mask), float32, 0 where nothing real is shown and on the padding, which stays
      where it was. The window of the whole content, mirrored or not, gives exact copies.
    """
    _, height, width = stack.shape
    extent = content[2:] - content[:2]
    share = (window[2:] - window[:2]) / jnp.where(extent > 0, extent, 1.0)
    flip = jnp.stack([jnp.where(mirrored, -1.0, 1.0), jnp.ones(())])
    stack, mask = warp(
        stack,
        content,
        source_centre=(window[:2] + window[2:]) / 2,
        matrix=share[:, None] * rotation(angle, scale=1.0) * flip[None, :],
    )
    frame = content_mask(content, size=(height, width))
    return stack * frame[None, :, :], mask * frame


def rotation(angle: float | Scalar, *, scale: float | Scalar) -> Float[Array, "2 2"]:
    """scale R(angle), angle in radians: of a `warp` that turns and enlarges by 1 / scale."""
    cos, sin = scale * jnp.cos(angle), scale * jnp.sin(angle)
    return jnp.stack([jnp.stack([cos, -sin]), jnp.stack([sin, cos])])

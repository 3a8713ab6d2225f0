"""Two arrays of another system's file that may differ from a run's: a stem, and positions."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gazax.typing import Size

COLOURS = 3


def fit_channels(
    kernel: Float[np.ndarray, "kh kw c_in d"], channels: int
) -> Float[np.ndarray, "kh kw c_out d"]:
    """A first kernel for grey images or for colours: of a grey image, repeated, they make the same.

    Args:
      kernel: of 1 or 3 input channels.
      channels: the other of the two. To 1 the three are added up; to 3 each is a third of it, the
        last what the others leave, so that there and back is the same to the last bit.
    """
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True, dtype=np.float32)
    kernel = np.asarray(kernel, np.float32)
    third = kernel / np.float32(COLOURS)
    return np.concatenate([third, third, kernel - 2 * third], axis=2)


def resample_positions(
    positions: Float[np.ndarray, "1 n d"], old: Size, new: Size
) -> Float[np.ndarray, "1 m d"]:
    """Learnt positions for a grid of another size: bicubic, antialiased; the class token's stays.

    Args:
      positions: the class token's, then those of the old grid, row by row: n = 1 + h * w.
      old, new: (h, w), patches.

    Numerics: float32. What timm's `resample_abs_pos_embed` gives, within 1e-6 of the largest
    entry: both take Keys' kernel with a = -1/2, stretched where the new grid is coarser, and make
    the weights inside the grid sum to 1.
    """
    width = positions.shape[2]
    grid = jnp.asarray(positions[0, 1:], jnp.float32).reshape(*old, width)
    made = jax.image.resize(grid, (*new, width), "cubic", antialias=True)
    token = np.asarray(positions[:, :1], np.float32)
    return np.concatenate([token, np.asarray(made).reshape(1, -1, width)], axis=1)

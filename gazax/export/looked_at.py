"""Images with a few fixations: a batch on which a model is compared, also one that sees gaze."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from gazax.typing import Batch

_FIXATIONS = 3


def looked_at(images: UInt8[np.ndarray, "b h w"], spec: Batch) -> Batch:
    """A batch of the images, each with the same fixations of one reader.

    Args:
      images: grey.
      spec: shapes of a batch; what is not said here is zeros of them.
    """
    count, height, width = images.shape
    batch = jax.tree.map(lambda one: np.zeros((count, *one.shape[1:]), one.dtype), spec)
    fixations = batch["fixations"]
    shown = slice(min(_FIXATIONS, fixations["reader"].shape[1]))
    fixations["reader"][:] = -1
    fixations["reader"][:, shown] = 0
    fixations["xy"][:, shown] = np.linspace(0.2, 0.7, _FIXATIONS)[shown, None] * (width, height)
    fixations["duration"][:] = 1
    fixations["sigma"][:] = height / 10
    fixations["window"][:] = (0, 0, width, height)
    batch["reader_weight"][:] = 1
    batch["content"][:] = (0, 0, width, height)
    batch["weight"][:] = 1
    return jax.tree.map(jnp.asarray, {**batch, "image": images[..., None]})

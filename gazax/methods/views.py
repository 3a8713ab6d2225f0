"""The two views of an image that are contrasted, drawn from its place in the stream."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Bool, Float

from gazax.methods.base import keys_by_place
from gazax.ops.gaze import gaze_maps
from gazax.ops.image import to_float
from gazax.ops.views import gaze_blend, standard_view, strong_transform
from gazax.typing import Batch, Key


class Views(NamedTuple):
    """Both views of every image, the two of an image side by side.

    They stay neighbours, so that cutting the batch over devices cuts no pair.
    """

    image: Float[Array, "b2 h w 1"]
    """In [0, 1]."""
    gaze: Float[Array, "b2 h w"]
    """The gaze map, moved as the image was."""
    content: Float[Array, "b2 h w"]
    """1 where there is a real pixel."""
    valid: Bool[Array, "b2"]
    """Whether the view has gaze: a crop can leave all of it outside."""


def gaze_views(
    batch: Batch,
    gaze: Float[Array, "b h w"],
    rng: Key,
    *,
    standard: Mapping[str, Any],
    strong: Mapping[str, Any],
) -> Views:
    """I_a, the standard view, and I_g, the standard view blended with a strong one by the gaze.

    Args:
      batch: images, their content and their places.
      gaze: gaze maps in the images' own frame.
      rng: the step's key.
      standard, strong: strengths, as `standard_view` and `strong_transform` take them.

    Source: proposal §2.3.2.
    """

    def both(keys: Array, image: Array, gaze: Array, content: Array) -> tuple[Array, ...]:
        rng_a, rng_g, rng_strong = keys
        image_a, gaze_a, content_a = standard_view(rng_a, image, gaze, content, **standard)
        image_g, gaze_g, content_g = standard_view(rng_g, image, gaze, content, **standard)
        disturbed = strong_transform(rng_strong, image_g, content_g, **strong)
        image_g = gaze_blend(image_g, disturbed, gaze_g)
        return (
            jnp.stack([image_a, image_g]),
            jnp.stack([gaze_a, gaze_g]),
            jnp.stack([content_a, content_g]),
        )

    keys = keys_by_place(rng, batch["place"], views=3)
    views = jax.vmap(both)(keys, to_float(batch["image"]), gaze, batch["content"])
    image, gaze, content = (rearrange(x, "b v ... -> (b v) ...") for x in views)
    return Views(image, gaze, content, gaze.max(axis=(1, 2)) > 0)


def augmented_views(
    batch: Batch, rng: Key, *, standard: Mapping[str, Any], strong: Mapping[str, Any]
) -> Float[Array, "b2 h w 1"]:
    """Two views of every image side by side, each a strong transform of a standard view.

    Args:
      batch: images, their content and their places.
      rng: the step's key.
      standard, strong: strengths, as `standard_view` and `strong_transform` take them.

    Returns:
      In [0, 1].
    """

    def both(keys: Array, image: Array, content: Array) -> Array:
        nothing = jnp.zeros((*image.shape[:2], 0))

        def view(rng_standard: Key, rng_strong: Key) -> Array:
            moved, _, mask = standard_view(rng_standard, image, nothing, content, **standard)
            return strong_transform(rng_strong, moved, mask, **strong)

        return jnp.stack([view(keys[0], keys[1]), view(keys[2], keys[3])])

    keys = keys_by_place(rng, batch["place"], views=4)
    views = jax.vmap(both)(keys, to_float(batch["image"]), jnp.asarray(batch["content"]))
    return rearrange(views, "b v ... -> (b v) ...")


def own_gaze(batch: Batch) -> Float[Array, "b h w"]:
    """The batch's gaze maps in the images' own frame."""
    _, height, width, _ = batch["image"].shape
    return gaze_maps(batch["fixations"], batch["reader_weight"], size=(height, width))

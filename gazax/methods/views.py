"""The views of an image, one or two that are contrasted, drawn from its place in the stream."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Bool, Float

from gazax.methods.base import keys_by_place
from gazax.ops.gaze import gaze_maps
from gazax.ops.image import content_mask, to_float
from gazax.ops.views import gaze_blend, standard_view, strong_transform
from gazax.typing import Batch, Key

UNDISTURBED = {"crop": (1.0, 1.0), "rotation_degrees": 0.0, "brightness": 0.0, "contrast": 0.0}
"""Strengths of a standard view that leaves an image as it is."""


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


@runtime_checkable
class ViewMaker(Protocol):
    """What makes two views of every image."""

    def __call__(self, batch: Batch, rng: Key) -> Float[Array, "b2 h w 1"]:
        """In [0, 1], the two views of an image side by side; draws come from its place."""
        ...


@dataclasses.dataclass(frozen=True)
class AugmentedViews:
    """Two views of every image, each a strong transform of a standard view with draws of its own.

    There is no hue in a radiograph, and no flip: the heart lies on one side.

    Attributes:
      standard, strong: strengths, as `standard_view` and `strong_transform` take them.
    """

    standard: Mapping[str, Any]
    strong: Mapping[str, Any]

    def __call__(self, batch: Batch, rng: Key) -> Float[Array, "b2 h w 1"]:
        """See `ViewMaker`."""

        def both(keys: Array, image: Array, content: Array) -> Array:
            nothing = jnp.zeros((*image.shape[:2], 0))

            def view(rng_standard: Key, rng_strong: Key) -> Array:
                moved, _, mask = standard_view(
                    rng_standard, image, nothing, content, **self.standard
                )
                return strong_transform(rng_strong, moved, mask, **self.strong)

            return jnp.stack([view(keys[0], keys[1]), view(keys[2], keys[3])])

        keys = keys_by_place(rng, batch["place"], views=4)
        views = jax.vmap(both)(keys, to_float(batch["image"]), jnp.asarray(batch["content"]))
        return rearrange(views, "b v ... -> (b v) ...")


def standard_views(
    batch: Batch,
    maps: Float[Array, "b h w *k"],
    rng: Key,
    *,
    standard: Mapping[str, Any],
) -> tuple[Float[Array, "b h w 1"], Float[Array, "b h w *k"], Float[Array, "b h w"]]:
    """One standard view of each image.

    Args:
      batch: images, their content and their places.
      maps: what has its place in the images and moves along, see `gazax.ops.views.standard_view`.
      rng: the step's key.
      standard: strengths; those of `UNDISTURBED` leave everything bit for bit as it is, and cost
        nothing.

    Returns:
      Images in [0, 1], the maps and the content.
    """
    image, content = to_float(batch["image"]), jnp.asarray(batch["content"])
    if is_undisturbed(standard):
        _, height, width, _ = image.shape
        return image, maps, jax.vmap(lambda one: content_mask(one, size=(height, width)))(content)

    def view(keys: Array, image: Array, maps: Array, content: Array) -> tuple[Array, ...]:
        return standard_view(keys[0], image, maps, content, **standard)

    keys = keys_by_place(rng, batch["place"], views=1)
    views = jax.vmap(view)(keys, image, maps, content)
    return views[0], views[1], views[2]


def is_undisturbed(standard: Mapping[str, Any]) -> bool:
    """Whether a standard view of these strengths is the image itself."""
    return all(_as_given(standard.get(key)) == value for key, value in UNDISTURBED.items())


def _as_given(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def own_gaze(batch: Batch) -> Float[Array, "b h w"]:
    """The batch's gaze maps in the images' own frame."""
    _, height, width, _ = batch["image"].shape
    return gaze_maps(batch["fixations"], batch["reader_weight"], size=(height, width))

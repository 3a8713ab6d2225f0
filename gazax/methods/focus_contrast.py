"""FocusContrast: the two views of an image are cut, hidden and darkened with regard to its gaze."""

import dataclasses

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float

from gazax.methods.base import keys_by_place
from gazax.methods.published_views import check_probabilities
from gazax.methods.views import own_gaze
from gazax.ops.focus import focus_crop, focus_cutout, focus_drop
from gazax.ops.image import to_float
from gazax.ops.photometry import jitter
from gazax.typing import Batch, Key


@dataclasses.dataclass(frozen=True)
class FocusViews:
    """Two views of every image that leave what people looked at to be seen.

    In this order: crop, turned and mirrored in the same warp; colour jitter; cut-out; drop. Each
    view has draws of its own. The saliency is the batch's gaze map: people's, or what a saliency
    model filled in where the data set says so. An image without gaze takes the plain crop and the
    plain cut-out, with the same probabilities, and no drop.

    Attributes:
      crop_probability, cutout_probability, drop_probability: of each.
      zoom, keep, crop_redraws: of the crop, see `gazax.ops.focus.focus_crop`.
      plain_zoom: zoom of an image without gaze.
      rotation_degrees: greatest angle, either way.
      flip: probability of being mirrored. The heart lies on one side.
      brightness, contrast: strengths, see `gazax.ops.photometry.jitter`.
      cutout_side, cutout_mass, cutout_redraws: `side`, `max_mass` and `max_redraws` of
        `gazax.ops.focus.focus_cutout`.
      drop_blur, drop_floor: see `gazax.ops.focus.focus_drop`.

    Raises:
      InputError: a probability outside [0, 1].

    Source: arXiv:2305.08826; `gazax.config.siamese` says which settings are published. The
    order and the probabilities are ours.
    """

    crop_probability: float
    cutout_probability: float
    drop_probability: float
    zoom: tuple[float, float]
    plain_zoom: tuple[float, float]
    keep: float
    crop_redraws: int
    cutout_side: tuple[float, float]
    cutout_mass: float
    cutout_redraws: int
    drop_blur: float
    drop_floor: float
    brightness: float
    contrast: float
    rotation_degrees: float
    flip: float

    def __post_init__(self) -> None:
        """Refuses what is no probability."""
        check_probabilities(
            {
                "crop_probability": self.crop_probability,
                "cutout_probability": self.cutout_probability,
                "drop_probability": self.drop_probability,
                "flip": self.flip,
            }
        )

    def __call__(self, batch: Batch, rng: Key) -> Float[Array, "b2 h w 1"]:
        """See `gazax.methods.views.ViewMaker`."""
        keys = keys_by_place(rng, batch["place"], views=2)
        over_views = jax.vmap(self._view, in_axes=(0, None, None, None))
        views = jax.vmap(over_views)(
            keys, to_float(batch["image"]), own_gaze(batch), jnp.asarray(batch["content"])
        )
        return rearrange(views, "b v ... -> (b v) ...")

    def _view(self, rng: Key, image: Array, gaze: Array, content: Array) -> Array:
        rng_crops, rng_crop, rng_jitter, rng_cuts, rng_cut, rng_drops = jax.random.split(rng, 6)
        zoom = jnp.where(gaze.max() > 0, jnp.array(self.zoom), jnp.array(self.plain_zoom))
        least, greatest = jnp.where(
            jax.random.bernoulli(rng_crops, self.crop_probability), zoom, 1.0
        )
        image, gaze, mask = focus_crop(
            rng_crop,
            image,
            gaze,
            content,
            zoom=(least, greatest),
            keep=self.keep,
            max_redraws=self.crop_redraws,
            rotation_degrees=self.rotation_degrees,
            flip=self.flip,
        )
        image = jitter(rng_jitter, image, mask, brightness=self.brightness, contrast=self.contrast)
        cut = focus_cutout(
            rng_cut,
            image,
            gaze,
            content,
            side=self.cutout_side,
            max_mass=self.cutout_mass,
            max_redraws=self.cutout_redraws,
        )
        image = jnp.where(jax.random.bernoulli(rng_cuts, self.cutout_probability), cut, image)
        dropped = focus_drop(image, gaze, mask, blur=self.drop_blur, floor=self.drop_floor)
        return jnp.where(jax.random.bernoulli(rng_drops, self.drop_probability), dropped, image)

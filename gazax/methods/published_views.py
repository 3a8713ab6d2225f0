"""The published augmentation of SimCLR, BYOL, MoCo and SimSiam: two views of every image."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float

from gazax.methods.base import keys_by_place
from gazax.ops.image import to_float
from gazax.ops.published_views import published_view
from gazax.typing import Batch, InputError, Key


@dataclasses.dataclass(frozen=True)
class PublishedViews:
    """Two views of every image as the methods' own papers make them of photographs.

    Attributes:
      crop: least and greatest share of the content's area.
      ratio: least and greatest width to height of the window, against the content's.
      flip: probability of being mirrored. A mirrored radiograph has its heart on the other side.
      jitter: probability of brightness and contrast.
      brightness, contrast: strengths of those.
      blur: probability in the first view and in the second.
      blur_sigma: least and greatest standard deviation, shares of the image's longer side.
      solarize: probability in the first view and in the second.

    Raises:
      InputError: a probability outside [0, 1].

    Source: Chen et al. 2020 (arXiv:2002.05709), appendix A; Grill et al. 2020 (arXiv:2006.07733),
    appendix B. Their settings are in `gazax.config.siamese`.
    """

    crop: tuple[float, float]
    ratio: tuple[float, float]
    flip: float
    jitter: float
    brightness: float
    contrast: float
    blur: tuple[float, float]
    blur_sigma: tuple[float, float]
    solarize: tuple[float, float]

    def __post_init__(self) -> None:
        """Refuses what is no probability."""
        check_probabilities({"flip": self.flip, "jitter": self.jitter})
        for name, pair in (("blur", self.blur), ("solarize", self.solarize)):
            check_probabilities({f"{name}[0]": pair[0], f"{name}[1]": pair[1]})

    def __call__(self, batch: Batch, rng: Key) -> Float[Array, "b2 h w 1"]:
        """See `gazax.methods.views.ViewMaker`."""

        def both(keys: Array, image: Array, content: Array) -> Array:
            def view(key: Array, blur: Array, solarize: Array) -> Array:
                return published_view(
                    key,
                    image,
                    content,
                    crop=self.crop,
                    ratio=self.ratio,
                    flip=self.flip,
                    jitter_probability=self.jitter,
                    brightness=self.brightness,
                    contrast=self.contrast,
                    blur_probability=blur,
                    blur=self.blur_sigma,
                    solarize_probability=solarize,
                )

            blur, solarize = jnp.array([self.blur, self.solarize], jnp.float32)
            return jax.vmap(view)(keys, blur, solarize)

        keys = keys_by_place(rng, batch["place"], views=2)
        views = jax.vmap(both)(keys, to_float(batch["image"]), jnp.asarray(batch["content"]))
        return rearrange(views, "b v ... -> (b v) ...")


def check_probabilities(settings: Mapping[str, float]) -> None:
    """Refuses a setting of a view maker that lies outside [0, 1]."""
    for name, probability in settings.items():
        if not 0 <= probability <= 1:
            raise InputError(f"views.{name} is {probability}; it is a probability, in [0, 1].")

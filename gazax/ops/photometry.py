"""Grey values of an image: exposure and blur of the content, while the padding stays as it is.

Images are ``[h, w, 1]`` in [0, 1], content masks ``[h, w]`` 1 where there is a real pixel.
"""

import jax
import jax.numpy as jnp
from jax.lax import Precision
from jaxtyping import Array, ArrayLike, Float

from gazax.typing import Key, Scalar


def draw_factor(rng: Key, strength: float) -> Scalar:
    """Uniform in [1 - strength, 1 + strength], never below 0."""
    return jax.random.uniform(rng, minval=max(0.0, 1.0 - strength), maxval=1.0 + strength)


def content_mean(image: Float[Array, "h w 1"], mask: Float[Array, "h w"]) -> Scalar:
    """Mean grey value of the real pixels; 0 if there is none."""
    return (image[:, :, 0] * mask).sum() / jnp.maximum(mask.sum(), 1.0)


def expose(
    image: Float[Array, "h w 1"],
    mask: Float[Array, "h w"],
    *,
    brightness: float | Scalar,
    contrast: float | Scalar,
) -> Float[Array, "h w 1"]:
    """Multiply the content by a factor, stretch it about its mean by another, clip to [0, 1]."""
    bright = image * brightness
    mean = content_mean(bright, mask)
    exposed = jnp.clip(mean + contrast * (bright - mean), 0.0, 1.0)
    return jnp.where(mask[:, :, None] > 0, exposed, image)


def jitter(
    rng: Key,
    image: Float[ArrayLike, "h w 1"],
    content_mask: Float[ArrayLike, "h w"],
    *,
    brightness: float,
    contrast: float,
) -> Float[Array, "h w 1"]:
    """Colour jitter of a grey image: brightness and contrast, in random order.

    brightness: clip(f x); contrast: clip(mean + g (x - mean)), mean that of the content

    Args:
      rng: key.
      image: in [0, 1].
      content_mask: 1 on real pixels, 0 on padding, which stays as it is.
      brightness, contrast: f is uniform in [1 - brightness, 1 + brightness] and not below 0, so
        is g with contrast.

    Returns:
      Image in [0, 1], float32. The order shows where the first of the two clips.

    Source: Chen et al. 2020 (arXiv:2002.05709), appendix A; a grey image has no saturation and no
    hue. The mean of the content instead of the frame is ours.
    """
    rng_brightness, rng_contrast, rng_order = jax.random.split(rng, 3)
    image = jnp.asarray(image, jnp.float32)
    mask = jnp.asarray(content_mask, jnp.float32)
    brightness_factor = draw_factor(rng_brightness, brightness)
    contrast_factor = draw_factor(rng_contrast, contrast)

    def brighten(image: Array) -> Array:
        return expose(image, mask, brightness=brightness_factor, contrast=1.0)

    def stretch(image: Array) -> Array:
        return expose(image, mask, brightness=1.0, contrast=contrast_factor)

    brightness_first = jax.random.bernoulli(rng_order)
    return jnp.where(brightness_first, stretch(brighten(image)), brighten(stretch(image)))


def gaussian_blur(image: Float[Array, "h w c"], sigma_px: float | Scalar) -> Float[Array, "h w c"]:
    """Blur with rows and columns as two matrices; the border counts with the weight it has."""

    def smoother(length: int) -> Float[Array, "n n"]:
        index = jnp.arange(length, dtype=jnp.float32)
        # A sigma of 0 leaves the identity.
        z = (index[:, None] - index[None, :]) / jnp.maximum(sigma_px, 1e-3)
        weight = jnp.exp(-0.5 * z * z)
        return weight / weight.sum(axis=1, keepdims=True)

    rows, columns = smoother(image.shape[0]), smoother(image.shape[1])
    return jnp.einsum("yh,hwc,xw->yxc", rows, image, columns, precision=Precision.HIGHEST)


def content_blur(
    image: Float[Array, "h w 1"], mask: Float[Array, "h w"], sigma_px: float | Scalar
) -> Float[Array, "h w 1"]:
    """Blur the content from the content alone: G(x m) / G(m); padding stays as it is."""
    content = mask[:, :, None]
    blurred = gaussian_blur(jnp.concatenate([image * content, content], axis=2), sigma_px)
    weight = jnp.where(content > 0, blurred[:, :, 1:], 1.0)
    return jnp.where(content > 0, blurred[:, :, :1] / weight, image)

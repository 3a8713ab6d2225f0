"""The published augmentation of SimCLR, BYOL, MoCo and SimSiam, for grey images.

Images are ``[h, w, 1]`` in [0, 1], ``content`` is the rectangle of real pixels. One example each,
one key in; `jax.vmap` gives the batch. What is drawn depends on the key alone.

The originals see colour photographs. A grey image has no saturation, no hue and no conversion to
grey: of the colour jitter, brightness and contrast are left.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from gazax.ops.photometry import content_blur, jitter
from gazax.ops.warp import show_window
from gazax.ops.windows import first_accepted
from gazax.typing import Key, Scalar

_ATTEMPTS = 10
"""Windows that are tried before the whole content is taken, as in torchvision."""


def published_view(
    rng: Key,
    image: Float[ArrayLike, "h w 1"],
    content: Float[ArrayLike, "4"],
    *,
    crop: tuple[float | Scalar, float | Scalar],
    ratio: tuple[float | Scalar, float | Scalar],
    flip: float | Scalar,
    jitter_probability: float | Scalar,
    brightness: float,
    contrast: float,
    blur_probability: float | Scalar,
    blur: tuple[float | Scalar, float | Scalar],
    solarize_probability: float | Scalar,
) -> Float[Array, "h w 1"]:
    """Random resized crop, flip, colour jitter, Gaussian blur and solarisation, in this order.

    Args:
      rng: key.
      image: in [0, 1].
      content: xmin, ymin, xmax, ymax of the real pixels, px.
      crop, ratio: see `random_resized_crop`.
      flip: probability of being mirrored left to right.
      jitter_probability: of brightness and contrast, in random order.
      brightness, contrast: see `gazax.ops.photometry.jitter`.
      blur_probability: of the blur.
      blur: least and greatest standard deviation of the Gaussian, shares of the longer side;
        uniform.
      solarize_probability: see `solarize`.

    Returns:
      Image in [0, 1], float32; the padding is 0 and takes no part. With a crop of (1, 1), a ratio
      of (1, 1) and every probability 0 it is the image as it came.

    Source: Chen et al. 2020 (arXiv:2002.05709), appendix A; Grill et al. 2020 (arXiv:2006.07733),
    appendix B. Their kernel of 23 px at 224 px reaches past 5 standard deviations of the widest
    blur; here it is whole.
    """
    rng_crop, rng_jitters, rng_jitter, rng_blurs, rng_blur, rng_solarize = jax.random.split(rng, 6)
    image, mask = random_resized_crop(rng_crop, image, content, area=crop, ratio=ratio, flip=flip)
    jittered = jitter(rng_jitter, image, mask, brightness=brightness, contrast=contrast)
    image = jnp.where(jax.random.bernoulli(rng_jitters, jitter_probability), jittered, image)
    sigma = jax.random.uniform(rng_blur, minval=blur[0], maxval=blur[1])
    blurred = content_blur(image, mask, sigma * max(mask.shape))
    image = jnp.where(jax.random.bernoulli(rng_blurs, blur_probability), blurred, image)
    solarized = jax.random.bernoulli(rng_solarize, solarize_probability)
    return jnp.where(solarized, solarize(image), image)


def random_resized_crop(
    rng: Key,
    image: Float[ArrayLike, "h w 1"],
    content: Float[ArrayLike, "4"],
    *,
    area: tuple[float | Scalar, float | Scalar] = (0.08, 1.0),
    ratio: tuple[float | Scalar, float | Scalar] = (3 / 4, 4 / 3),
    flip: float | Scalar = 0.0,
) -> tuple[Float[Array, "h w 1"], Float[Array, "h w"]]:
    """Stretch a random window to the size of the content, and mirror it perhaps.

    width, height of the window = sqrt(a r), sqrt(a / r) of the content's

    Args:
      rng: key.
      image: in [0, 1].
      content: xmin, ymin, xmax, ymax of the real pixels, px.
      area: least and greatest a, shares of the content's area; uniform.
      ratio: least and greatest r, of width to height against the content's own; log-uniform.
      flip: probability of being mirrored left to right.

    Returns:
      (image, content_mask), float32; the image is 0 on the padding, which stays where it was.

    Numerics: bilinear, see `gazax.ops.warp.warp`.

    Source: Szegedy et al. 2015 (arXiv:1409.4842), §6, as torchvision has it: of 10 draws the first
    that fits, else the whole. Windows that begin between pixels are ours, and so is the ratio
    against the content's, which is the same in a square image.
    """
    rng_area, rng_ratio, rng_place, rng_flip = jax.random.split(rng, 4)
    content = jnp.asarray(content, jnp.float32)
    a = jax.random.uniform(rng_area, (_ATTEMPTS,), minval=area[0], maxval=area[1])
    low, high = jnp.log(jnp.asarray(ratio, jnp.float32))
    r = jnp.exp(jax.random.uniform(rng_ratio, (_ATTEMPTS,), minval=low, maxval=high))
    share = jnp.sqrt(jnp.stack([a * r, a / r], axis=1))
    fits = (share <= 1.0).all(axis=1)
    share = jnp.where(fits.any(), share[first_accepted(fits)], 1.0)
    extent = content[2:] - content[:2]
    lower = content[:2] + jax.random.uniform(rng_place, (2,)) * (1.0 - share) * extent
    stack, mask = show_window(
        jnp.asarray(image, jnp.float32).transpose(2, 0, 1),
        content,
        jnp.concatenate([lower, lower + share * extent]),
        mirrored=jax.random.bernoulli(rng_flip, flip),
    )
    return stack.transpose(1, 2, 0), mask


def solarize(image: Float[Array, "*b h w 1"]) -> Float[Array, "*b h w 1"]:
    """Invert the bright grey values: x if x < .5, else 1 - x.

    Source: Grill et al. 2020 (arXiv:2006.07733), appendix B.
    """
    return jnp.where(image < 0.5, image, 1.0 - image)

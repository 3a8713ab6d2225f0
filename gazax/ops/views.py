"""The views that GazAT contrasts: the standard view, the strong transform and their blend by gaze.

Images are ``[h, w, 1]`` in [0, 1], gaze maps ``[h, w]`` in [0, 1], content masks ``[h, w]`` 1 where
there is a real pixel and 0 in the padding. One example each, one key in; `jax.vmap` gives the
batch. What is drawn depends on the key alone.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from gazax.ops.image import content_mask
from gazax.ops.photometry import content_mean, draw_factor, expose, gaussian_blur
from gazax.ops.warp import rotation, warp
from gazax.typing import Key


def standard_view(
    rng: Key,
    image: Float[ArrayLike, "h w 1"],
    maps: Float[ArrayLike, "h w *k"],
    content: Float[ArrayLike, "4"],
    *,
    crop: tuple[float, float] = (0.8, 1.0),
    rotation_degrees: float = 10.0,
    brightness: float = 0.2,
    contrast: float = 0.2,
) -> tuple[Float[Array, "h w 1"], Float[Array, "h w *k"], Float[Array, "h w"]]:
    """Crop, rotate and re-expose an image; its gaze map, or its masks, and its content move along.

    A window of the content's shape and a share of its area is placed anywhere within the content,
    turned about its centre and enlarged to the size of the content: one warp for all. Then
    the image is multiplied by a brightness factor and stretched about its mean by a contrast
    factor, and clipped to [0, 1].

    Args:
      rng: key.
      image: in [0, 1].
      maps: what else has its place in the image, in [0, 1]: a gaze map [h, w], or the planes of a
        mask [h, w, k]; [h, w, 0] if there is nothing.
      content: xmin, ymin, xmax, ymax of the real pixels, px.
      crop: least and greatest share of the content's area.
      rotation_degrees: greatest angle, either way.
      brightness: b; the factor is uniform in [1 - b, 1 + b].
      contrast: c; the factor is uniform in [1 - c, 1 + c].

    Returns:
      (image, maps, content_mask), float32. Image and maps are 0 where the content mask is. A gaze
      map is not normalised again: its maximum falls where the peak is cut off. A mask's edges
      become soft, the share of a pixel that lies inside, so that they keep their place to less
      than a pixel. With ``crop=(1, 1)`` and the rest 0 all is as it came, up to rounding.

    Numerics: bilinear, masks too; at the border of the content the nearest real pixel counts, so
    that no padding bleeds in.

    Source: proposal §2.4 gives the ranges. The factors (as torchvision has them, not a shift) and
    the window within the content are ours.
    """
    rng_area, rng_place, rng_angle, rng_brightness, rng_contrast = jax.random.split(rng, 5)
    content = jnp.asarray(content, jnp.float32)
    lower, upper = content[:2], content[2:]
    scale = jnp.sqrt(jax.random.uniform(rng_area, minval=crop[0], maxval=crop[1]))
    place = jax.random.uniform(rng_place, (2,), minval=-0.5, maxval=0.5)
    angle = jnp.deg2rad(rotation_degrees) * jax.random.uniform(rng_angle, minval=-1.0)
    source_centre = (lower + upper) / 2 + place * (1 - scale) * (upper - lower)

    image = jnp.asarray(image, jnp.float32)
    maps = jnp.asarray(maps, jnp.float32)
    planes = maps if maps.ndim > 2 else maps[:, :, None]
    stack = jnp.concatenate([image, planes], axis=2).transpose(2, 0, 1)
    stack, mask = warp(
        stack, content, source_centre=source_centre, matrix=rotation(angle, scale=scale)
    )
    image, maps = stack[0, :, :, None], stack[1:].transpose(1, 2, 0).reshape(maps.shape)
    image = expose(
        image,
        mask,
        brightness=draw_factor(rng_brightness, brightness),
        contrast=draw_factor(rng_contrast, contrast),
    )
    return image, maps, mask


def strong_transform(
    rng: Key,
    image: Float[ArrayLike, "h w 1"],
    content_mask: Float[ArrayLike, "h w"],
    *,
    brightness: float = 0.4,
    contrast: float = 0.4,
    gamma: float = 0.5,
    blur: float = 0.01,
    noise: float = 0.05,
    cutout_count: int = 4,
    cutout_side: tuple[float, float] = (0.1, 0.3),
) -> Float[Array, "h w 1"]:
    """Disturb the grey values of an image strongly and move none: T_strong.

    In this order: brightness, contrast, gamma, blur, noise, cut-out; clipped to [0, 1]. Padding
    stays as it is and does not take part in mean or blur.

    Args:
      rng: key.
      image: in [0, 1].
      content_mask: 1 on real pixels, 0 on padding.
      brightness, contrast: as in `standard_view`.
      gamma: g; the exponent is log-uniform in [1 / (1 + g), 1 + g].
      blur: greatest standard deviation of the Gaussian, as a share of the longer side; uniform
        from 0.
      noise: greatest standard deviation of the Gaussian noise, grey values; uniform from 0.
      cutout_count: rectangles that are filled with the mean grey value.
      cutout_side: least and greatest side of a rectangle, as a share of the image's.

    Returns:
      Image in [0, 1], float32. With every strength 0 it is the image as it came.

    Source: proposal §2.3.2 leaves T_strong open; photometric so that the blend with the image is
    aligned, the list and the strengths are ours (Chen et al. 2020, arXiv:2002.05709, for blur and
    exposure; DeVries and Taylor 2017, arXiv:1708.04552, for cut-out).
    """
    keys = jax.random.split(rng, 7)
    rng_brightness, rng_contrast, rng_gamma, rng_blur, rng_noise, rng_level, rng_cutout = keys
    original = jnp.asarray(image, jnp.float32)
    mask = jnp.asarray(content_mask, jnp.float32)
    height, width = mask.shape

    image = expose(
        original,
        mask,
        brightness=draw_factor(rng_brightness, brightness),
        contrast=draw_factor(rng_contrast, contrast),
    )
    image = image ** (1.0 + gamma) ** jax.random.uniform(rng_gamma, minval=-1.0)
    mean = content_mean(image, mask)
    # Padding takes the mean while the image is blurred, so that its edges do not darken.
    image = jnp.where(mask[:, :, None] > 0, image, mean)
    sigma_px = jax.random.uniform(rng_blur, maxval=blur) * max(height, width)
    image = gaussian_blur(image, sigma_px)
    level = jax.random.uniform(rng_level, maxval=noise)
    image = image + level * jax.random.normal(rng_noise, image.shape)
    cut = _rectangles(rng_cutout, (height, width), count=cutout_count, side=cutout_side)
    image = jnp.where(cut[:, :, None], mean, image)
    return jnp.where(mask[:, :, None] > 0, jnp.clip(image, 0.0, 1.0), original)


def gaze_blend(
    image: Float[ArrayLike, "h w c"],
    strong: Float[ArrayLike, "h w c"],
    gaze_map: Float[ArrayLike, "h w"],
) -> Float[Array, "h w c"]:
    """Keep the image where people looked and take the strong transform elsewhere.

    T_g(I, A) = A * I + (1 - A) * T_strong(I)

    Args:
      image, strong: the image and its strong transform, any scale.
      gaze_map: A, in [0, 1].

    Returns:
      Blend, float32. Where the gaze map is 1 it is exactly the image, where it is 0 exactly the
      strong transform: an image without gaze gives the strong transform.

    Source: proposal §2.3.2.
    """
    gaze = jnp.asarray(gaze_map, jnp.float32)[:, :, None]
    return gaze * jnp.asarray(image, jnp.float32) + (1.0 - gaze) * jnp.asarray(strong, jnp.float32)


def _rectangles(rng: Key, size, *, count: int, side: tuple[float, float]):
    """[h, w] bool: the pixels whose centre lies in any of `count` random rectangles."""
    rng_centre, rng_side = jax.random.split(rng)
    extent = jnp.array([size[1], size[0]], jnp.float32)[None, :]
    centre = jax.random.uniform(rng_centre, (count, 2)) * extent
    half = jax.random.uniform(rng_side, (count, 2), minval=side[0], maxval=side[1]) * extent / 2
    corners = jnp.concatenate([centre - half, centre + half], axis=1)
    inside = jax.vmap(lambda rectangle: content_mask(rectangle, size=size))(corners)
    return (inside > 0).any(axis=0)

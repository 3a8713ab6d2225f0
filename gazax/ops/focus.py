"""The views of FocusContrast: crop, cut-out and drop that spare what people looked at.

Images are ``[h, w, 1]`` in [0, 1], saliency maps ``[h, w]`` in [0, 1] (gaze, or what a model
predicts of it), ``content`` is the rectangle of real pixels. One example each, one key in;
`jax.vmap` gives the batch. What is drawn depends on the key alone.

The published operators draw a rectangle and draw it again until it meets a bound, so often at
most. Here it comes from `gazax.ops.windows`, where all draws are made at once: the same rectangle.

Source: FocusContrast (arXiv:2305.08826) and the authors' example code; shares in place of pixels,
and the rectangle of real pixels in place of the frame, are ours.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from gazax.ops.photometry import content_blur
from gazax.ops.warp import show_window
from gazax.ops.windows import (
    area_shares,
    centres_inside,
    draw_rectangles,
    draw_windows,
    first_accepted,
    window_sums,
)
from gazax.typing import Key, Scalar


def focus_crop(
    rng: Key,
    image: Float[ArrayLike, "h w 1"],
    saliency: Float[ArrayLike, "h w"],
    content: Float[ArrayLike, "4"],
    *,
    zoom: tuple[float | Scalar, float | Scalar] = (1.0, 2.0),
    keep: float = 0.9,
    max_redraws: int = 200,
    rotation_degrees: float | Scalar = 0.0,
    flip: float | Scalar = 0.0,
) -> tuple[Float[Array, "h w 1"], Float[Array, "h w"], Float[Array, "h w"]]:
    """Enlarge a random window that holds most of the saliency.

    accepted if: saliency inside the window >= keep * saliency of the content

    The zoom is drawn once, uniform; a window of 1 / zoom of the content's sides is placed
    anywhere within it, again if it is not accepted. It is shown at the size of the content, turned
    about its centre and mirrored: one warp for all. The published bound, (saliency of the crop) /
    (saliency of the whole) / zoom^2 on the enlarged map, is this one: enlarging multiplies the sum
    of the crop by zoom^2.

    Args:
      rng: key.
      image: in [0, 1].
      saliency: not negative; what lies on padding does not count.
      content: xmin, ymin, xmax, ymax of the real pixels, px.
      zoom: least and greatest, 1 or more.
      keep: least share of the saliency within the window, before it is turned.
      max_redraws: after so many redraws the last window is taken, whatever it holds.
      rotation_degrees: greatest angle, either way.
      flip: probability of being mirrored left to right.

    Returns:
      (image, saliency, content_mask), float32, 0 where the content mask is; the padding stays
      padding. A map of zeros accepts every window: a plain random crop. With ``zoom=(1, 1)`` and
      the rest 0 all is as it came.

    Source: focus_crop, random_rotate and random_flip of the example code. One warp for the three,
    and windows that begin between pixels, are ours.
    """
    rng_window, rng_angle, rng_flip = jax.random.split(rng, 3)
    saliency = jnp.asarray(saliency, jnp.float32)
    content = jnp.asarray(content, jnp.float32)
    window = focus_window(
        rng_window, saliency, content, zoom=zoom, keep=keep, max_redraws=max_redraws
    )
    angle = jnp.deg2rad(rotation_degrees) * jax.random.uniform(rng_angle, minval=-1.0)
    stack, mask = show_window(
        jnp.stack([jnp.asarray(image, jnp.float32)[:, :, 0], saliency]),
        content,
        window,
        angle=angle,
        mirrored=jax.random.bernoulli(rng_flip, flip),
    )
    return stack[0, :, :, None], stack[1], mask


def focus_window(
    rng: Key,
    saliency: Float[Array, "h w"],
    content: Float[Array, "4"],
    *,
    zoom: tuple[float | Scalar, float | Scalar],
    keep: float,
    max_redraws: int,
) -> Float[Array, "4"]:
    """The window that `focus_crop` shows: xmin, ymin, xmax, ymax, px."""
    windows = draw_windows(rng, content, zoom=zoom, count=max_redraws + 1)
    height, width = saliency.shape
    inside = window_sums(saliency, *area_shares(windows, (height, width)))
    total = window_sums(saliency, *area_shares(content[None, :], (height, width)))[0]
    return windows[first_accepted(inside >= keep * total)]


def focus_cutout(
    rng: Key,
    image: Float[ArrayLike, "h w 1"],
    saliency: Float[ArrayLike, "h w"],
    content: Float[ArrayLike, "4"],
    *,
    side: tuple[float, float] = (48 / 224, 1.0),
    max_mass: float = 400 / 224**2,
    max_redraws: int = 100,
) -> Float[Array, "h w 1"]:
    """Blacken a random rectangle that hardly anyone looked at.

    accepted if: sum of the saliency over the rectangle's pixels <= max_mass * area of the content

    Args:
      rng: key.
      image: in [0, 1].
      saliency: in [0, 1].
      content: xmin, ymin, xmax, ymax of the real pixels, px.
      side: least and greatest side, shares of the content's. The corner that is nearest to the
        origin is uniform where the least side fits behind it, the other one uniform behind that:
        small rectangles are the most frequent.
      max_mass: published as 400 in a map of 224 x 224 px; as a share it means the same at any size.
      max_redraws: after so many redraws the last rectangle is taken, whatever it hides.

    Returns:
      Image, float32, with 0 on the pixels whose centre lies in the rectangle. A map of zeros
      accepts every rectangle: a plain cut-out; a map of ones none, and the last one is cut.

    Source: focus_cutout of the example code; a greatest side is ours (published: the image's).
    """
    image = jnp.asarray(image, jnp.float32)
    saliency = jnp.asarray(saliency, jnp.float32)
    content = jnp.asarray(content, jnp.float32)
    rectangles = draw_rectangles(rng, content, side=side, count=max_redraws + 1)
    height, width = saliency.shape
    rows, columns = centres_inside(rectangles, (height, width))
    area = (content[2] - content[0]) * (content[3] - content[1])
    chosen = first_accepted(window_sums(saliency, rows, columns) <= max_mass * area)
    cut = rows[chosen][:, None] * columns[chosen][None, :]
    return jnp.where(cut[:, :, None] > 0, 0.0, image)


def focus_drop(
    image: Float[ArrayLike, "h w 1"],
    saliency: Float[ArrayLike, "h w"],
    content_mask: Float[ArrayLike, "h w"],
    *,
    blur: float = 30.2 / 224,
    floor: float = 0.1,
) -> Float[Array, "h w 1"]:
    """Darken an image where nobody looked.

    I * min(G(s) / (max G(s) + .01) + floor, 1), G a Gaussian blur

    Args:
      image: in [0, 1].
      saliency: s, in [0, 1].
      content_mask: 1 on real pixels, 0 on padding, which stays as it is and does not take part.
      blur: standard deviation of G, a share of the image's longer side. Published as a kernel of
        199 of 224 px, for which OpenCV takes .3 ((199 - 1) / 2 - 1) + .8 = 30.2 px.
      floor: what is left of the grey values far from all saliency.

    Returns:
      Image in [0, 1], float32. A map of zeros leaves the image as it is.

    Source: focus_drop of the example code. Ours: a map of zeros (published: all is darkened to the
    floor), and at the border the Gaussian counts with the weight it has (published: mirrored).
    """
    image = jnp.asarray(image, jnp.float32)
    saliency = jnp.asarray(saliency, jnp.float32)
    mask = jnp.asarray(content_mask, jnp.float32)
    blurred = content_blur(saliency[:, :, None], mask, blur * max(saliency.shape))
    blurred = blurred * mask[:, :, None]
    highest = blurred.max()
    kept = jnp.clip(blurred / (highest + 0.01) + floor, 0.0, 1.0)
    return jnp.where((mask[:, :, None] > 0) & (highest > 0), image * kept, image)

"""GazAT's views in PyTorch: gaze rendered, moved with the image, blended by it.

The same work as `gazax.methods.views.gaze_views`, a batch at a time. What is drawn comes in, so
that both can be given the same draws.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gazax.methods.base import keys_by_place
from gazax.typing import Batch, Size

Tensors = dict[str, Any]


class Draws(NamedTuple):
    """What the views of b images are drawn with: two standard ones each, then the strong one."""

    scale: Any  # [b, 2], of the window's sides
    place: Any  # [b, 2, 2] in [-.5, .5]
    angle: Any  # [b, 2], radians
    brightness: Any  # [b, 2]
    contrast: Any  # [b, 2]
    strong_brightness: Any  # [b]
    strong_contrast: Any  # [b]
    exponent: Any  # [b]
    sigma: Any  # [b], px
    level: Any  # [b]
    noise: Any  # [b, h, w]
    centre: Any  # [b, n, 2] in [0, 1]
    side: Any  # [b, n, 2], shares of the image


class Views(NamedTuple):
    """As `gazax.methods.views.Views`; images [2b, 1, h, w]."""

    image: Tensor
    gaze: Tensor
    content: Tensor
    valid: Tensor


def gazax_draws(rng: Any, batch: Batch, standard: Mapping, strong: Mapping) -> Draws:
    """Those that `gazax.ops.views` makes with a step's key, in the order in which it makes them."""
    size = batch["image"].shape[1:3]
    uniform = jax.random.uniform

    def factor(key: Any, strength: float) -> Any:
        return uniform(key, minval=max(0.0, 1.0 - strength), maxval=1.0 + strength)

    def standard_view(key: Any) -> tuple[Any, ...]:
        area, place, angle, brightness, contrast = jax.random.split(key, 5)
        return (
            jnp.sqrt(uniform(area, minval=standard["crop"][0], maxval=standard["crop"][1])),
            uniform(place, (2,), minval=-0.5, maxval=0.5),
            jnp.deg2rad(standard["rotation_degrees"]) * uniform(angle, minval=-1.0),
            factor(brightness, standard["brightness"]),
            factor(contrast, standard["contrast"]),
        )

    def of_one(keys: Any) -> Draws:
        bright, contrast, gamma, blur, noise, level, cutout = jax.random.split(keys[2], 7)
        centre, side = jax.random.split(cutout)
        rectangles, (near, far) = (strong["cutout_count"], 2), strong["cutout_side"]
        return Draws(
            *jax.vmap(standard_view)(keys[:2]),
            factor(bright, strong["brightness"]),
            factor(contrast, strong["contrast"]),
            (1.0 + strong["gamma"]) ** uniform(gamma, minval=-1.0),
            uniform(blur, maxval=strong["blur"]) * max(size),
            uniform(level, maxval=strong["noise"]),
            jax.random.normal(noise, (*size, 1))[..., 0],
            uniform(centre, rectangles),
            uniform(side, rectangles, minval=near, maxval=far),
        )

    draws = jax.jit(jax.vmap(of_one))(keys_by_place(rng, batch["place"], views=3))
    return Draws(*(torch.from_numpy(np.array(value)) for value in draws))


def torch_draws(b: int, height: int, width: int, standard: Mapping, strong: Mapping) -> Draws:
    """The same distributions from torch's own generator."""

    def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return torch.rand(shape) * (high - low) + low

    def factor(*shape: int, strength: float) -> Tensor:
        return uniform(*shape, low=max(0.0, 1.0 - strength), high=1.0 + strength)

    count, (near, far) = strong["cutout_count"], strong["cutout_side"]
    low, high = standard["crop"]
    return Draws(
        uniform(b, 2, low=low, high=high).sqrt(),
        uniform(b, 2, 2, low=-0.5, high=0.5),
        math.radians(standard["rotation_degrees"]) * uniform(b, 2, low=-1.0),
        factor(b, 2, strength=standard["brightness"]),
        factor(b, 2, strength=standard["contrast"]),
        factor(b, strength=strong["brightness"]),
        factor(b, strength=strong["contrast"]),
        (1.0 + strong["gamma"]) ** uniform(b, low=-1.0),
        uniform(b, high=strong["blur"]) * max(height, width),
        uniform(b, high=strong["noise"]),
        torch.randn(b, height, width),
        uniform(b, count, 2),
        uniform(b, count, 2, low=near, high=far),
    )


def to_tensors(batch: Any) -> Tensors:
    """A host batch as tensors; images [b, 1, h, w]."""
    if isinstance(batch, dict):
        found = {key: to_tensors(value) for key, value in batch.items()}
        if "image" in found:
            found["image"] = found["image"].permute(0, 3, 1, 2).contiguous()
        return found
    return torch.from_numpy(np.array(batch))


def gaze_views(batch: Tensors, gaze: Tensor, draws: Draws) -> Views:
    """Both views of every image, the two of an image side by side; `gaze` in the images' frame."""
    image = batch["image"].float() / 255
    stack = torch.cat([image, gaze[:, None]], dim=1).repeat_interleave(2, dim=0)
    content = batch["content"].repeat_interleave(2, dim=0)
    stack, mask = _warp(
        stack, content, draws.scale.flatten(), draws.place.flatten(0, 1), draws.angle.flatten()
    )
    image, gaze = stack[:, 0], stack[:, 1]
    image = _expose(image, mask, draws.brightness.flatten(), draws.contrast.flatten())
    strong = _strong(image[1::2], mask[1::2], draws)
    blended = gaze[1::2] * image[1::2] + (1 - gaze[1::2]) * strong
    image = torch.stack([image[::2], blended], dim=1).flatten(0, 1)
    return Views(image[:, None], gaze, mask, gaze.amax(dim=(1, 2)) > 0)


def gaze_maps(batch: Tensors, size: Size) -> Tensor:
    """As `gazax.ops.gaze.gaze_maps`, reader by reader."""
    fixations, weights = batch["fixations"], batch["reader_weight"].clamp(min=0)
    reader = fixations["reader"]
    real = (reader >= 0)[..., None]
    xy = fixations["xy"].where(real, torch.zeros(()))
    sigma = fixations["sigma"].where(real, torch.ones(()))
    window = fixations["window"].where(real, torch.zeros(()))
    duration = fixations["duration"].where(real[..., 0], torch.zeros(()))

    def profile(axis: int, length: int) -> Tensor:
        centre = torch.arange(length) + 0.5
        z = (centre - xy[..., axis, None]) / sigma[..., axis, None]
        inside = (centre >= window[..., axis, None]) & (centre < window[..., axis + 2, None])
        return torch.exp(-0.5 * z * z) * inside

    rows, columns = profile(1, size[0]) * duration[..., None], profile(0, size[1])
    total = torch.zeros(len(reader), *size)
    for slot in range(weights.shape[1]):
        own = rows * (reader == slot)[..., None]
        total += weights[:, slot, None, None] * _minmax(own.transpose(1, 2) @ columns)
    return _minmax(total)


def _minmax(maps: Tensor) -> Tensor:
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    return torch.where(high > low, (maps - low) / torch.where(high > low, high - low, 1.0), 0.0)


def _warp(
    stack: Tensor, content: Tensor, scale: Tensor, place: Tensor, angle: Tensor
) -> tuple[Tensor, Tensor]:
    """Maps [n, k, h, w] turned and enlarged, and what of them is real [n, h, w]."""
    height, width = stack.shape[2:]
    lower, upper = content[:, :2], content[:, 2:]
    centre = (lower + upper) / 2
    cos, sin = scale * angle.cos(), scale * angle.sin()
    matrix = torch.stack([cos, -sin, sin, cos], dim=1).unflatten(1, (2, 2))
    source = centre + place * (1 - scale[:, None]) * (upper - lower)
    offset = source - (matrix @ centre[:, :, None])[:, :, 0]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    at = matrix @ torch.stack([x, y]).flatten(1) + offset[:, :, None]
    inside = ((at >= lower[:, :, None]) & (at < upper[:, :, None])).all(dim=1)
    # between the first and the last pixel whose centre lies in the content
    first, last = (lower - 0.5).ceil(), (upper - 0.5).ceil() - 1
    at = torch.minimum(torch.maximum(at - 0.5, first[:, :, None]), last[:, :, None])
    size = torch.tensor([width, height])
    grid = ((at + 0.5) * 2 / size[:, None] - 1).transpose(1, 2).unflatten(1, (height, width))
    moved = functional.grid_sample(
        stack, grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    mask = inside.unflatten(1, (height, width)).float()
    return moved * mask[:, None], mask


def _mean(image: Tensor, mask: Tensor) -> Tensor:
    total = (image * mask).sum(dim=(1, 2), keepdim=True)
    return total / mask.sum(dim=(1, 2), keepdim=True).clamp(min=1)


def _expose(image: Tensor, mask: Tensor, brightness: Tensor, contrast: Tensor) -> Tensor:
    bright = image * brightness[:, None, None]
    mean = _mean(bright, mask)
    exposed = (mean + contrast[:, None, None] * (bright - mean)).clamp(0, 1)
    return torch.where(mask > 0, exposed, image)


def _strong(original: Tensor, mask: Tensor, draws: Draws) -> Tensor:
    height, width = original.shape[1:]
    image = _expose(original, mask, draws.strong_brightness, draws.strong_contrast)
    image = image ** draws.exponent[:, None, None]
    mean = _mean(image, mask)
    image = torch.where(mask > 0, image, mean)

    def smoother(length: int) -> Tensor:
        index = torch.arange(length, dtype=torch.float32)
        z = (index[:, None] - index) / draws.sigma.clamp(min=1e-3)[:, None, None]
        weight = torch.exp(-0.5 * z * z)
        return weight / weight.sum(dim=2, keepdim=True)

    image = smoother(height) @ image @ smoother(width).transpose(1, 2)
    image = image + draws.level[:, None, None] * draws.noise
    extent = torch.tensor([width, height])
    centre, half = draws.centre * extent, draws.side * extent / 2
    lower, upper = (centre - half)[..., None], (centre + half)[..., None]
    x, y = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    columns = (x >= lower[:, :, 0]) & (x < upper[:, :, 0])
    rows = (y >= lower[:, :, 1]) & (y < upper[:, :, 1])
    cut = (rows[:, :, :, None] & columns[:, :, None]).any(dim=1)
    image = torch.where(cut, mean, image)
    return torch.where(mask > 0, image.clamp(0, 1), original)

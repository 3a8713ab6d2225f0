"""Decoders: from the maps of a backbone's `out` to one logit a class and pixel."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.typing import Dtype
from jaxtyping import Array, Float

from gazax.models.layers import Conv
from gazax.typing import InputError, Size

_GROUPS = 8


def _resize(x: Float[Array, "b h w c"], size: Size) -> Float[Array, "b h_out w_out c"]:
    """Bilinear, with the outer edges of the grids on each other."""
    if x.shape[1:3] == size:
        return x
    return jax.image.resize(x, (x.shape[0], *size, x.shape[3]), "bilinear")


class LinearDecoder(nn.Module):
    """One linear map of each cell of `out["feature_map"]` (`linear`), resized to the image.

    How well classes can be told apart by what the backbone already says of a place.

    Attributes:
      num_classes: k.

    Returns:
      Logits, float32.
    """

    num_classes: int

    @nn.compact
    def __call__(
        self, out: dict[str, Any], *, size: Size, train: bool = False
    ) -> Float[Array, "b h w k"]:
        """Score each pixel of images of `size` (h, w) px; `train` changes nothing."""
        del train
        logits = Conv(self.num_classes, 1, use_bias=True, name="linear")(out["feature_map"])
        return _resize(logits, size)


class UNetDecoder(nn.Module):
    """From the coarsest map up to the image, with a skip from a finer map in every stage.

    It starts from `out["feature_map"]`. Stage s = 0, 1, ... is

        grid = the skip's grid, if that is finer than x's, else twice x's, at most the image's
        x = block_s(concat(resize(x, grid), resize(skip_s(skip), grid)))

    where skip_s is a 1x1 convolution and block_s is twice (3x3 convolution, group norm, relu), all
    to the stage's width. The maps before the last, `out["stem"]` first where there is one, are
    spread evenly over the stages, from the deepest to the shallowest. So a ResNet's four stages
    take layer3, layer2, layer1 and the stem, as in U-Net; a ViT's levels, which share one grid,
    become a pyramid of grids twice, four, ... times as fine, as in UNETR but by resizing. After
    the last stage a 1x1 convolution (`logits`) scores the classes and the result is resized to the
    image.

    The norm is a group norm: no batch statistics, so that an example's result depends on that
    example alone, on any number of devices.

    Attributes:
      num_classes: k.
      widths: channels of each stage, multiples of 8, as many as there are stages.
      dtype: of the computation, logits excepted; parameters are float32.

    Returns:
      Logits, float32.

    Raises:
      InputError: the backbone has one map only, which leaves none for a skip.

    Source: Ronneberger et al. 2015 (arXiv:1505.04597), Hatamizadeh et al. 2022 (arXiv:2103.10504);
    the rule that serves both backbones is ours.
    """

    num_classes: int
    widths: tuple[int, ...] = (256, 128, 64, 32)
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, out: dict[str, Any], *, size: Size, train: bool = False
    ) -> Float[Array, "b h w k"]:
        """Score each pixel of images of `size` (h, w) px; `train` changes nothing."""
        del train
        stem = [out["stem"]] if "stem" in out else []
        maps = [*stem, *out["feature_maps"][:-1]]
        if not maps:
            raise InputError(
                "a U-Net decoder needs a backbone of two levels or more; use the linear decoder"
            )
        x = out["feature_map"]
        for stage, (width, place) in enumerate(
            zip(self.widths, skip_places(len(maps), len(self.widths)), strict=True)
        ):
            skip = maps[place]
            grid = (skip.shape[1], skip.shape[2])
            if grid[0] <= x.shape[1]:
                grid = (min(2 * x.shape[1], size[0]), min(2 * x.shape[2], size[1]))
            skip = Conv(width, 1, use_bias=True, dtype=self.dtype, name=f"skip_{stage}")(skip)
            x = jnp.concatenate([_resize(x.astype(self.dtype), grid), _resize(skip, grid)], axis=-1)
            for i in range(2):
                x = Conv(width, dtype=self.dtype, name=f"conv_{stage}_{i}")(x)
                norm = nn.GroupNorm(
                    _GROUPS,
                    epsilon=1e-5,
                    dtype=self.dtype,
                    use_fast_variance=False,
                    name=f"norm_{stage}_{i}",
                )
                x = nn.relu(norm(x))
        x = Conv(self.num_classes, 1, use_bias=True, name="logits")(x)
        return _resize(x, size)


def skip_places(num_maps: int, stages: int) -> list[int]:
    """Which of the maps, shallowest first, each stage takes: evenly from the last to the first."""
    return np.linspace(num_maps - 1, 0, stages).round().astype(int).tolist()

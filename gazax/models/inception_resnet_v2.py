"""Inception-ResNet-v2, with the weights, the names and the numbers of timm's.

Attention maps are activation energies: for each level, the mean over channels of the squared
features. Grad-CAM takes the gradient with respect to a level through linen's `perturb`.
"""

import functools

import flax.linen as nn
import jax.numpy as jnp
from flax.typing import Dtype
from jaxtyping import Array, Float

from gazax.models.heads import pooled_output
from gazax.models.inception_blocks import (
    BLOCK_8,
    BLOCK_17,
    BLOCK_35,
    MIXED_5B,
    MIXED_6A,
    MIXED_7A,
    Branches,
    ConvNorm,
    Mixed,
    Residual,
    scaled,
)
from gazax.models.layers import max_pool
from gazax.typing import InputError

# padding: cells on each side, where the published network has none
PADDINGS = {"valid": 0, "same": 1}

# (what changes the grid, its branches, blocks on that grid, their branches, their scale)
_STAGES: tuple[tuple[str, Branches, str, Branches, float], ...] = (
    ("mixed_5b", MIXED_5B, "repeat", BLOCK_35, 0.17),
    ("mixed_6a", MIXED_6A, "repeat_1", BLOCK_17, 0.10),
    ("mixed_7a", MIXED_7A, "repeat_2", BLOCK_8, 0.20),
)
_STEM = ("conv2d_1a", "conv2d_2a", "conv2d_2b", "conv2d_3b", "conv2d_4a")
_STEM_CHANNELS = 3
_FEATURES = 1536
_SMALLEST = 75
"""px; unpadded windows of 3 with strides 2, 1, 2, 1, 2, 2, 2 leave one cell of it."""


class InceptionResNetV2(nn.Module):
    """Inception-ResNet-v2: three stages of residual blocks of several branches each.

    The stem has three channels, those of ImageNet's weights; a grey image is repeated for them.
    Neither a mean nor a standard deviation is applied inside. Parameters and statistics:
    `conv2d_1a`, `conv2d_2a`, `conv2d_2b`, `conv2d_3b`, `conv2d_4a`, `mixed_5b`, `repeat_0`,
    `repeat_1`, ..., `mixed_6a`, `repeat_1_0`, ..., `mixed_7a`, `repeat_2_0`, ..., `block8`,
    `conv2d_7b`, `head`: timm's names, the places inside its `repeat`, `repeat_1` and `repeat_2`
    put behind them, and `head` for `classif`.

    Attributes:
      num_classes: columns of the output; 0 = no head, the output is the features.
      width_multiplier: of every channel count but the image's; the product is rounded to a positive
        multiple of 8. 1 is the published network.
      blocks: residual blocks of the first stage, of the second, and of the third before `block8`,
        its last one, which has neither scale nor relu.
      padding: "valid" as published, where seven windows of 3 have none; or "same", with a cell on
        each side of them (max-pools: -inf), so that small images too have a grid at the end.
      dtype: of the computation. Parameters, batch statistics, head and everything returned are
        float32.
      axis_name: mapped axis over which batch statistics are taken; None under jit.
      remat: whether the inside of what the stages are made of is computed again in the backward
        pass and not kept.

    Returns:
      output and out. output: logits [b, num_classes], or the features. out, for an image of
      h x w px and the published channels:
        features      [b, 1536]             the mean of feature_map
        feature_map   [b, h/32, w/32, 1536] the last of feature_maps
        feature_maps  list of               outputs of the three stages (h/8, h/16, h/32; 320, 1088
                      [b, h_l, w_l, c_l]    and 2080 channels) and of `conv2d_7b` (h/32, the map of
                                            Grad-CAM); level i can be perturbed as `level_i`
        attention     list of [b, h_l, w_l] of each level, the mean over channels of the squares
        stem          [b, h/2, w/2, 64]     before the first max-pool
      The sides are rounded up with "same". With "valid" 299 px become 147, then 35, 17, 8 and 8.

    Raises:
      InputError: the image has neither one channel nor three, or with "valid" a side below 75 px;
        the padding is unknown; the blocks are not three numbers of 1 or more; or the multiplier
        is not above 0.

    Numerics: see `gazax.models.layers`. Norms have an epsilon of 1e-3.
    Source: Szegedy et al. 2016 (arXiv:1602.07261), §3.2 and §3.3; layers, scales (.17, .1, .2) and
    start of the kernels as in timm's `InceptionResnetV2`, which follows the weights that were
    published with the paper and not its figures. Biases start at 0. Dropout, which is 0 there, is
    left out; `width_multiplier` and "same" are ours. Activation energy: Zagoruyko & Komodakis 2017
    (arXiv:1612.03928), F_sum^2.
    """

    num_classes: int = 0
    width_multiplier: float = 1.0
    blocks: tuple[int, ...] = (10, 20, 9)
    padding: str = "valid"
    dtype: Dtype = jnp.float32
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool = False
    ) -> tuple[Float[Array, "b k"], dict[str, Array | list[Array]]]:
        """Map images, of any grey values or colours, to the output and the dict `out`."""
        self._check()
        edge = PADDINGS[self.padding]
        norm = dict(axis_name=self.axis_name, dtype=self.dtype)
        inside = dict(width=self.width_multiplier, edge=edge, **norm)
        mixed, residual = (
            # train is static: it decides which statistics are used
            functools.partial(nn.remat(kind, static_argnums=(2,)) if self.remat else kind, **inside)
            for kind in (Mixed, Residual)
        )

        def conv(
            x: Array,
            name: str,
            channels: int,
            size: int,
            stride: int = 1,
            padding: int | None = None,
        ) -> Array:
            channels = scaled(channels, self.width_multiplier)
            return ConvNorm(channels, size, stride, padding, **norm, name=name)(x, train)

        levels = []

        def level(x: Array) -> Array:
            if not self.is_initializing():  # no perturbation among the parameters
                x = self.perturb(f"level_{len(levels)}", x)
            levels.append(x.astype(jnp.float32))
            return x

        x = conv(self._in_colour(image), "conv2d_1a", 32, 3, stride=2, padding=edge)
        x = conv(x, "conv2d_2a", 32, 3, padding=edge)
        x = stem = conv(x, "conv2d_2b", 64, 3)
        x = conv(max_pool(x, padding=edge), "conv2d_3b", 80, 1)
        x = max_pool(conv(x, "conv2d_4a", 192, 3, padding=edge), padding=edge)
        for stage, number in zip(_STAGES, self.blocks, strict=True):
            first, first_branches, rest, rest_branches, scale = stage
            x = mixed(first_branches, name=first)(x, train)
            for i in range(number):
                x = residual(rest_branches, scale=scale, name=f"{rest}_{i}")(x, train)
            if stage is _STAGES[-1]:
                x = residual(BLOCK_8, relu=False, name="block8")(x, train)
            x = level(x)
        level(conv(x, "conv2d_7b", _FEATURES, 1))

        return pooled_output(levels, stem=stem, num_classes=self.num_classes)

    @nn.nowrap
    def layer_of(self, name: str) -> int:
        """Place of a top-level module, one each, in the order in which they compute.

        Raises:
          KeyError: the model has nothing of this name.
        """
        return {module: place for place, module in enumerate(self._order)}[name]

    @property
    def num_layers(self) -> int:
        """Number of places of `layer_of`."""
        return len(self._order)

    @property
    def _order(self) -> list[str]:
        """Top-level modules."""
        names = list(_STEM)
        for (first, _, rest, _, _), number in zip(_STAGES, self.blocks, strict=True):
            names += [first, *(f"{rest}_{i}" for i in range(number))]
        return [*names, "block8", "conv2d_7b", "head"]

    def _check(self) -> None:
        if self.padding not in PADDINGS:
            raise InputError(
                f"unknown Inception-ResNet-v2 padding {self.padding!r}; the known ones are "
                f"{', '.join(PADDINGS)}"
            )
        if len(self.blocks) != len(_STAGES) or min(self.blocks) < 1 or self.width_multiplier <= 0:
            raise InputError(
                f"an Inception-ResNet-v2 of blocks={self.blocks}, "
                f"width_multiplier={self.width_multiplier}: blocks are {len(_STAGES)} numbers of 1 "
                "or more, and the multiplier is above 0"
            )

    def _in_colour(self, image: Array) -> Array:
        """The image in three channels, after a look at its shape."""
        *shape, channels = image.shape
        height, width = shape[-2:]
        if channels not in (1, _STEM_CHANNELS):
            raise InputError(
                "an Inception-ResNet-v2 takes images of one channel or of "
                f"{_STEM_CHANNELS}, not of {channels}"
            )
        if self.padding == "valid" and min(height, width) < _SMALLEST:
            raise InputError(
                f"an image of {height}x{width} px (h x w) has no cell left after the unpadded "
                f"windows of Inception-ResNet-v2, which need {_SMALLEST} px a side: set "
                "config.model.padding='same', or a larger config.data.size"
            )
        return jnp.broadcast_to(image, (*shape, _STEM_CHANNELS))

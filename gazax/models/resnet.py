"""Residual networks, with the weights, the names and the numbers of torchvision's.

Attention maps are activation energies: for each level, the mean over channels of the squared
features. Grad-CAM takes the gradient with respect to a level through linen's `perturb`.
"""

import flax.linen as nn
import jax.numpy as jnp
from flax.typing import Dtype
from jaxtyping import Array, Float

from gazax.models.heads import pooled_output
from gazax.models.layers import BatchNorm, Conv, max_pool
from gazax.typing import InputError

# depth: (blocks of layer1 to layer4, whether they are bottlenecks)
DEPTHS: dict[int, tuple[tuple[int, int, int, int], bool]] = {
    10: ((1, 1, 1, 1), False),  # ours, for tests; torchvision has the others
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
}

_WIDTHS = (64, 128, 256, 512)


class Block(nn.Module):
    """relu(x + inside(x)): two 3x3 convolutions, or a bottleneck of 1x1, 3x3 and 1x1.

    Where the stride or the number of channels changes, x goes through a 1x1 convolution and a
    norm of its own (`downsample_0`, `downsample_1`). The stride is that of the first 3x3.

    Attributes:
      width: channels inside; a bottleneck gives out four times as many.
      stride: cells.
      bottleneck, axis_name, dtype: see `ResNet`.
    """

    width: int
    stride: int
    bottleneck: bool
    axis_name: str | None
    dtype: Dtype

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool
    ) -> Float[Array, "b h_out w_out c_out"]:
        """Add what the convolutions find to x."""
        if self.bottleneck:
            layers = ((self.width, 1, 1), (self.width, 3, self.stride), (4 * self.width, 1, 1))
        else:
            layers = ((self.width, 3, self.stride), (self.width, 3, 1))
        y = x
        for i, (features, kernel_size, stride) in enumerate(layers, start=1):
            y = Conv(features, kernel_size, stride, dtype=self.dtype, name=f"conv{i}")(y)
            y = BatchNorm(self.axis_name, self.dtype, name=f"bn{i}")(y, train=train)
            if i < len(layers):
                y = nn.relu(y)
        if x.shape != y.shape:
            x = Conv(y.shape[-1], 1, self.stride, dtype=self.dtype, name="downsample_0")(x)
            x = BatchNorm(self.axis_name, self.dtype, name="downsample_1")(x, train=train)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """Residual network.

    The first image that `init` sees fixes the number of channels. Parameters and statistics:
    `conv1`, `bn1`, `layer1_0`, `layer1_1`, ... `layer4_0`, ..., `head`.

    Attributes:
      stage_sizes: blocks of layer1, layer2, ...; at most four.
      bottleneck: whether the blocks are bottlenecks.
      num_classes: columns of the output; 0 = no head, the output is the features.
      dtype: of the computation. Parameters, batch statistics, head and everything returned are
        float32.
      axis_name: mapped axis over which batch statistics are taken; None under jit.
      remat: whether a block's inside is computed again in the backward pass and not kept.

    Returns:
      output and out. output: logits [b, num_classes], or the features. out, for an image of
      h x w px:
        features      [b, d]                the mean of feature_map; d is 512, or 2048 with
                                            bottlenecks
        feature_map   [b, h/32, w/32, d]    the last of feature_maps
        feature_maps  list of               outputs of layer1 (h/4) to layer4 (h/32); level i can
                      [b, h_l, w_l, c_l]    be perturbed as `level_i`
        attention     list of [b, h_l, w_l] of each level, the mean over channels of the squares
        stem          [b, h/2, w/2, 64]     before the max-pool
      Sides that do not divide are rounded up.

    Numerics: see `gazax.models.layers`.
    Source: He et al. 2016 (arXiv:1512.03385); torchvision's `ResNet`, whose bottleneck strides in
    its 3x3. Activation energy: Zagoruyko & Komodakis 2017 (arXiv:1612.03928), F_sum^2.
    """

    stage_sizes: tuple[int, ...]
    bottleneck: bool
    num_classes: int = 0
    dtype: Dtype = jnp.float32
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool = False
    ) -> tuple[Float[Array, "b k"], dict[str, Array | list[Array]]]:
        """Map images, of any grey values, to the output and the dict `out`."""
        x = Conv(_WIDTHS[0], 7, 2, dtype=self.dtype, name="conv1")(image)
        x = BatchNorm(self.axis_name, self.dtype, name="bn1")(x, train=train)
        stem = nn.relu(x)
        x = max_pool(stem)

        # train is static: it decides which statistics are used
        block_class = nn.remat(Block, static_argnums=(2,)) if self.remat else Block
        levels = []
        for stage, (blocks, width) in enumerate(zip(self.stage_sizes, _WIDTHS, strict=False)):
            for i in range(blocks):
                block = block_class(
                    width,
                    2 if stage > 0 and i == 0 else 1,
                    self.bottleneck,
                    self.axis_name,
                    self.dtype,
                    name=f"layer{stage + 1}_{i}",
                )
                x = block(x, train)
            if not self.is_initializing():  # no perturbation among the parameters
                x = self.perturb(f"level_{stage}", x)
            levels.append(x.astype(jnp.float32))

        return pooled_output(levels, stem=stem, num_classes=self.num_classes)

    @nn.nowrap
    def layer_of(self, name: str) -> int:
        """Place of a top-level module: `conv1` and `bn1` 0, each block one more, then `head`.

        Raises:
          KeyError: the model has nothing of this name.
        """
        blocks = [
            f"layer{stage}_{i}"
            for stage, blocks in enumerate(self.stage_sizes, start=1)
            for i in range(blocks)
        ]
        places = {block: place for place, block in enumerate(blocks, start=1)}
        return ({"conv1": 0, "bn1": 0, "head": len(blocks) + 1} | places)[name]

    @property
    def num_layers(self) -> int:
        """Number of places of `layer_of`."""
        return sum(self.stage_sizes) + 2


def make_resnet(
    *,
    depth: int,
    num_classes: int = 0,
    dtype: Dtype = jnp.float32,
    axis_name: str | None = None,
    remat: bool = False,
) -> ResNet:
    """The `ResNet` of a depth of `DEPTHS`.

    Args:
      depth: layers with weights, as in the name.
      num_classes, dtype, axis_name, remat: see `ResNet`.

    Raises:
      InputError: the depth is unknown.
    """
    if depth not in DEPTHS:
        raise InputError(
            f"there is no ResNet of depth {depth}; give one of {', '.join(map(str, DEPTHS))}"
        )
    stage_sizes, bottleneck = DEPTHS[depth]
    return ResNet(
        stage_sizes,
        bottleneck,
        num_classes=num_classes,
        dtype=dtype,
        axis_name=axis_name,
        remat=remat,
    )

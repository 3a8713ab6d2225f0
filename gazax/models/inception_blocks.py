"""What an Inception-ResNet is made of: branches side by side, alone or added to what they took."""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from flax.typing import Dtype
from jaxtyping import Array, Float

from gazax.models.layers import BatchNorm, Conv, max_pool
from gazax.models.unet_blocks import UNIFORM_FAN_IN
from gazax.typing import Size


class Layer(NamedTuple):
    """A convolution of a branch."""

    features: int
    """Output channels, at a width of 1."""
    kernel_size: int | Size
    stride: int = 1


Branches = tuple[tuple[Layer | str, ...], ...]
"""The layers of each branch; a name is a pooling, 3x3: "max" with stride 2, "mean" with 1."""

_EPSILON = 1e-3
_MULTIPLE = 8
"""Channels that a width other than 1 rounds to."""


def scaled(channels: int, width: float) -> int:
    """`channels` times `width`, rounded to a positive multiple of 8."""
    return _MULTIPLE * max(1, int(channels * width / _MULTIPLE + 0.5))


def mean_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Mean of each 3x3 window, over the cells that are there: what lies outside is not counted.

    Numerics: float32, whatever x is.
    """
    edges = ((1, 1), (1, 1))
    return nn.avg_pool(
        x.astype(jnp.float32), (3, 3), (1, 1), padding=edges, count_include_pad=False
    )


class ConvNorm(nn.Module):
    """relu(bn(conv(x))), the convolution without bias, the norm with an epsilon of 1e-3.

    Attributes:
      features, kernel_size, stride, padding: see `gazax.models.layers.Conv`.
      axis_name: mapped axis over which batch statistics are taken; None under jit.
      dtype: of the computation.
    """

    features: int
    kernel_size: int | Size
    stride: int = 1
    padding: int | None = None
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool
    ) -> Float[Array, "b h_out w_out c_out"]:
        """Transform each map."""
        x = Conv(
            self.features,
            self.kernel_size,
            self.stride,
            padding=self.padding,
            kernel_init=UNIFORM_FAN_IN,
            dtype=self.dtype,
            name="conv",
        )(x)
        norm = BatchNorm(self.axis_name, self.dtype, _EPSILON, name="bn")
        return nn.relu(norm(x, train=train))


class Mixed(nn.Module):
    """Branches from the same map, joined along the channels.

    Parameters and statistics: `branch0`, `branch1`, ... of a branch of one layer, `branch0_0`,
    `branch0_1`, ... of one of several; a pooling takes a number and has no parameters.

    Attributes:
      branches: the layers of each; stride 1 keeps the grid.
      width: multiplies every channel count, see `scaled`.
      edge: cells of padding where the stride is 2.
      axis_name, dtype: see `ConvNorm`.
    """

    branches: Branches
    width: float = 1.0
    edge: int = 0
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool
    ) -> Float[Array, "b h_out w_out c_out"]:
        """Transform each map."""
        return self._joined(x, train)

    def _joined(self, x: Array, train: bool) -> Array:
        ends = []
        for number, branch in enumerate(self.branches):
            y = x
            for i, layer in enumerate(branch):
                name = f"branch{number}" if len(branch) == 1 else f"branch{number}_{i}"
                y = self._layer(layer, name, y, train)
            ends.append(y)
        return jnp.concatenate(ends, axis=-1)

    def _layer(self, layer: Layer | str, name: str, x: Array, train: bool) -> Array:
        if isinstance(layer, str):
            return max_pool(x, padding=self.edge) if layer == "max" else mean_pool(x)
        return ConvNorm(
            scaled(layer.features, self.width),
            layer.kernel_size,
            layer.stride,
            padding=None if layer.stride == 1 else self.edge,
            axis_name=self.axis_name,
            dtype=self.dtype,
            name=name,
        )(x, train)


class Residual(Mixed):
    """relu(x + scale * conv2d(branches of x)), conv2d 1x1 with a bias, back to the channels of x.

    Attributes:
      scale: of what the branches find.
      relu: whether there is one behind the sum.
      branches, width, edge, axis_name, dtype: see `Mixed`.

    Source: Szegedy et al. 2016 (arXiv:1602.07261), §3.2; §3.3 for the scale, without which a
    network of more than a thousand filters could die early in training.
    """

    scale: float = 1.0
    relu: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w c"]:
        """Add what the branches find to x."""
        back = Conv(
            x.shape[-1],
            1,
            use_bias=True,
            kernel_init=UNIFORM_FAN_IN,
            dtype=self.dtype,
            name="conv2d",
        )
        y = x + self.scale * back(self._joined(x, train))
        return nn.relu(y) if self.relu else y


MIXED_5B: Branches = (
    (Layer(96, 1),),
    (Layer(48, 1), Layer(64, 5)),
    (Layer(64, 1), Layer(96, 3), Layer(96, 3)),
    ("mean", Layer(64, 1)),
)
BLOCK_35: Branches = (
    (Layer(32, 1),),
    (Layer(32, 1), Layer(32, 3)),
    (Layer(32, 1), Layer(48, 3), Layer(64, 3)),
)
MIXED_6A: Branches = (
    (Layer(384, 3, 2),),
    (Layer(256, 1), Layer(256, 3), Layer(384, 3, 2)),
    ("max",),
)
BLOCK_17: Branches = (
    (Layer(192, 1),),
    (Layer(128, 1), Layer(160, (1, 7)), Layer(192, (7, 1))),
)
MIXED_7A: Branches = (
    (Layer(256, 1), Layer(384, 3, 2)),
    (Layer(256, 1), Layer(288, 3, 2)),
    (Layer(256, 1), Layer(288, 3), Layer(320, 3, 2)),
    ("max",),
)
BLOCK_8: Branches = (
    (Layer(192, 1),),
    (Layer(192, 1), Layer(224, (1, 3)), Layer(256, (3, 1))),
)

"""What pyramids of vision graphs consist of: stem, graph block and downsampling.

Every cell of a map is a node; its neighbours are those whose features have the nearest direction,
wherever they lie, and are found anew in each block.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from flax.typing import Dtype
from jaxtyping import Array, Float

from gazax.models.gelu import gelu
from gazax.models.layers import BatchNorm, Conv
from gazax.ops.graph import max_relative, nearest_neighbours, relative_position

KAIMING_FAN_IN = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
GROUPS = 4
"""Of the convolution behind the neighbours."""

_EXPANSION = 4


def conv_norm(
    x: Float[Array, "b h w c"],
    width: int,
    names: tuple[str, str],
    *,
    kernel_size: int = 1,
    stride: int = 1,
    train: bool,
    axis_name: str | None,
    dtype: Dtype,
) -> Float[Array, "b h_out w_out c_out"]:
    """Convolution with bias, then batch norm, in the calling module under these two names."""
    conv = Conv(
        width,
        kernel_size,
        stride,
        use_bias=True,
        kernel_init=KAIMING_FAN_IN,
        dtype=dtype,
        name=names[0],
    )
    return BatchNorm(axis_name, dtype, name=names[1])(conv(x), train=train)


class Stem(nn.Module):
    """3x3 convolutions with norm, of stride 2, 2 and 1; gelu between them.

    Attributes:
      width: channels that come out; the first convolution gives half of them.
      axis_name: mapped axis over which batch statistics are taken; None under jit.
      dtype: of the computation.
    """

    width: int
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "b h w c"], train: bool) -> Float[Array, "b gh gw d"]:
        """Embed each patch of 4x4 px and what lies around it."""
        x, common = image, dict(train=train, axis_name=self.axis_name, dtype=self.dtype)
        for i, (width, stride) in enumerate([(self.width // 2, 2), (self.width, 2)], start=1):
            names = (f"conv{i}", f"norm{i}")
            x = gelu(conv_norm(x, width, names, kernel_size=3, stride=stride, **common))
        return conv_norm(x, self.width, ("conv3", "norm3"), kernel_size=3, **common)


class Downsample(nn.Module):
    """3x3 convolution of stride 2, then norm; attributes as in `Stem`."""

    width: int
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 c_out"]:
        """Halve the grid."""
        common = dict(train=train, axis_name=self.axis_name, dtype=self.dtype)
        return conv_norm(x, self.width, ("conv", "norm"), kernel_size=3, stride=2, **common)


class GroupedLinear(nn.Module):
    """One linear map of each cell for each of `GROUPS` runs of channels.

    A convolution of 1x1 in groups: `kernel` (1, 1, c_in / groups, c_out) and `bias`.

    Attributes:
      width: channels that come out, a multiple of the groups, as those that go in.
      dtype: of the computation.
    """

    width: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c_out"]:
        """Map each cell."""
        shape = (1, 1, x.shape[-1] // GROUPS, self.width)
        kernel = self.param("kernel", KAIMING_FAN_IN, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.width,))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        rows = x.reshape(-1, GROUPS, shape[2])
        maps = kernel.reshape(shape[2], GROUPS, self.width // GROUPS)
        rows = jnp.einsum("ngi,igo->ngo", rows, maps)
        return rows.reshape(*x.shape[:3], self.width) + bias[None, None, None]


class Grapher(nn.Module):
    """x + fc2(gelu(norm(grouped([y, max_j (z_j - y)])))), y = fc1(x), z = y or means of its blocks.

    fc1 and fc2 are linear maps of a node with norm. The features y and their differences to the
    neighbours alternate channel by channel, and the grouped map has twice the channels.

    Attributes:
      k: neighbours of a node; where there are fewer nodes z than that, all of them.
      dilation: of the neighbours, see `nearest_neighbours`; at most the number of nodes z over k.
      reduction: the nodes z are means of blocks of reduction x reduction cells.
      relative_position: form of the bias, see `gazax.ops.graph.relative_position`.
      axis_name, dtype: see `Stem`.
    """

    k: int
    dilation: int
    reduction: int
    relative_position: str
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w c"]:
        """Let each node take from its neighbours."""
        width = x.shape[-1]
        common = dict(train=train, axis_name=self.axis_name, dtype=self.dtype)
        y = conv_norm(x, width, ("fc1", "norm1"), **common)
        both = jnp.stack([y, self._relative(y)], axis=-1).reshape(*y.shape[:3], 2 * width)
        z = GroupedLinear(2 * width, self.dtype, name="graph")(both)
        z = gelu(BatchNorm(self.axis_name, self.dtype, name="graph_norm")(z, train=train))
        return x + conv_norm(z, width, ("fc2", "norm2"), **common)

    def _relative(self, y: Array) -> Array:
        b, height, across, width = y.shape
        r = self.reduction
        blocks = y.reshape(b, height // r, r, across // r, r, width).mean(axis=(2, 4))
        nodes, others = (z.reshape(b, -1, width) for z in (y, blocks))
        count = others.shape[1]
        k = min(self.k, count)
        dilation = min(self.dilation, count // k)
        bias = relative_position(
            (height, across), width=width, reduction=r, form=self.relative_position
        )

        def of_one(nodes: Array, others: Array) -> Array:
            found = nearest_neighbours(nodes, others, k=k, dilation=dilation, bias=bias)
            return max_relative(nodes, others, found)

        return jax.vmap(of_one)(nodes, others).reshape(y.shape)


class FeedForward(nn.Module):
    """x + fc2(gelu(fc1(x))): linear maps with norm, four times the channels between.

    Attributes: as in `Stem`.
    """

    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w c"]:
        """Transform each node by itself."""
        width = x.shape[-1]
        common = dict(train=train, axis_name=self.axis_name, dtype=self.dtype)
        y = gelu(conv_norm(x, _EXPANSION * width, ("fc1", "norm1"), **common))
        return x + conv_norm(y, width, ("fc2", "norm2"), **common)


class GraphBlock(nn.Module):
    """`grapher`, then `ffn`; attributes as in `Grapher`."""

    k: int
    dilation: int
    reduction: int
    relative_position: str
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w c"]:
        """Exchange between nodes, then within each."""
        common = dict(axis_name=self.axis_name, dtype=self.dtype)
        grapher = Grapher(
            self.k, self.dilation, self.reduction, self.relative_position, **common, name="grapher"
        )
        return FeedForward(**common, name="ffn")(grapher(x, train), train)

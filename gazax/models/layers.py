"""Layers that every convolutional network shares: convolution, batch norm and max-pool of torch.

The same numbers and the same roles of parameters as torch's, in the forms that XLA runs well.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from flax.typing import Dtype, Initializer
from jaxtyping import Array, Float

from gazax.models.batch_statistics import moments, normalise
from gazax.ops.maxima import larger
from gazax.typing import InputError, Size

KAIMING_FAN_OUT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
"""Normal, variance 2 / (kernel area * output channels): torchvision's start of a convolution."""

Moments = tuple[Float[Array, "_"], Float[Array, "_"]]
"""Mean and biased variance of each channel of a batch."""

_FEW_CELLS = 9
"""Output cells up to which a convolution runs as one product with the patches."""
_MOMENTUM = 0.9


class Conv(nn.Module):
    """Convolution with torch's geometry: the same zero padding on all sides.

    Output side: floor((side + 2 * padding - kernel_size) / stride) + 1, axis by axis. XLA's own
    "SAME" pads a stride of 2 on one side only, which moves everything by a pixel. Parameters:
    `kernel` (kh, kw, c_in, c_out), and `bias`.

    Attributes:
      features: output channels.
      kernel_size: side of the square window, or (height, width), cells.
      stride: cells, of both axes.
      padding: cells on each side of both axes; None = kernel_size // 2, axis by axis, and 0 leaves
        out what no whole window covers.
      use_bias: whether there is a bias.
      kernel_init: start of the kernel.
      dtype: of the computation; parameters are float32.

    Numerics: an unpadded 1x1 window is one matrix product over all cells, those that the stride
    skips left out first. XLA:CPU takes the weight's gradient of it up to three times as fast as
    that of a convolution. Where few cells come out (a 64 px image has 2x2 at the end of a ResNet),
    the windows are written out and multiplied: XLA:CPU runs the convolution of 2x2 cells and 512
    channels 50 to 80 times as slowly as that, and from 4x4 on as fast.
    """

    features: int
    kernel_size: int | Size = 3
    stride: int = 1
    padding: int | None = None
    use_bias: bool = False
    kernel_init: Initializer = KAIMING_FAN_OUT
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c_in"]) -> Float[Array, "b h_out w_out c_out"]:
        """Convolve each map."""
        sides = self.kernel_size
        size = (sides, sides) if isinstance(sides, int) else sides
        stride = self.stride
        kernel = self.param("kernel", self.kernel_init, (*size, x.shape[-1], self.features))
        bias = (
            self.param("bias", nn.initializers.zeros, (self.features,)) if self.use_bias else None
        )
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        if self.padding is None:
            padding = (size[0] // 2, size[1] // 2)
        else:
            padding = (self.padding, self.padding)
        if size == (1, 1) and padding == (0, 0):
            x = x[:, ::stride, ::stride]
            rows = jnp.einsum("nc,cd->nd", x.reshape(-1, x.shape[-1]), kernel[0, 0])
            y = rows.reshape(*x.shape[:-1], self.features)
        elif math.prod(_grid(x.shape[1:3], size, stride, padding)) <= _FEW_CELLS:
            y = _by_patches(x, kernel, stride=stride, padding=padding)
        else:
            y = jax.lax.conv_general_dilated(
                x,
                kernel,
                window_strides=(stride, stride),
                padding=[(cells, cells) for cells in padding],
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
        return y if bias is None else y + bias[None, None, None]


def _grid(sides: Sequence[int], size: Size, stride: int, padding: Size) -> list[int]:
    """(height, width) of what a convolution gives out."""
    return [
        (side + 2 * cells - window) // stride + 1
        for side, window, cells in zip(sides, size, padding, strict=True)
    ]


def _by_patches(x: Array, kernel: Array, *, stride: int, padding: Size) -> Array:
    """The convolution as one product: the window of each output cell times the kernel."""
    high, wide, c_in, c_out = kernel.shape
    height, width = _grid(x.shape[1:3], (high, wide), stride, padding)
    x = jnp.pad(x, ((0, 0), *((cells, cells) for cells in padding), (0, 0)))
    windows = [
        x[:, i : i + (height - 1) * stride + 1 : stride, j : j + (width - 1) * stride + 1 : stride]
        for i in range(high)
        for j in range(wide)
    ]
    rows = jnp.concatenate(windows, axis=-1).reshape(-1, high * wide * c_in)
    return (rows @ kernel.reshape(-1, c_out)).reshape(x.shape[0], height, width, c_out)


class BatchNorm(nn.Module):
    """Batch normalisation with torch's running statistics.

    y = scale * (x - mean) / sqrt(var + epsilon) + bias

    In training, mean and (biased) variance are those of the n values a channel of the batch, and
    running <- .9 * running + .1 * batch, for the variance with the unbiased n / (n - 1). Otherwise
    they are the running ones. Parameters: `scale`, `bias`; collection `batch_stats`: `mean`, `var`.

    A variable `statistics` in the collection `frozen` beside them marks the layer as frozen: it
    uses its running statistics in training too, and leaves them as they are.

    Attributes:
      axis_name: mapped axis that the batch is split over: n counts all its shards. None: the
        batch is whole (as under jit over a mesh).
      dtype: of what is returned.
      epsilon: added to the variance.
      affine: False leaves out `scale` and `bias`, as 1 and 0.

    Raises:
      InputError: a batch of one value a channel, which has no variance.

    Numerics: everything inside is float32; see `gazax.models.batch_statistics`.

    Source: Ioffe & Szegedy 2015 (arXiv:1502.03167); constants of torch's `BatchNorm2d`.
    """

    axis_name: str | None = None
    dtype: Dtype = jnp.float32
    epsilon: float = 1e-5
    affine: bool = True

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        *,
        train: bool,
        moments: Moments | None = None,
    ) -> Float[Array, "b h w c"]:
        """Normalise each channel.

        Args:
          x: any values.
          train: whether the statistics of the batch are used and updated.
          moments: `batch_moments` of x, where they are known already.
        """
        channels = x.shape[-1]
        scale, bias = jnp.ones(channels), jnp.zeros(channels)
        if self.affine:
            scale = self.param("scale", nn.initializers.ones, (channels,))
            bias = self.param("bias", nn.initializers.zeros, (channels,))
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,))
        running_var = self.variable("batch_stats", "var", jnp.ones, (channels,))
        rows = jnp.asarray(x).reshape(-1, channels)
        if train and not self.has_variable("frozen", "statistics"):
            n = rows.shape[0]
            if self.axis_name is not None:
                n *= jax.lax.axis_size(self.axis_name)
            if n < 2:
                raise InputError(
                    f"batch statistics of one value a channel (a map of shape {x.shape}); train "
                    "with a larger batch or larger images"
                )
            mean, var = batch_moments(x, self.axis_name) if moments is None else moments
            if not self.is_initializing():
                keep, take = _MOMENTUM, 1 - _MOMENTUM
                running_mean.value = keep * running_mean.value + take * mean
                running_var.value = keep * running_var.value + take * var * (n / (n - 1))
        else:
            mean, var = running_mean.value, running_var.value
        y = normalise(rows, mean, var, scale, bias, epsilon=self.epsilon)
        return y.reshape(x.shape).astype(self.dtype)


def batch_moments(x: Float[Array, "b h w c"], axis_name: str | None) -> Moments:
    """Mean and biased variance of each channel, float32, over the shards of a mapped axis."""
    return moments(x.reshape(-1, x.shape[-1]), axis_name=axis_name)


def max_pool(
    x: Float[Array, "b h w c"], *, window: int = 3, stride: int = 2, padding: int = 1
) -> Float[Array, "b h_out w_out c"]:
    """Largest value of each window, torch's `MaxPool2d`.

    Args:
      x: any values.
      window, stride: cells, of both axes.
      padding: cells of -inf on each side; at most window // 2, so that no window is empty.

    Numerics: a maximum over shifted slices, first of rows, then of columns. Its gradient is a
    select, which GPUs run in a fixed order, where that of XLA's own pooling scatters. Where values
    of a window tie, the gradient is shared between them; torch gives it to the first.
    """
    for axis in (1, 2):
        edges = [(0, 0)] * 4
        edges[axis] = (padding, padding)
        padded = jnp.pad(x, edges, constant_values=-jnp.inf)
        last = padded.shape[axis] - window
        slices = [
            jax.lax.slice_in_dim(padded, i, last + i + 1, stride, axis) for i in range(window)
        ]
        x = slices[0]
        for shifted in slices[1:]:
            x = larger(x, shifted)
    return x

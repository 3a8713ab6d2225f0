"""What every U-Net is made of: levels, steps up with a skip, and a head that gives a log density.

`encode`, `decode` and `predict` are called inside a compact method; the modules that they make
stand directly in the calling model, as `encoder1` (finest) ..., `up1`, `decoder1` (finest) ... and
`head`.
"""

import functools
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype
from jaxtyping import Array, Float

from gazax.models.layers import BatchNorm, Conv, max_pool
from gazax.typing import InputError, Size

LEVEL_WIDTHS = (1, 2, 4, 8, 16)
"""Channels of `encoder1` to `encoder5`, over the model's width."""
HEADS = ("code", "figure")
UNIFORM_FAN_IN = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
"""Uniform within 1 / sqrt(fan in): torch's start of a convolution and of a linear layer."""


def conv_norm(
    x: Float[Array, "b h w c"],
    width: int,
    number: int,
    *,
    train: bool,
    axis_name: str | None,
    dtype: Dtype,
) -> Float[Array, "b h w c_out"]:
    """`conv<number>`, 3x3 with bias, then `bn<number>`, in the calling module."""
    x = Conv(width, use_bias=True, kernel_init=UNIFORM_FAN_IN, dtype=dtype, name=f"conv{number}")(x)
    return BatchNorm(axis_name, dtype, name=f"bn{number}")(x, train=train)


class DoubleConv(nn.Module):
    """Twice (3x3 convolution, norm, relu).

    Attributes:
      width: channels that come out.
      axis_name: mapped axis over which batch statistics are taken; None under jit.
      dtype: of the computation.
    """

    width: int
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w c_out"]:
        """Transform each map."""
        for number in (1, 2):
            x = conv_norm(
                x, self.width, number, train=train, axis_name=self.axis_name, dtype=self.dtype
            )
            x = nn.relu(x)
        return x


class UpConv(nn.Module):
    """Each cell as 2x2 cells, then 3x3 convolution, norm, relu; attributes as in `DoubleConv`."""

    width: int
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 c_out"]:
        """Double the grid."""
        x = x.astype(self.dtype).repeat(2, axis=1).repeat(2, axis=2)
        x = conv_norm(x, self.width, 1, train=train, axis_name=self.axis_name, dtype=self.dtype)
        return nn.relu(x)


class SaliencyHead(nn.Module):
    """One number a pixel, before the softmax over them.

    Attributes:
      form: "code", a 3x3 convolution to as many channels, norm and relu (`conv1`, `bn1`) before
        the 1x1 convolution (`logits`); or "figure", the 1x1 convolution alone.
      axis_name, dtype: see `DoubleConv`.

    Raises:
      InputError: there is no such form.
    """

    form: str = "code"
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w"]:
        """Score each pixel."""
        if self.form not in HEADS:
            raise InputError(f"unknown U-Net head {self.form!r}; give one of {', '.join(HEADS)}")
        if self.form == "code":
            x = conv_norm(
                x, x.shape[-1], 1, train=train, axis_name=self.axis_name, dtype=self.dtype
            )
            x = nn.relu(x)
        score = Conv(
            1, 1, use_bias=True, kernel_init=UNIFORM_FAN_IN, dtype=jnp.float32, name="logits"
        )  # in bfloat16 a logit of 8 would stand on steps of 6 %
        return score(x)[..., 0]


def with_remat(level_class: type[nn.Module], remat: bool) -> Callable[..., nn.Module]:
    """The class of modules of (map, train); with remat, their inside is computed again."""
    # train is static: it decides which statistics are used
    return nn.remat(level_class, static_argnums=(2,)) if remat else level_class


def check_size(image: Float[Array, "b h w c"], *, multiple: int) -> Size:
    """(h, w) of images whose sides are multiples of `multiple` px.

    Raises:
      InputError: they are not; with the next smaller and the next larger size that are.
    """
    _, height, width, _ = image.shape
    size = (height, width)
    if height % multiple == width % multiple == 0:
        return size
    larger = tuple(-(-side // multiple) * multiple for side in size)
    smaller = tuple(side // multiple * multiple for side in size)
    sizes = [smaller, larger] if min(smaller) > 0 else [larger]
    raise InputError(
        f"this U-Net takes images whose sides are multiples of {multiple} px, and these are "
        f"{height}x{width} px (h x w): set config.data.size to {' or '.join(map(str, sizes))}"
    )


def encode(
    model: nn.Module,
    level: Callable[..., nn.Module],
    image: Float[Array, "b h w c"],
    *,
    width: int,
    train: bool,
) -> list[Array]:
    """The outputs of `encoder1` to `encoder5`; 2x2 max-pools lie between them.

    Args:
      model: whose compact method calls; level i can be perturbed in it as `level_i`.
      level: (channels, name=) -> module of (map, train).
      image: of any values.
      width: channels of the first level, see `LEVEL_WIDTHS`.
      train: whether the statistics of the batch are used and updated.
    """
    x, levels = image, []
    for i, times in enumerate(LEVEL_WIDTHS):
        if i > 0:
            x = max_pool(x, window=2, stride=2, padding=0)
        x = level(times * width, name=f"encoder{i + 1}")(x, train)
        if not model.is_initializing():  # no perturbation among the parameters
            x = model.perturb(f"level_{i}", x)
        levels.append(x)
    return levels


def decode(
    model: nn.Module,
    x: Float[Array, "b h w c"],
    skips: Sequence[Array],
    *,
    widths: Sequence[int],
    train: bool,
    axis_name: str | None,
    dtype: Dtype,
    remat: bool,
) -> Float[Array, "b h_out w_out c_out"]:
    """The last decoder map: x_i = decoder_i(concat(skip_i, up_i(x_{i+1}))), i from deepest to 1.

    Args:
      model: whose compact method calls.
      x: what the deepest `up` takes, on half the grid of the deepest skip.
      skips: the first is the finest; as many as there are steps.
      widths: channels of the steps, the first of the finest.
      train: whether the statistics of the batch are used and updated.
      axis_name, dtype: see `DoubleConv`.
      remat: whether a step's inside is computed again in the backward pass and not kept; of a step
        its input and its skip remain.
    """
    common = dict(axis_name=axis_name, dtype=dtype)
    for number in range(len(skips), 0, -1):

        def step(owner: nn.Module, x: Array, skip: Array, number: int = number) -> Array:
            here = dict(width=widths[number - 1], parent=owner, **common)
            x = UpConv(**here, name=f"up{number}")(x, train)
            x = jnp.concatenate([skip, x], axis=-1)
            return DoubleConv(**here, name=f"decoder{number}")(x, train)

        x = (nn.remat(step) if remat else step)(model, x, skips[number - 1])
    return x


def predict(
    last: Float[Array, "b h w c"], levels: Sequence[Array], head: nn.Module, *, train: bool
) -> tuple[Float[Array, "b h w"], dict[str, Array | list[Array]]]:
    """The log density over all h * w pixels, and `out` (see `gazax.models.unet.UNet`); float32.

    Args:
      last: the last decoder map.
      levels: the encoder's.
      head: a `SaliencyHead`.
      train: whether the statistics of the batch are used and updated.
    """
    logits = head(last, train).astype(jnp.float32)
    log_density = jax.nn.log_softmax(logits, axis=(1, 2))
    last = last.astype(jnp.float32)
    levels = [level.astype(jnp.float32) for level in levels]
    return log_density, {
        "log_density": log_density,
        "features": last.mean(axis=(1, 2)),
        "feature_map": last,
        "feature_maps": levels,
        "attention": [jnp.square(level).mean(axis=-1) for level in levels],
    }


def plain(
    model: nn.Module,
    image: Float[Array, "b h w c"],
    *,
    width: int,
    head: str,
    train: bool,
    axis_name: str | None,
    dtype: Dtype,
    remat: bool,
) -> tuple[Float[Array, "b h w"], dict[str, Array | list[Array]]]:
    """The log density and `out` of the plain U-Net, whose decoder starts from its fifth level.

    Args:
      model: whose compact method calls.
      image: of any values.
      width, head, axis_name, dtype, remat: see `gazax.models.unet.UNet`.
      train: whether the statistics of the batch are used and updated.

    Raises:
      InputError: the sides of the image are not multiples of 16 px; the head is unknown.
    """
    check_size(image, multiple=2 ** (len(LEVEL_WIDTHS) - 1))
    common = dict(axis_name=axis_name, dtype=dtype)
    level = functools.partial(with_remat(DoubleConv, remat), **common)
    *skips, deepest = levels = encode(model, level, image, width=width, train=train)
    widths = [times * width for times in LEVEL_WIDTHS[:-1]]
    last = decode(model, deepest, skips, widths=widths, train=train, remat=remat, **common)
    return predict(
        last, levels, with_remat(SaliencyHead, remat)(head, **common, name="head"), train=train
    )


def places(steps: int) -> dict[str, int]:
    """Place of each top-level module, from the input (0): levels, then steps up, then the head."""
    found = {f"encoder{i + 1}": i for i in range(len(LEVEL_WIDTHS))}
    for place, number in enumerate(range(steps, 0, -1), start=len(LEVEL_WIDTHS)):
        found |= {f"up{number}": place, f"decoder{number}": place}
    return found | {"head": len(LEVEL_WIDTHS) + steps}

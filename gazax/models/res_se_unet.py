"""U-Net for saliency whose encoder has residual and squeeze-and-excitation blocks, with a guide.

The guide is the map of another network, from which the decoder starts.
"""

import functools

import flax.linen as nn
import jax.numpy as jnp
from flax.typing import Dtype
from jaxtyping import Array, Float

from gazax.models.layers import Conv
from gazax.models.unet_blocks import (
    UNIFORM_FAN_IN,
    SaliencyHead,
    check_size,
    conv_norm,
    decode,
    encode,
    places,
    predict,
    with_remat,
)
from gazax.typing import InputError

SHORTCUTS = ("code", "figure")

# Channels of the steps up, the finest first, over the model's width.
_GUIDED_WIDTHS = (1, 1, 2, 4, 8)
_ALONE_WIDTHS = (1, 2, 4, 8)


class ResSEBlock(nn.Module):
    """Residual block, then squeeze-and-excitation.

    y = relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x))
    gate = sigmoid(se_expand(relu(se_reduce(mean over cells of y))))
    returns gate * y, channel by channel

    conv1 and conv2 are 3x3 with bias; se_reduce and se_expand are linear without.

    Attributes:
      width: channels that come out.
      reduction: width over the channels between se_reduce and se_expand.
      shortcut: "code", a 3x3 convolution with bias and without a norm, always; or "figure", x
        itself, through a 1x1 convolution with bias only where the number of channels changes.
      axis_name, dtype: see `ResSEUNet`.

    Raises:
      InputError: the shortcut is unknown, or the reduction leaves no channel.

    Source: He et al. 2016 (arXiv:1512.03385); Hu et al. 2018 (arXiv:1709.01507).
    """

    width: int
    reduction: int = 16
    shortcut: str = "code"
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w c_out"]:
        """Add what the convolutions find to x, and weigh the channels of the sum."""
        if self.shortcut not in SHORTCUTS:
            raise InputError(
                f"unknown shortcut {self.shortcut!r}; give one of {', '.join(SHORTCUTS)}"
            )
        if not 1 <= self.reduction <= self.width:
            raise InputError(
                f"a level of {self.width} channels, reduced {self.reduction} times, has none left "
                "in its squeeze-and-excitation; choose a reduction from 1 to the model's width"
            )
        norm = dict(train=train, axis_name=self.axis_name, dtype=self.dtype)
        y = nn.relu(conv_norm(x, self.width, 1, **norm))
        y = conv_norm(y, self.width, 2, **norm)
        y = nn.relu(y + self._shortcut(x))

        pooled = y.mean(axis=(1, 2), dtype=jnp.float32)
        hidden = nn.relu(self._linear(self.width // self.reduction, "se_reduce")(pooled))
        gate = nn.sigmoid(self._linear(self.width, "se_expand")(hidden))
        return y * gate[:, None, None]

    def _shortcut(self, x: Array) -> Array:
        if self.shortcut == "figure" and x.shape[-1] == self.width:
            return x.astype(self.dtype)
        return Conv(
            self.width,
            3 if self.shortcut == "code" else 1,
            use_bias=True,
            kernel_init=UNIFORM_FAN_IN,
            dtype=self.dtype,
            name="shortcut",
        )(x)

    def _linear(self, features: int, name: str) -> nn.Dense:
        return nn.Dense(
            features, use_bias=False, kernel_init=UNIFORM_FAN_IN, dtype=self.dtype, name=name
        )


class ResSEUNet(nn.Module):
    """U-Net of five levels of `ResSEBlock`, guided by another network's map or alone.

    log_density = log_softmax over all pixels of head(decoder1)

    Guided, the decoder starts from the guide, half the grid of the fifth level, which is its first
    skip: five steps up. Alone, it starts from the fifth level itself: four steps. The steps of both
    are those of the plain U-Net.

    The first image that `init` sees fixes the number of channels. Parameters and statistics:
    `encoder1` ... `encoder5`, `up5` (guided), `decoder5` (guided), `up4`, `decoder4`, ... `up1`,
    `decoder1`, `head`.

    Attributes:
      guide_channels: of the guide; 0 = alone.
      width: channels of the first level; the levels have 1, 2, 4, 8 and 16 times as many. The steps
        up have 8, 4, 2 and 1 times as many; guided 8, 4, 2, 1 and 1.
      reduction: see `ResSEBlock`.
      shortcut: "code" or "figure", see `ResSEBlock`.
      head: "code" or "figure", see `gazax.models.unet_blocks.SaliencyHead`.
      dtype: of the computation. Parameters, batch statistics, the softmax over the pixels and
        everything returned are float32.
      axis_name: mapped axis over which batch statistics are taken; None under jit.
      remat: whether the inside of a level, of a step up and of the head is computed again in the
        backward pass and not kept.

    Returns:
      log_density [b, h, w] and out, both as `gazax.models.unet.UNet` gives them.

    Raises:
      InputError: the sides of the image are not multiples of 32 px (alone: 16); the guide is
        missing, is given although the network stands alone, or is not
        [b, h/32, w/32, guide_channels]; the head, the shortcut or the reduction is wrong.

    Numerics: see `gazax.models.layers`.
    Source: the cooperative learning paper, Figure 1 and its code. They differ, and "code" and
    "figure" say which is which: the figure draws an identity for the shortcut and one 1x1
    convolution for the head. Both counts of parameters (48,417,217 guided by 1920 channels,
    41,006,977 alone) are the code's.
    """

    guide_channels: int
    width: int = 64
    reduction: int = 16
    shortcut: str = "code"
    head: str = "code"
    dtype: Dtype = jnp.float32
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "b h w c"],
        guide: Float[Array, "b gh gw c_guide"] | None = None,
        *,
        train: bool = False,
    ) -> tuple[Float[Array, "b h w"], dict[str, Array | list[Array]]]:
        """Map images, of any grey values, and the guide to the log density and the dict `out`."""
        self._check(image, guide)
        common = dict(axis_name=self.axis_name, dtype=self.dtype)
        level = functools.partial(
            with_remat(ResSEBlock, self.remat),
            reduction=self.reduction,
            shortcut=self.shortcut,
            **common,
        )
        levels = encode(self, level, image, width=self.width, train=train)
        start, skips = (levels[-1], levels[:-1]) if guide is None else (guide, levels)
        last = decode(
            self,
            start,
            skips,
            widths=[times * self.width for times in self._step_widths],
            train=train,
            remat=self.remat,
            **common,
        )
        head = with_remat(SaliencyHead, self.remat)(self.head, **common, name="head")
        return predict(last, levels, head, train=train)

    @nn.nowrap
    def layer_of(self, name: str) -> int:
        """Place of a top-level module: levels 0 to 4, each step up one more, then `head`.

        Raises:
          KeyError: the model has nothing of this name.
        """
        return places(len(self._step_widths))[name]

    @property
    def num_layers(self) -> int:
        """Number of places of `layer_of`."""
        return self.layer_of("head") + 1

    @property
    def _step_widths(self) -> tuple[int, ...]:
        return _GUIDED_WIDTHS if self.guide_channels else _ALONE_WIDTHS

    def _check(self, image: Array, guide: Array | None) -> None:
        multiple = 2 ** len(self._step_widths)
        height, width = check_size(image, multiple=multiple)
        if not self.guide_channels:
            if guide is not None:
                raise InputError(
                    "a Res_SE-UNet of guide_channels=0 stands alone and takes no guide; leave "
                    "config.guide.name empty, or set guide_channels to the guide's"
                )
            return
        wanted = (height // multiple, width // multiple, self.guide_channels)
        if guide is None:
            raise InputError(
                f"a Res_SE-UNet of guide_channels={self.guide_channels} needs a guide of "
                f"(h, w, channels) {wanted}; name its network in config.guide, or set "
                "guide_channels=0"
            )
        if guide.shape[1:] != wanted:
            raise InputError(
                f"the guide is (h, w, channels) {guide.shape[1:]}; an image of {height}x{width} px "
                f"and guide_channels={self.guide_channels} need {wanted}"
            )

"""Densely connected networks, with the weights, the names and the numbers of torchvision's.

Attention maps are activation energies: for each level, the mean over channels of the squared
features. Grad-CAM takes the gradient with respect to a level through linen's `perturb`.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.typing import Dtype
from jaxtyping import Array, Float

from gazax.models.heads import Classifier
from gazax.models.layers import BatchNorm, Conv, Moments, batch_moments, max_pool
from gazax.typing import InputError

# depth: (layers of denseblock1 to denseblock4, growth rate, channels of the stem)
DEPTHS: dict[int, tuple[tuple[int, ...], int, int]] = {
    121: ((6, 12, 24, 16), 32, 64),
    169: ((6, 12, 32, 32), 32, 64),
    201: ((6, 12, 48, 32), 32, 64),
}
TAPS = ("after", "before")

_BOTTLENECK = 4  # channels between a layer's two convolutions, over its growth rate
_STEM_CHANNELS = 3
_KAIMING_FAN_IN = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


class DenseLayer(nn.Module):
    """conv2(relu(norm2(conv1(relu(norm1(x)))))): what is put behind x, 1x1 and then 3x3.

    Attributes:
      growth_rate: channels that come out.
      axis_name, dtype: see `DenseNet`.
    """

    growth_rate: int
    axis_name: str | None
    dtype: Dtype

    @nn.compact
    def __call__(
        self, pieces: tuple[Array, ...], train: bool, moments: tuple[Moments, ...] = ()
    ) -> Float[Array, "b h w c_out"]:
        """New channels from all those before, given as [b, h, w, c_i] in their order.

        `moments` are the `batch_moments` of groups of these channels, where they are known already.
        """
        x = jnp.concatenate(pieces, axis=-1)
        known = _joined(moments) if moments else None
        layers = ((_BOTTLENECK * self.growth_rate, 1), (self.growth_rate, 3))
        for i, (features, kernel_size) in enumerate(layers, start=1):
            norm = BatchNorm(self.axis_name, self.dtype, name=f"norm{i}")
            x = nn.relu(norm(x, train=train, moments=known if i == 1 else None))
            x = Conv(
                features,
                kernel_size,
                kernel_init=_KAIMING_FAN_IN,
                dtype=self.dtype,
                name=f"conv{i}",
            )(x)
        return x


def _joined(moments: tuple[Moments, ...]) -> Moments:
    """Of all channels, from those of groups of them."""
    means, variances = zip(*moments, strict=True)
    return jnp.concatenate(means), jnp.concatenate(variances)


class Transition(nn.Module):
    """Half the channels on half the grid: pool(conv(relu(norm(x)))), conv 1x1, pool a mean of 2x2.

    A last odd row or column is left out, as torch leaves it.

    Attributes:
      axis_name, dtype: see `DenseNet`.
    """

    axis_name: str | None
    dtype: Dtype

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool
    ) -> Float[Array, "b h_out w_out c_out"]:
        """Halve."""
        x = nn.relu(BatchNorm(self.axis_name, self.dtype, name="norm")(x, train=train))
        conv = Conv(x.shape[-1] // 2, 1, kernel_init=_KAIMING_FAN_IN, dtype=self.dtype, name="conv")
        x = conv(x)
        b, height, width, c = x.shape
        x = x[:, : height // 2 * 2, : width // 2 * 2]
        return x.reshape(b, height // 2, 2, width // 2, 2, c).mean(axis=(2, 4))


class DenseNet(nn.Module):
    """Densely connected network: each layer of a block takes what all before it gave out.

    The stem has three channels, those of ImageNet's weights; a grey image is repeated for them.
    Neither a mean nor a standard deviation is applied inside. Parameters and statistics: `conv0`,
    `norm0`, `denseblock1_denselayer1`, ..., `transition1`, ..., `norm5` (whatever the number of
    blocks), `head`.

    Attributes:
      blocks: dense layers of denseblock1, denseblock2, ...
      growth_rate: channels that each dense layer adds.
      init_features: channels of the stem.
      num_classes: columns of the output; 0 = no head, the output is the features.
      tap: which map is `tapped`: "after" the last dense block, or "before" it.
      dtype: of the computation. Parameters, batch statistics, head and everything returned are
        float32.
      axis_name: mapped axis over which batch statistics are taken; None under jit.
      remat: whether a dense layer's inside is computed again in the backward pass and not kept.

    Returns:
      output and out. output: logits [b, num_classes], or the features. out, for an image of
      h x w px and four blocks:
        features      [b, d]                the mean of feature_map; d is 1024, 1664 and 1920 for
                                            the depths 121, 169 and 201
        feature_map   [b, h/32, w/32, d]    relu(norm5(last of feature_maps))
        feature_maps  list of               outputs of denseblock1 (h/4) to denseblock4 (h/32);
                      [b, h_l, w_l, c_l]    level i can be perturbed as `level_i`
        attention     list of [b, h_l, w_l] of each level, the mean over channels of the squares
        stem          [b, h/2, w/2, c_0]    before the max-pool
        tapped        [b, h/32, w/32, c]    the last of feature_maps; or what goes into the last
                                            dense block, transition3's output (896 in 201)
      Sides that do not divide are rounded up to h/4, and down from there.

    Raises:
      InputError: the image has neither one channel nor three, or is too small: four blocks need
        29 px a side.

    Numerics: see `gazax.models.layers`. Each layer normalises all channels before it; their batch
    statistics are taken once, when they are new, and not once a layer. A layer's input is the
    block's map so far, grown by one concatenation a layer. With remat it is put together from the
    pieces inside of what is computed again, so that a block keeps each channel once and not once a
    layer.
    Source: Huang et al. 2017 (arXiv:1608.06993), DenseNet-BC; torchvision's `DenseNet`. Pieces in
    place of their concatenations: Pleiss et al. 2017 (arXiv:1707.06990). Activation energy:
    Zagoruyko & Komodakis 2017 (arXiv:1612.03928), F_sum^2. The two taps: the text and the code of
    the cooperative learning that they serve name different ones.
    """

    blocks: tuple[int, ...]
    growth_rate: int
    init_features: int
    num_classes: int = 0
    tap: str = "after"
    dtype: Dtype = jnp.float32
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool = False
    ) -> tuple[Float[Array, "b k"], dict[str, Array | list[Array]]]:
        """Map images, of any grey values or colours, to the output and the dict `out`."""
        x = Conv(
            self.init_features,
            7,
            2,
            kernel_init=_KAIMING_FAN_IN,
            dtype=self.dtype,
            name="conv0",
        )(self._in_colour(image))
        stem = nn.relu(BatchNorm(self.axis_name, self.dtype, name="norm0")(x, train=train))
        x = max_pool(stem)

        before = x
        levels = []
        for number in range(1, len(self.blocks) + 1):
            if number > 1:
                transition = Transition(self.axis_name, self.dtype, name=f"transition{number - 1}")
                x = before = transition(x, train=train)
            x = self._dense_block(x, number, train)
            if not self.is_initializing():  # no perturbation among the parameters
                x = self.perturb(f"level_{number - 1}", x)
            levels.append(x.astype(jnp.float32))

        x = nn.relu(BatchNorm(self.axis_name, self.dtype, name="norm5")(x, train=train))
        feature_map = x.astype(jnp.float32)
        features = feature_map.mean(axis=(1, 2))
        out = {
            "features": features,
            "feature_map": feature_map,
            "feature_maps": levels,
            "attention": [jnp.square(level).mean(axis=-1) for level in levels],
            "stem": stem.astype(jnp.float32),
            "tapped": levels[-1] if self.tap == "after" else before.astype(jnp.float32),
        }
        if self.num_classes == 0:
            return features, out
        return Classifier(self.num_classes, name="head")(features), out

    @nn.nowrap
    def layer_of(self, name: str) -> int:
        """Place of a top-level module: `conv0` and `norm0` 0, then one more each.

        Dense layers and transitions stand in the order in which they compute, `norm5` and `head`
        at the end together.

        Raises:
          KeyError: the model has nothing of this name.
        """
        places = {"conv0": 0, "norm0": 0}
        places |= {inside: place for place, inside in enumerate(self._inner, start=1)}
        places |= dict.fromkeys(("norm5", "head"), len(self._inner) + 1)
        return places[name]

    @property
    def num_layers(self) -> int:
        """Number of places of `layer_of`."""
        return len(self._inner) + 2

    @property
    def tapped_channels(self) -> int:
        """c of `tapped`."""
        channels = before = self.init_features
        for number, layers in enumerate(self.blocks):
            before = channels if number == 0 else channels // 2
            channels = before + layers * self.growth_rate
        return channels if self.tap == "after" else before

    @property
    def _inner(self) -> list[str]:
        """Dense layers and transitions in their order."""
        names = []
        for number, layers in enumerate(self.blocks, start=1):
            names += [f"transition{number - 1}"] if number > 1 else []
            names += [f"denseblock{number}_denselayer{i}" for i in range(1, layers + 1)]
        return names

    def _in_colour(self, image: Array) -> Array:
        """The image in three channels, after a look at its shape."""
        *shape, channels = image.shape
        height, width = shape[-2:]
        if channels not in (1, _STEM_CHANNELS):
            raise InputError(
                f"a DenseNet takes images of one channel or of {_STEM_CHANNELS}, not of {channels}"
            )
        smallest = min(height, width)
        halved = -(-smallest // 4) >> (len(self.blocks) - 1)
        if halved == 0:
            needed = 4 * 2 ** (len(self.blocks) - 1) - 3
            raise InputError(
                f"an image of {height}x{width} px is halved to nothing before the last of "
                f"{len(self.blocks)} dense blocks; take images of at least {needed} px a side"
            )
        return jnp.broadcast_to(image, (*shape, _STEM_CHANNELS))

    def _dense_block(self, x: Array, number: int, train: bool) -> Array:
        # train is static: it decides which statistics are used
        layer_class = nn.remat(DenseLayer, static_argnums=(2,)) if self.remat else DenseLayer
        pieces, moments, new = (x,), (), x
        for i in range(1, self.blocks[number - 1] + 1):
            layer = layer_class(
                self.growth_rate,
                self.axis_name,
                self.dtype,
                name=f"denseblock{number}_denselayer{i}",
            )
            if train:
                moments = (*moments, batch_moments(new, self.axis_name))
            new = layer(pieces, train, moments)
            pieces = (*pieces, new)
            if not self.remat:
                pieces = (jnp.concatenate(pieces, axis=-1),)
        return jnp.concatenate(pieces, axis=-1)


def make_densenet(
    *,
    depth: int | None = None,
    blocks: Sequence[int] = (),
    growth_rate: int | None = None,
    init_features: int | None = None,
    num_classes: int = 0,
    tap: str = "after",
    dtype: Dtype = jnp.float32,
    axis_name: str | None = None,
    remat: bool = False,
) -> DenseNet:
    """The `DenseNet` of a depth of `DEPTHS`, of sizes given one by one, or of both.

    Args:
      depth: a key of `DEPTHS`, or None; what is given beside it comes before its sizes.
      blocks, growth_rate, init_features: see `DenseNet`; () and None take the depth's.
      num_classes, tap, dtype, axis_name, remat: see `DenseNet`.

    Raises:
      InputError: the depth or the tap is unknown, a size is missing, or one is below 1.
    """
    if depth is not None and depth not in DEPTHS:
        raise InputError(
            f"there is no DenseNet of depth {depth}; give one of {', '.join(map(str, DEPTHS))}"
        )
    if tap not in TAPS:
        raise InputError(f"unknown DenseNet tap {tap!r}; the known ones are {', '.join(TAPS)}")
    preset = (None, None, None) if depth is None else DEPTHS[depth]
    given = dict(blocks=tuple(blocks) or None, growth_rate=growth_rate, init_features=init_features)
    sizes: dict[str, Any] = {
        name: default if value is None else value
        for (name, value), default in zip(given.items(), preset, strict=True)
    }
    if missing := [name for name, value in sizes.items() if value is None]:
        raise InputError(
            f"a DenseNet without a depth ({', '.join(map(str, DEPTHS))}) also needs "
            f"{', '.join(missing)}"
        )
    if min(*sizes["blocks"], sizes["growth_rate"], sizes["init_features"]) < 1:
        raise InputError(
            f"a DenseNet of {', '.join(f'{name}={value}' for name, value in sizes.items())}: each "
            "size is 1 or more"
        )
    return DenseNet(
        **sizes, num_classes=num_classes, tap=tap, dtype=dtype, axis_name=axis_name, remat=remat
    )

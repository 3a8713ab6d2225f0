"""GazeGNN: a graph over the patches of an image whose nodes know how long they were looked at."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype
from jaxtyping import Array, Float

from gazax.models.gelu import gelu
from gazax.models.heads import Classifier
from gazax.models.layers import BatchNorm
from gazax.models.unet_blocks import with_remat
from gazax.models.vig_blocks import Downsample, GraphBlock, Stem, conv_norm
from gazax.ops.image import area_pool
from gazax.typing import InputError, Size

_STEM_STRIDE = 4
_STEM_CHANNELS = 3
_BLOCKS_PER_DILATION = 4
_ROUNDING = 1e-5  # of the mean over a node's pixels, relative


class GazeGNN(nn.Module):
    """Pyramid vision graph network on an image and where somebody looked at it.

    node = stem(image) + position + norm(gaze on the nodes' grid), the same for all channels

    Then stages of graph blocks with a halving of the grid between them, the mean over the last
    nodes, and features = gelu(norm(linear)). It sees gaze in use as in training: it is no model
    for images that nobody has looked at.

    A grey image is repeated for the stem's three channels. Neither a mean nor a standard deviation
    is applied inside. Parameters and statistics: `stem`, `position`, `gaze_norm`, `stage1_block1`,
    ..., `downsample1`, ..., `hidden`, `hidden_norm`, `head`. The position is learnt, starts at 0
    and has the grid of the image that `init` sees. With 3 classes and 224x224 px these are
    9,692,453 parameters; with ViG-Ti's 1000 and no gaze 10,714,376, published as 10.7 M.

    Attributes:
      channels: of the stages, multiples of 4.
      blocks: graph blocks of each stage.
      k: neighbours of a node; all, where a stage has fewer nodes to choose from. The n-th block of
        the network (from 0) takes every (n // 4 + 1)-th of its nearest, as far as there are
        k times as many nodes.
      reduce_ratios: in each stage, neighbours are means of blocks of so many by so many nodes.
      hidden: d of the features.
      num_classes: columns of the output; 0 = no head, the output is the features.
      relative_position: form of the bias of distances where neighbours are means, see
        `gazax.ops.graph.relative_position`.
      dtype: of the computation. Parameters, batch statistics, head and everything returned are
        float32, and so are distances between nodes.
      axis_name: mapped axis over which batch statistics are taken; None under jit.
      remat: whether a block's inside is computed again in the backward pass and not kept.
      takes_gaze: (of the class) `gaze` has to be given.

    Returns:
      output and out. output: logits [b, num_classes], or the features. out, for an image of
      h x w px and four stages:
        features      [b, hidden]           what goes into the head
        feature_map   [b, h/32, w/32, c]    the last of feature_maps
        feature_maps  list of               outputs of the stages, h/4 to h/32;
                      [b, h_l, w_l, c_l]    level i can be perturbed as `level_i`
        attention     list of [b, h_l, w_l] of each level, the mean over channels of the squares

    Raises:
      InputError: no gaze is given; sides are not multiples of 32 (of 4 * 2^(stages - 1)) px, or
        not those of the positions; the image has neither one channel nor three; the numbers of
        channels, blocks and reduce_ratios differ; channels are no multiples of 4; or a reduce
        ratio does not divide its stage's grid.

    Numerics: which nodes are neighbours changes at once where two are equally near, so that
    numbers of two machines, which differ by rounding, can differ by more than rounding. See
    `gazax.models.layers`, `gazax.ops.graph`.

    Source: Wang et al. 2023 (arXiv:2305.18221) and its public code; the backbone is pyramid ViG-Ti
    of Han et al. 2022 (arXiv:2206.00272), whose own code lets k grow to 2k from the first block to
    the last, which GazeGNN's does not. Dilations: of GazeGNN's code at 224 px. Ours: gaze is
    a map rendered from the fixations, pooled by area and brought to [0, 1] in each image (there:
    durations at points, their logarithm, summed over overlapping windows of 14 px); any size;
    "pooled"; the head's start. Two defects of the public code have no place here. Where it does
    not find an image's fixations, it trains on gaze of zeros without a word; here gaze comes with
    the batch, zeros are of images without any, and none at all is refused. Negative coordinates
    wrap to the far edge there; rendering has no indices that could.
    """

    takes_gaze: ClassVar[bool] = True

    channels: tuple[int, ...] = (48, 96, 240, 384)
    blocks: tuple[int, ...] = (2, 2, 6, 2)
    k: int = 9
    reduce_ratios: tuple[int, ...] = (4, 2, 1, 1)
    hidden: int = 1024
    num_classes: int = 0
    relative_position: str = "code"
    dtype: Dtype = jnp.float32
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "b h w c"],
        gaze: Float[Array, "b h w"] | None = None,
        *,
        train: bool = False,
    ) -> tuple[Float[Array, "b k"], dict[str, Array | list[Array]]]:
        """Map images and gaze to the output and the dict `out`.

        Args:
          image: of any grey values or colours.
          gaze: in [0, 1], in the image's frame; zeros for an image that nobody looked at.
          train: whether the statistics of the batch are used and updated.
        """
        if gaze is None:
            raise InputError(
                "GazeGNN sees gaze in use as in training, and none is given: take the method "
                "'supervised' with config.method.gaze_input=True, or give zeros where nobody looked"
            )
        grid = self._check(image)
        common = dict(axis_name=self.axis_name, dtype=self.dtype)
        colours = jnp.broadcast_to(image, (*image.shape[:3], _STEM_CHANNELS))
        x = Stem(self.channels[0], **common, name="stem")(colours, train)
        looked = BatchNorm(**common, name="gaze_norm")(on_nodes(gaze, size=grid), train=train)
        x = x + self._position(grid).astype(x.dtype)[None] + looked

        levels = []
        for stage in range(len(self.channels)):
            if stage > 0:
                name = f"downsample{stage}"
                x = Downsample(self.channels[stage], **common, name=name)(x, train)
            x = self._stage(x, stage, train)
            if not self.is_initializing():  # no perturbation among the parameters
                x = self.perturb(f"level_{stage}", x)
            levels.append(x.astype(jnp.float32))

        pooled = x.astype(jnp.float32).mean(axis=(1, 2), keepdims=True)
        names = ("hidden", "hidden_norm")
        hidden = gelu(conv_norm(pooled, self.hidden, names, train=train, **common))
        features = hidden[:, 0, 0].astype(jnp.float32)
        out = {
            "features": features,
            "feature_map": levels[-1],
            "feature_maps": levels,
            "attention": [jnp.square(level).mean(axis=-1) for level in levels],
        }
        if self.num_classes == 0:
            return features, out
        return Classifier(self.num_classes, name="head")(features), out

    @nn.nowrap
    def layer_of(self, name: str) -> int:
        """Place of a top-level module: `stem`, `position` and `gaze_norm` 0, then one more each.

        Blocks and downsamplings stand in the order in which they compute, `hidden`, `hidden_norm`
        and `head` at the end together.

        Raises:
          KeyError: the model has nothing of this name.
        """
        places = dict.fromkeys(("stem", "position", "gaze_norm"), 0)
        places |= {inside: place for place, inside in enumerate(self._inner, start=1)}
        places |= dict.fromkeys(("hidden", "hidden_norm", "head"), len(self._inner) + 1)
        return places[name]

    @property
    def num_layers(self) -> int:
        """Number of places of `layer_of`."""
        return len(self._inner) + 2

    @property
    def _inner(self) -> list[str]:
        """Blocks and downsamplings in their order."""
        names = []
        for stage, blocks in enumerate(self.blocks):
            names += [f"downsample{stage}"] if stage > 0 else []
            names += [f"stage{stage + 1}_block{i + 1}" for i in range(blocks)]
        return names

    def _stage(self, x: Array, stage: int, train: bool) -> Array:
        before = sum(self.blocks[:stage])
        for i in range(self.blocks[stage]):
            block = with_remat(GraphBlock, self.remat)(
                k=self.k,
                dilation=(before + i) // _BLOCKS_PER_DILATION + 1,
                reduction=self.reduce_ratios[stage],
                relative_position=self.relative_position,
                axis_name=self.axis_name,
                dtype=self.dtype,
                name=f"stage{stage + 1}_block{i + 1}",
            )
            x = block(x, train)
        return x

    def _position(self, grid: Size) -> Array:
        """Learnt positions of the nodes, after a look at those that the weights have."""
        if self.has_variable("params", "position"):
            found = self.get_variable("params", "position").shape[:2]
            if found != grid:
                (h, w), (height, width) = found, (_STEM_STRIDE * side for side in found)
                raise InputError(
                    f"the weights have positions for {h}x{w} nodes, the image has "
                    f"{grid[0]}x{grid[1]}; set config.data.size to ({height}, {width})"
                )
        return self.param("position", nn.initializers.zeros, (*grid, self.channels[0]))

    def _check(self, image: Array) -> Size:
        """The grid of the nodes, after a look at the image and at the model's own sizes."""
        _, height, width, colours = image.shape
        if colours not in (1, _STEM_CHANNELS):
            raise InputError(
                f"GazeGNN takes images of one channel or of {_STEM_CHANNELS}, not of {colours}"
            )
        stages = len(self.channels)
        if not len(self.blocks) == len(self.reduce_ratios) == stages or stages == 0:
            raise InputError(
                f"a GazeGNN of channels={self.channels}, blocks={self.blocks} and "
                f"reduce_ratios={self.reduce_ratios}: give as many of each"
            )
        if any(c % 4 or c < 4 for c in self.channels) or self.k < 1:
            raise InputError(
                f"a GazeGNN of channels={self.channels} and k={self.k}: channels are multiples of "
                "4, and k is 1 or more"
            )
        multiple = _STEM_STRIDE * 2 ** (stages - 1)
        if height % multiple or width % multiple:
            larger = tuple(-(-side // multiple) * multiple for side in (height, width))
            raise InputError(
                f"a GazeGNN of {stages} stages takes images whose sides are multiples of "
                f"{multiple} px, and these are {height}x{width} px (h x w): set config.data.size "
                f"to {larger}"
            )
        grid = (height // _STEM_STRIDE, width // _STEM_STRIDE)
        for stage, ratio in enumerate(self.reduce_ratios):
            high, wide = (side >> stage for side in grid)
            if ratio < 1 or high % ratio or wide % ratio:
                raise InputError(
                    f"reduce_ratios={self.reduce_ratios} of a GazeGNN: {ratio} does not divide the "
                    f"{high}x{wide} nodes of stage {stage + 1}"
                )
        return grid


def on_nodes(gaze: Float[Array, "b h w"], *, size: Size) -> Float[Array, "b gh gw 1"]:
    """Gaze of each node: the mean over its area, brought to [0, 1] in each image.

    Args:
      gaze: maps of any scale.
      size: (gh, gw), the nodes' grid.

    Returns:
      A map's least value as 0 and its greatest as 1; zeros for a constant map.
    """
    pooled = jax.vmap(lambda map: area_pool(map, size=size))(gaze)
    lowest = pooled.min(axis=(1, 2), keepdims=True)
    span = pooled.max(axis=(1, 2), keepdims=True) - lowest
    constant = span <= _ROUNDING * jnp.abs(lowest)
    scaled = (pooled - lowest) / jnp.where(constant, 1.0, span)
    return jnp.where(constant, 0.0, scaled)[..., None]

"""Small networks that stand on a backbone's features."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype
from jaxtyping import Array, Float

from gazax.models.layers import Conv
from gazax.ops.image import area_pool
from gazax.typing import Size


class Projector(nn.Module):
    """Multilayer perceptron from features to the space in which views are contrasted.

    z = W_L relu(... relu(W_1 x + b_1) ...) + b_L

    No normalisation between the layers, so that an example's projection depends on that example
    alone, on any number of devices; ReLU between them; nothing after the last. Layers are named
    `layers_0`, `layers_1`, ...

    Attributes:
      num_layers: linear layers, 1 or more.
      hidden_dim: width between them; None = that of the features.
      out_dim: d of the output.
      dtype: of the computation; parameters are float32.

    Returns:
      float32, not normalised.

    Source: Chen et al. 2020 (arXiv:2002.05709), §2.1, g(h); two layers to 256 from the proposal,
    §2.4.
    """

    num_layers: int = 2
    hidden_dim: int | None = None
    out_dim: int = 256
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, features: Float[Array, "b d_in"]) -> Float[Array, "b d_out"]:
        """Project each example's features."""
        x = features
        for i in range(self.num_layers - 1):
            width = self.hidden_dim or features.shape[-1]
            x = nn.relu(nn.Dense(width, dtype=self.dtype, name=f"layers_{i}")(x))
        last = f"layers_{self.num_layers - 1}"
        return nn.Dense(self.out_dim, dtype=self.dtype, name=last)(x).astype(jnp.float32)


class Classifier(nn.Module):
    """logits = features W + b: `kernel` and `bias` directly under the module's own scope.

    The kernel starts uniform within 1 / sqrt(d), as torch starts a linear layer and timm the new
    head of a model that is fine-tuned; a head of zeros would send nothing into the backbone in the
    first step. The bias starts at 0.

    Attributes:
      num_classes: k.

    Returns:
      float32.
    """

    num_classes: int

    @nn.compact
    def __call__(self, features: Float[Array, "b d"]) -> Float[Array, "b k"]:
        """Score each class."""
        init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
        kernel = self.param("kernel", init, (features.shape[-1], self.num_classes))
        bias = self.param("bias", nn.initializers.zeros, (self.num_classes,))
        return features.astype(jnp.float32) @ kernel + bias[None]


class AttentionModule(nn.Module):
    """Learnt attention: a map a level, which together gate the features that are pooled.

    a_l = softmax over cells of out_l(relu(hidden_l(F_l)))
    gate = mean over levels of a_l on the last grid, each summing to 1
    features = sum over cells of gate * F_last

    hidden_l and out_l are 1x1 convolutions, `level_0_hidden`, `level_0_out`, ...; out_l has no
    bias, which softmax would ignore. Because the gate decides what is pooled, whatever moves a map
    moves the features, and the loss on the features moves every map. The out_l start so small that
    the gate starts near the plain mean.

    Attributes:
      hidden_dim: channels of hidden_l.

    Returns:
      densities: list of [b, h_l, w_l], each sums to 1; and features [b, d]. Float32.

    Source: the attention module is proposed in §2.3.1 of the GazAT proposal; its form is ours.
    """

    hidden_dim: int = 64

    @nn.compact
    def __call__(
        self, feature_maps: list[Array], feature_map: Float[Array, "b gh gw d"]
    ) -> tuple[list[Array], Float[Array, "b d"]]:
        """Attend, then pool.

        Args:
          feature_maps: the levels to attend on, [b, h_l, w_l, c_l] each, one or more.
          feature_map: what is pooled. A level on another grid is brought to its grid by the
            share of each cell's area.
        """
        grid = (feature_map.shape[1], feature_map.shape[2])
        densities, gates = [], []
        for i, level in enumerate(feature_maps):
            x = nn.relu(Conv(self.hidden_dim, 1, use_bias=True, name=f"level_{i}_hidden")(level))
            small = nn.initializers.normal(0.02)
            logits = Conv(1, 1, kernel_init=small, name=f"level_{i}_out")(x)[..., 0]
            density = nn.softmax(logits, axis=(1, 2))
            densities.append(density)
            gates.append(_on_grid(density, grid))
        gate = sum(gates) / len(gates)
        return densities, jnp.einsum("bhw,bhwd->bd", gate, feature_map.astype(jnp.float32))


def _on_grid(density: Float[Array, "b h w"], size: Size) -> Float[Array, "b gh gw"]:
    """The densities on another grid, still summing to 1."""
    pooled = jax.vmap(lambda map: area_pool(map, size=size))(density)
    return pooled / pooled.sum(axis=(1, 2), keepdims=True)


def pooled_output(
    levels: Sequence[Array], *, stem: Array, num_classes: int
) -> tuple[Array, dict[str, Array | list[Array]]]:
    """What a network gives that pools its last level: (output, out), see `gazax.models`.

    Called inside a compact method: `head` stands in the calling model.

    Args:
      levels: feature maps, float32, the coarsest last.
      stem: what goes into the first of them.
      num_classes: columns of the output; 0 = no head, the output is the features.
    """
    features = levels[-1].mean(axis=(1, 2))
    out = {
        "features": features,
        "feature_map": levels[-1],
        "feature_maps": list(levels),
        "attention": [jnp.square(level).mean(axis=-1) for level in levels],
        "stem": stem.astype(jnp.float32),
    }
    if num_classes == 0:
        return features, out
    return Classifier(num_classes, name="head")(features), out

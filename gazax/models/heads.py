"""Small networks that stand on a backbone's features."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype
from jaxtyping import Array, Float

from gazax.models.layers import BatchNorm, Conv
from gazax.ops.image import area_pool
from gazax.typing import InputError, Size

NORMS = ("none", "hidden", "all")
"""Which layers of a `Projector` batch normalisation follows."""


class Projector(nn.Module):
    """Multilayer perceptron from features to the space in which views are compared.

    z = W_L relu(... relu(W_1 x + b_1) ...) + b_L

    Without normalisation an example's projection depends on that example alone. Where batch
    normalisation follows a layer, ReLU comes after it and the layer has no bias, which the mean
    would take away again; nothing follows the last layer but, with 'all', a normalisation without
    scale and bias. Layers are named `layers_0`, `layers_1`, ..., what normalises them `norms_0`,
    ... (torch's statistics, see `gazax.models.layers.BatchNorm`).

    The published heads, hidden_dim x (num_layers - 1), out_dim, norm:

    ==========================  ======================  ======================
    of                          projector               predictor
    ==========================  ======================  ======================
    SimCLR, the paper's g       d, 128, none            -
    MoCo v2                     2048, 128, none         -
    BYOL                        4096, 256, hidden       4096, 256, hidden
    SimSiam                     2048 x 2, 2048, all     512, 2048, hidden
    MoCo v3 of a ResNet         4096, 256, all          4096, 256, all
    MoCo v3 of a ViT            4096 x 2, 256, all      4096, 256, all
    ==========================  ======================  ======================

    SimCLR's code has 'all', with a scale at the last one. BYOL's code has a bias before the
    normalisation, which moves nothing, and none at the last layer, where we have one.

    Attributes:
      num_layers: linear layers, 1 or more.
      hidden_dim: width between them; None = that of the features.
      out_dim: d of the output.
      dtype: of the computation; parameters are float32.
      norm: 'none'; 'hidden' = after every layer but the last; 'all' = after the last too.
      axis_name: mapped axis that the batch is split over, whose statistics are those of all of it.

    Returns:
      float32, not normalised to a length.

    Raises:
      InputError: `norm` is none of the three, or a batch of one is to give statistics.

    Source: Chen et al. 2020 (arXiv:2002.05709), §2.1, g(h); two layers to 256 from the proposal,
    §2.4. MoCo v2: Chen et al. 2020 (arXiv:2003.04297), §3. BYOL: Grill et al. 2020
    (arXiv:2006.07733), §3.3. SimSiam: Chen & He 2021 (arXiv:2011.10566), §3 and its code. MoCo v3:
    Chen et al. 2021 (arXiv:2104.02057), "MLP heads", and its code, where no bias is left at all.
    """

    num_layers: int = 2
    hidden_dim: int | None = None
    out_dim: int = 256
    dtype: Dtype = jnp.float32
    norm: str = "none"
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, features: Float[Array, "b d_in"], *, train: bool = False
    ) -> Float[Array, "b d_out"]:
        """Project each example's features.

        Args:
          features: of the backbone, or the projections that a predictor starts from.
          train: whether the statistics of the batch are used and updated.
        """
        if self.norm not in NORMS:
            raise InputError(
                f"a projector's norm is '{self.norm}'; the known ones are {', '.join(NORMS)}"
            )
        x = features
        for i in range(self.num_layers):
            last = i == self.num_layers - 1
            width = self.out_dim if last else self.hidden_dim or features.shape[-1]
            normed = self.norm == "all" or (self.norm == "hidden" and not last)
            x = nn.Dense(width, use_bias=not normed, dtype=self.dtype, name=f"layers_{i}")(x)
            if normed:
                norm = BatchNorm(self.axis_name, self.dtype, affine=not last, name=f"norms_{i}")
                x = norm(x[:, None, None], train=train)[:, 0, 0]
            x = x if last else nn.relu(x)
        return x.astype(jnp.float32)


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

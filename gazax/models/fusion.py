"""Classification from two encoders at once: DenseNet's features beside those of a saliency U-Net.

The U-Net's decoder starts from DenseNet's map, so that its features are about where people would
look for what DenseNet has found.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype
from jaxtyping import Array, Float, Key

from gazax.models.densenet import DenseNet, make_densenet
from gazax.models.res_se_unet import ResSEUNet
from gazax.models.unet_blocks import UNIFORM_FAN_IN
from gazax.typing import InputError


def fuse(densenet_out: Mapping[str, Any], unet_out: Mapping[str, Any]) -> Float[Array, "b d"]:
    """What the classifier takes: the `features` of DenseNet, then those of the U-Net.

    Args:
      densenet_out, unet_out: the dicts `out` of both for the same images.

    Returns:
      [b, 1984] for DenseNet-201 (1920) and a U-Net of width 64.
    """
    return jnp.concatenate([densenet_out["features"], unet_out["features"]], axis=1)


class FusionClassifier(nn.Module):
    """logits = layers_1(relu(dropout(layers_0(features)))), both linear.

    Attributes:
      num_classes: k.
      hidden: width between the two.
      dropout: share of the hidden numbers that become 0, in [0, 1); the others are divided by
        1 - dropout, so that the expectation stays.

    Returns:
      Logits, float32.

    Raises:
      InputError: dropout is not in [0, 1).

    Source: the cooperative learning paper and its code (its figure has the dropout behind the relu,
    which is the same). That each example has a mask of its own key, whatever else is in the batch,
    is ours.
    """

    num_classes: int
    hidden: int = 64
    dropout: float = 0.25

    @nn.compact
    def __call__(
        self, features: Float[Array, "b d"], dropout_keys: Key[Array, "b"] | None = None
    ) -> Float[Array, "b k"]:
        """Score each class.

        Args:
          features: as `fuse` gives them.
          dropout_keys: one an example; None = no dropout.
        """
        if not 0 <= self.dropout < 1:
            raise InputError(f"the dropout of a fusion classifier is {self.dropout}; give [0, 1)")
        x = self._linear(self.hidden, 0)(features.astype(jnp.float32))
        if dropout_keys is not None:
            keep = 1 - self.dropout

            def mask_of_one(key: Array) -> Array:
                return jax.random.bernoulli(key, keep, (self.hidden,))

            x = jnp.where(jax.vmap(mask_of_one)(dropout_keys), x / keep, 0)
        return self._linear(self.num_classes, 1)(nn.relu(x))

    def _linear(self, width: int, number: int) -> nn.Dense:
        return nn.Dense(width, kernel_init=UNIFORM_FAN_IN, name=f"layers_{number}")


class Fusion(nn.Module):
    """Both encoders and the classifier on their features as one network.

    logits = classifier(fuse(densenet(image), unet(image, guide=tapped map of densenet)))

    Parameters and statistics stand under `densenet`, `unet` and `classifier`; levels are perturbed
    as `level_i` under `densenet` and `unet`.

    Attributes:
      densenet: without a head.
      unet: guided by as many channels as DenseNet's `tapped` has.
      classifier: see `FusionClassifier`.
      axis_name: mapped axis over which both encoders take batch statistics, whatever they say
        themselves; None under jit.

    Returns:
      logits [b, k] and out, float32:
        log_density   [b, h, w]             of the U-Net
        features      [b, d]                see `fuse`
        feature_maps  list of               DenseNet's
                      [b, h_l, w_l, c_l]
        attention     list of [b, h_l, w_l] DenseNet's

    Raises:
      InputError: what either encoder raises.
    """

    densenet: DenseNet
    unet: ResSEUNet
    classifier: FusionClassifier
    axis_name: str | None = None

    def __post_init__(self) -> None:
        """Gives both encoders the axis, also where a method has cloned this module with another."""
        for name in ("densenet", "unet"):
            encoder = getattr(self, name)
            if encoder.axis_name != self.axis_name:
                setattr(self, name, encoder.clone(axis_name=self.axis_name))
        super().__post_init__()

    def __call__(
        self,
        image: Float[Array, "b h w 1"],
        *,
        train: bool = False,
        dropout_keys: Key[Array, "b"] | None = None,
    ) -> tuple[Float[Array, "b k"], dict[str, Array | list[Array]]]:
        """Map images, of any grey values, to logits and the dict `out`.

        Args:
          image: both encoders see it as it is.
          train: whether both encoders use and update the statistics of the batch.
          dropout_keys: see `FusionClassifier`.
        """
        seen: Any = self.densenet(image, train=train)
        _, densenet_out = seen
        _, unet_out = self.unet(image, densenet_out["tapped"], train=train)
        features = fuse(densenet_out, unet_out)
        return self.classifier(features, dropout_keys), {
            "log_density": unet_out["log_density"],
            "features": features,
            "feature_maps": densenet_out["feature_maps"],
            "attention": densenet_out["attention"],
        }

    @nn.nowrap
    def layer_of(self, name: str) -> int:
        """Place of a top-level module: `densenet` 0, `unet` 1, `classifier` 2.

        Raises:
          KeyError: the model has nothing of this name.
        """
        return {"densenet": 0, "unet": 1, "classifier": 2}[name]

    @property
    def num_layers(self) -> int:
        """Number of places of `layer_of`."""
        return 3


def make_fusion(
    *,
    num_classes: int = 3,
    densenet: Mapping[str, Any] | None = None,
    unet: Mapping[str, Any] | None = None,
    hidden: int = 64,
    dropout: float = 0.25,
    dtype: Dtype = jnp.float32,
    axis_name: str | None = None,
    remat: bool = False,
) -> Fusion:
    """The `Fusion` of a DenseNet, a Res_SE-UNet guided by it, and a classifier.

    Args:
      num_classes, hidden, dropout: see `FusionClassifier`.
      densenet: sizes and tap, as `make_densenet` takes them; None = DenseNet-201.
      unet: width, reduction, shortcut and head, as `ResSEUNet` takes them; None = the paper's.
      dtype, axis_name, remat: of both encoders.

    Raises:
      InputError: what `make_densenet` raises.
    """
    common = dict(dtype=dtype, axis_name=axis_name, remat=remat)
    sizes: Mapping[str, Any] = {"depth": 201} if densenet is None else densenet
    first = make_densenet(**sizes, **common)
    second = ResSEUNet(first.tapped_channels, **(unet or {}), **common)
    classifier = FusionClassifier(num_classes, hidden, dropout)
    return Fusion(first, second, classifier, axis_name=axis_name)

"""MT-UNet: one U-Net that predicts where people look and which class an image has.

Both tasks share encoder and decoder: the saliency head stands on the last decoder map, and the
classifier on the means of that map and of the deepest encoder level.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.typing import Dtype
from jaxtyping import Array, Float, Key

from gazax.models.fusion import FusionClassifier
from gazax.models.unet_blocks import LEVEL_WIDTHS, places, plain
from gazax.typing import InputError, Scalar

TASKS = ("classification", "saliency")
LOG_SIGMA = "log_sigma_"
"""What the parameter of a learned sigma is called, before the task."""
LAST_SHARED = ("encoder5", "conv2", "kernel")
"""Path of the weights whose gradients are evened: the encoder's last convolution.

The last that both tasks pass are the decoder's, but 16 of the classifier's 17 parts do not: with
random weights (width 8, 8 random images of 64 px, two seeds) its gradient is 1/53 and 1/10 of the
saliency's there, and .8 and 3 times it here. Neither was trained at the size of a study.
"""


class MTUNet(nn.Module):
    """A plain U-Net (`gazax.models.unet.UNet`) with a classifier beside its saliency head.

    logits = classifier(concat(mean over cells of encoder5, mean over pixels of decoder1))
    log_density = log_softmax over all pixels of head(decoder1)

    The first image that `init` sees fixes the number of channels. Parameters and statistics: those
    of the U-Net, `classifier` (`gazax.models.fusion.FusionClassifier`), and a `log_sigma_<task>`
    for each learned sigma. 34,632,837 parameters for 3 classes and one channel.

    Attributes:
      num_classes: k.
      width, head: see `gazax.models.unet.UNet`.
      hidden, dropout: see `gazax.models.fusion.FusionClassifier`.
      learned_sigmas: of `TASKS`: whose ln sigma is a parameter that starts at 0; that of the others
        is the constant 0 (`gazax.losses.multitask.uncertainty_weighted`).
      dtype: of the U-Net's computation. Parameters, batch statistics, the softmax over the pixels,
        the classifier and everything returned are float32.
      axis_name, remat: see `gazax.models.unet.UNet`.

    Returns:
      logits [b, k], and out:
        logits        the same
        log_density   [b, h, w]             its exponentials sum to 1 over the pixels of each image
        features      [b, 17 width]         what the classifier takes, encoder5's means first
        feature_map   [b, h/16, w/16,       the output of encoder5, what Grad-CAM looks at
                      16 width]
        feature_maps  list of               outputs of encoder1 to encoder5; level i can be
                      [b, h_l, w_l, c_l]    perturbed as `level_i`
        attention     list of [b, h_l, w_l] of each level, the mean over channels of the squares
        log_sigma     dict of scalars       by task, all of `TASKS`

    Raises:
      InputError: the sides of the image are not multiples of 16 px; the head, or a task of
        learned_sigmas, is unknown; or dropout is not in [0, 1).

    Numerics: see `gazax.models.layers`.
    Source: Zhu, Rohling & Salcudean 2022 (arXiv:2202.07118) and its code, which learns the sigma of
    the classification alone; started as torch starts its layers, as there.
    """

    num_classes: int = 3
    width: int = 64
    hidden: int = 64
    dropout: float = 0.25
    head: str = "code"
    learned_sigmas: tuple[str, ...] = ("classification",)
    dtype: Dtype = jnp.float32
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "b h w c"],
        dropout_keys: Key[Array, "b"] | None = None,
        *,
        train: bool = False,
    ) -> tuple[Float[Array, "b k"], dict[str, Array | list[Array] | dict[str, Scalar]]]:
        """Map images, of any grey values, to logits and the dict `out`.

        Args:
          image: sides are multiples of 16 px.
          dropout_keys: one an example, of the classifier; None = no dropout.
          train: whether the statistics of the batch are used and updated.
        """
        log_sigma = self._log_sigma()
        drawn: Any = plain(
            self,
            image,
            width=self.width,
            head=self.head,
            train=train,
            axis_name=self.axis_name,
            dtype=self.dtype,
            remat=self.remat,
        )
        _, out = drawn
        deepest = out["feature_maps"][-1]
        features = jnp.concatenate([deepest.mean(axis=(1, 2)), out["features"]], axis=1)
        classifier = FusionClassifier(
            self.num_classes, self.hidden, self.dropout, name="classifier"
        )
        logits = classifier(features, dropout_keys)
        return logits, {
            **out,
            "logits": logits,
            "features": features,
            "feature_map": deepest,
            "log_sigma": log_sigma,
        }

    def _log_sigma(self) -> dict[str, Scalar]:
        for task in self.learned_sigmas:
            if task not in TASKS:
                raise InputError(
                    f"MT-UNet has no task {task!r} whose sigma could be learned; name any of "
                    f"{', '.join(TASKS)} in config.model.learned_sigmas"
                )
        return {
            task: (
                self.param(f"{LOG_SIGMA}{task}", nn.initializers.zeros, ())
                if task in self.learned_sigmas
                else jnp.zeros(())
            )
            for task in TASKS
        }

    @nn.nowrap
    def layer_of(self, name: str) -> int:
        """Place of a top-level module or parameter: as in the U-Net; what only a task has is last.

        Raises:
          KeyError: the model has nothing of this name.
        """
        found = places(len(LEVEL_WIDTHS) - 1)
        last = ["classifier", *(f"{LOG_SIGMA}{task}" for task in self.learned_sigmas)]
        return (found | dict.fromkeys(last, found["head"]))[name]

    @property
    def num_layers(self) -> int:
        """Number of places of `layer_of`."""
        return self.layer_of("head") + 1

"""U-Net for saliency: from an image to the log density of where people look.

Attention maps are activation energies: for each encoder level, the mean over channels of the
squared features. Grad-CAM takes the gradient with respect to a level through linen's `perturb`.
"""

import flax.linen as nn
import jax.numpy as jnp
from flax.typing import Dtype
from jaxtyping import Array, Float

from gazax.models.unet_blocks import LEVEL_WIDTHS, places, plain
from gazax.typing import InputError


class UNet(nn.Module):
    """U-Net of five levels of two convolutions; the decoder starts from the fifth, in four steps.

    log_density = log_softmax over all pixels of head(decoder1)

    The first image that `init` sees fixes the number of channels. Parameters and statistics:
    `encoder1` ... `encoder5`, `up4`, `decoder4`, ... `up1`, `decoder1`, `head`.

    Attributes:
      width: channels of the first level; the levels have 1, 2, 4, 8 and 16 times as many, and the
        steps up 8, 4, 2 and 1 times.
      head: "code" or "figure", see `gazax.models.unet_blocks.SaliencyHead`.
      dtype: of the computation. Parameters, batch statistics, the softmax over the pixels and
        everything returned are float32.
      axis_name: mapped axis over which batch statistics are taken; None under jit.
      remat: whether the inside of a level, of a step up and of the head is computed again in the
        backward pass and not kept.

    Returns:
      log_density [b, h, w], whose exponentials sum to 1 over the pixels of each image, and out:
        log_density   the same
        features      [b, width]            the mean of feature_map
        feature_map   [b, h, w, width]      the last decoder map
        feature_maps  list of               outputs of encoder1 (h x w) to encoder5 (h/16 x w/16);
                      [b, h_l, w_l, c_l]    level i can be perturbed as `level_i`
        attention     list of [b, h_l, w_l] of each level, the mean over channels of the squares

    Raises:
      InputError: the sides of the image are not multiples of 16 px; the head is unknown; or a
        guide is given, which this network has no place for.

    Numerics: see `gazax.models.layers`.
    Source: Ronneberger et al. 2015 (arXiv:1505.04597), padded, with batch norm, and with
    nearest-neighbour upsampling and a convolution for the transposed convolution; the plain U-Net
    that Zhu et al. 2022 (arXiv:2202.07118) and the cooperative learning paper compare with
    (UNet_S), whose number of parameters it does not give.
    """

    width: int = 64
    head: str = "code"
    dtype: Dtype = jnp.float32
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], guide: Array | None = None, *, train: bool = False
    ) -> tuple[Float[Array, "b h w"], dict[str, Array | list[Array]]]:
        """Map images, of any grey values, to the log density and the dict `out`."""
        if guide is not None:
            raise InputError(
                "a plain U-Net takes no guide; leave config.guide.name empty, or take "
                "config.model.name='res_se_unet'"
            )
        return plain(
            self,
            image,
            width=self.width,
            head=self.head,
            train=train,
            axis_name=self.axis_name,
            dtype=self.dtype,
            remat=self.remat,
        )

    @nn.nowrap
    def layer_of(self, name: str) -> int:
        """Place of a top-level module: levels 0 to 4, each step up one more, then `head`.

        Raises:
          KeyError: the model has nothing of this name.
        """
        return places(len(LEVEL_WIDTHS) - 1)[name]

    @property
    def num_layers(self) -> int:
        """Number of places of `layer_of`."""
        return self.layer_of("head") + 1

"""What turns an image into a transformer's tokens with small windows, in place of one large patch.

A convolution of one patch sees edges and texture of a size that must be learnt from nothing; a few
small ones learn them in fewer steps.
"""

import math

from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from gazax.models.layers import Conv
from gazax.typing import InputError, Size


class ConvStem(nn.Module):
    """Tokens by 3x3 convolutions of stride 2, each halving the image, and a 1x1 at the end.

    conv, layer norm over channels, relu; log2(patch) times, the channels doubling up to `width`

    Attributes:
      width: d, of a token.
      patch_size: px that a token stands for; a power of two, as high as wide.
      dtype: of the computation.

    Returns:
      [b, h / patch, w / patch, d]. Parameters: `conv_0`, `norm_0`, ..., `proj`.

    Source: Xiao et al. 2021 (arXiv:2106.14881), §4; layer norm in place of batch norm, so that an
    example does not depend on its batch, is ours.
    """

    width: int
    patch_size: Size
    dtype: Dtype

    @nn.compact
    def __call__(self, image: Float[Array, "b h w c"]) -> Float[Array, "b gh gw d"]:
        """Embed each patch and what lies around it."""
        high, wide = self.patch_size
        halvings = int(math.log2(high))
        if high != wide or 2**halvings != high or halvings < 1:
            raise InputError(
                f"stem='conv' halves the image until a token stands for a patch: a patch of "
                f"{high}x{wide} px is not a square of 2, 4, 8, ... px"
            )
        x = image
        for i in range(halvings):
            channels = max(8, self.width // 2 ** (halvings - 1 - i))
            x = Conv(channels, stride=2, dtype=self.dtype, name=f"conv_{i}")(x)
            x = nn.relu(nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name=f"norm_{i}")(x))
        return Conv(self.width, 1, use_bias=True, dtype=self.dtype, name="proj")(x)

"""Two encoders that compile in no time, with statistics of the batch, for methods that have two."""

import jax
import jax.numpy as jnp
from einops import rearrange, repeat
from flax import linen as nn

from gazax.models.layers import BatchNorm


class TinyGuide(nn.Module):
    """One linear map of each patch of 16 x 16 px, normed."""

    axis_name: str | None = None
    dtype: type = jnp.float32

    @nn.compact
    def __call__(self, image, *, train=False):
        patches = rearrange(image, "b (h p) (w q) c -> b h w (p q c)", p=16, q=16)
        x = BatchNorm(self.axis_name, name="norm")(nn.Dense(6, name="patch")(patches), train=train)
        x = jnp.tanh(x)
        if not self.is_initializing():
            x = self.perturb("level_0", x)
        features = x.mean(axis=(1, 2))
        return features, {"features": features, "feature_maps": [x], "tapped": x}


class TinyUNet(nn.Module):
    """A normed density of gaze from each pixel and what the guide says of its patch."""

    axis_name: str | None = None

    @nn.compact
    def __call__(self, image, guide=None, *, train=False):
        x = nn.Dense(4, name="pixel")(image)
        if guide is not None:
            guide = nn.Dense(4, name="guide")(guide)
            x = x + repeat(guide, "b h w d -> b (h p) (w q) d", p=16, q=16)
        x = nn.tanh(BatchNorm(self.axis_name, name="norm")(x, train=train))
        logits = nn.Dense(1, name="logits")(x)[..., 0]
        log_density = jax.nn.log_softmax(logits, axis=(1, 2))
        return log_density, {"log_density": log_density, "features": x.mean(axis=(1, 2))}

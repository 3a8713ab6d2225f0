"""Small siamese methods, for the tests of each."""

import jax.numpy as jnp
from einops import reduce
from flax import linen as nn

from gazax.methods.views import AugmentedViews
from gazax.models import build as build_model
from gazax.models.heads import Projector


class Patches(nn.Module):
    """An encoder that compiles in no time: one linear map of the means of 8 x 8 px."""

    @nn.compact
    def __call__(self, image, *, train=False):
        cells = reduce(image, "b (h p) (w q) c -> b h w c", "mean", p=8, q=8)
        grid = nn.tanh(nn.Dense(8, name="patch")(jnp.concatenate([cells, cells**2], axis=-1)))
        features = grid.reshape(len(grid), -1)
        return features, {"features": features, "feature_map": grid, "feature_maps": [grid]}


def settings(**changes):
    """What every siamese method takes."""
    found = dict(
        backbone=Patches(),
        projector=Projector(hidden_dim=16, out_dim=8),
        views=AugmentedViews(standard=dict(crop=(0.5, 1.0)), strong=dict(cutout_count=0)),
        attention="energy",
        levels=(0,),
        mean=0.5,
        std=0.25,
    )
    return {**found, **changes}


def normed_head(**changes):
    """A head with statistics of the batch."""
    return Projector(**{**dict(hidden_dim=16, out_dim=8, norm="hidden"), **changes})


def tiny_vit():
    return build_model("vit", width=16, depth=2, num_heads=2, patch_size=8)

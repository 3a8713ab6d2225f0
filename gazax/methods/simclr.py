"""SimCLR: two augmented views of an image are told from those of all others. It knows no gaze."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import linen as nn
from jaxtyping import Array, Float

from gazax.config import choose
from gazax.losses import info_nce
from gazax.losses.parallel import masked_mean
from gazax.methods.attention import (
    POOLINGS,
    Maps,
    check_source,
    mean_density,
    plain_maps,
    pool,
)
from gazax.methods.backbone import Backbone
from gazax.methods.base import Params, State
from gazax.methods.views import augmented_views
from gazax.ops.image import to_float
from gazax.typing import Batch, Key, Scalar, StepCount, Terms


@dataclasses.dataclass(frozen=True)
class SimCLR:
    """A simple framework for contrastive learning, with augmentations for radiographs.

    Both views take the standard view and the strong transform, each with its own draws. There is
    no hue in a radiograph, and no flip: the heart lies on one side.

    Attributes:
      backbone: gives `features` and `attention` or `feature_maps` (gazax.models).
      projector: features -> the space of the contrast.
      temperature: of the contrast (NT-Xent).
      attention: where the model looks: 'rows' or 'energy'. It is trained on no gaze.
      levels: whose attention that is; negative ones count from the last.
      pooling: what is contrasted, and the features that are given out, one of `POOLINGS`.
      standard, strong: strengths, as `standard_view` and `strong_transform` take them.
      mean, std: the backbone sees (pixels in [0, 1] - mean) / std.
      freeze, axis_name: see `gazax.methods.base.Method`.

    Source: Chen et al. 2020 (arXiv:2002.05709); a baseline of the proposal, §2.5.
    """

    backbone: nn.Module
    projector: nn.Module
    temperature: float
    levels: tuple[int, ...]
    standard: Mapping[str, Any]
    strong: Mapping[str, Any]
    mean: float
    std: float
    attention: str = "rows"
    pooling: str = "backbone"
    freeze: tuple[str, ...] = ()
    axis_name: str | None = None

    def __post_init__(self) -> None:
        """Refuses sources of attention that need more than a forward pass."""
        choose("method.attention", self.attention, ("rows", "energy"))
        choose("method.pooling", self.pooling, POOLINGS)

    def init(self, rng: Key, batch: Batch) -> tuple[Params, State]:
        """Scopes `backbone` and `projector`."""
        rng_backbone, rng_projector = jax.random.split(rng)
        image = to_float(batch["image"][:2])
        backbone, state, out = self._encoder.init(rng_backbone, image)
        check_source(out, self.attention, self.levels)
        features = pool(out, plain_maps(out, self.attention, self.levels), self.pooling)
        projector: Any = self.projector.init(rng_projector, features)
        return backbone | {"projector": projector["params"]}, state

    def loss(
        self, params: Params, state: State, batch: Batch, rng: Key, *, step: StepCount, train: bool
    ) -> tuple[Scalar, tuple[State, Terms]]:
        """See `Method.loss`; one term, `loss/contrast`."""
        images = augmented_views(batch, rng, standard=self.standard, strong=self.strong)
        features, _, state = self._look(params, state, images, train=train)
        z: Any = self.projector.apply({"params": params["projector"]}, features)
        z_a, z_b = rearrange(z, "(b v) d -> v b d", v=2)
        contrast = info_nce(
            z_a, z_b, temperature=self.temperature, index=batch["index"], axis_name=self.axis_name
        )
        total = masked_mean(contrast, None, axis_name=self.axis_name)
        return total, (state, {"loss/contrast": total})

    def after_step(self, params: Params, state: State, *, step: StepCount) -> State:
        """Nothing follows the update."""
        return state

    def encode(
        self, params: Params, state: State, batch: Batch
    ) -> tuple[Float[Array, "b d"], Float[Array, "b h_l w_l"]]:
        """See `Method.encode`; the attention is the mean of the levels' densities."""
        image = to_float(batch["image"])
        features, maps, _ = self._look(params, state, image, train=False)
        return features.astype(jnp.float32), mean_density(maps)

    def _look(
        self, params: Params, state: State, image: Float[Array, "n h w 1"], *, train: bool
    ) -> tuple[Float[Array, "n d"], Maps, State]:
        """Features and attention of images in [0, 1], and the state after them."""
        out, state = self._encoder.look(params, state, image, train=train)
        maps = plain_maps(out, self.attention, self.levels)
        return pool(out, maps, self.pooling), maps, state

    @property
    def _encoder(self) -> Backbone:
        return Backbone(self.backbone, self.mean, self.std, self.freeze, self.axis_name)

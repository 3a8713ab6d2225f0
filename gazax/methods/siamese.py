"""What methods share that learn from two views of an image: the encoder, and how it is read."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from gazax.config import choose
from gazax.losses.contrastive import unit_rows
from gazax.losses.parallel import gather, masked_mean
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
from gazax.methods.mcgip import GazePartners
from gazax.methods.scoped import Scoped
from gazax.methods.views import ViewMaker, own_gaze
from gazax.ops.image import to_float
from gazax.typing import Batch, Key, StepCount, Terms

PARTNERS = 2**32 - 1
"""What is folded into a step's key for the draws of pairs; places in the stream stay below it."""


class Embedded(NamedTuple):
    """What a forward pass says of images."""

    features: Float[Array, "n d"]
    attention: Maps
    z: Float[Array, "n e"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Siamese:
    """A backbone and a projector on two views of every image; `loss` is a method's own.

    Attributes:
      backbone: gives `features` and `attention` or `feature_maps` (gazax.models).
      projector: features -> the space in which views are held together.
      views: makes both views.
      partners: whose gaze makes another image a positive too; None: no gaze is asked.
      attention: where the model looks: 'rows' or 'energy'. It is trained on no gaze.
      levels: whose attention that is; negative ones count from the last.
      pooling: what is projected, and the features that are given out, one of `POOLINGS`.
      mean, std: the backbone sees (pixels in [0, 1] - mean) / std.
      freeze, axis_name: see `gazax.methods.base.Method`.
    """

    backbone: nn.Module
    projector: nn.Module
    views: ViewMaker
    partners: GazePartners | None = None
    levels: tuple[int, ...]
    attention: str = "rows"
    pooling: str = "backbone"
    mean: float
    std: float
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
        params, state, out = self._encoder.init(rng_backbone, image)
        check_source(out, self.attention, self.levels)
        features = pool(out, plain_maps(out, self.attention, self.levels), self.pooling)
        of_projector, statistics, _ = self._projector.init(rng_projector, features)
        return params | of_projector, state | statistics

    def after_step(self, params: Params, state: State, *, step: StepCount) -> State:
        """Nothing follows the update."""
        return state

    def encode(
        self, params: Params, state: State, batch: Batch
    ) -> tuple[Float[Array, "b d"], Float[Array, "b h_l w_l"]]:
        """See `Method.encode`; the attention is the mean of the levels' densities."""
        features, maps, _ = self._look(params, state, to_float(batch["image"]), train=False)
        return features.astype(jnp.float32), mean_density(maps)

    def embed(
        self, params: Params, state: State, image: Float[Array, "n h w 1"], *, train: bool
    ) -> tuple[Embedded, State]:
        """Features, attention and projections of images in [0, 1], and the state after them."""
        features, maps, state = self._look(params, state, image, train=train)
        z, state = self._projector.apply(params, state, features, train=train)
        return Embedded(features, maps, z), state

    def positives(self, batch: Batch, rng: Key) -> Bool[Array, "b B"] | None:
        """The images of the global batch that are positives of each local one; None: itself."""
        if self.partners is None:
            return None
        described = self.partners.describe(batch, own_gaze(batch))
        everyone = jax.tree.map(lambda x: gather(x, self.axis_name), described)
        index = jnp.asarray(batch["index"])
        rng = jax.random.fold_in(rng, PARTNERS)
        return self.partners.choose(rng, described, index, everyone, gather(index, self.axis_name))

    def watched(self, embedded: Embedded, positives: Bool[Array, "b _"] | None) -> Terms:
        """Terms that are only logged.

        How far features and projections are from having collapsed into one (`spread`), and how
        many partners an image had: with none of them this would be the method without gaze.
        """
        terms = {
            "spread/features": spread(embedded.features, self.axis_name),
            "spread/z": spread(embedded.z, self.axis_name),
        }
        if positives is not None:
            count = positives.sum(axis=1).astype(jnp.float32)
            terms["partners"] = masked_mean(count, None, axis_name=self.axis_name)
        return terms

    def _look(
        self, params: Params, state: State, image: Float[Array, "n h w 1"], *, train: bool
    ) -> tuple[Float[Array, "n d"], Maps, State]:
        out, state = self._encoder.look(params, state, image, train=train)
        maps = plain_maps(out, self.attention, self.levels)
        return pool(out, maps, self.pooling), maps, state

    @property
    def _encoder(self) -> Backbone:
        return Backbone(self.backbone, self.mean, self.std, self.freeze, self.axis_name)

    @property
    def _projector(self) -> Scoped:
        return Scoped(self.projector, "projector", self.freeze, self.axis_name)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predictive(Siamese):
    """A `Siamese` one view of which is to say what the other looks like.

    Attributes:
      predictor: projection -> prediction of the other view's.
    """

    predictor: nn.Module

    def init(self, rng: Key, batch: Batch) -> tuple[Params, State]:
        """Scopes `backbone`, `projector` and `predictor`."""
        rng, rng_predictor = jax.random.split(rng)
        params, state = super().init(rng, batch)
        seen, _ = self.embed(params, state, to_float(batch["image"][:2]), train=False)
        of_predictor, statistics, _ = self._predictor.init(rng_predictor, seen.z)
        return params | of_predictor, state | statistics

    def predict_other(
        self, params: Params, state: State, z: Float[Array, "n e"], *, train: bool
    ) -> tuple[Float[Array, "n e"], State]:
        """What the other view of each image should look like, and the state after it."""
        return self._predictor.apply(params, state, z, train=train)

    @property
    def _predictor(self) -> Scoped:
        return Scoped(self.predictor, "predictor", self.freeze, self.axis_name)


def spread(rows: Float[Array, "n d"], axis_name: str | None) -> Float[Array, ""]:
    """Standard deviation of the rows' directions over the global batch, times the root of d.

    Mean over components of std over rows of u = row / |row|. 0: all rows point one way (collapse);
    near 1: they point everywhere.

    Source: Chen and He 2021 (arXiv:2011.10566), figure 2, who show it without the root.
    """
    unit = jax.lax.stop_gradient(unit_rows(rows))

    def mean(x: Any) -> Any:
        local = x.mean(axis=0)
        return local if axis_name is None else jax.lax.pmean(local, axis_name)

    variance = jnp.maximum(mean(jnp.square(unit - mean(unit)[None])), 0.0)
    return jnp.sqrt(variance).mean() * jnp.sqrt(float(rows.shape[1]))

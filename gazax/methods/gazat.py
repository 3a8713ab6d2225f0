"""GazAT: gaze makes the views, guides the attention and picks the regions to contrast.

L = w L_contrast + alpha * L_attention + w beta * L_regional       (proposal §2.3.4, where w is 1)
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import linen as nn
from jaxtyping import Array, Float

from gazax.config import choose
from gazax.losses import attention_alignment, info_nce
from gazax.losses.contrastive import unit_rows
from gazax.losses.parallel import masked_mean
from gazax.methods.attention import (
    GRADIENTS,
    POOLINGS,
    SOURCES,
    Maps,
    check_source,
    grad_cam_maps,
    mean_density,
    plain_maps,
    pool,
    with_source,
)
from gazax.methods.backbone import Backbone
from gazax.methods.base import Params, State, keys_by_place
from gazax.methods.regional import RegionalTerm
from gazax.methods.scoped import Scoped
from gazax.methods.views import Views, gaze_views, own_gaze
from gazax.ops.image import to_float
from gazax.ops.views import standard_view
from gazax.typing import Batch, InputError, Key, Scalar, StepCount, Terms


class Seen(NamedTuple):
    """What a forward pass says of both views of every image."""

    attention: Maps
    features: Float[Array, "b2 d"]
    feature_map: Float[Array, "b2 h_l w_l c"]
    z: Float[Array, "b2 e"]


@dataclasses.dataclass(frozen=True)
class GazAT:
    """Gaze-guided attention transfer (proposal §2.3).

    Two views of each image, each with its own crop, rotation and intensities: the standard one,
    and one whose weakly attended pixels are strongly disturbed. An image without gaze is all
    weakly attended; its attention and regional terms are masked out exactly.

    Attributes:
      backbone: gives `features`, `feature_map`, `feature_maps` and `attention` (gazax.models).
      projector: features -> the space of the contrast.
      attention_module: (feature maps of the levels, feature map) -> (densities, gated features);
        only with attention 'module', whose features then take the place of the pooled ones.
      temperature: of L_contrast (InfoNCE over both views).
      alpha, beta: weights of L_attention and L_regional; a term of weight 0 is not computed
        and is logged as 0.
      look_first: curriculum, ours: share of the run over which w rises from 0 to 1 in a straight
        line, so that attention is aligned before what it pools is contrasted; 0: w is 1. In [0, 1].
        Outside training w is 1.
      total_steps: of the run; only asked with look_first. A run that goes on with another number
        of steps has another w. Where no attention is aligned (alpha 0, no gaze), looking first only
        holds the contrasts back.
      attention: where the model looks, one of `gazax.methods.attention.SOURCES`; Grad-CAM is of
        the similarity of an image's two views.
      grad_cam_weights: 'constant' or 'differentiated' (`grad_cam_maps`).
      pooling: what is contrasted, and the features that are given out, one of `POOLINGS`: by
        attention, which is aligned, gaze decides what counts. The attention module always gates
        what is pooled; 'both' then sets the backbone's own features beside it.
      levels: whose attention is aligned; negative ones count from the last.
      level_weights: lambda_l, one a level.
      distance: D, 'kl' or 'l2'.
      regional_temperature, regions, top_fraction, positives, gaze_similarity: of L_regional, see
        `RegionalTerm`.
      standard, strong: strengths, as `standard_view` and `strong_transform` take them.
      mean, std: the backbone sees (pixels in [0, 1] - mean) / std.
      freeze, axis_name: see `gazax.methods.base.Method`.
    """

    backbone: nn.Module
    projector: nn.Module
    temperature: float
    alpha: float
    beta: float
    levels: tuple[int, ...]
    level_weights: tuple[float, ...]
    distance: str
    regional_temperature: float
    standard: Mapping[str, Any]
    strong: Mapping[str, Any]
    mean: float
    std: float
    attention: str = "rows"
    grad_cam_weights: str = "constant"
    attention_module: nn.Module | None = None
    pooling: str = "backbone"
    regions: str = "soft"
    top_fraction: float = 0.25
    positives: str = "view"
    gaze_similarity: float = 0.7
    look_first: float = 0.0
    total_steps: int = 0
    freeze: tuple[str, ...] = ()
    axis_name: str | None = None

    def __post_init__(self) -> None:
        """Refuses names that are not known, and weights that do not pair with levels."""
        choose("method.distance", self.distance, ("kl", "l2"))
        choose("method.attention", self.attention, SOURCES)
        choose("method.grad_cam_weights", self.grad_cam_weights, GRADIENTS)
        choose("method.pooling", self.pooling, POOLINGS)
        _ = self._regional  # made now, so that its refusals come now
        if self.attention == "grad_cam" and self.pooling != "backbone":
            raise InputError(
                f"method.pooling='{self.pooling}' pools by the attention, and Grad-CAM is taken of "
                "what was pooled: take pooling=backbone, or another attention."
            )
        if self.look_first and self.total_steps < 1:
            raise InputError(
                f"method.look_first={self.look_first} is a share of the run, and total_steps is "
                f"{self.total_steps}: give the run's."
            )
        if len(self.levels) != len(self.level_weights):
            raise InputError(
                f"method.levels={self.levels} and method.level_weights={self.level_weights}: "
                "give one weight a level."
            )

    def init(self, rng: Key, batch: Batch) -> tuple[Params, State]:
        """Scopes `backbone`, `projector` and, if it is used, `attention_module`."""
        rng_backbone, rng_projector, rng_module = jax.random.split(rng, 3)
        params, state, out = self._encoder.init(rng_backbone, to_float(batch["image"][:2]))
        check_source(out, self.attention, self.levels)
        self._regional.check(batch)
        features = out["features"]
        if self.attention == "module":
            made: Any = self._module.init_with_output(
                rng_module,
                [out["feature_maps"][level] for level in self.levels],
                out["feature_map"],
            )
            (_, features), module = made
            params["attention_module"] = module["params"]
        if self.pooling == "both":  # as wide as what `_look` gives
            features = jnp.concatenate([features, features], axis=1)
        projector, statistics, _ = self._projector.init(rng_projector, features)
        return params | projector, state | statistics

    def loss(
        self, params: Params, state: State, batch: Batch, rng: Key, *, step: StepCount, train: bool
    ) -> tuple[Scalar, tuple[State, Terms]]:
        """See `Method.loss`; terms: `loss/contrast`, `loss/attention`, `loss/regional`."""
        gaze = own_gaze(batch)
        views = gaze_views(batch, gaze, rng, standard=self.standard, strong=self.strong)
        seen, state = self._look(params, state, views.image, train=train)
        z_a, z_g = rearrange(seen.z, "(b v) d -> v b d", v=2)
        contrast = info_nce(
            z_a, z_g, temperature=self.temperature, index=batch["index"], axis_name=self.axis_name
        )
        terms = {"loss/contrast": masked_mean(contrast, None, axis_name=self.axis_name)}
        terms["loss/attention"] = (
            self._attention_term(seen.attention, views) if self.alpha else jnp.zeros(())
        )
        terms["loss/regional"] = (
            self._regional(seen.feature_map, views, gaze, batch) if self.beta else jnp.zeros(())
        )
        total = (
            self._weigh(terms["loss/contrast"], step, train=train)
            + self.alpha * terms["loss/attention"]
            + self.beta * self._weigh(terms["loss/regional"], step, train=train)
        )
        share = views.valid.astype(jnp.float32)
        terms["gaze_share"] = masked_mean(share, None, axis_name=self.axis_name)
        return total, (state, terms)

    def after_step(self, params: Params, state: State, *, step: StepCount) -> State:
        """Nothing follows the update."""
        return state

    def encode(
        self, params: Params, state: State, batch: Batch
    ) -> tuple[Float[Array, "b d"], Float[Array, "b h_l w_l"]]:
        """See `Method.encode`; the attention is the mean of the aligned levels' densities.

        Grad-CAM needs a pair: the image and one standard view of it, drawn from its `index` and
        from nothing else, so that an image's attention is the same in every evaluation.
        """
        image = to_float(batch["image"])
        if self.attention != "grad_cam":
            seen, _ = self._look(params, state, image, train=False)
            return seen.features.astype(jnp.float32), mean_density(seen.attention)

        def view(keys: Array, image: Array, content: Array) -> Array:
            nothing = jnp.zeros(image.shape[:2])
            return standard_view(keys[0], image, nothing, content, **self.standard)[0]

        keys = keys_by_place(jax.random.key(0), batch["index"], views=1)
        pair = jnp.stack([image, jax.vmap(view)(keys, image, batch["content"])], axis=1)
        seen, _ = self._look(params, state, rearrange(pair, "b v ... -> (b v) ..."), train=False)
        return seen.features[::2].astype(jnp.float32), mean_density(seen.attention)[::2]

    @property
    def _encoder(self) -> Backbone:
        model = with_source(self.backbone, self.attention)
        return Backbone(model, self.mean, self.std, self.freeze, self.axis_name)

    @property
    def _projector(self) -> Scoped:
        return Scoped(self.projector, "projector", self.freeze, self.axis_name)

    @property
    def _module(self) -> nn.Module:
        if self.attention_module is None:
            raise InputError("method.attention='module' needs an attention_module.")
        return self.attention_module

    def _look(
        self, params: Params, state: State, image: Float[Array, "n h w 1"], *, train: bool
    ) -> tuple[Seen, State]:
        """Attention, features and projections of images in [0, 1]; for Grad-CAM, of pairs."""

        def forward(perturbations: Params | None) -> tuple[dict[str, Any], State]:
            return self._encoder.look(
                params, state, image, train=train, perturbations=perturbations
            )

        def project(features: Array, state: State) -> tuple[Array, State]:
            return self._projector.apply(params, state, features, train=train)

        def of_pairs(perturbations: Params) -> tuple[Array, tuple[dict[str, Any], Any]]:
            out, new_state = forward(perturbations)
            z, new_state = project(out["features"], new_state)
            z_a, z_g = rearrange(unit_rows(z), "(b v) d -> v b d", v=2)
            return (z_a * z_g).sum(axis=1), (out, (z, new_state))

        if self.attention == "grad_cam":
            maps, out, (z, state) = grad_cam_maps(
                of_pairs,
                self._encoder.zero_perturbations(params, state, image),
                levels=self.levels,
                gradient=self.grad_cam_weights,
            )
            return Seen(maps, out["features"], out["feature_map"], z), state
        out, state = forward(None)
        features = out["features"]
        if self.attention == "module":
            applied: Any = self._module.apply(
                {"params": params["attention_module"]},
                [out["feature_maps"][level] for level in self.levels],
                out["feature_map"],
            )
            maps, features = applied
            if self.pooling == "both":
                features = jnp.concatenate([out["features"], features], axis=1)
        else:
            maps = plain_maps(out, self.attention, self.levels)
            features = pool(out, maps, self.pooling)
        z, state = project(features, state)
        return Seen(maps, features, out["feature_map"], z), state

    def _weigh(self, contrast: Scalar, step: StepCount, *, train: bool) -> Scalar:
        """Times w."""
        if not (train and self.look_first):
            return contrast
        rise = self.look_first * self.total_steps
        return contrast * jnp.minimum(jnp.asarray(step, jnp.float32) / rise, 1.0)

    def _attention_term(self, attention: Maps, views: Views) -> Scalar:
        aligned = attention_alignment(
            attention,
            views.gaze,
            distance=self.distance,
            level_weights=self.level_weights,
            valid=views.valid,
        )
        return masked_mean(aligned, views.valid, axis_name=self.axis_name)

    @property
    def _regional(self) -> RegionalTerm:
        return RegionalTerm(
            temperature=self.regional_temperature,
            regions=self.regions,
            top_fraction=self.top_fraction,
            positives=self.positives,
            gaze_similarity=self.gaze_similarity,
            axis_name=self.axis_name,
        )

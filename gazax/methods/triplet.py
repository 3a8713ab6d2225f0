"""Images of one class are drawn together and told from those of others, before any classifier.

L = mean over the images that have a positive and a negative of the triplet or the SupCon loss
                                                                               (the paper, III.A)
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from gazax.config import choose
from gazax.losses import has_triplet, sup_con, triplet_margin
from gazax.losses.parallel import masked_mean
from gazax.methods.attention import check_source, mean_density, plain_maps
from gazax.methods.backbone import Backbone
from gazax.methods.base import Params, State
from gazax.methods.scoped import Scoped
from gazax.methods.views import standard_views
from gazax.ops.image import to_float
from gazax.typing import Batch, InputError, Key, Scalar, StepCount, Terms

OBJECTIVES = ("triplet", "sup_con")
MININGS = ("all", "hard", "semi_hard")
DISTANCES = ("embedding", "published")


@dataclasses.dataclass(frozen=True)
class Triplet:
    """Contrast of classes, on one standard view of each image.

    Positives are the other images of the batch with the same class, negatives those of another;
    the labels are of classes that exclude each other. An image without the one or the other, or of
    unknown class, is in the batch and teaches nothing; one of unknown class is nobody's negative.

    Attributes:
      backbone: gives `features`, `feature_maps` and `attention` (gazax.models).
      projector: features -> the space of the contrast; None contrasts the features themselves.
      objective: 'triplet' or 'sup_con'.
      mining: of 'triplet', see `gazax.losses.triplet_margin`.
      distance: of 'triplet': 'embedding', between what is contrasted, divided by its norm;
        'published', between the last of the `feature_maps`, which are not pooled.
      margin: of 'triplet', in the unit of the distance: up to 2 for 'embedding'; of the feature
        maps for 'published' (the published value is 1).
      temperature: of 'sup_con'.
      standard: strengths, as `standard_view` takes them.
      mean, std: the backbone sees (pixels in [0, 1] - mean) / std.
      levels: whose activation energy is the attention; negative ones count from the last.
      freeze, axis_name: see `gazax.methods.base.Method`.

    Source: the paper, III.A, whose code takes 'all' and 'published' without a projector; SupCon is
    Khosla et al. 2020 (arXiv:2004.11362).
    """

    backbone: nn.Module
    projector: nn.Module | None
    margin: float
    temperature: float
    standard: Mapping[str, Any]
    mean: float
    std: float
    objective: str = "triplet"
    mining: str = "all"
    distance: str = "embedding"
    levels: tuple[int, ...] = (-1,)
    freeze: tuple[str, ...] = ()
    axis_name: str | None = None

    def __post_init__(self) -> None:
        """Refuses names that are not known, and what belongs to the other objective."""
        choose("method.objective", self.objective, OBJECTIVES)
        choose("method.mining", self.mining, MININGS)
        choose("method.distance", self.distance, DISTANCES)
        for name, value in (("margin", self.margin), ("temperature", self.temperature)):
            if not value > 0:
                raise InputError(f"method.{name} is {value}; it lies above 0.")
        if self.objective != "triplet":
            for name, value in (("mining", self.mining), ("distance", self.distance)):
                usual = type(self).__dataclass_fields__[name].default
                if value != usual:
                    raise InputError(
                        f"method.{name}='{value}' belongs to objective='triplet'; leave it at "
                        f"'{usual}' for objective='{self.objective}'."
                    )
        if self.distance == "published" and self.projector is not None:
            raise InputError(
                "method.distance='published' is between feature maps, which no projector takes: "
                "leave it out, or take distance=embedding."
            )

    def init(self, rng: Key, batch: Batch) -> tuple[Params, State]:
        """Scopes `backbone` and, if there is one, `projector`."""
        rng_backbone, rng_projector = jax.random.split(rng)
        columns = batch["label"].shape[1]
        if columns < 2:
            raise InputError(
                f"method 'triplet' contrasts classes and the data has {columns} label columns; it "
                "needs one for each of two classes or more."
            )
        image = to_float(batch["image"][:2])
        params, state, out = self._encoder.init(rng_backbone, image)
        check_source(out, "energy", self.levels)
        if self.projector is None:
            return params, state
        of_head, statistics, _ = self._head(self.projector).init(rng_projector, out["features"])
        return params | of_head, state | statistics

    def loss(
        self, params: Params, state: State, batch: Batch, rng: Key, *, step: StepCount, train: bool
    ) -> tuple[Scalar, tuple[State, Terms]]:
        """See `Method.loss`; one term, `loss/triplet` or `loss/sup_con`, and `anchor_share`.

        The share is that of the images which have a positive and a negative in the batch. With
        ``train=False`` the images are as they are, and those of weight 0 do not count.
        """
        label, valid = jnp.asarray(batch["label"]), None
        if train:
            nothing = jnp.zeros((*batch["image"].shape[:3], 0))
            image, _, _ = standard_views(batch, nothing, rng, standard=self.standard)
        else:
            image, valid = to_float(batch["image"]), jnp.asarray(batch["weight"]) > 0
        out, state = self._encoder.look(params, state, image, train=train)
        common = dict(valid=valid, axis_name=self.axis_name)
        anchors = has_triplet(label, **common)
        published = self.objective == "triplet" and self.distance == "published"
        z = out["feature_maps"][-1] if published else out["features"]
        if self.projector is not None:
            z, state = self._head(self.projector).apply(params, state, z, train=train)
        if self.objective == "sup_con":
            losses = sup_con(z, label, temperature=self.temperature, **common)
        else:
            losses = triplet_margin(
                z,
                label,
                margin=self.margin,
                mining=self.mining,
                distance=self.distance,
                **common,
            )
        total = masked_mean(losses, anchors, axis_name=self.axis_name)
        share = masked_mean(anchors.astype(jnp.float32), valid, axis_name=self.axis_name)
        return total, (state, {f"loss/{self.objective}": total, "anchor_share": share})

    def after_step(self, params: Params, state: State, *, step: StepCount) -> State:
        """Nothing follows the update."""
        return state

    def encode(
        self, params: Params, state: State, batch: Batch
    ) -> tuple[Float[Array, "b d"], Float[Array, "b h_l w_l"]]:
        """See `Method.encode`; the attention is the mean of the levels' densities."""
        out, _ = self._encoder.look(params, state, to_float(batch["image"]), train=False)
        maps = plain_maps(out, "energy", self.levels)
        return out["features"].astype(jnp.float32), mean_density(maps)

    @property
    def _encoder(self) -> Backbone:
        return Backbone(self.backbone, self.mean, self.std, self.freeze, self.axis_name)

    def _head(self, projector: nn.Module) -> Scoped:
        return Scoped(projector, "projector", self.freeze, self.axis_name)

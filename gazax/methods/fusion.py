"""Diagnosis from both encoders: the classifier's features and those of predicted gaze, fused.

L = mean over the labelled images of the softmax or sigmoid cross-entropy       (the paper, III.C)
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from gazax.losses.parallel import masked_mean
from gazax.methods.attention import grad_cam_maps
from gazax.methods.base import Params, State, keys_by_place
from gazax.methods.dual_encoder import GUIDE, UNET, DualEncoder
from gazax.methods.labels import Labels
from gazax.methods.scoped import require_frozen
from gazax.methods.views import standard_views
from gazax.models.fusion import fuse
from gazax.ops.image import to_float
from gazax.ops.maxima import largest
from gazax.typing import Batch, Key, Scalar, StepCount, Terms

CLASSIFIER = "classifier"
"""Scope."""


@dataclasses.dataclass(frozen=True)
class Fusion:
    """Classification of one standard view of each image by what two encoders say of it.

    Attributes:
      backbone: the U-Net, which starts its decoder from what the guide taps.
      guide: the classifier's encoder.
      classifier: (fused features, keys of dropout) -> one logit a label.
      task, label_smoothing, class_weight, positive_weight: see `gazax.methods.labels.Labels`.
      standard: strengths, as `standard_view` takes them.
      mean, std: both encoders see (pixels in [0, 1] - mean) / std.
      freeze, axis_name: see `gazax.methods.base.Method`.

    Source: Qiu et al., "Joint enhancement ...", III.C: both encoders are frozen (`freeze`). Its
    published code trains all parts together, with both losses; here that is the text's.
    """

    backbone: nn.Module
    guide: nn.Module
    classifier: nn.Module
    task: str
    standard: Mapping[str, Any]
    mean: float
    std: float
    label_smoothing: float = 0.0
    class_weight: tuple[float, ...] = ()
    positive_weight: tuple[float, ...] = ()
    freeze: tuple[str, ...] = ()
    axis_name: str | None = None

    def __post_init__(self) -> None:
        """Refuses what the task does not know."""
        _ = self._labels  # made now, so that its refusals come now

    def init(self, rng: Key, batch: Batch) -> tuple[Params, State]:
        """Scopes `densenet`, `unet` and `classifier`."""
        rng_encoders, rng_classifier = jax.random.split(rng)
        params, state, seen = self._encoders.init(rng_encoders, to_float(batch["image"][:2]))
        features = fuse(seen.guide, seen.unet)
        logits, classifier = self.classifier.init_with_output(rng_classifier, features)
        self._labels.check_columns(logits=logits.shape[1], labels=batch["label"].shape[1])
        return {**params, CLASSIFIER: classifier["params"]}, state

    def loss(
        self, params: Params, state: State, batch: Batch, rng: Key, *, step: StepCount, train: bool
    ) -> tuple[Scalar, tuple[State, Terms]]:
        """See `Method.loss`; one term, `loss/classification`.

        With ``train=False`` the images are as they are, nothing is dropped out, and images of
        weight 0 do not count.
        """
        label = jnp.asarray(batch["label"])
        valid = self._labels.known(label)
        rng_view, rng_dropout = jax.random.split(rng)
        keys = None
        if train:
            nothing = jnp.zeros((*batch["image"].shape[:3], 0))
            image, _, _ = standard_views(batch, nothing, rng_view, standard=self.standard)
            keys = keys_by_place(rng_dropout, batch["place"], views=1)[:, 0]
        else:
            image = to_float(batch["image"])
            valid &= jnp.asarray(batch["weight"]) > 0
        if "cached" in batch:
            features = jnp.asarray(batch["cached"]["features"])
        else:
            seen, state = self._encoders.look(params, state, image, train=train)
            features = fuse(seen.guide, seen.unet)
        logits = self._score(params, features, keys)
        losses = self._labels.losses(logits, label, valid=valid)
        total = masked_mean(losses, valid, axis_name=self.axis_name)
        return total, (state, {"loss/classification": total})

    def after_step(self, params: Params, state: State, *, step: StepCount) -> State:
        """Nothing follows the update."""
        return state

    def precompute(self, params: Params, state: State, batch: Batch) -> dict[str, Array]:
        """See `gazax.methods.base.Precomputes`: the fused features."""
        require_frozen(params, (GUIDE, UNET), self.freeze)
        return {"features": self._fused(params, state, batch)}

    def encode(
        self, params: Params, state: State, batch: Batch
    ) -> tuple[Float[Array, "b d"], Float[Array, "b h w"]]:
        """See `Method.encode`; the fused features, and the predicted density of gaze."""
        seen, _ = self._encoders.look(params, state, to_float(batch["image"]), train=False)
        return fuse(seen.guide, seen.unet), jnp.exp(seen.unet["log_density"])

    def saliency(self, params: Params, state: State, batch: Batch) -> Float[Array, "b h w"]:
        """See `gazax.methods.base.PredictsSaliency`."""
        return self.encode(params, state, batch)[1]

    def predict(self, params: Params, state: State, batch: Batch) -> Float[Array, "b k"]:
        """See `gazax.methods.base.Classifies`."""
        if "cached" in batch:
            features = jnp.asarray(batch["cached"]["features"])
        else:
            features = self._fused(params, state, batch)
        return self._labels.probabilities(self._score(params, features, None))

    def explain(self, params: Params, state: State, batch: Batch) -> Float[Array, "b h_l w_l"]:
        """See `gazax.methods.base.Classifies`.

        Of the guide's last level, by the way that its own features take to the classifier; what
        the U-Net draws from the guide counts as given.
        """
        image = to_float(batch["image"])

        def highest_logit(perturbations: Params) -> tuple[Array, tuple[dict[str, Any], None]]:
            seen, _ = self._encoders.look(
                params, state, image, train=False, perturbations=perturbations
            )
            logits = self._score(params, fuse(seen.guide, seen.unet), None)
            return largest(logits, 1), (seen.guide, None)

        zeros = self._encoders.zero_perturbations(params, state, image)
        maps, _, _ = grad_cam_maps(highest_logit, zeros, levels=(-1,), gradient="constant")
        return maps[0]

    def _fused(self, params: Params, state: State, batch: Batch) -> Float[Array, "b d"]:
        seen, _ = self._encoders.look(params, state, to_float(batch["image"]), train=False)
        return fuse(seen.guide, seen.unet)

    def _score(
        self, params: Params, features: Float[Array, "b d"], keys: Array | None
    ) -> Float[Array, "b k"]:
        logits: Any = self.classifier.apply({"params": params[CLASSIFIER]}, features, keys)
        return logits

    @property
    def _encoders(self) -> DualEncoder:
        return DualEncoder(
            self.guide, self.backbone, self.mean, self.std, self.freeze, self.axis_name
        )

    @property
    def _labels(self) -> Labels:
        return Labels(self.task, self.label_smoothing, self.class_weight, self.positive_weight)

"""Class and gaze at once: one network learns to classify an image and where people look at it.

L = balance of (mean over the labelled images of the softmax or sigmoid cross-entropy,
                mean over the images with gaze of KL(gaze density || predicted density))
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from gazax.losses import saliency_kl
from gazax.losses.parallel import masked_mean
from gazax.methods.attention import grad_cam_maps
from gazax.methods.backbone import SCOPE, Backbone
from gazax.methods.balance import ALPHA, EVEN, Balance, TaskLosses, with_gradient_norms
from gazax.methods.base import Params, State, keys_by_place
from gazax.methods.labels import Labels
from gazax.methods.views import own_gaze, standard_views
from gazax.models.mt_unet import LAST_SHARED, LOG_SIGMA, TASKS
from gazax.ops.gaze import to_density
from gazax.ops.image import to_float
from gazax.ops.maxima import largest
from gazax.typing import Batch, InputError, Key, Scalar, StepCount, Terms


@dataclasses.dataclass(frozen=True)
class MTUNet:
    """Classification and prediction of gaze, trained together on one standard view of each image.

    An image without a label teaches only where people look, one without gaze only the class.

    Attributes:
      backbone: (image, dropout_keys=, train=) -> (logits, out), out with what
        `gazax.models.mt_unet.MTUNet` gives.
      task, label_smoothing, class_weight, positive_weight: see `gazax.methods.labels.Labels`.
      standard: strengths, as `standard_view` takes them; the gaze map moves along.
      mean, std: the backbone sees (pixels in [0, 1] - mean) / std.
      balance: 'uncertainty', 'kendall', 'gradnorm' or 'fixed', see `gazax.methods.balance`.
      weights: of 'fixed': that of the classification, and that of saliency.
      alpha: of 'gradnorm', see `gazax.losses.multitask.grad_norm_loss`. Its gradients are with
        respect to the kernel of the encoder's last convolution (ours, see
        `gazax.models.mt_unet.LAST_SHARED`).
      freeze, axis_name: see `gazax.methods.base.Method`.

    Source: Zhu, Rohling & Salcudean 2022 (arXiv:2202.07118), which takes 'uncertainty'. That
    dropout is drawn by an example's place is ours.
    """

    backbone: nn.Module
    task: str
    standard: Mapping[str, Any]
    mean: float
    std: float
    balance: str = "uncertainty"
    weights: tuple[float, ...] = EVEN
    alpha: float = ALPHA
    label_smoothing: float = 0.0
    class_weight: tuple[float, ...] = ()
    positive_weight: tuple[float, ...] = ()
    freeze: tuple[str, ...] = ()
    axis_name: str | None = None

    def __post_init__(self) -> None:
        """Refuses what the task or the balance does not know."""
        _ = self._labels, self._balance  # made now, so that their refusals come now

    def init(self, rng: Key, batch: Batch) -> tuple[Params, State]:
        """Scopes `backbone` and, with 'gradnorm', `balance`."""
        params, state, out = self._encoder.init(rng, to_float(batch["image"][:2]))
        if missing := [name for name in ("logits", "log_density", "log_sigma") if name not in out]:
            raise InputError(
                f"method 'mt_unet' trains a model of two tasks, and this one gives no {missing[0]}:"
                " take config.model.name='mt_unet'."
            )
        self._labels.check_columns(logits=out["logits"].shape[1], labels=batch["label"].shape[1])
        learned = [task for task in TASKS if f"{LOG_SIGMA}{task}" in params[SCOPE]]
        of_balance, state_of_balance = self._balance.init(learned)
        return params | of_balance, state | state_of_balance

    def loss(
        self, params: Params, state: State, batch: Batch, rng: Key, *, step: StepCount, train: bool
    ) -> tuple[Scalar, tuple[State, Terms]]:
        """See `Method.loss`; for both tasks `loss/<task>`, not weighed, and `weight/<task>`.

        With ``train=False`` the images are as they are, nothing is dropped out, and images of
        weight 0 do not count. In training 'gradnorm' adds what its weights learn by,
        `loss/balance`.
        """
        rng_view, rng_dropout = jax.random.split(rng)
        image, gaze, label = to_float(batch["image"]), own_gaze(batch), jnp.asarray(batch["label"])
        counts, inputs = jnp.ones(len(label), bool), None
        if train:
            image, gaze, _ = standard_views(batch, gaze, rng_view, standard=self.standard)
            inputs = {"dropout_keys": keys_by_place(rng_dropout, batch["place"], views=1)[:, 0]}
        else:
            counts = jnp.asarray(batch["weight"]) > 0
        labelled = counts & self._labels.known(label)
        seen = counts & (gaze.max(axis=(1, 2)) > 0)
        density = jax.vmap(to_density)(gaze)

        def losses(params: Params) -> tuple[Array, tuple[Array, State]]:
            out, updated = self._encoder.look(params, state, image, train=train, inputs=inputs)
            means = [
                self._mean(self._labels.losses(out["logits"], label, valid=labelled), labelled),
                self._mean(saliency_kl(out["log_density"], density, valid=seen), seen),
            ]
            log_sigma = jnp.stack([out["log_sigma"][task] for task in TASKS])
            return jnp.stack(means), (log_sigma, updated)

        norms = None
        if train and self._balance.needs_gradients:
            found, norms, rest = with_gradient_norms(
                losses, params, (SCOPE, *LAST_SHARED), axis_name=self.axis_name
            )
        else:
            found, rest = losses(params)
        log_sigma, state = rest
        valid = jnp.stack([self._any(labelled), self._any(seen)])
        return self._balance.total(
            params, state, TaskLosses(found, valid, log_sigma, norms), step=step
        )

    def after_step(self, params: Params, state: State, *, step: StepCount) -> State:
        """Nothing follows the update."""
        return state

    def encode(
        self, params: Params, state: State, batch: Batch
    ) -> tuple[Float[Array, "b d"], Float[Array, "b h w"]]:
        """See `Method.encode`; what the classifier takes, and the predicted density of gaze."""
        out = self._look(params, state, batch)
        return out["features"].astype(jnp.float32), jnp.exp(out["log_density"])

    def saliency(self, params: Params, state: State, batch: Batch) -> Float[Array, "b h w"]:
        """See `gazax.methods.base.PredictsSaliency`."""
        return self.encode(params, state, batch)[1]

    def predict(self, params: Params, state: State, batch: Batch) -> Float[Array, "b k"]:
        """See `gazax.methods.base.Classifies`."""
        return self._labels.probabilities(self._look(params, state, batch)["logits"])

    def explain(self, params: Params, state: State, batch: Batch) -> Float[Array, "b h_l w_l"]:
        """See `gazax.methods.base.Classifies`: of the encoder's deepest level.

        By both ways from there to the classifier: its own mean, and the decoder.
        """
        image = to_float(batch["image"])

        def highest_logit(perturbations: Params) -> tuple[Array, tuple[dict[str, Any], None]]:
            out, _ = self._encoder.look(
                params, state, image, train=False, perturbations=perturbations
            )
            return largest(out["logits"], 1), (out, None)

        zeros = self._encoder.zero_perturbations(params, state, image)
        maps, _, _ = grad_cam_maps(highest_logit, zeros, levels=(-1,), gradient="constant")
        return maps[0]

    def _look(self, params: Params, state: State, batch: Batch) -> dict[str, Any]:
        """What the backbone gives out for the undisturbed images."""
        return self._encoder.look(params, state, to_float(batch["image"]), train=False)[0]

    def _mean(self, values: Float[Array, "b"], valid: Bool[Array, "b"]) -> Scalar:
        """Over the global batch, not this shard's share of it: weights depend on it by no sum."""
        mean = masked_mean(values, valid, axis_name=self.axis_name)
        return mean if self.axis_name is None else jax.lax.pmean(mean, self.axis_name)

    def _any(self, valid: Bool[Array, "b"]) -> Bool[Array, ""]:
        """Whether any row of the global batch is valid."""
        number = valid.sum()
        if self.axis_name is not None:
            number = jax.lax.psum(number, self.axis_name)
        return number > 0

    @property
    def _encoder(self) -> Backbone:
        return Backbone(self.backbone, self.mean, self.std, self.freeze, self.axis_name)

    @property
    def _labels(self) -> Labels:
        return Labels(self.task, self.label_smoothing, self.class_weight, self.positive_weight)

    @property
    def _balance(self) -> Balance:
        return Balance(self.balance, tuple(self.weights), self.alpha)

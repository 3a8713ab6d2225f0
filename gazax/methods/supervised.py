"""Classification from labels: a backbone and a head, from random weights or from pretrained ones.

L = mean over the labelled images of the softmax or sigmoid cross-entropy      (proposal §2.4)
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from gazax.config import choose
from gazax.losses import multiclass, multilabel
from gazax.losses.parallel import masked_mean
from gazax.methods.attention import (
    SOURCES,
    check_source,
    grad_cam_maps,
    mean_density,
    plain_maps,
    with_source,
)
from gazax.methods.backbone import apply_backbone, init_backbone, zero_perturbations
from gazax.methods.base import Params, State, keys_by_place
from gazax.ops.image import to_float
from gazax.ops.views import standard_view
from gazax.typing import Batch, InputError, Key, Scalar, StepCount, Terms

TASKS = ("multiclass", "multilabel")


@dataclasses.dataclass(frozen=True)
class Supervised:
    """Classification of one standard view of each image.

    An unknown label is masked out exactly: an image without any known label (for 'multiclass',
    without all of them) is in the batch and teaches nothing.

    Attributes:
      backbone: gives `features` and `attention` (gazax.models).
      head: features -> one logit a label.
      task: 'multiclass', one label an image, or 'multilabel', any number of them.
      standard: strengths, as `standard_view` takes them.
      mean, std: the backbone sees (pixels in [0, 1] - mean) / std.
      label_smoothing: of 'multiclass'.
      positive_weight: of 'multilabel', one a label, see `gazax.losses.multilabel`; () = all 1.
      attention: where the model is said to look, one of `SOURCES` of `gazax.methods.attention`
        but 'module'; Grad-CAM is of the logit that is highest.
      levels: whose maps are joined; negative ones count from the last.
      freeze, axis_name: see `gazax.methods.base.Method`.
    """

    backbone: nn.Module
    head: nn.Module
    task: str
    standard: Mapping[str, Any]
    mean: float
    std: float
    label_smoothing: float = 0.0
    positive_weight: tuple[float, ...] = ()
    attention: str = "grad_cam"
    levels: tuple[int, ...] = (-1,)
    freeze: tuple[str, ...] = ()
    axis_name: str | None = None

    def __post_init__(self) -> None:
        """Refuses an unknown task, and what belongs to the other one."""
        choose("method.task", self.task, TASKS)
        choose("method.attention", self.attention, [s for s in SOURCES if s != "module"])
        if not 0 <= self.label_smoothing < 1:
            raise InputError(
                f"method.label_smoothing is {self.label_smoothing}; it lies in [0, 1)."
            )
        if self.task == "multilabel" and self.label_smoothing:
            raise InputError(
                f"method.label_smoothing={self.label_smoothing} belongs to task='multiclass'; set "
                "it to 0 for task='multilabel'."
            )
        if self.task == "multiclass" and self.positive_weight:
            raise InputError(
                f"method.positive_weight={self.positive_weight} belongs to task='multilabel'; "
                "leave it empty for task='multiclass'."
            )

    def init(self, rng: Key, batch: Batch) -> tuple[Params, State]:
        """Scopes `backbone` and `head`."""
        rng_backbone, rng_head = jax.random.split(rng)
        image = self._normalize(to_float(batch["image"][:2]))
        backbone, state, out = init_backbone(self._backbone, rng_backbone, image)
        check_source(out, self.attention, self.levels)
        logits, head = self.head.init_with_output(rng_head, out["features"])
        num_labels = batch["label"].shape[1]
        if logits.shape[1] != num_labels:
            raise InputError(
                f"the head scores {logits.shape[1]} classes and the data has {num_labels} label "
                "columns; they must be the same."
            )
        if self.positive_weight and len(self.positive_weight) != num_labels:
            raise InputError(
                f"method.positive_weight={self.positive_weight} for {num_labels} label columns; "
                "give one weight a label."
            )
        return {"backbone": backbone, "head": head["params"]}, state

    def loss(
        self, params: Params, state: State, batch: Batch, rng: Key, *, step: StepCount, train: bool
    ) -> tuple[Scalar, tuple[State, Terms]]:
        """See `Method.loss`; one term, `loss/classification`.

        With ``train=False`` the images are as they are, and those of weight 0 do not count.
        """
        image, label = to_float(batch["image"]), jnp.asarray(batch["label"])
        known = ~jnp.isnan(label)
        valid = known.all(axis=1) if self.task == "multiclass" else known.any(axis=1)
        if train:
            image = self._views(batch, rng)
        else:
            valid &= jnp.asarray(batch["weight"]) > 0
        out, state = self._look(params, state, image, train=train)
        logits = self._score(params, out)
        if self.task == "multiclass":
            losses = multiclass(logits, label, label_smoothing=self.label_smoothing, valid=valid)
        else:
            weight = jnp.array(self.positive_weight) if self.positive_weight else None
            losses = multilabel(logits, label, positive_weight=weight, valid=valid)
        total = masked_mean(losses, valid, axis_name=self.axis_name)
        return total, (state, {"loss/classification": total})

    def after_step(self, params: Params, state: State, *, step: StepCount) -> State:
        """Nothing follows the update."""
        return state

    def encode(
        self, params: Params, state: State, batch: Batch
    ) -> tuple[Float[Array, "b d"], Float[Array, "b h_l w_l"]]:
        """See `Method.encode`; the attention is the mean of the levels' densities."""
        image = to_float(batch["image"])
        if self.attention != "grad_cam":
            out, _ = self._look(params, state, image, train=False)
            maps = plain_maps(out, self.attention, self.levels)
        else:

            def highest_logit(perturbations: Params) -> tuple[Array, tuple[dict[str, Any], None]]:
                out, _ = self._look(params, state, image, train=False, perturbations=perturbations)
                return self._score(params, out).max(axis=1), (out, None)

            zeros = zero_perturbations(self._backbone, params, state, self._normalize(image))
            maps, out, _ = grad_cam_maps(
                highest_logit, zeros, levels=self.levels, gradient="constant"
            )
        return out["features"].astype(jnp.float32), mean_density(maps)

    def predict(self, params: Params, state: State, batch: Batch) -> Float[Array, "b k"]:
        """Probabilities of the undisturbed images' labels; for 'multiclass' they sum to 1."""
        out, _ = self._look(params, state, to_float(batch["image"]), train=False)
        logits = self._score(params, out)
        if self.task == "multiclass":
            return jax.nn.softmax(logits, axis=1)
        return jax.nn.sigmoid(logits)

    @property
    def _backbone(self) -> nn.Module:
        return with_source(self.backbone, self.attention)

    def _look(
        self,
        params: Params,
        state: State,
        image: Float[Array, "b h w 1"],
        *,
        train: bool,
        perturbations: Params | None = None,
    ) -> tuple[dict[str, Any], State]:
        """What the backbone says of images in [0, 1], and the state after them."""
        return apply_backbone(
            self._backbone,
            params,
            state,
            self._normalize(image),
            train=train,
            freeze=self.freeze,
            axis_name=self.axis_name,
            perturbations=perturbations,
        )

    def _score(self, params: Params, out: dict[str, Any]) -> Float[Array, "b k"]:
        logits: Any = self.head.apply({"params": params["head"]}, out["features"])
        return logits.astype(jnp.float32)

    def _normalize(self, image: Float[Array, "b h w 1"]) -> Float[Array, "b h w 1"]:
        return (image - self.mean) / self.std

    def _views(self, batch: Batch, rng: Key) -> Float[Array, "b h w 1"]:
        def view(keys: Array, image: Array, content: Array) -> Array:
            nothing = jnp.zeros((*image.shape[:2], 0))
            return standard_view(keys[0], image, nothing, content, **self.standard)[0]

        keys = keys_by_place(rng, batch["place"], views=1)
        return jax.vmap(view)(keys, to_float(batch["image"]), jnp.asarray(batch["content"]))

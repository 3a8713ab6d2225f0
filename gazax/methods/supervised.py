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
from gazax.losses.parallel import masked_mean
from gazax.methods.attention import (
    SOURCES,
    Maps,
    check_source,
    grad_cam_maps,
    mean_density,
    plain_maps,
    with_source,
)
from gazax.methods.backbone import Backbone
from gazax.methods.base import Params, State
from gazax.methods.labels import Labels
from gazax.methods.views import own_gaze, standard_views
from gazax.ops.image import to_float
from gazax.ops.maxima import largest
from gazax.typing import Batch, InputError, Key, Scalar, StepCount, Terms


@dataclasses.dataclass(frozen=True)
class Supervised:
    """Classification of one standard view of each image.

    Attributes:
      backbone: gives `features` and `attention` (gazax.models).
      head: features -> one logit a label.
      task, label_smoothing, class_weight, positive_weight: see `gazax.methods.labels.Labels`.
      standard: strengths, as `standard_view` takes them.
      mean, std: the backbone sees (pixels in [0, 1] - mean) / std.
      attention: where the model is said to look, one of `SOURCES` of `gazax.methods.attention`
        but 'module'; Grad-CAM is of the logit that is highest.
      levels: whose maps are joined; negative ones count from the last.
      gaze_input: whether the backbone sees the gaze map beside the image, in use as in training:
        that of the batch's fixations, zeros for an image without any. In training it moves along
        with the image. A backbone that sees gaze says so as `takes_gaze`.
      freeze, axis_name: see `gazax.methods.base.Method`.
    """

    backbone: nn.Module
    head: nn.Module
    task: str
    standard: Mapping[str, Any]
    mean: float
    std: float
    label_smoothing: float = 0.0
    class_weight: tuple[float, ...] = ()
    positive_weight: tuple[float, ...] = ()
    attention: str = "grad_cam"
    levels: tuple[int, ...] = (-1,)
    gaze_input: bool = False
    freeze: tuple[str, ...] = ()
    axis_name: str | None = None

    def __post_init__(self) -> None:
        """Refuses what the task does not know, and what the backbone does not have."""
        choose("method.attention", self.attention, [s for s in SOURCES if s != "module"])
        _ = self._labels  # made now, so that its refusals come now
        name = type(self.backbone).__name__
        if takes_gaze(self.backbone) and not self.gaze_input:
            raise InputError(
                f"the backbone {name} sees a gaze map beside the image, and none would be given; "
                "set config.method.gaze_input=True."
            )
        if self.gaze_input and not takes_gaze(self.backbone):
            raise InputError(
                f"config.method.gaze_input=True gives the backbone a gaze map, and {name} sees "
                "only the image; set config.method.gaze_input=False, or take a backbone for gaze."
            )

    def init(self, rng: Key, batch: Batch) -> tuple[Params, State]:
        """Scopes `backbone` and `head`."""
        rng_backbone, rng_head = jax.random.split(rng)
        first: Any = jax.tree.map(lambda x: x[:2], batch)
        backbone, state, out = self._encoder.init(rng_backbone, *self._undisturbed(first))
        check_source(out, self.attention, self.levels)
        logits, head = self.head.init_with_output(rng_head, out["features"])
        self._labels.check_columns(logits=logits.shape[1], labels=batch["label"].shape[1])
        return backbone | {"head": head["params"]}, state

    def loss(
        self, params: Params, state: State, batch: Batch, rng: Key, *, step: StepCount, train: bool
    ) -> tuple[Scalar, tuple[State, Terms]]:
        """See `Method.loss`; one term, `loss/classification`.

        With ``train=False`` the images are as they are, and those of weight 0 do not count.
        """
        label = jnp.asarray(batch["label"])
        valid = self._labels.known(label)
        if train:
            nothing = jnp.zeros((*batch["image"].shape[:3], 0))
            maps = own_gaze(batch) if self.gaze_input else nothing
            image, maps, _ = standard_views(batch, maps, rng, standard=self.standard)
            inputs = {"gaze": maps} if self.gaze_input else {}
        else:
            image, inputs = self._undisturbed(batch)
            valid &= jnp.asarray(batch["weight"]) > 0
        out, state = self._encoder.look(params, state, image, train=train, inputs=inputs)
        losses = self._labels.losses(self._score(params, out), label, valid=valid)
        total = masked_mean(losses, valid, axis_name=self.axis_name)
        return total, (state, {"loss/classification": total})

    def after_step(self, params: Params, state: State, *, step: StepCount) -> State:
        """Nothing follows the update."""
        return state

    def encode(
        self, params: Params, state: State, batch: Batch
    ) -> tuple[Float[Array, "b d"], Float[Array, "b h_l w_l"]]:
        """See `Method.encode`; the attention is the mean of the levels' densities."""
        if self.attention == "grad_cam":
            maps, out = self._grad_cam(params, state, batch, levels=self.levels)
        else:
            out = self._look(params, state, batch)
            maps = plain_maps(out, self.attention, self.levels)
        return out["features"].astype(jnp.float32), mean_density(maps)

    def explain(self, params: Params, state: State, batch: Batch) -> Float[Array, "b h_l w_l"]:
        """See `gazax.methods.base.Classifies`."""
        maps, _ = self._grad_cam(params, state, batch, levels=(-1,))
        return maps[0]

    def predict(self, params: Params, state: State, batch: Batch) -> Float[Array, "b k"]:
        """Probabilities of the undisturbed images' labels; for 'multiclass' they sum to 1."""
        out = self._look(params, state, batch)
        return self._labels.probabilities(self._score(params, out))

    @property
    def _labels(self) -> Labels:
        return Labels(self.task, self.label_smoothing, self.class_weight, self.positive_weight)

    def _grad_cam(
        self, params: Params, state: State, batch: Batch, *, levels: tuple[int, ...]
    ) -> tuple[Maps, dict[str, Any]]:
        """Grad-CAM of each image's highest logit, and what the backbone gives out."""
        image, inputs = self._undisturbed(batch)

        def highest_logit(perturbations: Params) -> tuple[Array, tuple[dict[str, Any], None]]:
            out, _ = self._encoder.look(
                params, state, image, train=False, perturbations=perturbations, inputs=inputs
            )
            return largest(self._score(params, out), 1), (out, None)

        zeros = self._encoder.zero_perturbations(params, state, image, inputs)
        maps, out, _ = grad_cam_maps(highest_logit, zeros, levels=levels, gradient="constant")
        return maps, out

    def _look(self, params: Params, state: State, batch: Batch) -> dict[str, Any]:
        image, inputs = self._undisturbed(batch)
        out, _ = self._encoder.look(params, state, image, train=False, inputs=inputs)
        return out

    def _undisturbed(self, batch: Batch) -> tuple[Array, dict[str, Array]]:
        """The images as they are, and what the backbone takes besides."""
        inputs = {"gaze": own_gaze(batch)} if self.gaze_input else {}
        return to_float(batch["image"]), inputs

    @property
    def _encoder(self) -> Backbone:
        model = with_source(self.backbone, self.attention)
        return Backbone(model, self.mean, self.std, self.freeze, self.axis_name)

    def _score(self, params: Params, out: dict[str, Any]) -> Float[Array, "b k"]:
        logits: Any = self.head.apply({"params": params["head"]}, out["features"])
        return logits.astype(jnp.float32)


def takes_gaze(backbone: nn.Module) -> bool:
    """Whether the backbone sees a gaze map, `gaze` [b, h, w] in [0, 1], beside the image."""
    return getattr(backbone, "takes_gaze", False)

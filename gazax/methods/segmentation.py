"""Segmentation from masks or boxes: a backbone and a decoder.

L = mean over images of binary cross-entropy + soft Dice       (proposal §2.4; the sum is ours)
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from gazax.config import choose
from gazax.losses import segmentation_loss
from gazax.losses.parallel import masked_mean
from gazax.methods.backbone import Backbone
from gazax.methods.base import Params, State
from gazax.methods.views import standard_views
from gazax.ops.boxes import box_masks
from gazax.ops.gaze import to_density
from gazax.ops.image import content_mask, to_float
from gazax.typing import Batch, InputError, Key, Scalar, StepCount, Terms

TARGETS = ("mask", "box")


@dataclasses.dataclass(frozen=True)
class Segmentation:
    """Segmentation of one standard view of each image, one plane a label.

    The mask moves with the image; its edges become soft by it (`standard_view`), which both terms
    of the loss understand.

    Attributes:
      backbone: gives `features`, `feature_maps` and `attention` (gazax.models).
      decoder: (what the backbone gives out, size=, train=) -> one plane of logits a label; without
        statistics. Its parameters are the scope `head`.
      target: 'mask', the batch's masks, or 'box', the insides of its boxes.
      standard: strengths, as `standard_view` takes them.
      mean, std: the backbone sees (pixels in [0, 1] - mean) / std.
      dice_weight, bce_weight: of the two terms, see `gazax.losses.segmentation_loss`.
      freeze, axis_name: see `gazax.methods.base.Method`.
    """

    backbone: nn.Module
    decoder: nn.Module
    target: str
    standard: Mapping[str, Any]
    mean: float
    std: float
    dice_weight: float = 1.0
    bce_weight: float = 1.0
    freeze: tuple[str, ...] = ()
    axis_name: str | None = None

    def __post_init__(self) -> None:
        """Refuses an unknown target."""
        choose("method.target", self.target, TARGETS)

    def init(self, rng: Key, batch: Batch) -> tuple[Params, State]:
        """Scopes `backbone` and `head`."""
        if self.target == "mask" and "mask" not in batch:
            raise InputError(
                "method.target='mask' and the batch has no masks; set data.masks=True, or "
                "target='box' where there are boxes."
            )
        rng_backbone, rng_head = jax.random.split(rng)
        image = to_float(batch["image"][:2])
        backbone, state, out = self._encoder.init(rng_backbone, image)
        logits, head = self.decoder.init_with_output(rng_head, out, size=image.shape[1:3])
        num_labels = batch["label"].shape[1]
        if logits.shape[3] != num_labels:
            raise InputError(
                f"the decoder has {logits.shape[3]} planes and the data has {num_labels} label "
                "columns; they must be the same."
            )
        return backbone | {"head": head["params"]}, state

    def masks(self, batch: Batch) -> Float[Array, "b h w k"]:
        """What is to be found: 1 inside, 0 outside, and NaN all over a plane that is unknown.

        Unknown is a plane in which nothing is marked and whose label is not known to be absent:
        somebody said that it is there, or did not say, and nobody drew where.
        """
        label = jnp.asarray(batch["label"])
        if self.target == "mask":
            marked = jnp.asarray(batch["mask"]).astype(jnp.float32)
        else:
            size = (batch["image"].shape[1], batch["image"].shape[2])
            draw = functools.partial(box_masks, size=size, num_labels=label.shape[1])
            marked = jax.vmap(draw)(jnp.asarray(batch["box"]), jnp.asarray(batch["box_label"]))
        unknown = (marked.max(axis=(1, 2)) == 0) & (label != 0)
        return jnp.where(unknown[:, None, None, :], jnp.nan, marked)

    def loss(
        self, params: Params, state: State, batch: Batch, rng: Key, *, step: StepCount, train: bool
    ) -> tuple[Scalar, tuple[State, Terms]]:
        """See `Method.loss`; one term, `loss/segmentation`.

        With ``train=False`` the images are as they are, and those of weight 0 do not count.
        """
        masks = self.masks(batch)
        unknown = jnp.isnan(masks).any(axis=(1, 2))
        valid = ~unknown.all(axis=1)
        if train:
            image, masks, content = standard_views(
                batch, jnp.nan_to_num(masks), rng, standard=self.standard
            )
            masks = jnp.where(unknown[:, None, None, :], jnp.nan, masks)
        else:
            image = to_float(batch["image"])
            size = (image.shape[1], image.shape[2])
            content = jax.vmap(lambda one: content_mask(one, size=size))(
                jnp.asarray(batch["content"])
            )
            valid &= jnp.asarray(batch["weight"]) > 0
        out, state = self._encoder.look(params, state, image, train=train)
        losses = segmentation_loss(
            self._decode(params, out, image, train=train),
            masks,
            where=content,
            dice_weight=self.dice_weight,
            bce_weight=self.bce_weight,
            valid=valid,
        )
        total = masked_mean(losses, valid, axis_name=self.axis_name)
        return total, (state, {"loss/segmentation": total})

    def after_step(self, params: Params, state: State, *, step: StepCount) -> State:
        """Nothing follows the update."""
        return state

    def encode(
        self, params: Params, state: State, batch: Batch
    ) -> tuple[Float[Array, "b d"], Float[Array, "b h_l w_l"]]:
        """See `Method.encode`; the attention is the last level's."""
        out, _ = self._encoder.look(params, state, to_float(batch["image"]), train=False)
        return out["features"].astype(jnp.float32), jax.vmap(to_density)(out["attention"][-1])

    def predict(self, params: Params, state: State, batch: Batch) -> Float[Array, "b h w k"]:
        """Probability of each label at each pixel of the undisturbed images."""
        image = to_float(batch["image"])
        out, _ = self._encoder.look(params, state, image, train=False)
        return jax.nn.sigmoid(self._decode(params, out, image, train=False))

    @property
    def _encoder(self) -> Backbone:
        return Backbone(self.backbone, self.mean, self.std, self.freeze, self.axis_name)

    def _decode(
        self, params: Params, out: dict[str, Any], image: Float[Array, "b h w 1"], *, train: bool
    ) -> Float[Array, "b h w k"]:
        logits: Any = self.decoder.apply(
            {"params": params["head"]}, out, size=image.shape[1:3], train=train
        )
        return logits.astype(jnp.float32)

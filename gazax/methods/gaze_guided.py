"""What classifiers have in common that gaze guides in training, and that predict without it."""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from gazax.losses.parallel import masked_mean
from gazax.methods.supervised import Supervised, takes_gaze
from gazax.methods.views import own_gaze, standard_views
from gazax.ops.image import to_float
from gazax.typing import Batch, InputError, Key, Scalar


class Seen(NamedTuple):
    """One view of every image, and what a classifier that gaze guides has to find in it."""

    image: Float[Array, "b h w 1"]
    gaze: Float[Array, "b h w"]
    """Gaze maps; zeros where nobody looked."""
    label: Float[Array, "b k"]
    present: Float[Array, "b k"]
    """The labels that the image has; zeros where that is not known."""
    labelled: Bool[Array, "b"]
    """Which images teach the classification."""
    looked_at: Bool[Array, "b"]
    """Which images have gaze."""


@dataclasses.dataclass(frozen=True)
class GazeGuided(Supervised):
    """What the classifiers have in common that learn from gaze as well, and predict without it."""

    def __post_init__(self) -> None:
        """Refuses a backbone that sees what it is held against."""
        if self.gaze_input or takes_gaze(self.backbone):
            raise InputError(
                f"{type(self).__name__} holds the model's attention against the gaze, and with "
                f"gaze_input the backbone {type(self.backbone).__name__} would be shown it: take a "
                "backbone that sees the image alone, or the method supervised."
            )
        super().__post_init__()

    def _see(self, batch: Batch, rng: Key, *, train: bool) -> Seen:
        """With ``train=False`` images as they are; those of weight 0 do not count for anything."""
        label, gaze = jnp.asarray(batch["label"]), own_gaze(batch)
        known = self._labels.known(label)
        counts = jnp.ones(len(label), bool)
        if train:
            image, gaze, _ = standard_views(batch, gaze, rng, standard=self.standard)
        else:
            image = to_float(batch["image"])
            counts = jnp.asarray(batch["weight"]) > 0
        return Seen(
            image=image,
            gaze=gaze,
            label=label,
            present=jnp.where(known[:, None] & ~jnp.isnan(label), label, 0.0),
            labelled=known & counts,
            looked_at=counts & (gaze.max(axis=(1, 2)) > 0),
        )

    def _classification(self, logits: Float[Array, "b k"], seen: Seen) -> Scalar:
        losses = self._labels.losses(logits, seen.label, valid=seen.labelled)
        return masked_mean(losses, seen.labelled, axis_name=self.axis_name)

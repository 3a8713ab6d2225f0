"""Classification whose attention is held against the gaze: attention consistency.

L = classification + weight * mean over the guided images and over levels of D(A_l, gaze map)
"""

import dataclasses
from typing import Any

from jaxtyping import Array, Float

from gazax.config import choose
from gazax.losses import attention_alignment
from gazax.losses.parallel import masked_mean
from gazax.methods.attention import GRADIENTS, Maps, grad_cam_maps, plain_maps
from gazax.methods.base import Params, State
from gazax.methods.gaze_guided import GazeGuided, Seen
from gazax.typing import Batch, InputError, Key, Scalar, StepCount, Terms


@dataclasses.dataclass(frozen=True)
class AttentionConsistency(GazeGuided):
    """Classification of one standard view of each image, its attention held against the gaze.

    Grad-CAM is of the image's own label; with task 'multilabel', of the sum of the logits of the
    labels that it has. An image without gaze, or for Grad-CAM without a label that is present, has
    no attention term: value and gradient are exactly zero.

    Attributes:
      weight: of the attention term, 0 or more; with 0 it is logged and teaches nothing. By default
        1 with 'l2': gaze guides and the labels decide. At the beginning the term's gradient in a
        small ResNet was a third of the classification's.
      distance: D, 'l2' or 'kl', see `gazax.losses.attention_alignment`. Of 'kl' that gradient was
        four times the classification's: it wants a weight of some 0.1.
      grad_cam_weights: 'constant' or 'differentiated' (`grad_cam_maps`). With the first the head's
        kernel learns nothing from gaze. In 60 steps of a ViT of two blocks 'l2' went from .137 to
        .118 with it and to .010 with the second; without the term it rose to .227.
      The others, `attention` and `levels` among them: see `Supervised`. Each level counts alike.
        What `encode` gives out is, as there, Grad-CAM of the highest logit: labels are not known
        where nothing is trained.

    Source: the "attention consistency architecture" with which Wang et al. 2024
    (arXiv:2305.18221) compare: a classifier whose class activation is to resemble the gaze, which
    it does not see when it predicts. That Grad-CAM stands for the class activation, the distance
    and its weight are ours.
    """

    weight: float = 1.0
    distance: str = "l2"
    grad_cam_weights: str = "differentiated"

    def __post_init__(self) -> None:
        """Refuses names that are not known, and a weight below 0."""
        super().__post_init__()
        choose("method.distance", self.distance, ("l2", "kl"))
        choose("method.grad_cam_weights", self.grad_cam_weights, GRADIENTS)
        if not self.weight >= 0:
            raise InputError(f"method.weight is {self.weight}; it is 0 or more.")

    def loss(
        self, params: Params, state: State, batch: Batch, rng: Key, *, step: StepCount, train: bool
    ) -> tuple[Scalar, tuple[State, Terms]]:
        """See `Method.loss`; terms: `loss/classification`, `loss/attention`.

        With ``train=False`` the images are as they are, and those of weight 0 do not count.
        """
        seen = self._see(batch, rng, train=train)
        maps, logits, state = self._attend(params, state, seen, train=train)
        guided = seen.looked_at
        if self.attention == "grad_cam":
            guided &= seen.present.sum(axis=1) > 0
        aligned = attention_alignment(
            maps,
            seen.gaze,
            distance=self.distance,
            level_weights=[1 / len(maps)] * len(maps),
            valid=guided,
        )
        terms = {
            "loss/classification": self._classification(logits, seen),
            "loss/attention": masked_mean(aligned, guided, axis_name=self.axis_name),
        }
        total = terms["loss/classification"] + self.weight * terms["loss/attention"]
        return total, (state, terms)

    def _attend(
        self, params: Params, state: State, seen: Seen, *, train: bool
    ) -> tuple[Maps, Float[Array, "b k"], State]:
        """Where the model looks, what it scores, and the state after one and the same pass."""
        if self.attention != "grad_cam":
            out, state = self._encoder.look(params, state, seen.image, train=train)
            return plain_maps(out, self.attention, self.levels), self._score(params, out), state

        def of_labels(perturbations: Params) -> tuple[Array, tuple[dict[str, Any], Any]]:
            out, new_state = self._encoder.look(
                params, state, seen.image, train=train, perturbations=perturbations
            )
            logits = self._score(params, out)
            return (logits * seen.present).sum(axis=1), (out, (logits, new_state))

        zeros = self._encoder.zero_perturbations(params, state, seen.image)
        maps, _, (logits, state) = grad_cam_maps(
            of_labels, zeros, levels=self.levels, gradient=self.grad_cam_weights
        )
        return maps, logits, state

"""SimCLR: two views of an image are told from those of all others. By itself it knows no gaze."""

import dataclasses

from einops import rearrange

from gazax.losses import info_nce
from gazax.losses.parallel import masked_mean
from gazax.methods.base import Params, State
from gazax.methods.siamese import Siamese
from gazax.typing import Batch, Key, Scalar, StepCount, Terms


@dataclasses.dataclass(frozen=True, kw_only=True)
class SimCLR(Siamese):
    """A simple framework for contrastive learning.

    Attributes:
      temperature: of the contrast (NT-Xent).
      the others: see `Siamese`.

    Source: Chen et al. 2020 (arXiv:2002.05709); a baseline of the proposal, §2.5.
    """

    temperature: float

    def loss(
        self, params: Params, state: State, batch: Batch, rng: Key, *, step: StepCount, train: bool
    ) -> tuple[Scalar, tuple[State, Terms]]:
        """See `Method.loss`; terms: `loss/contrast`, and how far the features spread."""
        seen, state = self.embed(params, state, self.views(batch, rng), train=train)
        z_a, z_b = rearrange(seen.z, "(b v) d -> v b d", v=2)
        positives = self.positives(batch, rng)
        contrast = info_nce(
            z_a,
            z_b,
            temperature=self.temperature,
            index=batch["index"],
            positives=positives,
            axis_name=self.axis_name,
        )
        total = masked_mean(contrast, None, axis_name=self.axis_name)
        return total, (state, {"loss/contrast": total, **self.watched(seen, positives)})

"""MoCo v3: contrast with what a slowly following copy makes of the whole batch; no queue."""

import dataclasses

from gazax.losses import info_nce_keys
from gazax.losses.parallel import masked_mean
from gazax.methods.base import Params, State
from gazax.methods.bootstrap import Bootstrap
from gazax.typing import Batch, Key, Scalar, StepCount, Terms


@dataclasses.dataclass(frozen=True, kw_only=True)
class MoCoV3(Bootstrap):
    """Momentum contrast with the keys of the batch, for transformers too.

    L = 2 t (mean over images of InfoNCE(q(z_a), z'_b) + InfoNCE(q(z_b), z'_a))

    Attributes:
      temperature: t, of the contrast.
      the others: see `Bootstrap`.

    Source: Chen, Xie and He 2021 (arXiv:2104.02057), §3, algorithm 1; momentum from .99 to 1,
    t = .2. They also freeze the patch projection: `freeze=('backbone/patch_embed/.*',)`.
    """

    temperature: float

    def loss(
        self, params: Params, state: State, batch: Batch, rng: Key, *, step: StepCount, train: bool
    ) -> tuple[Scalar, tuple[State, Terms]]:
        """See `Method.loss`; terms: `loss/contrast`, and how far the features spread."""
        both, state = self.look_at_both(params, state, self.views(batch, rng), train=train)
        positives = self.positives(batch, rng)
        common = dict(
            temperature=self.temperature,
            index=batch["index"],
            positives=positives,
            axis_name=self.axis_name,
        )
        losses = info_nce_keys(both.guess_a, both.aim_b, **common)
        losses = losses + info_nce_keys(both.guess_b, both.aim_a, **common)
        total = masked_mean(2 * self.temperature * losses, None, axis_name=self.axis_name)
        return total, (state, {"loss/contrast": total, **self.watched(both.seen, positives)})

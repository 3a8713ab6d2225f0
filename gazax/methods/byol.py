"""BYOL: one view predicts what a slowly following copy of the network makes of the other."""

import dataclasses

from gazax.losses import cosine_regression
from gazax.losses.parallel import masked_mean
from gazax.methods.base import Params, State
from gazax.methods.bootstrap import Bootstrap
from gazax.typing import Batch, Key, Scalar, StepCount, Terms


@dataclasses.dataclass(frozen=True, kw_only=True)
class BYOL(Bootstrap):
    """Bootstrap your own latent: no negatives; predictor and target keep it from collapse.

    L = mean over images of (2 - 2 cos(q(z_a), z'_b)) + (2 - 2 cos(q(z_b), z'_a)), in [0, 8]

    z' are the target's projections.

    Source: Grill et al. 2020 (arXiv:2006.07733), eq. 2, §3.1; momentum from .996 to 1.
    """

    def loss(
        self, params: Params, state: State, batch: Batch, rng: Key, *, step: StepCount, train: bool
    ) -> tuple[Scalar, tuple[State, Terms]]:
        """See `Method.loss`; terms: `loss/regression`, and how far the features spread."""
        both, state = self.look_at_both(params, state, self.views(batch, rng), train=train)
        positives = self.positives(batch, rng)
        common = dict(positives=positives, axis_name=self.axis_name)
        losses = cosine_regression(both.guess_a, both.aim_b, **common)
        losses = losses + cosine_regression(both.guess_b, both.aim_a, **common)
        total = masked_mean(losses, None, axis_name=self.axis_name)
        return total, (state, {"loss/regression": total, **self.watched(both.seen, positives)})

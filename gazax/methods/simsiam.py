"""SimSiam: one view predicts the other's projection, which has no gradient; that is all."""

import dataclasses

import jax
from einops import rearrange

from gazax.losses import cosine_regression
from gazax.losses.parallel import masked_mean
from gazax.methods.base import Params, State
from gazax.methods.siamese import Predictive
from gazax.typing import Batch, Key, Scalar, StepCount, Terms


@dataclasses.dataclass(frozen=True, kw_only=True)
class SimSiam(Predictive):
    """Simple siamese representation learning: no negatives and no target.

    L = mean over images of -(cos(q(z_a), sg(z_b)) + cos(q(z_b), sg(z_a))) / 2, in [-1, 1]

    Both views go through the network at once, so that statistics of the batch are of both; the
    published code takes a view at a time.

    Source: Chen and He 2021 (arXiv:2011.10566), eq. 1 to 4.
    """

    def loss(
        self, params: Params, state: State, batch: Batch, rng: Key, *, step: StepCount, train: bool
    ) -> tuple[Scalar, tuple[State, Terms]]:
        """See `Method.loss`; terms: `loss/similarity`, and how far the features spread."""
        seen, state = self.embed(params, state, self.views(batch, rng), train=train)
        guess, state = self.predict_other(params, state, seen.z, train=train)
        aim_a, aim_b = rearrange(jax.lax.stop_gradient(seen.z), "(b v) d -> v b d", v=2)
        guess_a, guess_b = rearrange(guess, "(b v) d -> v b d", v=2)
        positives = self.positives(batch, rng)
        common = dict(positives=positives, axis_name=self.axis_name)
        losses = cosine_regression(guess_a, aim_b, **common)
        losses = losses + cosine_regression(guess_b, aim_a, **common)
        # (2 - 2 cos) + (2 - 2 cos) -> -(cos + cos) / 2
        total = masked_mean(losses / 4 - 1, None, axis_name=self.axis_name)
        return total, (state, {"loss/similarity": total, **self.watched(seen, positives)})

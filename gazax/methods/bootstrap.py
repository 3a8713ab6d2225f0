"""What methods share in which one view predicts what a slowly following copy makes of the other."""

import dataclasses
from typing import NamedTuple

import jax
from einops import rearrange
from jaxtyping import Array, Float

from gazax.methods.base import Params, State
from gazax.methods.siamese import Embedded, Predictive
from gazax.methods.target_network import (
    TARGET,
    current_target,
    first_target,
    follow_network,
    keep_target,
    rising_momentum,
)
from gazax.typing import Batch, Key, StepCount


class Guesses(NamedTuple):
    """Of both views of each image: what is predicted of the other, and what the target makes."""

    guess_a: Float[Array, "b e"]
    guess_b: Float[Array, "b e"]
    aim_a: Float[Array, "b e"]
    aim_b: Float[Array, "b e"]
    seen: Embedded
    """By the network itself."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bootstrap(Predictive):
    """A `Predictive` with a target network; how guess and aim are compared is a method's own.

    Both views go through a network at once, so that statistics of the batch are of both; the
    published codes take a view at a time.

    Attributes:
      momentum: of the target at the first step; it rises to 1 (`rising_momentum`).
      total_steps: of the run.
      the others: see `gazax.methods.siamese`.
    """

    momentum: float
    total_steps: int

    def init(self, rng: Key, batch: Batch) -> tuple[Params, State]:
        """Scopes `backbone`, `projector` and `predictor`; the state holds the `target`."""
        params, state = super().init(rng, batch)
        target = first_target(params, state, ("backbone", "projector"))
        return params, {**state, TARGET: target}

    def look_at_both(
        self, params: Params, state: State, image: Float[Array, "b2 h w 1"], *, train: bool
    ) -> tuple[Guesses, State]:
        """Guesses and aims of pairs of views side by side, and the state after them.

        The aims have no gradient.
        """
        target, of_target = current_target(params, state)
        aim, of_target = self.embed(target, of_target, image, train=train)
        seen, state = self.embed(params, state, image, train=train)
        guess, state = self.predict_other(params, state, seen.z, train=train)
        aim_a, aim_b = rearrange(jax.lax.stop_gradient(aim.z), "(b v) d -> v b d", v=2)
        guess_a, guess_b = rearrange(guess, "(b v) d -> v b d", v=2)
        state = keep_target(state, target, of_target)
        return Guesses(guess_a, guess_b, aim_a, aim_b, seen), state

    def after_step(self, params: Params, state: State, *, step: StepCount) -> State:
        """The target follows."""
        momentum = rising_momentum(step, base=self.momentum, total_steps=self.total_steps)
        return follow_network(params, state, momentum)

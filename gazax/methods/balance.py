"""How much each task counts where several are trained at once.

uncertainty  L_c / s_c^2 + L_s / (2 s_s^2) + ln(s_c + 1) + ln(s_s + 1), s learned by the backbone
kendall      the same with ln s
gradnorm     w_c L_c + w_s L_s, w learned so that both tasks pull alike on what they share
fixed        w_c L_c + w_s L_s, w given
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from gazax.config import choose
from gazax.losses.multitask import grad_norm_loss, precision_weights, uncertainty_weighted
from gazax.methods.base import Params, State
from gazax.models.mt_unet import TASKS
from gazax.typing import InputError, Scalar, StepCount, Terms

BALANCE = "balance"
"""Scope of GradNorm's parameter and of the losses that it began with."""
BALANCES = ("uncertainty", "kendall", "gradnorm", "fixed")
EVEN = (1.0, 1.0)
ALPHA = 1.5

_FORMS = {"uncertainty": "log1p", "kendall": "kendall"}
_SCALES = (1.0, 0.5)
"""Of uncertainties: a classification's loss, and that of a density."""


class TaskLosses(NamedTuple):
    """What a global batch says of each of `TASKS`; the same on every shard."""

    losses: Float[Array, "t"]
    valid: Bool[Array, "t"]
    """Whether any example of the batch has the task."""
    log_sigma: Float[Array, "t"]
    """Of the backbone."""
    gradient_norms: Float[Array, "t"] | None = None
    """Of GradNorm, in training."""


@dataclasses.dataclass(frozen=True)
class Balance:
    """One of the four ways.

    A task of which the global batch has no example adds nothing, and teaches no weight.

    Attributes:
      name: one of `BALANCES`.
      weights: of 'fixed', in the order of `TASKS`.
      alpha: of 'gradnorm', see `gazax.losses.multitask.grad_norm_loss`.

    Source: see `gazax.losses.multitask`. GradNorm's weights are T softmax(p) of a parameter p that
    starts at 0 and learns with everything else, at the run's learning rate. So their sum stays T
    and none becomes negative. The paper updates the weights themselves, by an optimizer of their
    own, and divides them by their mean afterwards.
    """

    name: str
    weights: tuple[float, ...] = EVEN
    alpha: float = ALPHA

    def __post_init__(self) -> None:
        """Refuses an unknown way, and what belongs to another one."""
        choose("method.balance", self.name, BALANCES)
        only_of = {
            "weights": ("fixed", tuple(self.weights), EVEN),
            "alpha": ("gradnorm", self.alpha, ALPHA),
        }
        for field, (name, value, usual) in only_of.items():
            if name != self.name and value != usual:
                raise InputError(
                    f"method.{field}={value} belongs to balance='{name}'; leave it at {usual} for "
                    f"balance='{self.name}'."
                )
        usable = all(0 <= weight < math.inf for weight in self.weights)
        if len(self.weights) != len(TASKS) or not usable or not any(self.weights):
            raise InputError(
                f"method.weights={tuple(self.weights)}; give one weight for each of "
                f"{', '.join(TASKS)}, not negative and not all 0."
            )
        if not 0 <= self.alpha < math.inf:
            raise InputError(f"method.alpha is {self.alpha}; it is 0 or more.")

    @property
    def needs_gradients(self) -> bool:
        """Whether `total` needs `gradient_norms` in training."""
        return self.name == "gradnorm"

    def init(self, learned_sigmas: Sequence[str]) -> tuple[Params, State]:
        """Parameters and state by scope, beside those of a backbone that learns these sigmas.

        Raises:
          InputError: the backbone learns sigmas that nobody asks for, or none where some are.
        """
        if self.name in _FORMS and not learned_sigmas:
            raise InputError(
                f"method.balance='{self.name}' weighs by sigmas that the model learns, and it "
                f"learns none: name any of {', '.join(TASKS)} in config.model.learned_sigmas, or "
                "take balance=fixed."
            )
        if self.name == "kendall" and len(learned_sigmas) < len(TASKS):
            raise InputError(
                f"method.balance='kendall' learns a sigma of every task: take "
                f"config.model.learned_sigmas={TASKS}."
            )
        if self.name not in _FORMS and learned_sigmas:
            raise InputError(
                f"the model learns a sigma of {' and of '.join(learned_sigmas)}, which "
                f"method.balance='{self.name}' does not use: take config.model.learned_sigmas=(), "
                "or balance=uncertainty."
            )
        if self.name != "gradnorm":
            return {}, {}
        # Two arrays: a step donates both, and one buffer cannot be given away twice.
        log_weights, initial_losses = jnp.zeros(len(TASKS)), jnp.zeros(len(TASKS))
        return {BALANCE: {"log_weights": log_weights}}, {
            BALANCE: {"initial_losses": initial_losses}
        }

    def total(
        self, params: Params, state: State, of: TaskLosses, *, step: StepCount
    ) -> tuple[Scalar, tuple[State, Terms]]:
        """What is minimised, the state after it, and the losses and weights of the tasks to log.

        Args:
          params, state: by scope.
          of: of the global batch. Without `gradient_norms` GradNorm only weighs, as in evaluation;
            with them it also learns to, and logs `loss/balance`.
          step: updates done. GradNorm keeps the losses of step 0, or of the first step that has an
            example of the task.
        """
        weights, more = self._weights(params, of), {}
        if self.name in _FORMS:
            total = uncertainty_weighted(
                of.losses,
                of.log_sigma,
                scale=jnp.array(_SCALES),
                form=_FORMS[self.name],
                valid=of.valid,
            )
        else:
            # GradNorm's weights learn by the gradients alone: the sum would send them to 0.
            total = (jnp.where(of.valid, of.losses, 0.0) * jax.lax.stop_gradient(weights)).sum()
        if of.gradient_norms is not None:
            initial = jnp.where(step == 0, 0.0, state[BALANCE]["initial_losses"])
            initial = jnp.where(of.valid & (initial <= 0), of.losses, initial)
            initial = jax.lax.stop_gradient(initial)
            state = {**state, BALANCE: {"initial_losses": initial}}
            uneven = grad_norm_loss(
                weights, of.gradient_norms, of.losses, initial, alpha=self.alpha, valid=of.valid
            )
            total, more = total + uneven, {"loss/balance": uneven}
        for i, task in enumerate(TASKS):
            more |= {f"loss/{task}": of.losses[i], f"weight/{task}": weights[i]}
        return total, (state, more)

    def _weights(self, params: Params, of: TaskLosses) -> Float[Array, "t"]:
        """What each loss is multiplied by."""
        if self.name in _FORMS:
            return precision_weights(of.log_sigma, scale=jnp.array(_SCALES))
        if self.name == "gradnorm":
            return len(TASKS) * jax.nn.softmax(params[BALANCE]["log_weights"])
        return jnp.array(self.weights, jnp.float32)


def with_gradient_norms(
    losses: Callable[[Params], tuple[Float[Array, "t"], Any]],
    params: Params,
    path: Sequence[str],
    *,
    axis_name: str | None,
) -> tuple[Float[Array, "t"], Float[Array, "t"], Any]:
    """Losses of tasks, the norm of the gradient of each, and anything else, from one forward pass.

    Args:
      losses: from all parameters to the losses of the global batch, the same on every shard, and
        anything else.
      params: nested dicts.
      path: of the parameter in them with respect to which the gradients are.
      axis_name: mapped axis of the batch.

    Returns:
      The losses, to be differentiated further; the norms, constants, the same on every shard; and
      the anything else.

    Numerics: each task costs a backward pass from its loss to that parameter. Under shard_map the
    gradient of a global loss with respect to a parameter is the global one; under pmap a device
    finds n times its own share of it. The mean over the shards is the global gradient in both.
    """

    def of_one(value: Array) -> tuple[Array, Any]:
        return losses(_with(params, path, value))

    parameter: Any = params
    for name in path:
        parameter = parameter[name]
    found, pull_back, rest = jax.vjp(of_one, parameter, has_aux=True)

    def norm(task: Array) -> Array:
        (gradient,) = pull_back(task)
        if axis_name is not None:
            gradient = jax.lax.pmean(gradient, axis_name)
        # Stopped before the root, whose slope at 0 is none.
        return jnp.sqrt(jnp.square(jax.lax.stop_gradient(gradient)).sum())

    return found, jnp.stack([norm(task) for task in jnp.eye(len(found))]), rest


def _with(params: Params, path: Sequence[str], value: Array) -> Params:
    """The parameters with another value at the path."""
    name, *below = path
    return {**params, name: _with(params[name], below, value) if below else value}

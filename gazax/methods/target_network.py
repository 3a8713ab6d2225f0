"""The target of a network: a copy that follows its weights slowly and has no gradient.

It is part of the method's state, as `target`: its parameters, its statistics (its own forward
passes move them) and whether it has begun to follow. Until then it is the network itself, whatever
weights that begins with, so that a run that starts from another's starts with a target that agrees.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from gazax.methods.base import Params, State
from gazax.typing import StepCount

TARGET = "target"


def first_target(params: Params, state: State, scopes: Sequence[str]) -> State:
    """The target before the first step, of some scopes: the state that is to hold `target`."""

    def copies(of: Any) -> Any:  # a step gives away its state, and no buffer twice
        return jax.tree.map(jnp.copy, {scope: of[scope] for scope in scopes if scope in of})

    return {
        "params": copies(params),
        "state": copies(state),
        "begun": jnp.zeros((), jnp.int32),
    }


def current_target(params: Params, state: State) -> tuple[Params, State]:
    """The target's parameters and statistics; the network's own before it has begun."""
    target = state[TARGET]

    def pick(followed: Any, own: Any) -> Any:
        found = jax.tree.map(
            lambda slow, fast: jnp.where(target["begun"] > 0, slow, fast),
            followed,
            {scope: own[scope] for scope in followed},
        )
        return jax.lax.stop_gradient(found)

    return pick(target["params"], params), pick(target["state"], state)


def keep_target(state: State, params: Params, statistics: State) -> State:
    """The method's state with a target of these parameters and statistics, which has begun."""
    begun = jnp.ones((), jnp.int32)
    return {**state, TARGET: {"params": params, "state": statistics, "begun": begun}}


def follow_network(params: Params, state: State, momentum: Float[ArrayLike, ""]) -> State:
    """The method's state after the target has moved towards the network.

    target <- m target + (1 - m) network

    Args:
      params: of the network, after its update.
      state: with a target that has begun.
      momentum: m in [0, 1]; 1 keeps the target, 0 copies the network.

    Source: He et al. 2020 (arXiv:1911.05722), eq. 2.
    """
    target = state[TARGET]
    moved = jax.tree.map(
        lambda slow, fast: momentum * slow + (1 - momentum) * fast,
        target["params"],
        {scope: params[scope] for scope in target["params"]},
    )
    return {**state, TARGET: {**target, "params": moved}}


def rising_momentum(step: StepCount, *, base: float, total_steps: int) -> Float[Array, ""]:
    """Momentum that rises from ``base`` to 1 over the run, along half a cosine.

    m(s) = 1 - (1 - base) (1 + cos(pi s / S)) / 2

    Args:
      step: s, of the update that it follows, from 0.
      base: in [0, 1].
      total_steps: S.

    Source: Grill et al. 2020 (arXiv:2006.07733), §3.2, implementation details.
    """
    share = jnp.asarray(step, jnp.float32) / total_steps
    return 1.0 - (1.0 - base) * (1.0 + jnp.cos(jnp.pi * share)) / 2.0

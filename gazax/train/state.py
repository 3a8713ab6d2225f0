"""What a run carries from step to step."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from gazax.methods.base import Method, Params
from gazax.train import freeze
from gazax.typing import Batch


class TrainState(struct.PyTreeNode):
    """Everything that a checkpoint holds but the position in the stream of examples.

    No random key is carried: a step's key is ``fold_in(key(seed), step)``. The fields may hold
    arrays, their shapes or their shardings.
    """

    step: Any
    """Updates done, int32."""
    params: Any
    method_state: Any
    """Batch statistics, EMA targets, queues: what changes without a gradient."""
    opt_state: Any


def init_state(
    method: Method, tx: optax.GradientTransformation, batch: Batch, *, seed: int
) -> TrainState:
    """The state at step 0, from shapes alone: ``batch`` may hold `jax.ShapeDtypeStruct`."""
    zeros = jax.tree.map(lambda spec: jnp.zeros(spec.shape, spec.dtype), batch)
    params, method_state = method.init(jax.random.key(seed), zeros)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        method_state=method_state,
        opt_state=init_optimizer(method, tx, params),
    )


def init_optimizer(method: Method, tx: optax.GradientTransformation, params: Params) -> Any:
    """The optimizer's state before the first update: of what is not frozen."""
    trainable, _ = freeze.split(params, method.freeze)
    return tx.init(trainable)

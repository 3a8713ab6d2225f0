"""How a run begins: from random weights, or from those of another run."""

import functools
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax
from jax.sharding import Mesh

from gazax.methods.base import Method, Params, State
from gazax.train.sharding import state_sharding
from gazax.train.state import TrainState, init_optimizer, init_state
from gazax.typing import Batch

Initialise = Callable[[Params, State], tuple[Params, State]]
"""(params, state), arrays or shapes -> the same trees, host arrays where weights were loaded."""


def _of_one_call(mesh: Mesh) -> dict[str, Any] | None:
    """How to compile a program that runs once.

    XLA:CPU takes long over the random numbers of every kernel: those of a ResNet-50 18 s of a core,
    10 at this level and the same to the bit. A level in XLA_FLAGS has its way.
    """
    level = "xla_backend_optimization_level"
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    return {level: 1} if on_cpu and level not in os.environ.get("XLA_FLAGS", "") else None


class Start(NamedTuple):
    """How a run begins."""

    described: TrainState
    """Shapes, dtypes and shardings of the state."""
    fresh: Callable[[], TrainState]
    """Makes the state of step 0, already sharded; the same one every time."""


def make_start(
    method: Method,
    tx: optax.GradientTransformation,
    spec: Batch,
    *,
    mesh: Mesh,
    seed: int,
    initialise: Initialise | None = None,
) -> Start:
    """Knows the state from shapes alone; a config that fits no model fails here.

    Args:
      method, tx: what is learned, and what keeps the optimizer's state.
      spec: shapes of a batch.
      mesh: the devices.
      seed: of the random weights.
      initialise: puts loaded weights where random ones were (`gazax.train.init_from`); asked once
        here, with shapes, so that weights that do not fit fail here too, and by each `fresh`.
    """
    init = functools.partial(init_state, method, tx, spec, seed=seed)
    shapes = jax.eval_shape(init)
    shardings = state_sharding(shapes, mesh)
    described = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        shardings,
    )
    random = jax.jit(init, out_shardings=shardings, compiler_options=_of_one_call(mesh))
    if initialise is None:
        return Start(described, random)
    initialise(shapes.params, shapes.method_state)
    optimizer = jax.jit(
        functools.partial(init_optimizer, method, tx), out_shardings=shardings.opt_state
    )

    def loaded() -> TrainState:
        state = random()
        params, method_state = jax.device_put(
            initialise(state.params, state.method_state),
            (shardings.params, shardings.method_state),
        )
        return state.replace(params=params, method_state=method_state, opt_state=optimizer(params))

    return Start(described, loaded)

"""One device, shard_map and pmap, which have to take the same step of a method."""

import jax
import numpy as np
import optax

from gazax.train.sharding import make_mesh
from gazax.train.state import init_state
from gazax.train.step import make_step
from tests.batches import spec_of


def check_same_step(method, *batches, learning_rate=0.1, atol=2e-6):
    """A step on each batch leaves the same parameters, statistics and loss in all three ways.

    Returns:
      The terms, and how far each parameter moved at most; a test without movement says nothing.
    """
    found, tx = {}, optax.sgd(learning_rate)
    for parallel in ("jit", "shard_map", "pmap"):
        state = init_state(method, tx, spec_of(batches[0]), seed=0)
        before = jax.device_get(state.params)
        step = make_step(
            method, tx, lambda _: learning_rate, mesh=make_mesh(), parallel=parallel, seed=0
        )
        for batch in batches:
            state, terms = step(state, batch)
        found[parallel] = jax.device_get((state.params, state.method_state, terms["loss"]))
    for parallel in ("shard_map", "pmap"):
        jax.tree.map(
            lambda one, other: np.testing.assert_allclose(other, one, atol=atol),
            found["jit"],
            found[parallel],
        )
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), before, found["jit"][0])
    assert max(jax.tree.leaves(moved)) > 1e-5
    return terms, moved

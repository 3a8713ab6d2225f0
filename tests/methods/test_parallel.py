"""GazAT with all that crosses examples: one device, shard_map and pmap take the same step."""

import jax
import numpy as np
import optax
import pytest

from gazax.models.resnet import ResNet
from gazax.train.sharding import make_mesh
from gazax.train.state import init_state
from gazax.train.step import make_step
from tests.batches import spec_of, tiny_batch
from tests.methods.test_gazat import make


@pytest.mark.slow
def test_grad_cam_of_a_resnet_takes_the_same_step_on_any_devices():
    """Batch statistics, the gradient within the gradient and positives are the whole batch's."""
    method = make(
        backbone=ResNet((1,), bottleneck=False),
        attention="grad_cam",
        grad_cam_weights="differentiated",
        positives="label",
        levels=(0,),
        level_weights=(1.0,),
    )
    batch = tiny_batch(8)
    tx = optax.sgd(0.05)
    found = {}
    for parallel in ("jit", "shard_map", "pmap"):
        state = init_state(method, tx, spec_of(batch), seed=0)
        before = jax.device_get(state.params)
        step = make_step(method, tx, lambda step: 0.05, mesh=make_mesh(), parallel=parallel, seed=0)
        state, terms = step(state, batch)
        assert terms["loss/attention"] > 0
        found[parallel] = jax.device_get((state.params, state.method_state))
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), before, found["jit"][0])
    assert min(jax.tree.leaves(moved["backbone"])) > 1e-7
    for parallel in ("shard_map", "pmap"):
        jax.tree.map(
            lambda one, other: np.testing.assert_allclose(other, one, atol=2e-6),
            found["jit"],
            found[parallel],
        )

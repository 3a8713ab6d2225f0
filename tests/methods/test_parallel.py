"""GazAT with all that crosses examples: one device, shard_map and pmap take the same step."""

import jax
import pytest

from gazax.models.resnet import ResNet
from tests.batches import tiny_batch
from tests.methods.devices import check_same_step
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
    terms, moved = check_same_step(method, batch, learning_rate=0.05)
    assert terms["loss/attention"] > 0
    assert min(jax.tree.leaves(moved["backbone"])) > 1e-7

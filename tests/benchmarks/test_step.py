"""The step's rate beside the input's, and the phantom's.

    python -m pytest tests/benchmarks -n0 --benchmark-enable -m "slow or not slow"

The input's own rate is in test_pipeline.py; a run logs both as ``images_per_s`` and
``input_wait_share``.
"""

import pathlib

import jax
import pytest

from gazax import config as config_lib
from gazax.data import phantom
from gazax.experiment.method import build_method
from gazax.train import loop, optim, sharding
from gazax.train.step import make_step
from tests.batches import spec_of, tiny_batch

ROOT = pathlib.Path(__file__).parent.parent.parent


@pytest.mark.slow
def test_step_of_the_default_config(benchmark):
    """Views, gaze rendering, forward, backward and update; images/s = batch / time."""
    config = config_lib.load(str(ROOT / "configs/gazat_vit.py"))
    batch_size = 64 if benchmark.enabled else 8
    batch = tiny_batch(
        batch_size,
        size=config.data.size[0],
        fixations=config.data.max_fixations,
        readers=config.data.max_readers,
    )
    method = build_method(config)
    schedule = optim.cosine_schedule(learning_rate=1e-3, warmup_steps=1, total_steps=100)
    tx = optim.adamw(schedule, weight_decay=0.05, clip_norm=1.0)
    mesh = sharding.make_mesh()
    state = loop.make_start(method, tx, spec_of(batch), mesh=mesh, seed=0).fresh()
    step = make_step(method, tx, schedule, mesh=mesh, parallel="jit", seed=0)
    holder = [state]

    def one_step():
        holder[0], terms = step(holder[0], batch)
        jax.block_until_ready(terms)

    benchmark.pedantic(one_step, rounds=10, warmup_rounds=2)
    benchmark.extra_info["batch_size"] = batch_size


def test_phantom_on_every_core(benchmark, tmp_path):
    """400 images of 128 px; 1,000 a minute is 24 s."""
    count = 400 if benchmark.enabled else 4
    benchmark.pedantic(
        lambda: phantom.write_gaze_folder(tmp_path / "phantom", count=count, size=128), rounds=1
    )
    benchmark.extra_info["images"] = count

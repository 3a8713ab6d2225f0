"""What a step of cooperative learning asks of a TPU v5e chip, without one: XLA compiles for it.

pip install "jax[tpu]"
python -m pytest tests/benchmarks/test_tpu_memory.py -n0 -m slow -s
"""

import importlib.util
import pathlib
import time
from unittest import mock

import jax
import numpy as np
import pytest
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh

from gazax import config as config_lib
from gazax.experiment import parts
from gazax.train import step as step_lib
from gazax.train.sharding import DATA, FSDP, batch_sharding
from gazax.train.start import make_start

CONFIGS = pathlib.Path(__file__).parent.parent.parent / "configs/cooperative"
BEGINS_WITH = {
    "stage1_triplet": "",
    "stage1_classify": "stage:stage1_triplet",
    "stage2_saliency": "stage:stage1_classify",
    "stage3_fusion": "stage:stage2_saliency",
}
HBM = int(15.75 * 2**30)
"""Bytes of one chip that a program may use."""


def compile_step(
    stage: str, *, batch_size: int, remat: bool, cached: bool = True
) -> jax.stages.Compiled:
    """The training step of a stage at the paper's size, for one chip.

    Args:
      cached: whether stages 2 and 3 get what their frozen parts make of the images.
    """
    config = config_lib.load(f"{CONFIGS}/{stage}.py:data=egd_cxr,init_from={BEGINS_WITH[stage]}")
    config.train.batch_size, config.train.steps = batch_size, 1000
    config.model.remat = remat
    if "guide" in config:
        config.guide.remat = remat
    if "task" in config.method:  # what the data would tell
        config.method.task, config.method.class_weight = "multiclass", (1.0, 1.0, 1.0)

    topology = topologies.get_topology_desc(
        platform="tpu", topology_name="v5e:1x1", chips_per_host_bounds=(1, 1, 1)
    )
    devices = np.array(topology.devices).reshape(1, 1)
    mesh = Mesh(devices, (DATA, FSDP), axis_types=(AxisType.Auto, AxisType.Auto))
    method = parts.build_method(config)
    schedule, tx = parts.build_optimizer(config, method.backbone)
    batch = config_lib.batch_spec(config)
    state = make_start(method, tx, batch, mesh=mesh, seed=0).described
    if cached and config.train.cache_frozen:
        found = jax.eval_shape(method.precompute, state.params, state.method_state, batch)
        batch = {**batch, "cached": found}
    batch = jax.tree.map(lambda x: x.update(sharding=batch_sharding(mesh)), batch)

    # A batch of shapes has nothing to put on a device.
    with mock.patch.object(step_lib, "place_batch", lambda batch, sharding: batch):
        step = step_lib.make_step(method, tx, schedule, mesh=mesh, parallel="jit", seed=0)
        traced = jax.jit(step, donate_argnums=0).trace(state, batch)
    return traced.lower(lowering_platforms=("tpu",)).compile()


@pytest.mark.slow
@pytest.mark.parametrize("remat", [True, False])
@pytest.mark.parametrize("stage", BEGINS_WITH)
def test_memory_of_a_step_on_one_chip(monkeypatch, stage, remat):
    if importlib.util.find_spec("libtpu") is None:
        pytest.skip("libtpu is not installed; pip install 'jax[tpu]'")
    for name, value in {  # no metadata server is asked what machine this is
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_WORKER_ID": "0",
        "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    }.items():
        monkeypatch.setenv(name, value)
    start = time.perf_counter()
    try:
        compiled = compile_step(stage, batch_size=16, remat=remat)
    except jax.errors.JaxRuntimeError as error:
        if remat or "RESOURCE_EXHAUSTED" not in str(error):
            raise
        print(f"\n{stage}, batch 16, remat {remat}: {str(error).splitlines()[0]}")
        return
    seconds = time.perf_counter() - start
    peak = compiled.memory_analysis().peak_memory_in_bytes
    flops = compiled.cost_analysis()["flops"]
    print(
        f"\n{stage}, batch 16, remat {remat}: peak {peak / 2**30:.2f} GiB, "
        f"{flops / 1e12:.2f} TFLOP, compiled in {seconds:.0f} s"
    )
    assert peak <= HBM

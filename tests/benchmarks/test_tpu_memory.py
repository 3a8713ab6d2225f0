"""What a step of cooperative learning asks of a TPU v5e chip, without one: XLA compiles for it.

pip install "jax[tpu]"
python -m pytest tests/benchmarks/test_tpu_memory.py -n0 -m slow -s
"""

import importlib.util
import pathlib
import time

import jax
import numpy as np
import pytest
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh

from gazax import config as config_lib
from gazax.experiment import parts
from gazax.experiment.method import build_method
from gazax.train.sharding import DATA, FSDP, batch_sharding
from gazax.train.start import make_start
from gazax.train.step import jit_step

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
    method = build_method(config)
    schedule, tx = parts.build_optimizer(config, method.backbone)
    batch = config_lib.batch_spec(config)
    state = make_start(method, tx, batch, mesh=mesh, seed=0).described
    if cached and config.train.cache_frozen:
        found = jax.eval_shape(method.precompute, state.params, state.method_state, batch)
        batch = {**batch, "cached": found}
    batch = jax.tree.map(lambda x: x.update(sharding=batch_sharding(mesh)), batch)

    step = jit_step(method, tx, schedule, mesh=mesh, parallel="jit", seed=0)
    return step.trace(state, batch).lower(lowering_platforms=("tpu",)).compile()


FITS = {
    ("stage1_triplet", True): 48,
    ("stage1_triplet", False): 20,
    ("stage1_classify", True): 48,
    ("stage1_classify", False): 20,
    ("stage2_saliency", True): 16,
    ("stage2_saliency", False): 4,
    ("stage3_fusion", True): 4096,
}
"""(stage, remat) -> images of a batch; stage 3 has nothing left to recompute."""


@pytest.fixture
def least_effort():
    """XLA without its costly passes: a quarter of the minutes, and a few per cent more memory.

    With all effort, eight images of stage 1b took 2.48 GiB and 1,482 s, with the least 2.57 GiB.
    """
    name = "jax_exec_time_optimization_effort"
    before = getattr(jax.config, name)
    jax.config.update(name, -1.0)
    yield
    jax.config.update(name, before)


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "remat"), FITS)
def test_a_batch_fits_one_chip(monkeypatch, least_effort, stage, remat):
    if importlib.util.find_spec("libtpu") is None:
        pytest.skip("libtpu is not installed; pip install 'jax[tpu]'")
    for name, value in {  # no metadata server is asked what machine this is
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_WORKER_ID": "0",
        "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    }.items():
        monkeypatch.setenv(name, value)
    batch_size = FITS[stage, remat]
    start = time.perf_counter()
    compiled = compile_step(stage, batch_size=batch_size, remat=remat)
    seconds = time.perf_counter() - start
    peak = compiled.memory_analysis().peak_memory_in_bytes
    print(
        f"\n{stage}, batch {batch_size}, remat {remat}: peak {peak / 2**30:.2f} GiB, "
        f"compiled in {seconds:.0f} s"
    )
    assert peak <= HBM

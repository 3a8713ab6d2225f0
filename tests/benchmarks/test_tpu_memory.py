"""What a step of cooperative learning asks of a TPU v5e chip, without one: XLA compiles for it.

pip install "jax[tpu]"
python -m pytest tests/benchmarks/test_tpu_memory.py -n0 -m slow -s
"""

import importlib.util
import pathlib
import time

import jax
import pytest

from gazax import config as config_lib
from gazax.experiment.dryrun import dry_run
from gazax.hardware.estimate import Estimate
from gazax.hardware.topology import open_slice

CONFIGS = pathlib.Path(__file__).parent.parent.parent / "configs/cooperative"
BEGINS_WITH = {
    "stage1_triplet": "",
    "stage1_classify": "stage:stage1_triplet",
    "stage2_saliency": "stage:stage1_classify",
    "stage3_fusion": "stage:stage2_saliency",
}


def estimate(stage: str, *, batch_size: int, remat: bool, cached: bool = True) -> Estimate:
    """The training step of a stage at the paper's size, for one chip.

    Args:
      cached: whether stages 2 and 3 get what their frozen parts make of the images.
    """
    config = config_lib.load(f"{CONFIGS}/{stage}.py:data=egd_cxr,init_from={BEGINS_WITH[stage]}")
    config.model.remat = remat
    if "guide" in config:
        config.guide.remat = remat
    config.train.cache_frozen &= cached
    return dry_run(config, open_slice("v5e:1x1"), batch=batch_size).estimate


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
def test_a_batch_fits_one_chip(least_effort, stage, remat):
    if importlib.util.find_spec("libtpu") is None:
        pytest.skip("NOT TESTED: the TPU compiler; pip install 'gazax[tpu]'")
    batch_size = FITS[stage, remat]
    start = time.perf_counter()
    found = estimate(stage, batch_size=batch_size, remat=remat)
    seconds = time.perf_counter() - start
    print(f"\n{stage}, batch {batch_size}, remat {remat}: {found.found}, {seconds:.0f} s")
    assert found.fits

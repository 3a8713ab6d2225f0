"""The strict session that every test runs in: simulated devices, no silent rank promotion."""

import gc
import importlib.util
import os
import shutil
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["JAX_NUM_CPU_DEVICES"] = "4"
# Nearly all the time goes into compiling programs that then run once on tiny shapes, which XLA does
# twice as fast without optimising and with its older code for loops, and a little faster in one
# piece, for both cores are busy (a jaxlib that no longer knows a flag ends the process and names
# it). XLA_FLAGS='' takes the programs as they are in earnest.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
)
# Where in Python each operation comes from takes a tenth of the rest, and is for error messages.
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")
# Many tests run the same step: it is compiled once a session, whichever worker comes first.
if "PYTEST_XDIST_WORKER" not in os.environ:
    XLA_CACHE = tempfile.mkdtemp(prefix="gazax-tests-xla-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = XLA_CACHE
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
os.environ.setdefault("TQDM_DISABLE", "1")

import jax
import pytest

from tests.runs import run

jax.config.update("jax_numpy_rank_promotion", "raise")
gc.set_threshold(50_000, 20, 50)  # traces are millions of objects, few of them garbage


PARITY = ("torch", "torchvision", "timm", "onnx", "onnxscript", "onnxruntime")
ABSENT = [name for name in PARITY if importlib.util.find_spec(name) is None]


def pytest_sessionstart() -> None:
    """Where CI is set, parity with PyTorch is tested and not skipped."""
    if ABSENT and os.environ.get("CI"):
        raise pytest.UsageError(f"CI tests against {', '.join(PARITY)}; absent: {ABSENT}")


def pytest_terminal_summary(terminalreporter) -> None:
    if ABSENT:
        terminalreporter.write_line(
            f"NOT TESTED: parity with PyTorch; absent: {', '.join(ABSENT)}", red=True
        )


def pytest_unconfigure() -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(XLA_CACHE, ignore_errors=True)


@pytest.fixture
def rng() -> jax.Array:
    return jax.random.key(0)


@pytest.fixture(scope="session")
def env(tmp_path_factory) -> dict[str, str]:
    """Of a subprocess: one device, and one cache of records and compiled programs for all."""
    environment = {**os.environ, "GAZAX_DATA": str(tmp_path_factory.mktemp("cache"))}
    environment.pop("JAX_NUM_CPU_DEVICES")
    return environment


@pytest.fixture(scope="session")
def finished(env, tmp_path_factory):
    """A pretraining run that came to its end, and what it printed."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    return workdir, run(env, workdir, f"--json={workdir.parent / 'numbers.json'}")

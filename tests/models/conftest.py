"""torchvision, timm, and fixtures of the tests of models and of their export."""

import importlib
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest


def import_torchvision() -> ModuleType:
    """torchvision, also where a CPU-only torch stands beside one that was compiled for CUDA.

    There its import stops at an operator that no model of ours, torchvision's or timm's calls;
    naming it first lets the import through.
    """
    torch = pytest.importorskip("torch")
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor x) -> Tensor")
        library.define("qnms(Tensor x) -> Tensor")
        import_torchvision.library = library  # the names go when the library does
    return pytest.importorskip("torchvision")


@pytest.fixture(scope="session")
def torchvision() -> ModuleType:
    return import_torchvision()


@pytest.fixture(scope="session")
def timm() -> ModuleType:
    import_torchvision()
    return pytest.importorskip("timm")


def randomized(model, shape, seed=0):
    """Variables without the zeros, ones and near-zeros of the initial values."""
    spec = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(shape))
    numbers = np.random.default_rng(seed)

    def draw(path, leaf):
        if path[-1].key == "var":
            values = numbers.uniform(0.5, 2, leaf.shape)
        else:
            # what a convolution gives out is as large as what it takes in
            scale = (2 / np.prod(leaf.shape[:3])) ** 0.5 if leaf.ndim == 4 else 0.3
            values = numbers.normal(0, scale, leaf.shape)
        return jnp.asarray(values, jnp.float32)

    return jax.tree_util.tree_map_with_path(draw, spec)

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


def spec_of(model, *shapes):
    """Shapes of the variables, for inputs of these shapes."""
    return jax.eval_shape(model.init, jax.random.key(0), *map(jnp.zeros, shapes))


def count(tree):
    """Numbers in all arrays of a tree."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def zero_levels(model, variables, image):
    """Perturbations of zero, as `apply` takes them."""
    made = jax.eval_shape(lambda: model.apply(variables, image, mutable=["perturbations"])[1])
    return jax.tree.map(lambda spec: jnp.zeros(spec.shape, spec.dtype), made["perturbations"])


def check_perturbation_gradient(model, variables, image, *, width):
    """The gradient with respect to each of two levels is that of finite differences."""
    weight = jnp.asarray(np.random.default_rng(3).normal(size=(2, width)), jnp.float32)
    zeros = zero_levels(model, variables, image)
    assert set(zeros) == {"level_0", "level_1"}

    def score(perturbations):
        features, out = model.apply({**variables, "perturbations": perturbations}, image)
        return (features * weight).sum(), out["feature_maps"]

    value_and_gradient = jax.jit(jax.value_and_grad(score, has_aux=True))
    (_, levels), gradient = value_and_gradient(zeros)
    for i, name in enumerate(sorted(zeros)):
        # Uphill, and something at random. Small, because a relu that switches is beyond a gradient.
        uphill = gradient[name] / gradient[name].std()
        random = jnp.asarray(np.random.default_rng(4).normal(size=uphill.shape), jnp.float32)
        size = 1e-3 * float(levels[i].std())
        step = size * (uphill + random)
        (up, moved), _ = value_and_gradient({**zeros, name: step})
        (down, _), _ = value_and_gradient({**zeros, name: -step})
        np.testing.assert_allclose(moved[i], levels[i] + step, rtol=1e-5, atol=3e-2 * size)
        expected = float((gradient[name] * step).sum())
        assert float(up - down) / 2 == pytest.approx(expected, rel=0.02), name


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

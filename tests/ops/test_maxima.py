import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from gazax.ops.maxima import at_least, larger, largest

INF, NAN = jnp.inf, jnp.nan


def test_larger_by_hand():
    x, y = jnp.array([1.0, 5.0, 2.0, -INF]), jnp.array([3.0, 4.0, 2.0, 0.0])
    np.testing.assert_array_equal(larger(x, y), [3, 5, 2, 0])
    of_x, of_y = jax.grad(lambda x, y: larger(x, y).sum(), (0, 1))(x, y)
    np.testing.assert_array_equal(of_x, [0, 1, 0.5, 0])
    np.testing.assert_array_equal(of_y, [1, 0, 0.5, 1])


def test_at_least_by_hand():
    x = jnp.array([-1.0, 0.25, 0.5, 3.0, -INF])
    np.testing.assert_array_equal(at_least(x, 0.5), [0.5, 0.5, 0.5, 3, 0.5])
    np.testing.assert_array_equal(jax.grad(lambda x: at_least(x, 0.5).sum())(x), [0, 0, 1, 1, 0])
    assert jnp.isnan(at_least(jnp.array(NAN), 0.5))  # an error is not hidden by a floor
    assert at_least(jnp.ones(2, jnp.bfloat16), 0.5).dtype == jnp.bfloat16


def test_largest_by_hand():
    x = jnp.array([[1.0, 7.0, 7.0], [-INF, -INF, -2.0], [-INF, -INF, -INF]])
    np.testing.assert_array_equal(largest(x, 1), [7, -2, -INF])
    np.testing.assert_array_equal(
        jax.grad(lambda x: largest(x, 1) @ jnp.array([1.0, 2.0, 3.0]))(x),
        [[0, 1, 0], [0, 0, 2], [3, 0, 0]],
    )


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_largest_is_numpys_and_its_gradient_that_of_differences(axis):
    x = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(jax.jit(largest, static_argnums=1)(x, axis), x.max(axis))
    check_grads(
        lambda x: largest(jnp.asarray(x), axis), (x,), order=2, modes=("fwd", "rev"), eps=1e-2
    )


@pytest.mark.parametrize(
    "of", [lambda x: larger(x[:, 0], x[:, 1]), lambda x: largest(x, 1)], ids=["pair", "row"]
)
def test_no_gradient_is_lost_whatever_ties(of):
    """Whoever has it, all of it arrives: 600 rows of few values, a batch at a time."""
    x = np.random.default_rng(1).integers(-2, 3, (600, 2)).astype(np.float32)
    given = np.random.default_rng(2).normal(size=600).astype(np.float32)
    found = jax.jit(jax.vjp(of, jnp.asarray(x))[1])(given)[0]
    np.testing.assert_allclose(found.sum(axis=1), given, rtol=1e-6)
    assert (found[x < x.max(axis=1, keepdims=True)] == 0).all()

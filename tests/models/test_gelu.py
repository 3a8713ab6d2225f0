"""Against the closed form in float64; the rule of the gradient beside JAX's own."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from scipy.stats import norm

from gazax.models.gelu import gelu

X = np.linspace(-8, 8, 101)


def slopes(function, x):
    return jax.vmap(jax.grad(lambda y: function(y).astype(jnp.float32)))(x)


def test_values_are_flaxs_to_the_bit_and_the_slope_is_the_closed_form():
    for dtype in (jnp.float32, jnp.bfloat16):
        x = jnp.asarray(X, dtype)
        np.testing.assert_array_equal(gelu(x), nn.gelu(x, approximate=False))
    x = jnp.asarray(X, jnp.float32)
    np.testing.assert_allclose(gelu(x), X * norm.cdf(X), atol=1e-6)
    np.testing.assert_allclose(slopes(gelu, x), norm.cdf(X) + X * norm.pdf(X), atol=1e-6)
    bends = jax.vmap(jax.grad(jax.grad(gelu)))(x)  # Grad-CAM of second order differentiates twice
    np.testing.assert_allclose(bends, norm.pdf(X) * (2 - X**2), atol=1e-6)


def test_in_bfloat16_the_slope_is_rounded_once():
    x = jnp.asarray(X, jnp.bfloat16)
    exact = np.asarray(x, np.float64)
    exact = norm.cdf(exact) + exact * norm.pdf(exact)
    np.testing.assert_allclose(
        np.asarray(slopes(gelu, x), np.float64), exact, rtol=2**-8, atol=1e-6
    )


def test_the_backward_pass_keeps_one_array_of_the_inputs_dtype():
    _, residuals = jax.eval_shape(lambda x: jax.vjp(gelu, x), jnp.zeros((4, 5), jnp.bfloat16))
    kept = jax.tree.leaves(residuals)
    assert [leaf.dtype for leaf in kept if leaf.shape == (4, 5)] == [jnp.bfloat16]

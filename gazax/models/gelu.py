"""The exact GELU, of which the backward pass keeps one array, of the dtype of the input."""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float


@jax.custom_jvp
def gelu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """x times the normal distribution function of x, as torch's.

    Differentiated by rule, Phi(x) + x phi(x) in float32, and not through erfc: XLA would keep the
    inside of that in float32, of the widest activations that a network has.
    """
    return nn.gelu(x, approximate=False)


@gelu.defjvp
def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (tangent,) = primals, tangents
    y = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    below = 0.5 * jax.lax.erfc(-y * math.sqrt(0.5))
    density = jnp.exp(-y * y / 2) / math.sqrt(2 * math.pi)
    return gelu(x), tangent * (below + y * density).astype(tangent.dtype)

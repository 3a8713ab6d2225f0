"""Maxima whose gradient is never lost.

JAX gives the gradient of a maximum to what equals it. Where XLA computes the candidates again for
the backward pass, in another loop that rounds otherwise, none of them may, and the gradient is
nobody's: seen on a CPU in a U-Net's pooling, where a bias was .0006 off after a step of .05. Here
what has the gradient is decided among the candidates themselves, by order and not by equality with
something that was computed elsewhere.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float


@jax.custom_jvp
def larger(x: Float[Array, "*shape"], y: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """max(x, y) of each pair; where they tie each has half of the gradient."""
    return jnp.maximum(x, y)


@larger.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (x, y), (of_x, of_y) = primals, tangents
    share = jnp.where(x > y, 1.0, jnp.where(x == y, 0.5, 0.0)).astype(of_x.dtype)
    return larger(x, y), share * of_x + (1 - share) * of_y


def at_least(x: Float[ArrayLike, "*shape"], floor: float) -> Float[Array, "*shape"]:
    """max(x, floor); the gradient is that of x, and 0 below the floor. NaN stays NaN."""
    x = jnp.asarray(x)
    return jnp.where(x < floor, jnp.asarray(floor, x.dtype), x)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def largest(x: Float[Array, "*shape"], axis: int) -> Float[Array, "*rest"]:
    """Greatest value along an axis; the first of those that tie has the gradient.

    Numerics: the gradient is a select, which runs in a fixed order, and no scatter.
    """
    return x.max(axis)


@largest.defjvp
def _(axis: int, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (of_x,) = primals, tangents
    first = jnp.expand_dims(x.argmax(axis), axis)
    places = jax.lax.broadcasted_iota(first.dtype, x.shape, axis % x.ndim)
    return largest(x, axis), jnp.where(places == first, of_x, 0).sum(axis)

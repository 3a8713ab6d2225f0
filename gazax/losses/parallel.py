"""Means and gradients over a batch that is split among devices.

A loss returns one value an example. What a step minimises is their mean over the global batch, and
three ways of running a step must give the same gradient of it:

``jit``        One program sees the whole batch; nothing is mapped, ``axis_name`` is None.
``shard_map``  Each shard sees its own rows. The step differentiates the ``pmean`` of the loss:
               parameters are the same on every shard, so JAX itself adds up what the shards
               contribute to their gradient.
``pmap``       Each device differentiates its own share and the gradients are averaged after. What
               a device's rows do to the others' losses comes back through the transpose of the
               gather (`all_gather` back to a sum over devices), so it is not lost.

Both rest on one convention: **under an axis, a scalar is this shard's share, and the mean of the
shares over the shards is the value for the global batch.** A plain mean of the local rows is such
a share only when every row counts; `masked_mean` is one always.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Shaped

from gazax.typing import Scalar


def gather(x: Shaped[ArrayLike, "b *rest"], axis_name: str | None) -> Shaped[Array, "B *rest"]:
    """Rows of all shards, in the order of the shards; x itself when nothing is mapped."""
    if axis_name is None:
        return jnp.asarray(x)
    return jax.lax.all_gather(x, axis_name, axis=0, tiled=True)


def gather_replicated(
    x: Shaped[ArrayLike, "b *rest"], axis_name: str | None
) -> Shaped[Array, "B *rest"]:
    """`gather` of what a step hands on as state: JAX knows that it is the same on every shard.

    No gradient comes back through it. Rows are bit for bit those that were given: every other
    shard adds zeros.
    """
    x = jax.lax.stop_gradient(jnp.asarray(x))
    if axis_name is None:
        return x
    b = x.shape[0]
    everyone = jnp.zeros((b * jax.lax.axis_size(axis_name), *x.shape[1:]), x.dtype)
    return jax.lax.psum(everyone.at[global_rows(b, axis_name)].set(x), axis_name)


def global_rows(b: int, axis_name: str | None) -> Array:
    """Places of this shard's b rows in what `gather` returns."""
    rows = jnp.arange(b)
    return rows if axis_name is None else rows + b * jax.lax.axis_index(axis_name)


def masked_mean(
    values: Float[ArrayLike, "b"],
    valid: Bool[ArrayLike, "b"] | Float[ArrayLike, "b"] | None,
    *,
    axis_name: str | None = None,
) -> Scalar:
    """Mean over the valid rows of the global batch, or this shard's share of it.

    n_shards * sum of the local valid values / number of valid rows on all shards

    Args:
      values: one value an example.
      valid: True, or anything above 0, where the row counts. None: all count.
      axis_name: mapped axis that the batch is split over. None: the batch is whole.

    Returns:
      Scalar, float32. Its mean over the shards is the mean over the global batch; without an axis
      it is that mean. Zero when no row is valid.

    Numerics: a row that does not count gives nothing to value or gradient, whatever it holds.
    """
    values = jnp.asarray(values, jnp.float32)
    counts = jnp.ones(values.shape, bool) if valid is None else jnp.asarray(valid) > 0
    total = jnp.where(counts, values, 0.0).sum()
    number = counts.sum().astype(jnp.float32)
    if axis_name is not None:
        number = jax.lax.psum(number, axis_name)
        total = total * jax.lax.axis_size(axis_name)
    return total / jnp.maximum(number, 1.0)


def value_and_grad(
    loss: Callable[..., tuple[Scalar, Any]], *, parallel: str, axis_name: str | None
) -> Callable[..., tuple[tuple[Scalar, Any], Any]]:
    """`jax.value_and_grad` of the loss of the global batch, to be called inside the mapped step.

    Args:
      loss: (params, ...) -> (this shard's share of the loss, anything else).
      parallel: 'jit', 'shard_map' or 'pmap': what the step runs under.
      axis_name: the mapped axis; None under 'jit'.

    Returns:
      (params, ...) -> ((loss, anything else), gradient); loss and gradient are those of the
      global batch and the same on every shard. The anything else is left as the shard made it.

    Raises:
      ValueError: `parallel` is none of the three.
    """
    if parallel == "jit":
        return jax.value_and_grad(loss, has_aux=True)
    if parallel == "shard_map":

        def global_loss(params, *args, **kwargs):
            share, rest = loss(params, *args, **kwargs)
            return jax.lax.pmean(share, axis_name), rest

        return jax.value_and_grad(global_loss, has_aux=True)
    if parallel == "pmap":

        def averaged(*args, **kwargs):
            (share, rest), grads = jax.value_and_grad(loss, has_aux=True)(*args, **kwargs)
            return (jax.lax.pmean(share, axis_name), rest), jax.lax.pmean(grads, axis_name)

        return averaged
    raise ValueError(f"parallel={parallel!r}: expected 'jit', 'shard_map' or 'pmap'")

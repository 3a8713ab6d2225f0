"""The keys of earlier batches, oldest first, as a part of a method's state.

`queue` holds, row by row, the key, the image that it is of (`index`, -1 while the row is empty) and
what else is known of that image (`described`). What a step adds lies in `arrivals` between the loss
and the update after it, in the order of the global stream of examples, however many devices and
hosts the batch was cut over.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from gazax.losses.parallel import gather_replicated
from gazax.methods.base import State

QUEUE, ARRIVALS = "queue", "arrivals"


def empty_queue(*, size: int, dim: int, described: Any) -> State:
    """A queue of ``size`` empty rows.

    Args:
      size: rows.
      dim: of a key.
      described: arrays [b, ...], or their shapes, as `arrive` will be given them.
    """
    return {
        "key": jnp.zeros((size, dim), jnp.float32),
        "index": jnp.full((size,), -1, jnp.int32),
        "described": jax.tree.map(lambda x: jnp.zeros((size, *x.shape[1:]), x.dtype), described),
    }


def arrive(
    state: State,
    key: Float[Array, "b d"],
    index: Int[ArrayLike, "b"],
    place: Int[ArrayLike, "b"],
    described: Any,
    *,
    axis_name: str | None,
) -> State:
    """The state with the keys of a batch, of all shards, waiting to be queued.

    Args:
      state: of the method.
      key: of the local images; no gradient comes back.
      index: which images they are.
      place: theirs in the global stream, by which they are sorted.
      described: what else is to be known of them, arrays [b, ...].
      axis_name: mapped axis of the batch.
    """
    rows = {"key": key.astype(jnp.float32), "index": jnp.asarray(index), "described": described}
    order = jnp.argsort(gather_replicated(place, axis_name))
    arrived = jax.tree.map(lambda x: gather_replicated(x, axis_name)[order], rows)
    return {**state, ARRIVALS: arrived}


def enqueue(state: State) -> State:
    """The state with its arrivals at the end of the queue, and as many of the oldest gone."""
    rest = {name: part for name, part in state.items() if name != ARRIVALS}
    queue = jax.tree.map(
        lambda old, new: jnp.concatenate([old[new.shape[0] :], new]),
        state[QUEUE],
        state[ARRIVALS],
    )
    return {**rest, QUEUE: queue}

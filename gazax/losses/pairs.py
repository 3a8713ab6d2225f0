"""Which rows of a batch are of the same class, and which of another."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from gazax.losses.parallel import gather, global_rows


class ClassPairs(NamedTuple):
    """Of each local row, its positives and negatives among the rows of the global batch."""

    positive: Bool[Array, "b B"]
    """The other rows of its class."""
    negative: Bool[Array, "b B"]
    """The rows of other classes."""
    counts: Bool[Array, "b"]
    """Whether the row counts at all; one that does not has no partners and is nobody's."""


def class_pairs(
    label: Real[ArrayLike, "b k"],
    *,
    valid: Bool[ArrayLike, "b"] | Float[ArrayLike, "b"] | None = None,
    axis_name: str | None = None,
) -> ClassPairs:
    """Positives and negatives by class.

    Args:
      label: one-hot; rows of one class have the same. A row with any NaN does not count.
      valid: True, or anything above 0, where the row counts. None: all count.
      axis_name: mapped axis that the batch is split over; partners come from all of it.

    Source: the usual definition.
    """
    label = jnp.asarray(label, jnp.float32)
    counts = ~jnp.isnan(label).any(axis=1)
    if valid is not None:
        counts &= jnp.asarray(valid) > 0
    everyone, all_count = gather(label, axis_name), gather(counts, axis_name)
    itself = global_rows(label.shape[0], axis_name)[:, None] == jnp.arange(everyone.shape[0])[None]
    same = (label[:, None] == everyone[None]).all(axis=-1)
    both = counts[:, None] & all_count[None]
    return ClassPairs(both & same & ~itself, both & ~same, counts)


def has_triplet(
    label: Real[ArrayLike, "b k"],
    *,
    valid: Bool[ArrayLike, "b"] | Float[ArrayLike, "b"] | None = None,
    axis_name: str | None = None,
) -> Bool[Array, "b"]:
    """Whether a local row has a positive and a negative in the global batch.

    They are the rows over which a mean of `triplet_margin` is to be taken.

    Args:
      label, valid, axis_name: as in `class_pairs`.

    Returns:
      All False for a batch of one class, and for one in which no class is there twice.
    """
    positive, negative, _ = class_pairs(label, valid=valid, axis_name=axis_name)
    return positive.any(axis=1) & negative.any(axis=1)

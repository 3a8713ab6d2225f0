"""Triplet margin loss: an image lies nearer to its class than to any other, by a margin."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real

from gazax.losses.contrastive import unit_rows
from gazax.losses.pairs import class_pairs
from gazax.losses.parallel import gather
from gazax.typing import InputError

_PUBLISHED_OFFSET = 1e-6
_AT_ONCE = 2**22
"""Numbers in the largest array of what is computed side by side."""


def triplet_margin(
    z: Float[ArrayLike, "b d"] | Float[ArrayLike, "b h w c"],
    label: Real[ArrayLike, "b k"],
    *,
    margin: float | Float[ArrayLike, ""],
    mining: str = "all",
    distance: str = "embedding",
    valid: Bool[ArrayLike, "b"] | Float[ArrayLike, "b"] | None = None,
    axis_name: str | None = None,
) -> Float[Array, "b"]:
    """Mean hinge over the triplets of each anchor.

    l_a = mean over (p, n) in T_a of max(0, d(a, p) - d(a, n) + margin)

    p is another row of the anchor's class, n a row of another class, of the global batch; mining
    says which pairs of them are T_a::

        'all'        every p with every n
        'hard'       the farthest p with the nearest n
        'semi_hard'  every p with the nearest n that is farther than p, d(a, n) > d(a, p). Beyond
                     the margin it costs nothing. Where no n is farther than p, the farthest n.

    and distance what d is::

        'embedding'  |u_a - u_p|, u the rows of z divided by their norms: from 0 to 2
        'published'  of maps, in each row and channel |z_a - z_p + 1e-6| over the width; the hinge
                     is taken there and averaged over rows and channels. Mining goes by the mean of
                     the distances over them.

    Args:
      z: embeddings [b, d] of any scale for 'embedding', feature maps [b, h, w, c] for 'published'.
      label: one-hot; rows of one class have the same. A row with any NaN has no class: it counts
        as if `valid` were false.
      margin: in the unit of the distance; 'published' is that of z, and the published value is 1.
      mining, distance: see above.
      valid: True, or anything above 0, where the row counts. Other rows give exactly 0, get a
        gradient of exactly 0, whatever they hold, and are nobody's positive or negative. None: all
        count.
      axis_name: mapped axis that the batch is split over; positives and negatives come from all of
        it.

    Returns:
      Loss of each local anchor, float32. The margin where all distances are equal. An anchor
      without a positive or without a negative (`gazax.losses.has_triplet`) gives exactly 0, with a
      gradient of exactly 0.

    Raises:
      InputError: another mining or distance, or z has not the axes that the distance is of.

    Numerics: a distance of 0 has a gradient of 0. Differences are taken before they are squared,
    so that small distances keep their digits. Anchors are taken as many at a time as fit into a
    few arrays of 16 MB, or of the size of the global z if that is more, and once again for the
    gradient: no array has a difference for each pair or a hinge for each triplet of the batch.

    Source: mining as in Schroff et al. 2015 (arXiv:1503.03832), §3.2, who square the distance and
    do not say what to do where no negative is farther; the farthest one is the common choice then.
    'published' is what the published code of the cooperative-learning paper computes: PyTorch's
    pairwise distance is over the last axis, which is the width. That code adds up all triplets of a
    batch; this is a mean over each anchor's, so that the size of a gradient does not grow with the
    cube of the batch.
    """
    for name, value, known in (("mining", mining, _MINING), ("distance", distance, _DISTANCES)):
        if value not in known:
            raise InputError(f"triplet_margin: {name}={value!r}; known: {', '.join(known)}")
    z = jnp.asarray(z, jnp.float32)
    if z.ndim != (2 if distance == "embedding" else 4):
        raise InputError(
            f"triplet_margin: distance={distance!r} of an array with {z.ndim} axes; 'embedding' is "
            "of [b, d], 'published' of [b, h, w, c]"
        )
    positive, negative, counts = class_pairs(label, valid=valid, axis_name=axis_name)
    # Replaced before the norm: a NaN would come back in the gradient.
    z = jnp.where(counts.reshape(-1, *[1] * (z.ndim - 1)), z, 1.0)
    if distance == "embedding":
        z = unit_rows(z)
    everyone = gather(z, axis_name)

    @jax.checkpoint
    def of_anchor(anchor: tuple[Array, Array, Array]) -> Array:
        own, positive, negative = anchor
        distances = _DISTANCES[distance](own, everyone)
        mean = distances.reshape(everyone.shape[0], -1).mean(axis=1)
        chosen = _MINING[mining](mean, positive, negative)

        @jax.checkpoint
        def of_positive(row: tuple[Array, Array]) -> Array:
            to_positive, chosen = row
            hinge = jax.nn.relu(to_positive[None] - distances + margin)
            hinge = hinge.reshape(everyone.shape[0], -1).mean(axis=1)
            return jnp.where(chosen, hinge, 0.0).sum()

        total = _map(of_positive, (distances, chosen), each=distances.size).sum()
        return total / jnp.maximum(chosen.sum(), 1)

    each = max(everyone.size, everyone.shape[0] ** 2)
    return _map(of_anchor, (z, positive, negative), each=each)


def _map(function: Callable[[Any], Array], rows: tuple[Array, ...], *, each: int) -> Array:
    """The function of each row, as many rows side by side as `_AT_ONCE` allows.

    Args:
      function: of one row of each array.
      rows: arrays of the same length.
      each: size of the largest array that the function makes.
    """
    at_once = min(len(rows[0]), max(1, _AT_ONCE // each))
    return jax.lax.map(function, rows, batch_size=at_once)


def _to_embeddings(own: Float[Array, "d"], everyone: Float[Array, "B d"]) -> Float[Array, "B"]:
    return _norm(own[None] - everyone, axis=1)


def _to_maps(own: Float[Array, "h w c"], everyone: Float[Array, "B h w c"]) -> Array:
    """[B, h, c]: one distance a row and channel."""
    return _norm(own[None] - everyone + _PUBLISHED_OFFSET, axis=2)


def _norm(x: Array, *, axis: int) -> Array:
    square = jnp.square(x).sum(axis=axis)
    # The root's slope at 0 is infinite, and 0 * infinity is NaN.
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)


Mask = Bool[Array, "B"]


def _all(distance: Float[Array, "B"], positive: Mask, negative: Mask) -> Bool[Array, "B B"]:
    return positive[:, None] & negative[None]


def _hard(distance: Float[Array, "B"], positive: Mask, negative: Mask) -> Bool[Array, "B B"]:
    farthest = _only(jnp.where(positive, distance, -jnp.inf).argmax(), positive)
    nearest = _only(jnp.where(negative, distance, jnp.inf).argmin(), negative)
    return farthest[:, None] & nearest[None]


def _semi_hard(distance: Float[Array, "B"], positive: Mask, negative: Mask) -> Bool[Array, "B B"]:
    farthest = _only(jnp.where(negative, distance, -jnp.inf).argmax(), negative)

    def of_positive(own: Array) -> Mask:
        farther = negative & (distance > own)
        nearest = _only(jnp.where(farther, distance, jnp.inf).argmin(), farther)
        return jnp.where(farther.any(), nearest, farthest)

    return positive[:, None] & jax.vmap(of_positive)(distance)


def _only(place: Array, among: Mask) -> Mask:
    """That place alone; nothing where there was nothing to choose from."""
    return among & (jnp.arange(among.shape[0]) == place)


_DISTANCES: dict[str, Callable[[Array, Array], Array]] = {
    "embedding": _to_embeddings,
    "published": _to_maps,
}
_MINING: dict[str, Callable[[Array, Array, Array], Array]] = {
    "all": _all,
    "hard": _hard,
    "semi_hard": _semi_hard,
}

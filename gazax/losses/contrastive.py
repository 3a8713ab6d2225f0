"""Contrastive losses over projections: InfoNCE within a batch, against keys or a queue, and SupCon.

Similarity is the cosine, s(u, v) = <u, v> / (|u| |v|), each norm floored at 1e-6, so that vectors
of zeros have a similarity of 0 and a finite gradient. One value an example, in nats, float32.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from gazax.losses.pairs import class_pairs
from gazax.losses.parallel import gather, global_rows
from gazax.ops.maxima import at_least
from gazax.typing import InputError

_MIN_NORM = 1e-6


def info_nce(
    z_a: Float[ArrayLike, "b d"],
    z_b: Float[ArrayLike, "b d"],
    *,
    temperature: float | Float[ArrayLike, ""],
    index: Int[ArrayLike, "b"] | None = None,
    positives: Bool[ArrayLike, "b B"] | Float[ArrayLike, "b B"] | None = None,
    axis_name: str | None = None,
) -> Float[Array, "b"]:
    """Symmetric InfoNCE (NT-Xent) over the 2B views of a batch; negatives are the other 2B - 2.

    For the anchor u = a_i, with K(u) all views of the global batch but u itself, and but those of
    rows with the same `index`, which count only as positives::

        P(u) = {b_i} and both views of each k with positives[i, k]
        l(u) = -1/|P(u)| sum_{p in P(u)} ln( exp(s(u, p)/t) / S(u) )
        S(u) = sum_{k in K(u) or P(u)} exp(s(u, k)/t)

    and l_i = (l(a_i) + l(b_i)) / 2. Without `positives`, P(a_i) is b_i alone.

    Args:
      z_a, z_b: projections of two views of the same images; any scale, normalised here.
      temperature: t > 0.
      index: which image a row is, where one may be in the batch twice.
      positives: [b, B], B the size of the global batch: True, or anything above 0, where image k
        is a positive of the local image i as well. Its diagonal does not matter.
      axis_name: mapped axis that the batch is split over; negatives come from all of it.

    Returns:
      Loss of each local example, nats, float32. Equal similarities everywhere give ln(2B - 1).
      An anchor that is left without a negative gets 0 (when it has one positive).

    Raises:
      InputError: B < 2, so that there are no negatives at all.

    Numerics: products in full float32 on every device.

    Source: Chen et al. 2020 (arXiv:2002.05709), eq. 1; proposal §2.3.2. Several positives as in
    Khosla et al. 2020 (arXiv:2004.11362), eq. 2, for the pairs of similar gaze of McGIP (Zhao et
    al. 2024). That one image twice is no negative of itself is ours.
    """
    z_a, z_b = unit_rows(z_a), unit_rows(z_b)
    all_a, all_b = gather(z_a, axis_name), gather(z_b, axis_name)
    itself, partner, present = _roles(z_a.shape[0], all_a.shape[0], index, positives, axis_name)
    # Columns: views of the other kind (where the anchor's own partner is), then of its own kind.
    positive = jnp.concatenate([partner | itself, partner & ~itself], axis=1)
    present = jnp.concatenate([present | itself, present & ~itself], axis=1)

    def one_direction(anchor, other_views, own_views):
        similarity = jnp.concatenate([anchor @ other_views.T, anchor @ own_views.T], axis=1)
        return _mean_nll(similarity / temperature, positive, present)

    with jax.default_matmul_precision("highest"):
        return (one_direction(z_a, all_b, all_a) + one_direction(z_b, all_a, all_b)) / 2


def info_nce_keys(
    query: Float[ArrayLike, "b d"],
    keys: Float[ArrayLike, "b d"],
    *,
    temperature: float | Float[ArrayLike, ""],
    index: Int[ArrayLike, "b"] | None = None,
    positives: Bool[ArrayLike, "b B"] | Float[ArrayLike, "b B"] | None = None,
    axis_name: str | None = None,
) -> Float[Array, "b"]:
    """InfoNCE of queries against the keys of a batch; negatives are the other B - 1 keys.

    With K_i all keys of the global batch but those of other rows with i's `index`, and
    P_i = {k_i} and each k_j with positives[i, j]::

        l_i = -1/|P_i| sum_{p in P_i} ln( exp(s(q_i, p)/t) / S_i )
        S_i = sum_{k in K_i or P_i} exp(s(q_i, k)/t)

    Other queries are no negatives, as they are in `info_nce`.

    Args:
      query, keys: of two views of the same images; any scale, normalised here. Where the gradient
        stops is the caller's to say.
      temperature: t > 0.
      index: which image a row is, where one may be in the batch twice.
      positives: [b, B], B the size of the global batch: True, or anything above 0, where the key
        of image k is a positive of the local image i as well. Its diagonal does not matter.
      axis_name: mapped axis that the batch is split over; keys come from all of it.

    Returns:
      Loss of each local example, nats, float32. Equal similarities everywhere give ln(B). A query
      that is left without a negative gets 0 (when it has one positive).

    Raises:
      InputError: B < 2, so that there are no negatives at all.

    Numerics: products in full float32 on every device.

    Source: Chen et al. 2021 (arXiv:2104.02057), eq. 1, one of its two directions; the factor 2t
    of their algorithm 1 is the method's. Several positives, and one image twice, as in `info_nce`.
    """
    query, all_keys = unit_rows(query), gather(unit_rows(keys), axis_name)
    itself, partner, present = _roles(
        query.shape[0], all_keys.shape[0], index, positives, axis_name
    )
    with jax.default_matmul_precision("highest"):
        similarity = query @ all_keys.T
    return _mean_nll(similarity / temperature, partner | itself, present | itself)


def info_nce_queue(
    z: Float[ArrayLike, "b d"],
    z_pos: Float[ArrayLike, "b d"],
    queue: Float[ArrayLike, "q d"],
    *,
    temperature: float | Float[ArrayLike, ""],
    positives: Bool[ArrayLike, "b q"] | Float[ArrayLike, "b q"] | None = None,
    negatives: Bool[ArrayLike, "b q"] | Float[ArrayLike, "b q"] | None = None,
) -> Float[Array, "b"]:
    """InfoNCE against a queue of earlier keys.

    P_i = {z_pos_i} and the keys k with positives[i, k], N_i the keys with negatives[i, k]::

        l_i = -1/|P_i| sum_{p in P_i} ln( exp(s(z_i, p)/t) / S_i )
        S_i = sum_{k in P_i or N_i} exp(s(z_i, k)/t)

    Args:
      z, z_pos: queries and keys of the same images; any scale, normalised here.
      queue: earlier keys. Where the gradient stops is the caller's to say.
      temperature: t > 0.
      positives: True, or anything above 0, where a key of the queue is a positive as well.
      negatives: True, or anything above 0, where a key of the queue counts as a negative. One that
        is neither is absent: an earlier key of the same image, or a place not yet filled. None:
        all count.

    Returns:
      Loss of each example, nats, float32. Equal similarities everywhere give ln(n + 1), n the keys
      of the queue that are present. Without any it is 0, and so is its gradient.

    Source: He et al. 2020 (arXiv:1911.05722), eq. 1; several positives as in `info_nce`. That a
    key may be absent is ours.
    """
    z, z_pos, queue = unit_rows(z), unit_rows(z_pos), unit_rows(queue)
    b, q = z.shape[0], queue.shape[0]
    with jax.default_matmul_precision("highest"):
        similarity = jnp.concatenate([(z * z_pos).sum(axis=1, keepdims=True), z @ queue.T], axis=1)
    own = jnp.ones((b, 1), bool)
    partner = jnp.zeros((b, q), bool) if positives is None else jnp.asarray(positives) > 0
    negative = jnp.ones((b, q), bool) if negatives is None else jnp.asarray(negatives) > 0
    positive = jnp.concatenate([own, partner], axis=1)
    present = jnp.concatenate([own, partner | negative], axis=1)
    return _mean_nll(similarity / temperature, positive, present)


def sup_con(
    z: Float[ArrayLike, "b d"],
    label: Real[ArrayLike, "b k"],
    *,
    temperature: float | Float[ArrayLike, ""],
    valid: Bool[ArrayLike, "b"] | Float[ArrayLike, "b"] | None = None,
    axis_name: str | None = None,
) -> Float[Array, "b"]:
    """Supervised contrast (SupCon): rows of the same class are positives, all others negatives.

    With P(i) the other rows of i's class and K(i) all other rows that count, of the global batch::

        l_i = -1/|P(i)| sum_{p in P(i)} ln( exp(s(i, p)/t) / sum_{k in K(i)} exp(s(i, k)/t) )

    Args:
      z: projections; any scale, normalised here.
      label: one-hot; rows of one class have the same. A row with any NaN has no class: it counts
        as if `valid` were false.
      temperature: t > 0.
      valid: True, or anything above 0, where the row counts. Other rows give exactly 0, get a
        gradient of exactly 0, whatever they hold, and are nobody's positive or negative. None: all
        count.
      axis_name: mapped axis that the batch is split over; the others come from all of it.

    Returns:
      Loss of each local example, nats, float32. Equal similarities everywhere give ln(n - 1), n the
      rows that count. A row without a positive gives exactly 0, with a gradient of exactly 0; one
      with a single positive and no negative too. `gazax.losses.has_triplet` tells them apart.

    Numerics: products in full float32 on every device.

    Source: Khosla et al. 2020 (arXiv:2004.11362), eq. 2 (L_out); the mean over rows that they take
    is the caller's.
    """
    positive, negative, counts = class_pairs(label, valid=valid, axis_name=axis_name)
    # Replaced before the norm: a NaN would come back in the gradient.
    z = unit_rows(jnp.where(counts[:, None], jnp.asarray(z, jnp.float32), 1.0))
    with jax.default_matmul_precision("highest"):
        similarity = z @ gather(z, axis_name).T
    has_positive = positive.any(axis=1)
    # Where there is nothing to take the share of, a sum over everything, which is left out after.
    present = positive | negative | ~has_positive[:, None]
    loss = _mean_nll(similarity / temperature, positive, present)
    return jnp.where(has_positive, loss, 0.0)


def unit_rows(z: Float[ArrayLike, "b d"]) -> Float[Array, "b d"]:
    """Rows divided by their norm, which is floored at 1e-6; float32."""
    z = jnp.asarray(z, jnp.float32)
    # Floored before the root: the root's slope at 0 is infinite, and 0 * infinity is NaN.
    return z * jax.lax.rsqrt(at_least((z * z).sum(axis=1, keepdims=True), _MIN_NORM**2))


def _roles(
    b: int,
    batch_size: int,
    index: Int[ArrayLike, "b"] | None,
    positives: Bool[ArrayLike, "b B"] | Float[ArrayLike, "b B"] | None,
    axis_name: str | None,
) -> tuple[Bool[Array, "b B"], Bool[Array, "b B"], Bool[Array, "b B"]]:
    """What each image of the global batch is to the local ones: itself, a positive, present.

    `present` leaves out every row of the same image, itself too, but for positives.
    """
    if batch_size < 2:
        raise InputError(
            f"InfoNCE: a batch of {batch_size} has no negatives; a contrastive method needs a"
            " batch size of at least 2"
        )
    itself = global_rows(b, axis_name)[:, None] == jnp.arange(batch_size)[None, :]
    same_image = itself
    if index is not None:
        index = jnp.asarray(index)
        same_image = index[:, None] == gather(index, axis_name)[None, :]
    partner = jnp.zeros_like(itself) if positives is None else jnp.asarray(positives) > 0
    return itself, partner, ~same_image | partner


def _mean_nll(
    logits: Float[Array, "b n"], positive: Bool[Array, "b n"], present: Bool[Array, "b n"]
) -> Float[Array, "b"]:
    """Mean over each row's positives of -ln of their share in the softmax over what is present."""
    log_total = jax.nn.logsumexp(logits, axis=1, keepdims=True, where=present)
    total = jnp.where(positive, log_total - logits, 0.0).sum(axis=1)
    return total / jnp.maximum(positive.sum(axis=1), 1)

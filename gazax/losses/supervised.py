"""Losses against labels and masks, of which some may be unknown: NaN.

An unknown entry gives exactly zero and gets a gradient of exactly zero, whatever the logit beside
it is; so does a row that `valid` marks false. One value an example, in nats, float32.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Bool, Float, Real

_DICE_SMOOTHING = 1.0


def multiclass(
    logits: Float[ArrayLike, "b k"],
    label: Real[ArrayLike, "b k"],
    *,
    label_smoothing: float = 0.0,
    class_weight: Float[ArrayLike, "k"] | None = None,
    valid: Bool[ArrayLike, "b"] | Float[ArrayLike, "b"] | None = None,
) -> Float[Array, "b"]:
    """Softmax cross-entropy, for classes that exclude each other.

    l = -w sum_k t_k ln softmax(logits)_k

    with t = (1 - s) label + s / K, K the number of classes, and w = sum_k label_k class_weight_k:
    the weight of the row's class, or the mean of the weights by a soft label.

    Args:
      logits: raw.
      label: one-hot, or soft with sum 1; a row with any NaN is unlabelled.
      label_smoothing: s, in [0, 1).
      class_weight: not negative; images / (K images of the class) balances them. None: all 1.
      valid: True, or anything above 0, where the row counts. None: all count.

    Returns:
      Loss of each example, nats, float32. Equal logits give w ln K, whatever s is. An unlabelled
      row gives 0.

    Source: the usual definition; smoothing as in Szegedy et al. 2016 (arXiv:1512.00567), §7. For
    one-hot labels without smoothing it is what torch's CrossEntropyLoss(weight, reduction='none')
    gives. Torch's mean then divides by the sum of the batch's weights, so that a row's share hangs
    on which others are in the batch; a mean of these losses divides by the number of rows. Of a
    smoothed or soft label torch weighs each class's term, here the row is weighed as a whole.
    """
    label = jnp.asarray(label, jnp.float32)
    counts = _counts(label.shape[0], valid) & ~jnp.isnan(label).any(axis=1)
    # Replaced before the softmax, not only after: a NaN would come back in the gradient.
    logits = jnp.where(counts[:, None], jnp.asarray(logits, jnp.float32), 0.0)
    label = jnp.where(counts[:, None], label, 0.0)
    loss = optax.softmax_cross_entropy(logits, optax.smooth_labels(label, label_smoothing))
    if class_weight is not None:
        loss = loss * (label * jnp.asarray(class_weight, jnp.float32)[None, :]).sum(axis=1)
    return jnp.where(counts, loss, 0.0)


def multilabel(
    logits: Float[ArrayLike, "b k"],
    label: Real[ArrayLike, "b k"],
    *,
    positive_weight: Float[ArrayLike, "k"] | None = None,
    valid: Bool[ArrayLike, "b"] | Float[ArrayLike, "b"] | None = None,
) -> Float[Array, "b"]:
    """Mean over an example's known labels of the sigmoid cross-entropy.

    l = -mean over known k of w_k y_k ln sigmoid(x_k) + (1 - y_k) ln sigmoid(-x_k)

    Args:
      logits: x, raw.
      label: y: 1, 0 or NaN (unknown).
      positive_weight: w; absent over present examples of a label balances it. None: all 1.
      valid: True, or anything above 0, where the row counts. None: all count.

    Returns:
      Loss of each example, nats, float32. Logits of 0 give ln 2 where w is 1. An example of which
      no label is known gives 0.

    Source: the usual definition. That an example counts alike however many of its labels are known
    is ours.
    """
    label = jnp.asarray(label, jnp.float32)
    known = _counts(label.shape[0], valid)[:, None] & ~jnp.isnan(label)
    logits = jnp.where(known, jnp.asarray(logits, jnp.float32), 0.0)
    label = jnp.where(known, label, 0.0)
    present = label * jax.nn.softplus(-logits)
    if positive_weight is not None:
        present = present * jnp.asarray(positive_weight, jnp.float32)[None, :]
    losses = present + (1.0 - label) * jax.nn.softplus(logits)
    return jnp.where(known, losses, 0.0).sum(axis=1) / jnp.maximum(known.sum(axis=1), 1)


def segmentation_loss(
    logits: Float[ArrayLike, "b h w k"],
    mask: Real[ArrayLike, "b h w k"],
    *,
    where: Bool[ArrayLike, "b h w"] | Float[ArrayLike, "b h w"],
    dice_weight: float = 1.0,
    bce_weight: float = 1.0,
    valid: Bool[ArrayLike, "b"] | Float[ArrayLike, "b"] | None = None,
) -> Float[Array, "b"]:
    """Binary cross-entropy and soft Dice of the planes of a mask, which may overlap.

    With p = sigmoid(logits), t the mask, and sums over the pixels of the content::

        bce  = -mean over pixels and known planes of t ln p + (1 - t) ln(1 - p)
        dice = mean over known planes of 1 - (2 sum p t + 1) / (sum p^2 + sum t^2 + 1)
        l    = bce_weight bce + dice_weight dice

    Args:
      logits: raw.
      mask: in [0, 1], soft where a view has moved it; a plane with any NaN is unknown.
      where: True, or anything above 0, on the real pixels.
      dice_weight, bce_weight: of the two terms.
      valid: True, or anything above 0, where the row counts. None: all count.

    Returns:
      Loss of each example, float32, bce in nats. The Dice term lies in [0, 1) and is 0 where p = t,
      for a soft mask too. For an empty plane it is 1 - 1 / (sum p^2 + 1): 0 where nothing is
      predicted, 1/2 where one pixel is. Without content or a known plane the loss is 0.

    Source: squares in the denominator as in Milletari et al. 2016 (arXiv:1606.04797), §3; that 1
    pixel is added to both, which keeps an empty plane defined, is ours.
    """
    mask = jnp.asarray(mask, jnp.float32)
    known = _counts(mask.shape[0], valid)[:, None] & ~jnp.isnan(mask).any(axis=(1, 2))
    inside = (jnp.asarray(where) > 0)[:, :, :, None] & known[:, None, None, :]
    logits = jnp.where(inside, jnp.asarray(logits, jnp.float32), 0.0)
    mask = jnp.where(inside, mask, 0.0)
    entropies = optax.sigmoid_binary_cross_entropy(logits, mask)
    bce = jnp.where(inside, entropies, 0.0).sum(axis=(1, 2, 3))
    predicted = jnp.where(inside, jax.nn.sigmoid(logits), 0.0)
    overlap = 2.0 * (predicted * mask).sum(axis=(1, 2)) + _DICE_SMOOTHING
    total = (predicted**2 + mask**2).sum(axis=(1, 2)) + _DICE_SMOOTHING
    # A plane of which nothing counts has overlap = total and so costs exactly 0.
    dice = (1.0 - overlap / total).sum(axis=1) / jnp.maximum(known.sum(axis=1), 1)
    bce = bce / jnp.maximum(inside.sum(axis=(1, 2, 3)), 1)
    return bce_weight * bce + dice_weight * dice


def _counts(b: int, valid: Bool[ArrayLike, "b"] | Float[ArrayLike, "b"] | None) -> Array:
    return jnp.ones(b, bool) if valid is None else jnp.asarray(valid) > 0

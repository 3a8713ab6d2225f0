"""Regression of a target's direction: the loss of methods that need no negatives."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from gazax.losses.contrastive import unit_rows
from gazax.losses.parallel import gather, global_rows


def cosine_regression(
    prediction: Float[ArrayLike, "b d"],
    target: Float[ArrayLike, "b d"],
    *,
    positives: Bool[ArrayLike, "b B"] | Float[ArrayLike, "b B"] | None = None,
    axis_name: str | None = None,
) -> Float[Array, "b"]:
    """Squared distance of a prediction's direction to those of its targets.

    With u(x) = x / |x|, s the cosine and P_i = {i} and each k with positives[i, k]::

        l_i = 1/|P_i| sum_{p in P_i} |u(prediction_i) - u(target_p)|^2
            = 2 - 2/|P_i| sum_{p in P_i} s(prediction_i, target_p)

    The gradient goes into both; where it stops is the caller's to say.

    Args:
      prediction: of the predictor, one view; any scale, normalised here.
      target: of the other view of the same images; any scale, normalised here.
      positives: [b, B], B the size of the global batch: True, or anything above 0, where the
        target of image k is one of the local image i as well. Its diagonal does not matter.
      axis_name: mapped axis that the batch is split over; targets come from all of it.

    Returns:
      Loss of each local example, from 0 (same direction) over 2 (at right angles) to 4 (opposite),
      float32.

    Numerics: products in full float32 on every device. Norms are floored at 1e-6: a vector of
    zeros gives 2 and a finite gradient.

    Source: Grill et al. 2020 (arXiv:2006.07733), eq. 2; half of it, less 1, is D of Chen & He 2021
    (arXiv:2011.10566), eq. 1. Several targets are McGIP's (Zhao et al. 2024, arXiv:2312.06069).
    Its code divides by the number of all positive pairs of the batch, so that an image weighs as
    much as it has positives; here each image weighs the same.
    """
    prediction, target = unit_rows(prediction), unit_rows(target)
    if positives is None:
        return 2 - 2 * (prediction * target).sum(axis=1)
    targets = gather(target, axis_name)
    itself = global_rows(len(prediction), axis_name)[:, None] == jnp.arange(len(targets))[None, :]
    chosen = (jnp.asarray(positives) > 0) | itself
    with jax.default_matmul_precision("highest"):
        similarity = prediction @ targets.T
    return 2 - 2 * similarity.mean(axis=1, where=chosen)

"""Gaze prediction: how far a predicted density lies from that of people's gaze."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float


def saliency_kl(
    log_density: Float[ArrayLike, "b h w"],
    target_density: Float[ArrayLike, "b h w"],
    *,
    valid: Bool[ArrayLike, "b"] | Float[ArrayLike, "b"] | None = None,
) -> Float[Array, "b"]:
    """Kullback-Leibler divergence of a predicted density from the density of gaze.

    l = sum over pixels of t (ln t - ln p),  0 ln 0 = 0

    Args:
      log_density: ln p, as a log-softmax over all pixels gives it.
      target_density: t, not negative, summing to 1 (`gazax.ops.gaze.to_density`). It is taken as
        it is: of a target that sums to s the loss is that of t / s, times s, plus s ln s.
      valid: True, or anything above 0, where the row counts: where there is gaze. Other rows give
        exactly 0 and get a gradient of exactly 0, whatever they hold. None: all count.

    Returns:
      Loss of each example, nats, float32. 0 where p = t; ln(n) for a uniform prediction over n
      pixels where all gaze is in one of them; infinite where p = 0 and t is not.

    Numerics: where t is 0 nothing is computed, so that ln p may be -inf there. A NaN in a row that
    counts comes out.

    Source: the paper's equation for stage 2; its mean over the rows is PyTorch's
    KLDivLoss(reduction='batchmean').
    """
    target = jnp.asarray(target_density, jnp.float32)
    seen = target != 0
    if valid is not None:
        seen &= (jnp.asarray(valid) > 0)[:, None, None]
    # Replaced before the logarithm and the product, not only after: a NaN would come back in the
    # gradient.
    target = jnp.where(seen, target, 1.0)
    log_density = jnp.where(seen, jnp.asarray(log_density, jnp.float32), 0.0)
    return (target * (jnp.log(target) - log_density)).sum(axis=(1, 2))

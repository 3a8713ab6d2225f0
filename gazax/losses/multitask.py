"""Ways to weigh the losses of several tasks: by learned uncertainties, by the sizes of gradients.

A task of which the batch has no example is marked false in `valid`: it gives exactly zero, and
nothing learns from it, not even how it is to be weighed.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from gazax.typing import InputError, Scalar

FORMS = ("log1p", "kendall")

_LARGEST_EXPONENT = 60.0
"""Of 1 / s^2: that of log_sigma = -30."""
_LARGEST_RATE = 1e30


def precision_weights(
    log_sigma: Float[ArrayLike, "t"], *, scale: Float[ArrayLike, "t"]
) -> Float[Array, "t"]:
    """What each task's loss is multiplied by in `uncertainty_weighted`: scale / s^2.

    Args:
      log_sigma: ln s.
      scale: 1 for a classification, 1/2 for a density or a regression.

    Returns:
      Float32; `scale` where log_sigma is 0.

    Numerics: 1 / s^2 is held at e^60, where log_sigma is -30 and less; its derivative stays -2
    times itself there, so that a loss above 0 still drives s up.
    """
    exponent = -2.0 * jnp.asarray(log_sigma, jnp.float32)
    excess = jax.nn.relu(exponent - _LARGEST_EXPONENT)
    return jnp.asarray(scale, jnp.float32) * jnp.exp(exponent - jax.lax.stop_gradient(excess))


def uncertainty_weighted(
    losses: Float[ArrayLike, "t"],
    log_sigma: Float[ArrayLike, "t"],
    *,
    scale: Float[ArrayLike, "t"],
    form: str = "log1p",
    valid: Bool[ArrayLike, "t"] | None = None,
) -> Scalar:
    """Losses of several tasks, each divided by a learned variance, and the price of that variance.

    L = sum over tasks of scale_t L_t / s_t^2 + p(s_t),  s_t = exp(log_sigma_t)

    with p(s) = ln(s + 1) for the form 'log1p' and ln s for 'kendall'. The second may fall without
    bound as a loss does; at its minimum s^2 = 2 scale L. The first is above 0.

    Args:
      losses: L, one a task, each the mean over its examples.
      log_sigma: ln s, learned or constant; starts at 0.
      scale: 1 for a classification, 1/2 for a density or a regression.
      form: 'log1p' or 'kendall'.
      valid: True where the task counts. Other tasks give exactly 0 and get a gradient of exactly 0,
        for loss and log_sigma, whatever they hold. None: all count.

    Returns:
      Scalar, float32. With log_sigma 0 the sum of scale * L, for 'log1p' and ln 2 a task more.

    Raises:
      InputError: there is no such form.

    Numerics: ln(s + 1) is logaddexp(log_sigma, 0), which neither overflows nor vanishes; 1 / s^2 is
    held as in `precision_weights`. Finite for losses up to 1e12 whatever log_sigma is.

    Source: 'kendall' Kendall, Gal & Cipolla 2018 (arXiv:1705.07115), equations 7 and 10, where
    `scale` comes from; 'log1p' the code of Zhu et al. 2022 (arXiv:2202.07118), MT-UNet, which
    learns the classification's s and leaves that of saliency at 1. `valid` is ours.
    """
    if form not in FORMS:
        raise InputError(f"unknown form {form!r} of uncertainty; give one of {', '.join(FORMS)}")
    losses = jnp.asarray(losses, jnp.float32)
    counts = _counts(losses, valid)
    # Replaced before the exponential, not only after: a NaN would come back in the gradient.
    losses = jnp.where(counts, losses, 0.0)
    log_sigma = jnp.where(counts, jnp.asarray(log_sigma, jnp.float32), 0.0)
    price = log_sigma if form == "kendall" else jnp.logaddexp(log_sigma, 0.0)
    terms = precision_weights(log_sigma, scale=scale) * losses + price
    return jnp.where(counts, terms, 0.0).sum()


def grad_norm_loss(
    weights: Float[ArrayLike, "t"],
    gradient_norms: Float[ArrayLike, "t"],
    losses: Float[ArrayLike, "t"],
    initial_losses: Float[ArrayLike, "t"],
    *,
    alpha: float | Float[ArrayLike, ""],
    valid: Bool[ArrayLike, "t"] | None = None,
) -> Scalar:
    """How far the weighted gradients of several tasks are from the sizes that they should have.

    L = sum over tasks of |G_t - target_t|,  G_t = weights_t gradient_norms_t
    target_t = mean(G) r_t^alpha,  r_t = (L_t / L_t(0)) / mean over tasks of (L / L(0))

    A task that has learned less than the others, r > 1, is to have the larger gradient.

    Args:
      weights: of the tasks' losses; the one thing that gets a gradient.
      gradient_norms: of each task's loss, without its weight, with respect to weights that all
        tasks share; not negative.
      losses: L, now.
      initial_losses: L(0), at the first step. Where it is not above 0 it says nothing of the rate,
        and L / L(0) counts as 1.
      alpha: 0 makes all gradients alike; the larger, the more a slow task is helped. Not negative.
      valid: True where the task counts. Other tasks give exactly 0, get a gradient of exactly 0,
        whatever they hold, and enter no mean. None: all count.

    Returns:
      Scalar, float32, not negative. 0, with a slope of 0, where all G are equal and all L / L(0)
      are, and for one task alone.

    Numerics: a loss that rounding has made negative counts as 0. Where all losses are 0 all rates
    are alike, r = 1. Where all norms are 0 the value is 0. Always finite for finite inputs.

    Source: Chen et al. 2018 (arXiv:1711.02257), §3, equations 1 and 2; targets are constants, as
    there. What degenerate inputs give is ours.
    """
    weights, norms = jnp.asarray(weights, jnp.float32), jnp.asarray(gradient_norms, jnp.float32)
    counts = _counts(weights, valid)
    number = jnp.maximum(counts.sum(), 1)

    def mean(values: Array) -> Array:
        return jnp.where(counts, values, 0.0).sum() / number

    norms = jax.lax.stop_gradient(jnp.where(counts, norms, 0.0))
    weighted = jnp.where(counts, weights, 0.0) * norms
    rates = _rates(losses, initial_losses, counts)
    mean_rate = mean(rates)
    relative = jnp.where(mean_rate > 0, rates / jnp.where(mean_rate > 0, mean_rate, 1.0), 1.0)
    target = jax.lax.stop_gradient(mean(weighted) * relative ** jnp.asarray(alpha, jnp.float32))
    away = weighted - target
    # jnp.abs has the slope 1 at 0, where what is balanced should stay.
    return jnp.where(counts, away * jax.lax.stop_gradient(jnp.sign(away)), 0.0).sum()


def _rates(
    losses: Float[ArrayLike, "t"], initial_losses: Float[ArrayLike, "t"], counts: Bool[Array, "t"]
) -> Float[Array, "t"]:
    """L / L(0), a constant."""
    losses, initial = (
        jax.lax.stop_gradient(jnp.where(counts, jnp.asarray(values, jnp.float32), 1.0))
        for values in (losses, initial_losses)
    )
    rates = jnp.maximum(losses, 0.0) / jnp.where(initial > 0, initial, 1.0)
    return jnp.where(initial > 0, jnp.minimum(rates, _LARGEST_RATE), 1.0)


def _counts(values: Float[Array, "t"], valid: Bool[ArrayLike, "t"] | None) -> Bool[Array, "t"]:
    return jnp.ones(values.shape, bool) if valid is None else jnp.asarray(valid)

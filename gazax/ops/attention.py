"""Attention over patches from the attention matrices of a transformer."""

import jax
import jax.numpy as jnp
from jax.lax import Precision
from jaxtyping import Array, ArrayLike, Float

from gazax.ops.maxima import at_least


def rollout(attention: Float[ArrayLike, "l heads n n"]) -> Float[Array, "n-1"]:
    """Attention rollout: how much of each patch reaches the class token through all blocks.

    R = A_L ... A_1, A_l = (mean over heads + I) / 2, the identity being the residual connection;
    the class token's row of R without its own entry.

    Args:
      attention: rows sum to 1; blocks from the input on; token 0 is the class token.

    Returns:
      One value a patch, float32, not negative. They sum to at most 1, the rest being the class
      token's own. Attention that is uniform over n tokens in one block gives 1 / (2 n) each.

    Source: Abnar and Zuidema 2020 (arXiv:2005.00928), §3.
    """
    attention = jnp.asarray(attention, jnp.float32).mean(axis=1)
    blocks, tokens, _ = attention.shape
    row = jnp.zeros(tokens, jnp.float32).at[0].set(1.0)
    # Only one row is wanted: from the last block down, it is a product of a vector and a matrix.
    for block in range(blocks - 1, -1, -1):
        row = (row + jnp.matmul(row, attention[block], precision=Precision.HIGHEST)) / 2.0
    return row[1:]


def activation_energy(features: Float[ArrayLike, "h w c"]) -> Float[Array, "h w"]:
    """How strongly each cell is activated: the mean over channels of the squared feature.

    A[i, j] = mean_c F[i, j, c]^2

    Args:
      features: of one level of a network, any scale.

    Returns:
      Not negative, float32. Features of ones give ones.

    Source: Zagoruyko and Komodakis 2017 (arXiv:1612.03928), §3.1, F_sum^2 (there a sum).
    """
    return jnp.square(jnp.asarray(features, jnp.float32)).mean(axis=-1)


def grad_cam(
    features: Float[ArrayLike, "h w c"],
    gradient: Float[ArrayLike, "h w c"],
    *,
    softness: float = 0.0,
) -> Float[Array, "h w"]:
    """Grad-CAM: the features, weighted by how much each channel raises a score.

    A = relu(x),                            x = sum_c w_c F_c,  w_c = mean over cells of dS / dF_c
    A = t softplus(x / t),  t = softness * mean over cells of |x|             with softness > 0

    Args:
      features: F, of one level of a network.
      gradient: dS / dF.
      softness: 0: as published. Above 0: cells that speak against the score keep a little and,
        other than behind the relu, a slope, so that a loss can bring them up.

    Returns:
      Not negative, float32, of the scale of features times gradient. With softness 0 a map of zeros
      where no cell speaks for the score; with x = 0 everywhere zeros in any case.

    Numerics: t is taken as a constant by the gradient.

    Source: Selvaraju et al. 2017 (arXiv:1610.02391), §3; softness is ours.
    """
    weights = jnp.asarray(gradient, jnp.float32).mean(axis=(0, 1))
    features = jnp.asarray(features, jnp.float32)
    x = jnp.einsum("hwc,c->hw", features, weights, precision=Precision.HIGHEST)
    if softness == 0:
        return at_least(x, 0.0)
    t = jax.lax.stop_gradient(softness * jnp.abs(x).mean())
    # Divided by 1 where all is 0, so that neither value nor gradient is NaN.
    return t * jax.nn.softplus(x / jnp.where(t > 0, t, 1.0))

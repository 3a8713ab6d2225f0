"""Where a model looks: one map a level, from what its backbone gives out.

rows      the class token's softmax row of each block (a transformer)
rollout   attention rollout through all blocks up to each level (a transformer)
energy    mean of the squared features of each level
grad_cam  features weighted by the gradient of a score: of a pair's similarity, of a class logit
module    the learned attention module, whose maps also gate the features that are pooled
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from gazax.methods.base import Params
from gazax.ops.attention import activation_energy, grad_cam, rollout
from gazax.ops.gaze import to_density
from gazax.ops.image import area_pool
from gazax.typing import InputError

Out = dict[str, Any]
Maps = list[Float[Array, "b _ _"]]

SOURCES = ("rows", "rollout", "energy", "grad_cam", "module")
POOLINGS = ("backbone", "attention", "both")
"""Which features stand for an image: those that the backbone pools, its last feature map pooled by
the attention, or both side by side."""
GRADIENTS = ("constant", "differentiated")
"""Whether a Grad-CAM map's channel weights are constants (first order) or are differentiated."""
SOFTNESS = 0.5
"""Of Grad-CAM (`gazax.ops.attention.grad_cam`). Behind the published relu the cells that were cut
off had no slope: in 60 steps of the alignment alone its KL stayed at 7.5 to 8.5 nats of 8.3 (a ViT
of two blocks) and at 4.5 to 8.0 of 7.5 (a ResNet of four); with this it fell from 1.3 to 0.6 and
from 1.4 to 0.9."""


def with_source(backbone: nn.Module, source: str) -> nn.Module:
    """The backbone, giving out what the source needs."""
    if source == "rollout" and hasattr(backbone, "attention"):
        return backbone.clone(attention="full")
    return backbone


def check_source(out: Out, source: str, levels: Sequence[int]) -> None:
    """Refuses a source that the backbone does not have, and levels that it does not have.

    Args:
      out: what the backbone gives out.
      source: one of `SOURCES`.
      levels: places in the list of levels; negative ones count from the last.
    """
    if source in ("rows", "rollout") and "tokens" not in out:
        raise InputError(
            f"method.attention='{source}' needs a transformer's attention matrices; this backbone "
            "has none: take grad_cam, energy or module."
        )
    found = len(out["feature_maps"])
    for level in levels:
        if not -found <= level < found:
            raise InputError(
                f"method.levels names level {level}; the backbone has {found} levels, 0 to "
                f"{found - 1}."
            )


def plain_maps(out: Out, source: str, levels: Sequence[int]) -> Maps:
    """Maps of a source that needs no gradient and no parameters: rows, rollout or energy.

    Returns:
      Not negative, any scale; one [b, h_l, w_l] a level.
    """
    if source == "rows":
        return [out["attention"][level] for level in levels]
    if source == "energy":
        return [jax.vmap(activation_energy)(out["feature_maps"][level]) for level in levels]
    matrices = jnp.stack(out["attention_full"], axis=1)
    _, grid_h, grid_w = out["attention"][0].shape
    depth = matrices.shape[1]

    def up_to(level: int) -> Array:
        rolled = jax.vmap(rollout)(matrices[:, : level % depth + 1])
        return rolled.reshape(-1, grid_h, grid_w)

    return [up_to(level) for level in levels]


def grad_cam_maps(
    score: Callable[[Params], tuple[Float[Array, "b"], tuple[Out, Any]]],
    perturbations: Params,
    *,
    levels: Sequence[int],
    gradient: str,
) -> tuple[Maps, Out, Any]:
    """Grad-CAM of a score of each example, at several levels, from one backward pass.

    Args:
      score: from what is added to the features of each level (`zero_perturbations`) to the
        scores, what the backbone gives out, and anything else.
      perturbations: zeros.
      levels: of `out["feature_maps"]`.
      gradient: 'constant': the maps' own gradient takes the channel weights as constants;
        'differentiated': it goes through them too (second order).

    Returns:
      The maps, not negative, any scale; what the backbone gave out; the anything else.

    Numerics: the gradient is that of the sum of the scores. Where statistics of the batch are
    used, an example's score reaches the others' features through them, and that is counted.
    """

    def total(perturbations: Params) -> tuple[Array, tuple[Out, Any]]:
        scores, rest = score(perturbations)
        return scores.sum(), rest

    gradients, (out, rest) = jax.grad(total, has_aux=True)(perturbations)
    if gradient == "constant":
        gradients = jax.lax.stop_gradient(gradients)
    depth = len(out["feature_maps"])

    def at(level: int) -> Array:
        features = out["feature_maps"][level]
        b, h, w, c = features.shape
        # A transformer's class token comes first and has no place on the grid.
        of_cells = gradients[f"level_{level % depth}"].reshape(b, -1, c)[:, -h * w :]
        soft = functools.partial(grad_cam, softness=SOFTNESS)
        return jax.vmap(soft)(features, of_cells.reshape(b, h, w, c))

    return [at(level) for level in levels], out, rest


def mean_density(maps: Maps) -> Float[Array, "b h w"]:
    """The levels' maps as one density an image, on the finest of their grids; each counts alike."""
    b, height, width = max((one.shape for one in maps), key=lambda shape: shape[1] * shape[2])

    def enlarged(one: Array) -> Array:
        one = jax.image.resize(one.astype(jnp.float32), (b, height, width), "bilinear")
        return jax.vmap(to_density)(one)

    return jnp.stack([enlarged(one) for one in maps]).mean(axis=0)


def pool(out: Out, maps: Maps, pooling: str) -> Float[Array, "b d"]:
    """The features of each image.

    Args:
      out: what the backbone gives out.
      maps: where it looks; by attention, a cell counts by their mean density's share of its area.
      pooling: one of `POOLINGS`; 'both' is twice as wide as the others.
    """
    if pooling == "backbone":
        return out["features"]
    feature_map = out["feature_map"]
    _, height, width, _ = feature_map.shape
    weight = jax.vmap(lambda one: to_density(area_pool(one, size=(height, width))))(
        mean_density(maps)
    )
    looked_at = jnp.einsum("bhw,bhwd->bd", weight, feature_map.astype(jnp.float32))
    if pooling == "attention":
        return looked_at
    return jnp.concatenate([out["features"], looked_at], axis=1)

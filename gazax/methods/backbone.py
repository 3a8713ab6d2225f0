"""The backbone as every method uses it: statistics carried along, frozen parts left alone."""

import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float

from gazax.methods.base import Params, State
from gazax.typing import Key

SCOPE = "backbone"
FROZEN = "frozen"
"""Collection in which a mark beside a layer's statistics says that they must not move."""


def init_backbone(
    backbone: nn.Module, rng: Key, image: Float[Array, "b h w c"]
) -> tuple[Params, State, dict[str, Any]]:
    """Parameters, state (`{"backbone": statistics}`, empty without any) and what it gives out."""
    made: Any = backbone.init_with_output(rng, image)
    (_, out), variables = made
    statistics = variables.get("batch_stats")
    return variables["params"], {SCOPE: statistics} if statistics else {}, out


def apply_backbone(
    backbone: nn.Module,
    params: Params,
    state: State,
    image: Float[Array, "b h w c"],
    *,
    train: bool,
    freeze: Sequence[str] = (),
    axis_name: str | None = None,
    perturbations: Params | None = None,
) -> tuple[dict[str, Any], State]:
    """What the backbone gives out for normalised images, and the state after them.

    Args:
      backbone: (image, train=) -> (output, out); one that has batch statistics has a field
        `axis_name`, the mapped axis over which they are taken.
      params: of all scopes; those under `backbone` are used.
      state: of the method; the statistics under `backbone` are used, if it has any.
      image: normalised as the backbone wants it.
      train: whether to use and update the statistics of the batch.
      freeze: regexes of parameters, see `is_frozen`; a frozen layer's statistics are used as they
        are and do not move.
      axis_name: mapped axis of the batch.
      perturbations: what is added to the features of each level (linen's `perturb`); the
        derivative with respect to it is that with respect to the features.
    """
    variables: dict[str, Any] = {"params": params[SCOPE]}
    statistics = state.get(SCOPE)
    if statistics:
        backbone = backbone.clone(axis_name=axis_name)
        variables["batch_stats"] = statistics
        if marks := _frozen_marks(statistics, freeze):
            variables[FROZEN] = marks
    if perturbations is not None:
        variables["perturbations"] = perturbations
    if not (train and statistics):
        applied: Any = backbone.apply(variables, image, train=train)
        return applied[1], state
    applied = backbone.apply(variables, image, train=True, mutable=["batch_stats"])
    (_, out), updated = applied
    return out, {**state, SCOPE: updated["batch_stats"]}


def zero_perturbations(
    backbone: nn.Module, params: Params, state: State, image: Float[Array, "b h w c"]
) -> Params:
    """Zeros of the shape of every level's features, as `apply_backbone` takes them."""

    def shapes() -> Any:
        variables = {"params": params[SCOPE]}
        if SCOPE in state:
            variables["batch_stats"] = state[SCOPE]
        return backbone.apply(variables, image, mutable=["perturbations"])[1]["perturbations"]

    # Zero, but of the image's type: under shard_map a constant would be one for all shards, and
    # its gradient the sum over them.
    zero = jnp.where(jnp.isfinite(image[0, 0, 0, 0]), 0.0, 0.0)
    return jax.tree.map(
        lambda found: (jnp.zeros(found.shape, jnp.float32) + zero).astype(found.dtype),
        jax.eval_shape(shapes),
    )


def is_frozen(path: Sequence[str], freeze: Sequence[str]) -> bool:
    """Whether a parameter's or a statistic's path, joined by '/', matches one of the regexes."""
    name = "/".join(path)
    return any(re.fullmatch(pattern, name) for pattern in freeze)


def _frozen_marks(statistics: Params, freeze: Sequence[str]) -> Params:
    """One mark a layer whose statistics are frozen: its presence is what counts.

    They are where a regex matches them, or all parameters of their layer: scale and bias.
    """
    layers = {path[:-1] for path in flatten_dict(statistics)}
    marks = {}
    for layer in layers:
        frozen = [
            all(is_frozen((SCOPE, *layer, name), freeze) for name in names)
            for names in (("mean", "var"), ("scale", "bias"))
        ]
        if any(frozen):
            marks[(*layer, "statistics")] = True
    return unflatten_dict(marks)

"""A backbone as every method uses it: statistics carried along, frozen parts left alone."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float

from gazax.methods.base import Params, State
from gazax.typing import InputError, Key

SCOPE = "backbone"
FROZEN = "frozen"
"""Collection in which a mark beside a layer's statistics says that they must not move."""


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A model on images in [0, 1], its parameters and statistics under a scope of the method's.

    Attributes:
      model: (image, train=) -> (output, out); one that has batch statistics has a field
        `axis_name`.
      mean, std: the model sees (image - mean) / std.
      freeze: regexes of parameters, see `is_frozen`; a frozen layer's statistics are used as they
        are and do not move.
      axis_name: mapped axis of the batch, over which statistics are taken.
      scope: a method of several models has one for each.
    """

    model: nn.Module
    mean: float = 0.0
    std: float = 1.0
    freeze: tuple[str, ...] = ()
    axis_name: str | None = None
    scope: str = SCOPE

    def init(
        self,
        rng: Key,
        image: Float[Array, "b h w c"],
        inputs: Mapping[str, Array] | None = None,
    ) -> tuple[Params, State, dict[str, Any]]:
        """Parameters and statistics by the scope, state empty without any, and what it gives out.

        ``inputs`` is what the model takes besides the image, by name.
        """
        more: dict[str, Any] = dict(inputs or {})
        made: Any = self.model.init_with_output(rng, self._normalize(image), **more)
        (_, out), variables = made
        statistics = variables.get("batch_stats")
        state = {self.scope: statistics} if statistics else {}
        return {self.scope: variables["params"]}, state, out

    def look(
        self,
        params: Params,
        state: State,
        image: Float[Array, "b h w c"],
        *,
        train: bool,
        perturbations: Params | None = None,
        inputs: Mapping[str, Array] | None = None,
    ) -> tuple[dict[str, Any], State]:
        """What the model gives out, and the method's state after it.

        Args:
          params, state: of all scopes.
          image: in [0, 1].
          train: whether to use and update the statistics of the batch.
          perturbations: what is added to the features of each level (linen's `perturb`); the
            derivative with respect to it is that with respect to the features.
          inputs: what the model takes besides the image, by name.
        """
        model, image = self.model, self._normalize(image)
        variables: dict[str, Any] = {"params": params[self.scope]}
        more: dict[str, Any] = dict(inputs or {})
        statistics = state.get(self.scope)
        if statistics:
            model = model.clone(axis_name=self.axis_name)
            variables["batch_stats"] = statistics
            if marks := _frozen_marks(statistics, self.freeze, self.scope):
                variables[FROZEN] = marks
        if perturbations is not None:
            variables["perturbations"] = perturbations
        if not (train and statistics):
            applied: Any = model.apply(variables, image, train=train, **more)
            return applied[1], state
        applied = model.apply(variables, image, train=True, mutable=["batch_stats"], **more)
        (_, out), updated = applied
        return out, {**state, self.scope: updated["batch_stats"]}

    def zero_perturbations(
        self,
        params: Params,
        state: State,
        image: Float[Array, "b h w c"],
        inputs: Mapping[str, Array] | None = None,
    ) -> Params:
        """Zeros of the shape of every level's features, as `look` takes them and its `inputs`."""

        def shapes() -> Any:
            variables = {"params": params[self.scope]}
            if self.scope in state:
                variables["batch_stats"] = state[self.scope]
            more: dict[str, Any] = dict(inputs or {})
            applied: Any = self.model.apply(variables, image, mutable=["perturbations"], **more)
            return applied[1]["perturbations"]

        # Zero, but of the image's type: under shard_map a constant would be one for all shards,
        # and its gradient the sum over them.
        zero = jnp.where(jnp.isfinite(image[0, 0, 0, 0]), 0.0, 0.0)
        return jax.tree.map(
            lambda found: (jnp.zeros(found.shape, jnp.float32) + zero).astype(found.dtype),
            jax.eval_shape(shapes),
        )

    def _normalize(self, image: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        return (image - self.mean) / self.std


def is_frozen(path: Sequence[str], freeze: Sequence[str]) -> bool:
    """Whether a parameter's or a statistic's path, joined by '/', matches one of the regexes."""
    name = "/".join(path)
    return any(re.fullmatch(pattern, name) for pattern in freeze)


def require_frozen(params: Params, scopes: Sequence[str], freeze: Sequence[str]) -> None:
    """Refuses to take for constant what is trained.

    Raises:
      InputError: a parameter of one of the scopes is not frozen.
    """
    for path in flatten_dict({scope: params[scope] for scope in scopes}):
        if not is_frozen(path, freeze):
            raise InputError(
                f"what does not change is computed once, and '{'/'.join(path)}' is trained: freeze "
                f"it with config.freeze={tuple(f'{scope}/.*' for scope in scopes)}, or take "
                "config.train.cache_frozen=False."
            )


def _frozen_marks(statistics: Params, freeze: Sequence[str], scope: str) -> Params:
    """One mark a layer whose statistics are frozen: its presence is what counts.

    They are where a regex matches them, or all parameters of their layer: scale and bias.
    """
    layers = {path[:-1] for path in flatten_dict(statistics)}
    marks = {}
    for layer in layers:
        frozen = [
            all(is_frozen((scope, *layer, name), freeze) for name in names)
            for names in (("mean", "var"), ("scale", "bias"))
        ]
        if any(frozen):
            marks[(*layer, "statistics")] = True
    return unflatten_dict(marks)

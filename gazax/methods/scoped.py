"""A module as methods use it: parameters and statistics under a scope, frozen parts left alone."""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array

from gazax.methods.base import Params, State
from gazax.typing import InputError, Key

FROZEN = "frozen"
"""Collection in which a mark beside a layer's statistics says that they must not move."""


@dataclasses.dataclass(frozen=True)
class Scoped:
    """A model whose parameters, and statistics if it has any, are one scope of the method's.

    Attributes:
      model: (inputs, train=) -> anything; one that has batch statistics has a field `axis_name`.
      scope: its name.
      freeze: regexes of parameters, see `is_frozen`; a frozen layer's statistics are used as they
        are and do not move.
      axis_name: mapped axis of the batch, over which statistics are taken.
    """

    model: nn.Module
    scope: str
    freeze: tuple[str, ...] = ()
    axis_name: str | None = None

    def init(self, rng: Key, x: Array, **inputs: Any) -> tuple[Params, State, Any]:
        """Parameters and statistics by the scope, state empty without any, and what it gives."""
        made: Any = self.model.init_with_output(rng, x, **inputs)
        found, variables = made
        statistics = variables.get("batch_stats")
        state = {self.scope: statistics} if statistics else {}
        return {self.scope: variables["params"]}, state, found

    def apply(
        self,
        params: Params,
        state: State,
        x: Array,
        *,
        train: bool,
        perturbations: Params | None = None,
        **inputs: Any,
    ) -> tuple[Any, State]:
        """What the model gives, and the method's state after it.

        Args:
          params, state: of all scopes.
          x: what it looks at.
          train: whether to use and update the statistics of the batch.
          perturbations: what is added to inner features (linen's `perturb`).
          inputs: what the model takes besides, by name.
        """
        model = self.model
        variables: dict[str, Any] = {"params": params[self.scope]}
        statistics = state.get(self.scope)
        if statistics:
            model = model.clone(axis_name=self.axis_name)
            variables["batch_stats"] = statistics
            if marks := _frozen_marks(statistics, self.freeze, self.scope):
                variables[FROZEN] = marks
        if perturbations is not None:
            variables["perturbations"] = perturbations
        if not (train and statistics):
            return model.apply(variables, x, train=train, **inputs), state
        applied: Any = model.apply(variables, x, train=True, mutable=["batch_stats"], **inputs)
        found, updated = applied
        return found, {**state, self.scope: updated["batch_stats"]}


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

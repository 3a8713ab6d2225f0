"""A backbone as every method uses it: on normalised images, open to perturbations of its levels."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from gazax.methods.base import Params, State
from gazax.methods.scoped import Scoped
from gazax.typing import Key

SCOPE = "backbone"


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A model on images in [0, 1], its parameters and statistics under a scope of the method's.

    Attributes:
      model: (image, train=) -> (output, out); one that has batch statistics has a field
        `axis_name`.
      mean, std: the model sees (image - mean) / std.
      freeze, axis_name: see `gazax.methods.scoped.Scoped`.
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
        params, state, (_, out) = self._scoped.init(rng, self._normalize(image), **(inputs or {}))
        return params, state, out

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
        (_, out), state = self._scoped.apply(
            params,
            state,
            self._normalize(image),
            train=train,
            perturbations=perturbations,
            **(inputs or {}),
        )
        return out, state

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

    @property
    def _scoped(self) -> Scoped:
        return Scoped(self.model, self.scope, self.freeze, self.axis_name)

    def _normalize(self, image: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        return (image - self.mean) / self.std

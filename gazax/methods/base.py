"""The contract between a method and everything that trains, evaluates or exports it."""

from typing import Any, ClassVar, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, ArrayLike, Float, Int

from gazax.typing import Batch, Key, Scalar, StepCount, Terms

Params = dict[str, Any]
State = dict[str, Any]


@runtime_checkable
class Method(Protocol):
    """A frozen dataclass; every function is pure.

    ``axis_name`` is the mapped axis under shard_map and pmap, and None where arrays are global
    (one device, or jit over a mesh). Under an axis, `loss` returns this shard's share: the mean
    of the shares over the axis is the loss of the global batch (`gazax.losses.parallel`).

    ``freeze`` holds regexes of parameter paths (``backbone/.*``): those parameters are split off
    before the gradient is taken, and the statistics of their layers are used but do not move.
    """

    # What makes it a dataclass to `dataclasses.replace`.
    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def backbone(self) -> nn.Module:
        """The model under the scope `backbone`."""
        ...

    @property
    def axis_name(self) -> str | None:
        """The mapped axis, see above."""
        ...

    @property
    def freeze(self) -> tuple[str, ...]:
        """Regexes of the parameters that are not trained, see above."""
        ...

    def init(self, rng: Key, batch: Batch) -> tuple[Params, State]:
        """Parameters by scope (`backbone`, `projector`, ...) and the state beside them."""
        ...

    def loss(
        self, params: Params, state: State, batch: Batch, rng: Key, *, step: StepCount, train: bool
    ) -> tuple[Scalar, tuple[State, Terms]]:
        """The scalar to differentiate, the new state, and the named terms to log.

        ``rng`` is the step's key; an example's draws come from
        ``fold_in(rng, batch['place'])``, so they do not depend on how the batch is cut.
        """
        ...

    def after_step(self, params: Params, state: State, *, step: StepCount) -> State:
        """What follows the update of the parameters: EMA targets, queues, or the state as it is."""
        ...

    def encode(
        self, params: Params, state: State, batch: Batch
    ) -> tuple[Float[Array, "b d"], Float[Array, "b h_l w_l"]]:
        """Features and attention of the undisturbed images, for evaluation.

        Returns:
          Pooled backbone features, and the attention over the image, a density on the
          backbone's own grid: the mean of the levels that the method looks at.
        """
        ...


@runtime_checkable
class Classifies(Protocol):
    """A method whose model says which labels an image has."""

    @property
    def task(self) -> str:
        """'multiclass', one label an image, or 'multilabel', any number of them."""
        ...

    def predict(self, params: Params, state: State, batch: Batch) -> Float[Array, "b k"]:
        """Probabilities of the undisturbed images' labels; for 'multiclass' they sum to 1."""
        ...

    def explain(self, params: Params, state: State, batch: Batch) -> Float[Array, "b h_l w_l"]:
        """Grad-CAM of each image's highest logit, on the grid of the backbone's last level."""
        ...


@runtime_checkable
class PredictsSaliency(Protocol):
    """A method whose model says where people would look."""

    def saliency(self, params: Params, state: State, batch: Batch) -> Float[Array, "b h w"]:
        """The predicted density of gaze on the undisturbed images; each sums to 1."""
        ...


@runtime_checkable
class Precomputes(Protocol):
    """A method that, its frozen parts once computed for all images, does without them."""

    def precompute(self, params: Params, state: State, batch: Batch) -> dict[str, Array]:
        """What the frozen parts make of the undisturbed images: arrays [b, ...] by name.

        Batches that hold it as `cached` spare the method that computation. Empty: there is none.
        """
        ...


def keys_by_place(rng: Key, place: Int[ArrayLike, "b"], *, views: int) -> Array:
    """[b, views] keys: each example's own, by its place in the global stream of examples."""

    def of_one(index: Array) -> Array:
        return jax.random.split(jax.random.fold_in(rng, index), views)

    return jax.vmap(of_one)(jnp.asarray(place))

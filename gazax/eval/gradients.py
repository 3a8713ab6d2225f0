"""How strongly each term of a loss pulls on the backbone."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from gazax.methods.backbone import SCOPE
from gazax.methods.base import Method, Params, State
from gazax.train import freeze
from gazax.train.sharding import batch_sharding, place_batch, replicated
from gazax.typing import Batch


def make_gradient_norms(
    method: Method, batch: Batch, *, mesh: Mesh, seed: int
) -> Callable[[Params, State], dict[str, float]]:
    """A function from weights to the norm of each term's gradient with respect to the backbone.

    Of the terms before their weights: ``alpha * gradient/attention`` is what the attention term
    sends. A term of norm 0 does not act, whatever its value does. Frozen parameters are left out;
    where all of the backbone is frozen there is nothing to say.

    Args:
      method: its terms are those that `loss` names ``loss/...``.
      batch: this process's host batch, the same at every call, with the same draws: what differs
        between two calls is the weights.
      mesh: the devices.
      seed: of the draws.
    """

    @jax.jit
    def norms(params: Params, state: State, batch: Batch) -> dict[str, jax.Array]:
        trainable, frozen = freeze.split(params, method.freeze)
        if SCOPE not in trainable:
            return {}

        def terms(backbone: Params) -> dict[str, jax.Array]:
            _, (_, found) = method.loss(
                freeze.merge({**trainable, SCOPE: backbone}, frozen),
                state,
                batch,
                jax.random.key(seed),
                step=jnp.zeros((), jnp.int32),
                train=True,
            )
            return {name: value for name, value in found.items() if name.startswith("loss/")}

        gradients = jax.jacrev(terms)(trainable[SCOPE])
        found = {
            name.replace("loss/", "gradient/"): jnp.sqrt(
                sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(gradient))
            )
            for name, gradient in gradients.items()
        }
        return jax.lax.with_sharding_constraint(found, replicated(mesh))

    def run(params: Params, state: State) -> dict[str, float]:
        found = norms(params, state, place_batch(batch, batch_sharding(mesh)))
        return {name: float(np.asarray(norm)) for name, norm in found.items()}

    return run

"""Descent of a loss on one batch, as one compiled loop."""

import jax
import jax.numpy as jnp
import optax


def descend(loss, params, *, learning_rate, steps):
    """Adam: the parameters at the end and the loss before each step.

    Args:
      loss: (params, step) -> scalar.
    """
    tx = optax.adam(learning_rate)

    @jax.jit
    def run(params):
        def one(carry, step):
            params, moments = carry
            value, grads = jax.value_and_grad(loss)(params, step)
            updates, moments = tx.update(grads, moments)
            return (optax.apply_updates(params, updates), moments), value

        (params, _), values = jax.lax.scan(one, (params, tx.init(params)), jnp.arange(steps))
        return params, values

    return run(params)

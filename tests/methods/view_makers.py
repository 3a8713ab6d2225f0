"""What any maker of two views of an image has to keep to."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.batches import tiny_batch


def check_places(maker, rng, *, size):
    """Views come from the place in the stream alone, differ, lie in [0, 1], and compile once."""
    many, traces = tiny_batch(8, size=size), []

    @jax.jit
    def views(batch, rng):
        traces.append(1)
        return maker(batch, rng)

    def of(*places):
        return views(jax.tree.map(lambda x: x[list(places)], many), rng)

    whole = of(0, 1, 2, 3)
    # In another place of another batch, beside other images.
    np.testing.assert_allclose(of(2, 3, 7, 6)[:4], whole[4:], atol=1e-6)
    other = views(jax.tree.map(lambda x: x[:4], many), jax.random.key(9))
    assert len(traces) == 1
    assert jnp.abs(other - whole).max() > 0.1
    assert jnp.abs(whole[::2] - whole[1::2]).max(axis=(1, 2, 3)).min() > 0.02
    assert whole.shape == (8, size, size, 1)
    assert whole.min() >= 0
    assert whole.max() <= 1

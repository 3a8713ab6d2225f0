import jax.numpy as jnp
import numpy as np
import pytest

from gazax.methods.target_network import (
    current_target,
    first_target,
    follow_network,
    keep_target,
    rising_momentum,
)

NETWORK = {"backbone": {"w": jnp.array([1.0, 2.0])}, "head": {"w": jnp.array([5.0])}}


def test_the_target_follows_by_hand():
    state = {"target": first_target(NETWORK, {}, ("backbone",))}
    params, statistics = current_target(NETWORK, state)
    state = keep_target(state, params, statistics)
    moved = {"backbone": {"w": jnp.array([3.0, 2.0])}, "head": {"w": jnp.array([9.0])}}
    state = follow_network(moved, state, 0.75)
    np.testing.assert_allclose(state["target"]["params"]["backbone"]["w"], [1.5, 2.0])
    assert "head" not in state["target"]["params"]
    state = follow_network(moved, state, 0.0)
    np.testing.assert_array_equal(state["target"]["params"]["backbone"]["w"], [3.0, 2.0])


def test_before_it_has_begun_the_target_is_the_network_whatever_that_begins_with():
    state = {"backbone": {"mean": jnp.zeros(2)}}
    state["target"] = first_target(NETWORK, state, ("backbone",))
    loaded = {"backbone": {"w": jnp.array([7.0, 8.0])}}
    known = {**state, "backbone": {"mean": jnp.ones(2)}}
    params, statistics = current_target(loaded, known)
    np.testing.assert_array_equal(params["backbone"]["w"], [7.0, 8.0])
    np.testing.assert_array_equal(statistics["backbone"]["mean"], [1.0, 1.0])
    begun = keep_target(known, params, statistics)
    params, _ = current_target(NETWORK, begun)
    np.testing.assert_array_equal(params["backbone"]["w"], [7.0, 8.0])


def test_momentum_rises_along_half_a_cosine():
    found = [rising_momentum(jnp.int32(step), base=0.9, total_steps=100) for step in (0, 50, 100)]
    np.testing.assert_allclose(found, [0.9, 0.95, 1.0], rtol=1e-6)
    assert rising_momentum(jnp.int32(25), base=0.9, total_steps=100) == pytest.approx(
        0.9146447, abs=1e-6
    )

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gazax.train import optim
from gazax.typing import InputError


def test_schedule_warms_up_then_falls_to_its_end():
    schedule = optim.cosine_schedule(learning_rate=1.0, warmup_steps=4, total_steps=12)
    # Up: 1/4 + 3/4 * s/4. Down: (1 + cos(pi (s - 4) / 8)) / 2; half-way, at 8, it is one half.
    np.testing.assert_allclose(
        [schedule(s) for s in (0, 2, 4, 8, 12)], [0.25, 0.625, 1.0, 0.5, 0.0], atol=1e-6
    )


def test_schedule_without_warmup_starts_at_its_peak():
    schedule = optim.cosine_schedule(learning_rate=0.3, warmup_steps=0, total_steps=5)
    np.testing.assert_allclose(schedule(0), 0.3, rtol=1e-6)


def test_warmup_must_end_before_training_does():
    with pytest.raises(
        InputError, match=r"of 5 steps must end before the 5 steps .* optim\.warmup_fraction"
    ):
        optim.cosine_schedule(learning_rate=1.0, warmup_steps=5, total_steps=5)


def test_kernels_decay_and_biases_norms_and_positions_do_not():
    params = {
        "dense": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)},
        "norm": {"scale": jnp.ones(2)},
        "pos_embed": jnp.ones((1, 3, 2)),
        "cls_token": jnp.ones((1, 1, 2)),
    }
    tx = optim.adamw(lambda _: 0.1, weight_decay=0.5, clip_norm=0.0)
    updates, _ = tx.update(
        {k: optax.tree.zeros_like(v) for k, v in params.items()}, tx.init(params), params
    )
    # No gradient: the update is -lr * decay * parameter = -.05 where there is decay.
    np.testing.assert_allclose(updates["dense"]["kernel"], -0.05)
    for still in (updates["dense"]["bias"], updates["norm"]["scale"]):
        np.testing.assert_array_equal(still, 0.0)
    np.testing.assert_array_equal(updates["pos_embed"], 0.0)
    np.testing.assert_array_equal(updates["cls_token"], 0.0)


def test_gradient_is_clipped_by_its_global_norm():
    """Adam forgets a gradient's scale, so two steps show it: 5 clipped to 1, then 1."""
    params = {"w": jnp.zeros(2)}
    gradients = [{"w": jnp.array([3.0, 4.0])}, {"w": jnp.array([1.0, 0.0])}]
    clipped = [{"w": jnp.array([0.6, 0.8])}, gradients[1]]

    def updates(tx, gradients):
        state = tx.init(params)
        for gradient in gradients:
            update, state = tx.update(gradient, state, params)
        return update["w"]

    clipping = optim.adamw(lambda _: 0.1, weight_decay=0.0, clip_norm=1.0)
    plain = optim.adamw(lambda _: 0.1, weight_decay=0.0, clip_norm=0.0)
    np.testing.assert_allclose(updates(clipping, gradients), updates(plain, clipped), rtol=1e-5)
    assert abs(updates(clipping, gradients) - updates(plain, gradients)).max() > 1e-3


WEIGHTS = {
    "kernel": jnp.array([[3.0, 0.0], [0.0, 4.0]]),
    "scale": jnp.ones(2),
    "bias": jnp.zeros(2),
    "pos_embed": jnp.full((1, 1, 2), 3.0),
}
SLOPES = {
    "kernel": jnp.array([[0.3, 0.8], [0.0, 0.4]]),
    "scale": jnp.array([1.0, -2.0]),
    "bias": jnp.array([0.5, 0.0]),
    "pos_embed": jnp.ones((1, 1, 2)),
}


def lars(**changes):
    settings = dict(weight_decay=0.1, momentum=0.9, trust_coefficient=0.01, clip_norm=0.0)
    return optim.lars(lambda step: 0.5 / (1 + step), **{**settings, **changes})


def test_two_lars_steps_by_hand():
    tx = lars()
    first, state = tx.update(SLOPES, tx.init(WEIGHTS), WEIGHTS)
    second, _ = tx.update(SLOPES, state, WEIGHTS)
    # |w| = 5; u = g + .1 w = [[.6, .8], [0, .8]], |u| = sqrt(.36 + .64 + .64) = 1.280625.
    u = np.array([[0.6, 0.8], [0.0, 0.8]])
    moved = 0.5 * 0.01 * 5 / 1.280625 * u
    np.testing.assert_allclose(first["kernel"], -moved, rtol=1e-5)
    # Half the rate, on top of .9 of the first.
    np.testing.assert_allclose(second["kernel"], -(0.9 + 0.5) * moved, rtol=1e-5)
    # Neither decayed nor adapted: -lr g.
    for name in ("scale", "bias", "pos_embed"):
        np.testing.assert_allclose(first[name], -0.5 * SLOPES[name], rtol=1e-6)


def test_lars_forgets_the_scale_of_a_gradient_without_decay():
    tx = lars(weight_decay=0.0)
    doubled = jax.tree.map(lambda x: 8 * x, SLOPES)
    one, _ = tx.update(SLOPES, tx.init(WEIGHTS), WEIGHTS)
    other, _ = tx.update(doubled, tx.init(WEIGHTS), WEIGHTS)
    np.testing.assert_allclose(other["kernel"], one["kernel"], rtol=1e-5)
    np.testing.assert_allclose(other["bias"], 8 * one["bias"], rtol=1e-6)


def test_lars_clips_first():
    norm = float(optax.tree.norm(SLOPES))
    shrunk = jax.tree.map(lambda x: x / (2 * norm), SLOPES)
    clipped, plain = lars(clip_norm=0.5), lars()
    found, _ = clipped.update(SLOPES, clipped.init(WEIGHTS), WEIGHTS)
    expected, _ = plain.update(shrunk, plain.init(WEIGHTS), WEIGHTS)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, expected)


def test_lars_moves_a_kernel_of_zeros():
    tx = lars()
    params = {"kernel": jnp.zeros((2, 2))}
    found, _ = tx.update({"kernel": SLOPES["kernel"]}, tx.init(params), params)
    np.testing.assert_allclose(found["kernel"], -0.5 * SLOPES["kernel"], rtol=1e-6)

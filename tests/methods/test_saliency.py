import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gazax.methods.saliency import Saliency
from gazax.methods.views import UNDISTURBED, own_gaze
from gazax.train.sharding import make_mesh
from gazax.train.state import init_state
from gazax.train.step import make_step
from gazax.typing import InputError
from tests.batches import spec_of, tiny_batch
from tests.methods.descent import descend
from tests.methods.devices import check_same_step
from tests.methods.encoders import TinyGuide, TinyUNet

FREEZE = ("densenet/.*",)


def make(**changes) -> Saliency:
    settings = dict(backbone=TinyUNet(), guide=TinyGuide(), standard=UNDISTURBED, mean=0.0, std=1.0)
    return Saliency(**{**settings, **changes})


def start(method, batch):
    return jax.jit(method.init)(jax.random.key(0), batch)


def value_and_grad(method, params, state, batch, rng, *, train=True):
    def loss(params):
        return method.loss(params, state, batch, rng, step=jnp.int32(0), train=train)

    return jax.jit(jax.value_and_grad(loss, has_aux=True))(params)


def equal(one, other, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), one, other)


def test_the_loss_is_the_kl_of_the_gaze_density_from_the_prediction(rng):
    method, batch = make(), tiny_batch(6)
    params, state = start(method, batch)
    (loss, (_, terms)), _ = value_and_grad(method, params, state, batch, rng, train=False)
    predicted = np.asarray(jax.jit(method.saliency)(params, state, batch), np.float64)
    np.testing.assert_allclose(predicted.sum(axis=(1, 2)), 1.0, rtol=1e-5)
    gaze = np.asarray(own_gaze(batch), np.float64)
    seen = gaze.max(axis=(1, 2)) > 0
    assert seen.tolist() == [False, True, True] * 2
    target = gaze[seen] / gaze[seen].sum(axis=(1, 2), keepdims=True)
    ratio = np.where(target > 0, target, 1) / predicted[seen]
    expected = (target * np.log(ratio)).sum(axis=(1, 2)).mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    np.testing.assert_array_equal(terms["loss/saliency"], loss)


def test_an_image_that_nobody_looked_at_teaches_nothing(rng):
    """Beside its place in the statistics of the batch, which are frozen here."""
    method = make(freeze=("densenet/.*", "unet/norm/.*"))
    batch = tiny_batch(6)
    params, state = start(method, batch)
    rows = np.array([1, 2, 4, 5])
    alone = jax.tree.map(lambda x: x[rows], batch)
    (loss, _), grads = value_and_grad(method, params, state, batch, rng)
    (expected, _), expected_grads = value_and_grad(method, params, state, alone, rng)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    equal(grads, expected_grads, atol=1e-6)
    nobody = tiny_batch(6, has_gaze=np.zeros(6, bool))
    (loss, _), grads = value_and_grad(method, params, state, nobody, rng)
    assert loss == 0.0
    equal(grads, jax.tree.map(jnp.zeros_like, grads))


def test_the_gaze_moves_with_the_image(rng):
    """What is learned from turned views lies where the turned image is: bright where looked at."""
    method = make(standard=dict(crop=(0.5, 0.6), rotation_degrees=90.0), guide=None)
    batch = tiny_batch(8, has_gaze=np.ones(8, bool))
    gaze = np.asarray(own_gaze(batch))
    batch["image"] = (255 * gaze[..., None]).astype(np.uint8)
    params, state = start(method, batch)

    def loss(params, step):
        key = jax.random.fold_in(rng, step)
        return method.loss(params, state, batch, key, step=step, train=True)[0]

    _, values = descend(loss, params, learning_rate=0.05, steps=150)
    assert values[-10:].mean() < values[0] / 3


def test_a_frozen_guide_is_bit_frozen_and_the_unet_learns(rng):
    method, batch = make(freeze=FREEZE), tiny_batch(8)
    tx = optax.adam(1e-2)
    state = init_state(method, tx, spec_of(batch), seed=0)
    before = jax.device_get((state.params, state.method_state))
    assert "densenet" not in str(jax.tree_util.tree_structure(state.opt_state))
    step = make_step(method, tx, lambda _: 1e-2, mesh=make_mesh(), parallel="jit", seed=0)
    for _ in range(2):
        state, _ = step(state, batch)
    after = jax.device_get((state.params, state.method_state))
    for one, other in zip(before, after, strict=True):
        equal(one["densenet"], other["densenet"], atol=0, rtol=0)
        moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), one["unet"], other["unet"])
        assert max(jax.tree.leaves(moved)) > 1e-3


def test_what_the_guide_says_can_be_computed_once(rng):
    method, batch = make(freeze=FREEZE), tiny_batch(8)
    params, state = start(method, batch)
    cached = jax.jit(method.precompute)(params, state, batch)
    assert cached["guide"].shape == (8, 2, 2, 6)
    with_cache = {**batch, "cached": jax.device_get(cached)}
    (loss, (new, _)), grads = value_and_grad(method, params, state, batch, rng)
    (same, (new_too, _)), same_grads = value_and_grad(method, params, state, with_cache, rng)
    np.testing.assert_allclose(loss, same, rtol=1e-6)
    equal(new, new_too, atol=1e-6)
    equal(grads["unet"], same_grads["unet"], atol=1e-6)
    equal(method.encode(params, state, batch), method.encode(params, state, with_cache), atol=1e-6)


def test_what_is_trained_is_not_computed_once(rng):
    method, batch = make(freeze=("densenet/norm/.*",)), tiny_batch(4)
    params, state = start(method, batch)
    with pytest.raises(InputError, match=r"'densenet/patch/\w+' is trained.*cache_frozen"):
        method.precompute(params, state, batch)
    assert make(guide=None).precompute(params, state, batch) == {}  # nothing to compute


def test_the_same_step_on_any_devices():
    check_same_step(make(freeze=FREEZE), tiny_batch(8))

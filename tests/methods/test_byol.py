import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gazax.methods import BYOL, MoCoV3, SimSiam, build
from tests.batches import tiny_batch
from tests.methods.descent import descend
from tests.methods.devices import check_same_step
from tests.methods.siamese import normed_head, settings


def make(name="byol", **changes):
    heads = dict(projector=normed_head(), predictor=normed_head(hidden_dim=12))
    more = {
        "byol": dict(momentum=0.9, total_steps=10),
        "moco_v3": dict(momentum=0.9, total_steps=10, temperature=0.2),
        "simsiam": {},
    }
    return build(name, **settings(**heads, **{**more[name], **changes}))


def unit(x):
    x = np.asarray(x, np.float64)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def both_views(method, params, state, batch, rng):
    """Guesses and projections of view a and of view b, by the method's own parts."""

    @jax.jit
    def look(params):
        seen, after = method.embed(params, state, method.views(batch, rng), train=True)
        guess, _ = method.predict_other(params, after, seen.z, train=True)
        return guess, seen.z

    guess, z = look(params)
    return unit(guess[::2]), unit(guess[1::2]), unit(z[::2]), unit(z[1::2])


def first_step(method, rng):
    batch = tiny_batch(4)
    params, state = method.init(rng, batch)
    loss, (state_after, terms) = jax.jit(
        lambda p: method.loss(p, state, batch, rng, step=jnp.int32(0), train=True)
    )(params)
    return both_views(method, params, state, batch, rng), loss, state_after, terms, params


def test_byol_is_the_distance_of_each_guess_from_the_others_target(rng):
    method = make()
    assert isinstance(method, BYOL)
    (guess_a, guess_b, z_a, z_b), loss, _, terms, _ = first_step(method, rng)
    # at the first step the target is the network itself
    by_hand = ((guess_a - z_b) ** 2).sum(axis=1) + ((guess_b - z_a) ** 2).sum(axis=1)
    np.testing.assert_allclose(loss, by_hand.mean(), rtol=1e-5)
    np.testing.assert_allclose(terms["spread/z"], _spread(z_a, z_b), rtol=1e-4)


def test_simsiam_is_the_similarity_of_each_guess_to_the_other(rng):
    method = make("simsiam")
    assert isinstance(method, SimSiam)
    (guess_a, guess_b, z_a, z_b), loss, _, _, _ = first_step(method, rng)
    by_hand = -((guess_a * z_b).sum(axis=1) + (guess_b * z_a).sum(axis=1)) / 2
    np.testing.assert_allclose(loss, by_hand.mean(), rtol=1e-5)


def test_moco_v3_tells_the_keys_of_the_batch_apart(rng):
    method = make("moco_v3")
    assert isinstance(method, MoCoV3)
    (guess_a, guess_b, z_a, z_b), loss, _, _, _ = first_step(method, rng)

    def cross_entropy(query, keys):
        logits = query @ keys.T / 0.2
        return np.log(np.exp(logits).sum(axis=1)) - np.diagonal(logits)

    by_hand = 2 * 0.2 * (cross_entropy(guess_a, z_b) + cross_entropy(guess_b, z_a))
    np.testing.assert_allclose(loss, by_hand.mean(), rtol=1e-5)


def test_the_target_has_no_gradient_and_moves_after_the_step(rng):
    method, batch = make(), tiny_batch(4)
    params, state = method.init(rng, batch)
    state["target"]["begun"] = jnp.int32(1)
    state["target"]["params"] = jax.tree.map(lambda x: x + 0.1, state["target"]["params"])

    def loss(params, target):
        known = {**state, "target": {**state["target"], "params": target}}
        return method.loss(params, known, batch, rng, step=jnp.int32(0), train=True)

    grad = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))
    (of_params, of_target), (after, _) = grad(params, state["target"]["params"])
    assert max(float(jnp.abs(x).max()) for x in jax.tree.leaves(of_target)) == 0
    assert max(float(jnp.abs(x).max()) for x in jax.tree.leaves(of_params["predictor"])) > 0
    moved = method.after_step(params, after, step=jnp.int32(5))["target"]
    m = 1 - (1 - 0.9) * (1 + np.cos(np.pi * 0.5)) / 2
    jax.tree.map(
        lambda new, old, own: np.testing.assert_allclose(
            new, m * old + (1 - m) * own, rtol=1e-5, atol=1e-7
        ),
        moved["params"],
        after["target"]["params"],
        {scope: params[scope] for scope in ("backbone", "projector")},
    )
    # statistics are the target's own, moved by its own forward pass
    mean = moved["state"]["projector"]["norms_0"]["mean"]
    assert np.abs(mean - after["projector"]["norms_0"]["mean"]).max() > 1e-4


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("simsiam", "moco_v3")]


@pytest.mark.parametrize("name", ["byol", *SLOW])
def test_features_do_not_collapse_while_the_loss_falls(rng, name):
    method, batch = make(name), tiny_batch(8)
    params, state = method.init(rng, batch)

    def loss(params, step):
        key = jax.random.fold_in(rng, step)
        return method.loss(params, state, batch, key, step=step, train=True)[0]

    params, values = descend(loss, params, learning_rate=3e-3, steps=60)
    assert values[-5:].mean() < values[:5].mean() - 0.02
    _, _, z_a, z_b = both_views(method, params, state, batch, rng)
    assert _spread(z_a, z_b) > 0.3


def test_the_same_step_on_any_devices():
    """Statistics of the batch are of all of it, and the target's follow."""
    terms, _ = check_same_step(make(), tiny_batch(8))
    assert terms["loss"] == terms["loss/regression"]


def _spread(z_a, z_b):
    return np.concatenate([z_a, z_b]).std(axis=0).mean() * z_a.shape[1] ** 0.5

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gazax.methods import METHODS, GazAT, build
from gazax.models import build as build_model
from gazax.models.heads import AttentionModule, Projector
from gazax.typing import InputError
from tests.batches import tiny_batch
from tests.methods.descent import descend


def make(**changes) -> GazAT:
    settings = dict(
        backbone=build_model("vit", width=16, depth=2, num_heads=2, patch_size=8),
        projector=Projector(hidden_dim=16, out_dim=8),
        temperature=0.1,
        alpha=1.0,
        beta=0.5,
        levels=(0, 1),
        level_weights=(0.5, 0.5),
        distance="kl",
        regional_temperature=0.1,
        standard={},
        strong={},
        mean=0.5,
        std=0.25,
    )
    return build("gazat", **{**settings, **changes})


def loss_of(method, params, batch, rng, *, step=0, train=True):
    loss = jax.jit(
        lambda params, batch: method.loss(params, {}, batch, rng, step=jnp.int32(step), train=train)
    )
    return loss(params, batch)


def test_unknown_method_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="did you mean 'gazat'"):
        build("gazatt")
    assert list(METHODS) == sorted(METHODS)


def test_total_is_the_weighted_sum_of_its_terms(rng):
    method, batch = make(alpha=2.0, beta=0.25), tiny_batch()
    params, _ = method.init(rng, batch)
    total, (_, terms) = loss_of(method, params, batch, rng)
    expected = terms["loss/contrast"] + 2 * terms["loss/attention"] + terms["loss/regional"] / 4
    np.testing.assert_allclose(total, expected, rtol=1e-6)
    assert all(float(terms[name]) > 0 for name in terms)


@pytest.mark.parametrize(("step", "weight"), [(0, 0.0), (3, 0.6), (5, 1.0), (9, 1.0)])
def test_looking_first_lets_the_contrasts_weights_rise(rng, step, weight):
    method, batch = make(look_first=0.5, total_steps=10), tiny_batch()
    params, _ = method.init(rng, batch)
    total, (_, terms) = loss_of(method, params, batch, rng, step=step)
    contrasts = terms["loss/contrast"] + 0.5 * terms["loss/regional"]
    np.testing.assert_allclose(total, weight * contrasts + terms["loss/attention"], rtol=1e-6)


def test_looking_first_is_refused_without_the_length_of_the_run():
    with pytest.raises(InputError, match="total_steps is 0: give the run's"):
        make(look_first=0.5)


def test_looking_first_changes_no_loss_outside_training(rng):
    batch = tiny_batch()
    params, _ = make().init(rng, batch)
    later = make(look_first=0.5, total_steps=10)
    plain, _ = loss_of(make(), params, batch, rng, train=False)
    total, _ = loss_of(later, params, batch, rng, train=False)
    assert float(total) == float(plain)


def test_without_gaze_attention_and_regional_are_exactly_zero(rng):
    method, batch = make(), tiny_batch(has_gaze=np.zeros(8, bool))
    params, _ = method.init(rng, batch)
    total, (_, terms) = loss_of(method, params, batch, rng)
    assert terms["loss/attention"] == 0.0
    assert terms["loss/regional"] == 0.0
    assert terms["gaze_share"] == 0.0
    assert total == terms["loss/contrast"]


def test_a_batch_of_both_kinds_aligns_only_the_images_with_gaze(rng):
    """The attention term of a mixed batch is that of its images with gaze, on their own draws."""
    method = make()
    mixed = tiny_batch(has_gaze=np.array([1, 0, 1, 1, 0, 0, 1, 0], bool))
    params, _ = method.init(rng, mixed)
    rows = np.array([0, 2, 3, 6])
    alone = jax.tree.map(lambda x: x[rows], mixed)
    _, (_, of_mixed) = loss_of(method, params, mixed, rng)
    _, (_, of_alone) = loss_of(method, params, alone, rng)
    np.testing.assert_allclose(of_mixed["loss/attention"], of_alone["loss/attention"], rtol=1e-5)
    np.testing.assert_allclose(of_mixed["loss/regional"], of_alone["loss/regional"], rtol=1e-5)
    assert of_mixed["gaze_share"] == 0.5


def test_draws_follow_the_place_not_the_row(rng):
    """The same examples in another order of rows make the same loss."""
    method, batch = make(), tiny_batch()
    params, _ = method.init(rng, batch)
    order = np.array([5, 2, 7, 0, 1, 6, 3, 4])
    shuffled = jax.tree.map(lambda x: x[order], batch)
    first, _ = loss_of(method, params, batch, rng)
    second, _ = loss_of(method, params, shuffled, rng)
    np.testing.assert_allclose(first, second, rtol=1e-5)
    moved, _ = loss_of(method, params, {**batch, "place": batch["place"] + 8}, rng)
    assert abs(float(moved - first)) > 1e-4


def test_padding_of_fixations_gives_finite_gradients(rng):
    method, batch = make(), tiny_batch()
    assert np.isnan(batch["fixations"]["xy"]).any()
    params, _ = method.init(rng, batch)
    grads = jax.jit(
        jax.grad(lambda p: method.loss(p, {}, batch, rng, step=jnp.int32(0), train=True)[0])
    )(params)
    leaves = jax.tree.leaves(grads)
    assert all(np.isfinite(leaf).all() for leaf in leaves)
    assert sum(bool(np.abs(leaf).max() > 0) for leaf in leaves) == len(leaves)


@pytest.mark.parametrize("distance", ["kl", "l2"])
def test_attention_term_alone_moves_the_attention_onto_the_gaze(rng, distance):
    """100 steps on one batch, no disturbance: the term falls by half at least."""
    still = dict(crop=(1.0, 1.0), rotation_degrees=0.0, brightness=0.0, contrast=0.0)
    method = make(distance=distance, standard=still)
    batch = tiny_batch(4, has_gaze=np.ones(4, bool))
    params, _ = method.init(rng, batch)

    def term(params, step):
        _, (_, terms) = method.loss(params, {}, batch, rng, step=jnp.int32(0), train=True)
        return terms["loss/attention"]

    _, values = descend(term, params, learning_rate=3e-3, steps=100)
    assert values[-1] < values[0] / 2


def test_zero_weights_leave_their_terms_out(rng):
    method, batch = make(alpha=0.0, beta=0.0), tiny_batch()
    params, _ = method.init(rng, batch)
    total, (_, terms) = loss_of(method, params, batch, rng)
    assert terms["loss/attention"] == terms["loss/regional"] == 0.0
    assert total == terms["loss/contrast"]


def test_encode_gives_features_and_a_density(rng):
    method, batch = make(), tiny_batch()
    params, state = method.init(rng, batch)
    features, attention = method.encode(params, state, batch)
    assert features.shape == (8, 16)
    assert attention.shape == (8, 4, 4)
    np.testing.assert_allclose(attention.sum(axis=(1, 2)), 1.0, rtol=1e-5)


def test_a_level_that_the_backbone_lacks_is_named(rng):
    with pytest.raises(InputError, match=r"names level 2; the backbone has 2 levels"):
        make(levels=(0, 2)).init(rng, tiny_batch())
    with pytest.raises(InputError, match="one weight a level"):
        make(levels=(0,))


def test_method_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        make().alpha = 2.0


def encoded(method, batch, rng):
    params, state = method.init(rng, batch)
    image = (jnp.asarray(batch["image"]) / 255 - 0.5) / 0.25
    _, out = method.backbone.apply({"params": params["backbone"]}, image)
    features, attention = jax.jit(method.encode)(params, state, batch)
    return features, attention, out


def test_pooling_by_attention_weights_each_cell_by_its_share(rng):
    features, attention, out = encoded(make(pooling="attention"), tiny_batch(4), rng)
    expected = np.einsum("bhw,bhwd->bd", attention, out["feature_map"])
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-6)


def test_pooling_by_both_puts_the_backbones_features_first(rng):
    features, attention, out = encoded(make(pooling="both"), tiny_batch(4), rng)
    looked_at = np.einsum("bhw,bhwd->bd", attention, out["feature_map"])
    expected = np.concatenate([out["features"], looked_at], axis=1)
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-6)


def test_the_modules_gated_features_can_stand_beside_the_backbones(rng):
    method = make(attention="module", attention_module=AttentionModule(8), pooling="both")
    batch = tiny_batch(4)
    params, state = method.init(rng, batch)
    features, _ = jax.jit(method.encode)(params, state, batch)
    features_of_both, _ = jax.jit(make().encode)(make().init(rng, batch)[0], {}, batch)
    np.testing.assert_allclose(features[:, :16], features_of_both, rtol=1e-4, atol=1e-6)
    assert features.shape == (4, 32)
    assert np.abs(features[:, 16:] - features[:, :16]).min(axis=1).max() > 1e-3


def test_pooling_by_grad_cam_of_what_is_pooled_is_refused():
    with pytest.raises(InputError, match="pooling=backbone"):
        make(attention="grad_cam", pooling="both")

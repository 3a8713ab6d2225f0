import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gazax.methods import SimCLR, build
from gazax.methods.views import AugmentedViews, gaze_views, own_gaze
from gazax.ops.views import standard_view, strong_transform
from gazax.typing import InputError
from tests.batches import tiny_batch
from tests.methods.descent import descend
from tests.methods.devices import check_same_step
from tests.methods.siamese import settings, tiny_vit
from tests.methods.test_gazat import make as gazat_of
from tests.reference import losses as slow


def make(**changes) -> SimCLR:
    vit = dict(backbone=tiny_vit(), attention="rows", levels=(0, 1), temperature=0.2)
    return build("simclr", **settings(**{**vit, **changes}))


def test_loss_is_nt_xent_of_the_two_views(rng):
    method, batch = make(), tiny_batch(4)
    params, state = method.init(rng, batch)

    @jax.jit
    def both(params):
        loss, (_, terms) = method.loss(params, state, batch, rng, step=jnp.int32(0), train=True)
        images = method.views(batch, rng)
        features, _ = method.backbone.apply(
            {"params": params["backbone"]}, (images - 0.5) / 0.25, train=True
        )
        return loss, terms, method.projector.apply({"params": params["projector"]}, features)

    loss, terms, z = both(params)
    expected = np.mean(slow.info_nce(np.asarray(z[::2]), np.asarray(z[1::2]), temperature=0.2))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert terms.keys() == {"loss/contrast", "spread/features", "spread/z"}
    unit = np.asarray(z) / np.linalg.norm(z, axis=1, keepdims=True)
    np.testing.assert_allclose(terms["spread/z"], unit.std(axis=0).mean() * 8**0.5, rtol=1e-4)


def test_gaze_changes_nothing(rng):
    method, batch = make(), tiny_batch(4)
    params, state = method.init(rng, batch)
    loss = jax.jit(lambda b: method.loss(params, state, b, rng, step=jnp.int32(0), train=True)[0])
    blind = {**batch, "fixations": jax.tree.map(np.zeros_like, batch["fixations"])}
    assert loss(batch) == loss(blind)


def test_views_are_two_strong_transforms_of_two_standard_views(rng):
    batch = tiny_batch(3)
    seen = jax.jit(lambda: AugmentedViews(standard={}, strong={})(batch, rng))()
    assert seen.shape == (6, *batch["image"].shape[1:])
    assert np.abs(seen[::2] - seen[1::2]).max(axis=(1, 2, 3)).min() > 0.05
    still = dict(crop=(1.0, 1.0), rotation_degrees=0.0, brightness=0.0, contrast=0.0)
    calm = dict(brightness=0.0, contrast=0.0, gamma=0.0, blur=0.0, noise=0.0, cutout_count=0)
    as_is = jax.jit(lambda: AugmentedViews(standard=still, strong=calm)(batch, rng))()
    np.testing.assert_allclose(as_is[::2], np.asarray(batch["image"]) / 255, atol=1e-5)
    np.testing.assert_array_equal(as_is[::2], as_is[1::2])
    key = jax.random.split(jax.random.fold_in(rng, batch["place"][1]), 4)
    image = jnp.asarray(batch["image"][1]) / 255
    moved, _, mask = standard_view(
        key[2], image, jnp.zeros((*image.shape[:2], 0)), batch["content"][1]
    )
    np.testing.assert_allclose(seen[3], strong_transform(key[3], moved, mask), atol=1e-5)


def test_it_learns_to_tell_images_apart(rng):
    # Noise images: what a rotation leaves of them is little, so they are only re-exposed.
    still = dict(crop=(1.0, 1.0), rotation_degrees=0.0)
    method = make(views=AugmentedViews(standard=still, strong=dict(cutout_count=1)))
    batch = tiny_batch(8)
    params, state = method.init(rng, batch)

    def loss(params, step):
        key = jax.random.fold_in(rng, step)
        return method.loss(params, state, batch, key, step=step, train=True)[0]

    _, values = descend(loss, params, learning_rate=3e-3, steps=60)
    assert values[-5:].mean() < 0.6 * values[:5].mean()


def test_the_same_step_on_any_devices():
    check_same_step(make(), tiny_batch(8))


def test_features_are_the_backbones_and_attention_a_density(rng):
    method, batch = make(), tiny_batch(4)
    params, state = method.init(rng, batch)
    features, attention = jax.jit(method.encode)(params, state, batch)
    image = (np.asarray(batch["image"], np.float32) / 255 - 0.5) / 0.25
    expected, _ = method.backbone.apply({"params": params["backbone"]}, jnp.asarray(image))
    np.testing.assert_allclose(features, expected, atol=1e-5)
    np.testing.assert_allclose(attention.sum(axis=(1, 2)), 1.0, rtol=1e-5)


def test_features_can_be_pooled_as_gazats_are(rng):
    batch = tiny_batch(4)
    features, attention = {}, None
    for pooling in ("backbone", "attention", "both"):
        method = make(pooling=pooling)
        params, state = method.init(rng, batch)
        features[pooling], attention = jax.jit(method.encode)(params, state, batch)
    both = np.concatenate([features["backbone"], features["attention"]], axis=1)
    np.testing.assert_allclose(features["both"], both, atol=1e-6)
    assert attention.shape == (4, 4, 4)


def test_sources_that_need_more_than_a_forward_pass_are_refused():
    with pytest.raises(InputError, match="known: energy, rows"):
        make(attention="grad_cam")


def test_it_is_gazat_without_gaze(rng):
    """On GazAT's views of images that nobody looked at, without its two other terms."""
    batch = tiny_batch(4)
    blind = {**batch, "fixations": jax.tree.map(np.zeros_like, batch["fixations"])}
    blind["fixations"]["reader"] = np.full_like(batch["fixations"]["reader"], -1)
    gazat = gazat_of(alpha=0.0, beta=0.0)

    def views(batch, rng):
        strengths = dict(standard=gazat.standard, strong=gazat.strong)
        return gaze_views(batch, own_gaze(batch), rng, **strengths).image

    shared = ("backbone", "projector", "temperature", "levels", "mean", "std")
    simclr = make(views=views, **{name: getattr(gazat, name) for name in shared})
    params, state = gazat.init(rng, blind)

    @jax.jit
    def losses(params):
        common = dict(step=jnp.int32(0), train=True)
        return [m.loss(params, state, blind, rng, **common)[0] for m in (gazat, simclr)]

    of_gazat, of_simclr = losses(params)
    assert of_gazat > 0
    assert of_gazat == of_simclr

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gazax.losses import segmentation_loss
from gazax.methods.segmentation import Segmentation
from gazax.methods.views import standard_views
from gazax.models import build as build_model
from gazax.models.decoders import LinearDecoder
from gazax.typing import InputError
from tests.batches import tiny_batch
from tests.methods.descent import descend
from tests.methods.test_supervised import Patches, start, value_and_grad

UNEXPOSED = dict(brightness=0.0, contrast=0.0)


def make(**changes) -> Segmentation:
    settings = dict(
        backbone=Patches(),
        decoder=LinearDecoder(3),
        target="mask",
        standard={},
        mean=0.5,
        std=0.25,
    )
    return Segmentation(**{**settings, **changes})


def drawn_batch(batch_size=8, *, size=32):
    """Images with a bright box each, its box and its mask, in the plane of the image's label."""
    batch = tiny_batch(batch_size, size=size)
    rng = np.random.default_rng(0)
    row = np.arange(batch_size)
    label = row % 3
    corner = rng.integers(2, size // 2 - 2, (batch_size, 2))
    side = rng.integers(8, 14, (batch_size, 2))
    box = np.concatenate([corner, corner + side], axis=1)
    x, y = np.arange(size)[None, None, :], np.arange(size)[None, :, None]
    xmin, ymin, xmax, ymax = box.T[:, :, None, None]
    inside = (x >= xmin) & (x < xmax) & (y >= ymin) & (y < ymax)
    mask = np.zeros((batch_size, size, size, 3), np.uint8)
    mask[row, :, :, label] = inside
    boxes = np.full((batch_size, 2, 4), np.nan, np.float32)
    boxes[:, 0] = box
    return {
        **batch,
        "image": (batch["image"] // 8 + 160 * inside[..., None]).astype(np.uint8),
        "mask": mask,
        "box": boxes,
        "box_label": np.stack([label, np.full(batch_size, -1)], axis=1).astype(np.int32),
        "label": np.eye(3, dtype=np.float32)[label],
    }


METHOD = make()


def test_a_tiny_task_is_learned(rng):
    """100 steps on disturbed views of eight images: the loss falls by half at least."""
    vit = build_model("vit", width=16, depth=2, num_heads=2, patch_size=4)
    method, batch = make(backbone=vit), drawn_batch()
    params, state = start(method, batch)
    assert set(params) == {"backbone", "head"}
    assert state == {}

    def loss(params, step):
        key = jax.random.fold_in(rng, step)
        return method.loss(params, state, batch, key, step=step, train=True)[0]

    params, values = descend(loss, params, learning_rate=1e-2, steps=100)
    assert values[-10:].mean() < values[0] / 2
    probabilities = jax.jit(method.predict)(params, state, batch)
    assert probabilities.shape == (8, 32, 32, 3)
    inside = batch["mask"] > 0
    assert probabilities[inside].mean() > 5 * probabilities[~inside].mean()


def test_boxes_and_masks_of_the_same_place_are_one_target(rng):
    batch = drawn_batch()
    by_box = make(target="box")
    np.testing.assert_array_equal(jax.jit(METHOD.masks)(batch), jax.jit(by_box.masks)(batch))
    np.testing.assert_array_equal(jax.jit(METHOD.masks)(batch), batch["mask"])
    without = {name: value for name, value in batch.items() if name != "mask"}
    params, _ = start(by_box, without)
    (loss, (_, terms)), _ = value_and_grad(by_box)(params, without, rng)
    (expected, _), _ = value_and_grad(METHOD)(params, batch, rng)
    assert terms.keys() == {"loss/segmentation"}
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_a_plane_is_unknown_where_nothing_is_marked_and_absence_is_not_known():
    batch = drawn_batch(3)
    batch["label"] = np.array([[1, 0, np.nan], [1, 1, 0], [0, 0, 0]], np.float32)
    unknown = np.isnan(jax.jit(METHOD.masks)(batch)).any(axis=(1, 2))
    # marked, absent, not known; said but not drawn, marked, absent; marked whatever the label is
    np.testing.assert_array_equal(unknown, [[0, 0, 1], [1, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(np.isnan(jax.jit(METHOD.masks)(batch)).all(axis=(1, 2)), unknown)


def test_unmarked_rows_are_masked_exactly(rng):
    batch, unknown = drawn_batch(), [1, 2, 6, 7]
    batch["mask"][unknown], batch["label"][unknown] = 0, np.nan
    params, _ = start(METHOD, batch)
    # Twice each, so that the batch has its size: the mean is the same.
    alone = jax.tree.map(lambda x: x[np.array([0, 3, 4, 5] * 2)], batch)
    (loss, _), grads = value_and_grad(METHOD)(params, batch, rng)
    (expected, _), expected_grads = value_and_grad(METHOD)(params, alone, rng)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    for one, other in zip(jax.tree.leaves(grads), jax.tree.leaves(expected_grads), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    nothing = {**batch, "mask": batch["mask"] * 0, "label": batch["label"] * np.nan}
    (loss, _), grads = value_and_grad(METHOD)(params, nothing, rng)
    assert loss == 0.0
    for leaf in jax.tree.leaves(grads):
        np.testing.assert_array_equal(leaf, 0)


def view(method, batch, rng):
    """The images, masks and content that the method trains on."""
    views = functools.partial(standard_views, standard=method.standard)
    return jax.jit(views)(batch, jnp.asarray(batch["mask"], jnp.float32), rng)


def test_mask_and_image_stay_on_each_other_through_the_views(rng):
    """The bright box of the view and its mask have one centre, to a tenth of a pixel."""
    method = make(standard=UNEXPOSED)
    batch = drawn_batch()
    batch["image"] = (255 * batch["mask"].max(axis=3, keepdims=True)).astype(np.uint8)
    batch["content"][:4] = [1, 3, 31, 29]
    images, masks, content = view(method, batch, rng)
    np.testing.assert_allclose(masks.max(axis=3), images[..., 0], atol=1e-5)
    assert (np.abs(np.asarray(masks) - batch["mask"]).max(axis=(1, 2, 3)) > 0.3).all()
    positions = np.stack(np.indices((32, 32)), axis=-1) + 0.5
    for one, image, label in zip(masks, images, batch["label"], strict=True):
        # the mask is still in the plane of its label, and in no other
        np.testing.assert_array_equal(one.max(axis=(0, 1)) > 0.5, label > 0)
        centres = [
            (np.asarray(weight)[..., None] * positions).sum(axis=(0, 1)) / float(weight.sum())
            for weight in (one.max(axis=2), image[..., 0])
        ]
        np.testing.assert_allclose(*centres, atol=0.1)
    np.testing.assert_array_equal(np.asarray(masks)[np.asarray(content) == 0], 0)


def test_the_loss_takes_the_mask_that_the_view_shows(rng):
    """Where every pixel gets the same logits, it depends on the moved mask and content alone."""
    batch = drawn_batch()
    batch["content"][:4] = [1, 3, 31, 29]
    params, _ = start(METHOD, batch)
    bias = np.array([-1.0, 0.5, 0.2], np.float32)
    params["head"] = jax.tree.map(jnp.zeros_like, params["head"])
    params["head"]["linear"]["bias"] = jnp.asarray(bias)
    (loss, _), _ = value_and_grad(METHOD)(params, batch, rng)
    _, masks, content = view(METHOD, batch, rng)
    logits = np.broadcast_to(bias, masks.shape)
    np.testing.assert_allclose(
        loss, segmentation_loss(logits, masks, where=content).mean(), rtol=1e-5
    )
    unmoved = segmentation_loss(logits, batch["mask"], where=content).mean()
    assert abs(float(unmoved - loss)) > 1e-3


def test_without_training_nothing_is_drawn_and_padding_does_not_count(rng):
    batch = drawn_batch()
    params, _ = start(METHOD, batch)
    padded = {**batch, "weight": (np.arange(8) < 4).astype(np.float32)}
    padded["mask"] = np.where(padded["weight"][:, None, None, None] > 0, batch["mask"], 1)
    padded["mask"] = padded["mask"].astype(np.uint8)
    first, second = (
        value_and_grad(METHOD, train=False)(params, padded, key)[0][0]
        for key in jax.random.split(rng)
    )
    assert first == second
    alone = jax.tree.map(lambda x: x[np.array([0, 1, 2, 3] * 2)], batch)
    (expected, _), _ = value_and_grad(METHOD, train=False)(params, alone, rng)
    np.testing.assert_allclose(first, expected, rtol=1e-6)


def test_predictions_do_not_depend_on_the_rest_of_the_batch(rng):
    batch = drawn_batch()
    params, state = start(METHOD, batch)
    found = jax.jit(METHOD.predict)(params, state, batch)
    other = {**batch, "image": batch["image"].copy(), "mask": batch["mask"] * 0}
    other["image"][5:] = 255 - other["image"][5:]
    np.testing.assert_allclose(
        jax.jit(METHOD.predict)(params, state, other)[:5], found[:5], atol=1e-6
    )
    features, attention = jax.jit(METHOD.encode)(params, state, batch)
    assert features.shape == (8, 16)
    np.testing.assert_allclose(attention.sum(axis=(1, 2)), 1.0, rtol=1e-5)


def test_what_does_not_fit_is_named(rng):
    with pytest.raises(InputError, match=r"method\.target.*masks"):
        make(target="masks")
    with pytest.raises(InputError, match=r"the batch has no masks; set data\.masks=True"):
        METHOD.init(rng, tiny_batch())
    with pytest.raises(InputError, match="5 planes and the data has 3"):
        make(decoder=LinearDecoder(5)).init(rng, drawn_batch())

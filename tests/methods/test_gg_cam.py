import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gazax.methods.base import Classifies, Method
from gazax.methods.gg_cam import GGCAM
from gazax.models import build as build_model
from gazax.models.heads import Projector
from gazax.typing import InputError
from tests.batches import tiny_batch
from tests.methods.descent import descend
from tests.methods.devices import check_same_step
from tests.methods.test_attention_consistency import (
    DENSENET,
    RESNET,
    SETTINGS,
    Normed,
    check_nothing,
    evaluated,
    gradient_of,
    guided_batch,
    patches_of,
)
from tests.methods.test_saliency import equal, start, value_and_grad
from tests.methods.test_supervised import vit

TASKS = pytest.mark.parametrize("task", ["multiclass", "multilabel"])
AVERAGED = build_model("vit", width=16, depth=1, num_heads=2, patch_size=8, pool="avg")


def make(**changes) -> GGCAM:
    return GGCAM(**{**SETTINGS, **changes})


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@TASKS
def test_the_loss_is_that_of_its_equations(rng, task):
    """In float64, with each number of the balance away from what leaves it out."""
    method = make(
        task=task, log_sigma_classification=0.3, log_sigma_gaze=-0.4, log_scale=0.5, shift=-0.7
    )
    assert isinstance(method, Method)
    assert isinstance(method, Classifies)
    batch = guided_batch(task, has_gaze=np.arange(8) != 1)
    params, state = start(method, batch)
    assert set(params) == {"backbone", "head", "balance"}
    params["head"]["bias"] = jnp.array([0.2, -0.1, 0.4])
    features, logits, gaze = patches_of(batch, params)
    cam = features @ np.float64(params["head"]["kernel"]) + np.float64(params["head"]["bias"])
    np.testing.assert_allclose(cam.mean(axis=(1, 2)), logits)
    of_image = []
    for i in range(8):
        own = np.flatnonzero(batch["label"][i])
        if len(own) and i != 1:
            maps = sigmoid(cam[i][:, :, own] * np.exp(0.5) - 0.7)
            of_image.append(np.square(maps - gaze[i][:, :, None]).mean())
    assert len(of_image) == (7 if task == "multiclass" else 6)
    if task == "multiclass":
        log_softmax = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        classification = -log_softmax[batch["label"] > 0].mean()
    else:
        classification = np.log1p(np.exp(np.where(batch["label"] > 0, -logits, logits))).mean()
    expected = {
        "loss/classification": classification,
        "loss/gaze": np.mean(of_image),
        "weight/classification": np.exp(-0.6),
        "weight/gaze": np.exp(0.8) / 2,
    }
    total = (
        np.exp(-0.6) * classification
        + np.log1p(np.exp(0.3))
        + np.exp(0.8) / 2 * np.mean(of_image)
        + np.log1p(np.exp(-0.4))
    )
    (found, (_, terms)), grads = value_and_grad(method, params, state, batch, rng)
    assert terms.keys() == expected.keys()
    equal(terms, expected, rtol=1e-4)
    np.testing.assert_allclose(found, total, rtol=1e-4)
    assert min(np.abs(leaf) for leaf in jax.tree.leaves(grads["balance"])) > 1e-3


@pytest.mark.parametrize("own", [0, 1, 2])
def test_the_gaze_of_a_class_moves_the_map_of_that_class(rng, own):
    """Each class's, and no other's; scale and shift act."""
    method = make()
    batch = guided_batch(has_gaze=np.arange(8) % 3 == own)
    params, state = start(method, batch)
    grads = gradient_of("loss/gaze", method, params, state, batch, rng)
    moved = np.abs(grads["head"]["kernel"]).max(axis=0)
    assert moved[own] > 1e-4
    np.testing.assert_array_equal(np.delete(moved, own), 0)
    np.testing.assert_array_equal(np.delete(grads["head"]["bias"], own), 0)
    assert np.abs(grads["balance"]["log_scale"]) > 1e-5
    assert np.abs(grads["balance"]["shift"]) > 1e-3
    assert np.abs(grads["backbone"]["patch"]["kernel"]).max() > 1e-5


@TASKS
def test_an_image_without_gaze_or_label_is_not_guided(rng, task):
    """The term and its gradient are those of the other images, and of nobody exactly zero."""
    method = make(task=task)
    has_gaze = np.array([1, 1, 1, 1, 1, 0, 0, 1], bool)
    batch = guided_batch(task, has_gaze=has_gaze, unknown=(2, 6))
    batch["label"][7] = 0 if task == "multilabel" else np.nan  # known, and none is present
    params, state = start(method, batch)
    guided = has_gaze & (np.nan_to_num(batch["label"]).sum(axis=1) > 0)
    assert 2 < guided.sum() < 5
    alone = jax.tree.map(lambda x: x[guided], batch)
    others = jax.tree.map(lambda x: x[~guided], batch)
    found, expected, nothing = (
        gradient_of("loss/gaze", method, params, state, one, rng) for one in (batch, alone, others)
    )
    equal(found, expected, atol=1e-6)
    assert np.abs(found["backbone"]["patch"]["kernel"]).max() > 1e-5
    check_nothing(nothing)


def test_where_nobody_looked_the_weight_of_gaze_stays(rng):
    """Its ln(s + 1) alone would lower s, and raise the weight, for as long as no gaze comes."""
    method, batch = make(log_sigma_gaze=0.5), guided_batch(has_gaze=np.zeros(8, bool))
    params, state = start(method, batch)
    (total, (_, terms)), grads = value_and_grad(method, params, state, batch, rng)
    for name in ("log_sigma_gaze", "log_scale", "shift"):
        np.testing.assert_array_equal(grads["balance"][name], 0)
    assert np.abs(grads["balance"]["log_sigma_classification"]) > 1e-3
    np.testing.assert_allclose(total, terms["loss/classification"] + np.log(2), rtol=1e-6)


@pytest.mark.parametrize(
    "backbone", [RESNET, DENSENET, AVERAGED], ids=["resnet", "densenet", "vit"]
)
def test_a_logit_is_the_mean_of_its_map(backbone):
    """With a bias that leaves the relu of the explanation nothing to cut off."""
    method, batch = make(backbone=backbone), jax.tree.map(lambda x: x[:4], guided_batch())
    params, state = start(method, batch)
    params["head"]["bias"] = jnp.array([50.0, 50.1, 50.2])
    features, attention = jax.jit(method.encode)(params, state, batch)
    logits = features @ params["head"]["kernel"] + params["head"]["bias"][None]
    cam = jax.jit(method.explain)(params, state, batch)
    assert attention.shape == cam.shape
    assert cam.std(axis=(1, 2)).min() > 1e-4
    np.testing.assert_allclose(cam.mean(axis=(1, 2)), logits.max(axis=1), rtol=1e-5)


def test_the_attention_is_the_map_of_the_highest_logit():
    method, batch = make(log_scale=1.0, shift=-0.5), guided_batch()
    params, state = start(method, batch)
    params["head"]["bias"] = jnp.full(3, -0.3)
    features, logits, _ = patches_of(batch, params)
    cam = features @ np.float64(params["head"]["kernel"]) - np.float64(np.float32(0.3))
    highest = np.stack([one[:, :, k] for one, k in zip(cam, logits.argmax(axis=1), strict=True)])
    maps = sigmoid(highest * np.exp(1.0) - 0.5)
    _, attention = jax.jit(method.encode)(params, state, batch)
    np.testing.assert_allclose(attention, maps / maps.sum(axis=(1, 2), keepdims=True), rtol=1e-4)
    explained = jax.jit(method.explain)(params, state, batch)
    np.testing.assert_allclose(explained, np.maximum(highest, 0), rtol=1e-4, atol=1e-6)
    assert (highest < 0).any()


def test_the_losses_of_every_class_fall(rng):
    method, batch = make(backbone=AVERAGED), guided_batch()
    params, state = start(method, batch)

    @jax.jit
    def of_class(params, own):
        one = {**batch, "weight": jnp.asarray(batch["label"])[:, own]}
        return method.loss(params, state, one, rng, step=jnp.int32(0), train=False)[1][1]

    def loss(params, step):
        return method.loss(params, state, batch, rng, step=step, train=True)[0]

    before = [of_class(params, own) for own in range(3)]
    params, values = descend(loss, params, learning_rate=5e-3, steps=80)
    assert values[-10:].mean() < 0.8 * values[0]
    for own in range(3):
        after = of_class(params, own)
        for name in ("loss/classification", "loss/gaze"):
            assert after[name] < 0.7 * before[own][name], (own, before[own], after)


def test_the_same_step_on_any_devices():
    """Statistics of the batch, and a device without any gaze."""
    has_gaze = np.array([1, 0, 1, 1, 0, 0, 1, 1], bool)
    batch = guided_batch(has_gaze=has_gaze, unknown=(2,))
    check_same_step(make(backbone=Normed(), standard={}), batch)


def test_padding_does_not_count_in_evaluation(rng):
    method, batch = make(), guided_batch()
    params, state = start(method, batch)
    padded = {**batch, "weight": (np.arange(8) < 5).astype(np.float32)}
    alone = jax.tree.map(lambda x: x[:5], batch)
    found, expected, whole = (
        evaluated(method, params, state, one, rng, train=False)[1] for one in (padded, alone, batch)
    )
    equal(found, expected, rtol=1e-5)
    for name in ("loss/classification", "loss/gaze"):
        assert abs(float(whole[name] - found[name])) > 1e-4


def test_what_has_no_map_of_its_logits_is_refused(rng):
    with pytest.raises(InputError, match=r"pool='cls' gives those of its class token"):
        make(backbone=vit()).init(rng, tiny_batch())
    with pytest.raises(InputError, match="GGCAM .* would be shown it"):
        make(gaze_input=True)
    with pytest.raises(InputError, match="the head is a Projector"):
        make(head=Projector())
    with pytest.raises(InputError, match=r"method\.attention='energy'"):
        make(attention="energy")
    with pytest.raises(InputError, match=r"method\.levels=\(0,\)"):
        make(levels=(0,))

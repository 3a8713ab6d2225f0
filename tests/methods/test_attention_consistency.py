import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gazax.methods.attention_consistency import AttentionConsistency
from gazax.methods.supervised import Supervised
from gazax.methods.views import UNDISTURBED, own_gaze
from gazax.models import build as build_model
from gazax.models.densenet import DenseNet
from gazax.models.heads import Classifier
from gazax.models.resnet import ResNet
from gazax.typing import InputError
from tests.batches import tiny_batch
from tests.methods.descent import descend
from tests.methods.devices import check_same_step
from tests.methods.encoders import TinyGuide
from tests.methods.test_saliency import equal, start, value_and_grad
from tests.methods.test_supervised import Patches, labelled_batch, vit


class Normed(TinyGuide):
    """A backbone with statistics of the batch that compiles in no time."""

    def __call__(self, image, *, train=False):
        features, out = super().__call__(image, train=train)
        return features, {**out, "feature_map": out["feature_maps"][-1]}


RESNET = ResNet((1,), bottleneck=False)  # of one level, which compiles soon
DENSENET = DenseNet((1,), growth_rate=4, init_features=8)
VIT = build_model("vit", width=16, depth=1, num_heads=2, patch_size=8)
BACKBONES = {
    "resnet": (RESNET, (-1,)),
    "densenet": (DENSENET, (-1,)),
    "vit": (VIT, (-1,)),
    "deep_vit": (vit(), (0, 1)),
}
EVERYBODY = np.ones(8, bool)


SETTINGS = dict(
    backbone=Patches(),
    head=Classifier(3),
    task="multiclass",
    standard=UNDISTURBED,
    mean=0.0,
    std=1.0,
)


def make(**changes) -> AttentionConsistency:
    return AttentionConsistency(**{**SETTINGS, **changes})


def guided_batch(task="multiclass", *, has_gaze=EVERYBODY, unknown=()):
    """Labelled images of which those of `has_gaze` were looked at."""
    batch = labelled_batch(task, unknown=unknown)
    return {**batch, "fixations": tiny_batch(8, has_gaze=np.asarray(has_gaze))["fixations"]}


def gradient_of(term, method, params, state, batch, rng):
    """Of one term alone."""

    def value(params):
        _, (_, terms) = method.loss(params, state, batch, rng, step=jnp.int32(0), train=True)
        return terms[term]

    return jax.jit(jax.grad(value))(params)


def evaluated(method, params, state, batch, rng, *, train=True):
    """The loss, its terms and the state after it, without a gradient."""
    step = jnp.int32(0)
    loss = jax.jit(lambda params: method.loss(params, state, batch, rng, step=step, train=train))
    total, (after, terms) = loss(params)
    return total, terms, after


def check_nothing(grads):
    for leaf in jax.tree.leaves(grads):
        np.testing.assert_array_equal(leaf, 0)


def patches_of(batch, params):
    """The feature map of `Patches`, the logits and the gaze by cell, all in float64."""
    weights = jax.tree.map(np.float64, params)
    image = np.float64(batch["image"][..., 0]) / 255
    cells = image.reshape(8, 4, 8, 4, 8).transpose(0, 1, 3, 2, 4).reshape(8, 4, 4, 64)
    patch, head = weights["backbone"]["patch"], weights["head"]
    features = np.tanh(cells @ patch["kernel"] + patch["bias"])
    logits = features.mean(axis=(1, 2)) @ head["kernel"] + head["bias"]
    gaze = np.asarray(own_gaze(batch), np.float64).reshape(8, 4, 8, 4, 8).mean(axis=(2, 4))
    return features, logits, gaze


def stretched(maps):
    low, high = maps.min(axis=(1, 2), keepdims=True), maps.max(axis=(1, 2), keepdims=True)
    return (maps - low) / (high - low)


@pytest.mark.parametrize("distance", ["l2", "kl"])
@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_it_holds_the_activation_of_the_images_own_labels_against_the_gaze(rng, task, distance):
    """Behind a mean the weights of Grad-CAM are the head's, summed over the labels present."""
    method = make(task=task, distance=distance, weight=0.3)
    batch = guided_batch(task)
    params, state = start(method, batch)
    features, logits, gaze = patches_of(batch, params)
    weights = batch["label"] @ np.float64(params["head"]["kernel"]).T / 16
    x = np.einsum("bhwd,bd->bhw", features, weights)
    present = batch["label"].sum(axis=1) > 0
    if task == "multilabel":
        assert sorted(set(batch["label"].sum(axis=1))) == [0, 2, 3]
    x, gaze = x[present], gaze[present]
    t = 0.5 * np.abs(x).mean(axis=(1, 2), keepdims=True)
    attention = t * np.log1p(np.exp(x / t))
    if distance == "l2":
        distances = np.square(stretched(attention) - stretched(gaze)).mean(axis=(1, 2))
    else:
        g, a = (maps / maps.sum(axis=(1, 2), keepdims=True) for maps in (gaze, attention))
        distances = (g * np.log(g / a)).sum(axis=(1, 2))
    if task == "multiclass":
        logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
        classification = -logits[batch["label"] > 0].mean()
    else:
        classification = np.log1p(np.exp(np.where(batch["label"] > 0, -logits, logits))).mean()
    total, terms, _ = evaluated(method, params, state, batch, rng)
    assert terms.keys() == {"loss/classification", "loss/attention"}
    np.testing.assert_allclose(terms["loss/classification"], classification, rtol=1e-4)
    np.testing.assert_allclose(terms["loss/attention"], distances.mean(), rtol=1e-4)
    np.testing.assert_allclose(total, classification + 0.3 * distances.mean(), rtol=1e-4)


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_an_image_without_gaze_or_label_is_not_guided(rng, task):
    """The term and its gradient are those of the other images, and of nobody exactly zero."""
    method = make(task=task)
    has_gaze = np.array([1, 1, 1, 1, 1, 0, 0, 1], bool)
    batch = guided_batch(task, has_gaze=has_gaze, unknown=(2, 6))
    batch["label"][7] = 0 if task == "multilabel" else np.nan  # known, and none is present
    params, state = start(method, batch)
    guided = has_gaze & (np.nan_to_num(batch["label"]).sum(axis=1) > 0)
    assert 2 < guided.sum() < 5
    # Twice each, so that the batch has its size: the mean is the same.
    alone = jax.tree.map(lambda x: np.resize(x[guided], x.shape), batch)
    alone = jax.tree.map(lambda x: x[: 8 // guided.sum() * guided.sum()], alone)
    found, expected = (
        gradient_of("loss/attention", method, params, state, one, rng) for one in (batch, alone)
    )
    equal(found, expected, atol=1e-6)
    assert np.abs(found["backbone"]["patch"]["kernel"]).max() > 1e-5
    others = jax.tree.map(lambda x: x[~guided], batch)
    check_nothing(gradient_of("loss/attention", method, params, state, others, rng))


@pytest.mark.parametrize(
    ("backbone", "source"),
    [
        ("resnet", "grad_cam"),
        ("densenet", "grad_cam"),
        ("vit", "grad_cam"),
        pytest.param("deep_vit", "grad_cam", marks=pytest.mark.slow),
        pytest.param("deep_vit", "rows", marks=pytest.mark.slow),
        pytest.param("deep_vit", "rollout", marks=pytest.mark.slow),
        pytest.param("densenet", "energy", marks=pytest.mark.slow),
    ],
)
def test_the_attention_of_any_backbone_learns_from_gaze(rng, backbone, source):
    """With the statistics of the batch, which move as they do without the guidance."""
    model, levels = BACKBONES[backbone]
    method = make(backbone=model, levels=levels, attention=source)
    batch = jax.tree.map(lambda x: x[:4], guided_batch(has_gaze=np.arange(8) != 1))
    params, state = start(method, batch)

    def attention(params):
        _, (after, terms) = method.loss(params, state, batch, rng, step=jnp.int32(0), train=True)
        return terms["loss/attention"], (after, terms)

    (_, (after, terms)), grads = jax.jit(jax.value_and_grad(attention, has_aux=True))(params)
    assert 0 < terms["loss/attention"] < 1
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(grads["backbone"])) > 1e-5
    plain = Supervised(model, method.head, method.task, UNDISTURBED, 0.0, 1.0)
    _, others, expected = evaluated(plain, params, state, batch, rng)
    equal(after, expected, atol=1e-5)
    assert ("vit" in backbone) == (not state)
    np.testing.assert_allclose(terms["loss/classification"], others["loss/classification"], 1e-4)


def test_attention_that_asks_for_no_label_is_guided_without_one(rng):
    """The energy of an unlabelled image is as much an attention as any."""
    method = make(attention="energy")
    batch = guided_batch(unknown=range(8))
    params, state = start(method, batch)
    total, terms, _ = evaluated(method, params, state, batch, rng)
    assert terms["loss/classification"] == 0
    assert total == terms["loss/attention"] > 0
    features, _, gaze = patches_of(batch, params)
    energy = np.square(features).mean(axis=3)
    distances = np.square(stretched(energy) - stretched(gaze)).mean()
    np.testing.assert_allclose(total, distances, rtol=1e-4)


@pytest.mark.parametrize(
    ("backbone", "weight", "learning_rate"),
    [(Patches(), 3.0, 1e-2), pytest.param(vit(), 1.0, 5e-3, marks=pytest.mark.slow)],
    ids=["patches", "vit"],
)
def test_both_losses_fall(rng, backbone, weight, learning_rate):
    """Each image is looked at in the upper part of the band that is its label."""
    method, batch = make(backbone=backbone, weight=weight), guided_batch()
    place = np.stack([10 * batch["label"].argmax(axis=1) + 5, np.full(8, 6)], axis=1)
    batch["fixations"]["xy"] = np.float32(0 * batch["fixations"]["xy"] + place[:, None])
    params, state = start(method, batch)
    _, before, _ = evaluated(method, params, state, batch, rng)

    def loss(params, step):
        return method.loss(params, state, batch, rng, step=step, train=True)[0]

    params, _ = descend(loss, params, learning_rate=learning_rate, steps=60)
    _, after, _ = evaluated(method, params, state, batch, rng)
    for name, value in before.items():
        assert after[name] < 0.7 * value, (name, value, after[name])


def test_the_same_step_on_any_devices():
    """Statistics of the batch, the gradient within the gradient, images without gaze or label."""
    method = make(backbone=Normed(), standard={})
    has_gaze = np.array([1, 0, 1, 1, 0, 0, 1, 1], bool)  # none on the third device
    check_same_step(method, guided_batch(has_gaze=has_gaze, unknown=(2,)))


def test_padding_does_not_count_in_evaluation(rng):
    method, batch = make(), guided_batch()
    params, state = start(method, batch)
    padded = {**batch, "weight": (np.arange(8) < 5).astype(np.float32)}
    alone = jax.tree.map(lambda x: x[:5], batch)
    found, expected, whole = (
        evaluated(method, params, state, one, rng, train=False)[1] for one in (padded, alone, batch)
    )
    equal(found, expected, rtol=1e-5)
    for name, value in whole.items():
        assert abs(float(value - found[name])) > 1e-4


def test_with_weight_0_it_learns_as_without_gaze(rng):
    method, batch = make(weight=0.0), guided_batch()
    params, state = start(method, batch)
    (total, (_, terms)), grads = value_and_grad(method, params, state, batch, rng)
    plain = Supervised(Patches(), Classifier(3), "multiclass", UNDISTURBED, 0.0, 1.0)
    (expected, _), plain_grads = value_and_grad(plain, params, state, batch, rng)
    np.testing.assert_allclose(total, expected, rtol=1e-6)
    assert terms["loss/attention"] > 0
    equal(grads, plain_grads, atol=1e-7)


def test_what_does_not_fit_is_named():
    with pytest.raises(InputError, match=r"method\.distance"):
        make(distance="l1")
    with pytest.raises(InputError, match=r"method\.grad_cam_weights"):
        make(grad_cam_weights="first")
    with pytest.raises(InputError, match=r"method\.weight is -1"):
        make(weight=-1.0)
    with pytest.raises(InputError, match="AttentionConsistency .* would be shown it"):
        make(gaze_input=True)

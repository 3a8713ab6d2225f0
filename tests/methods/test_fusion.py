import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gazax.methods.fusion import Fusion
from gazax.methods.views import UNDISTURBED
from gazax.models.fusion import FusionClassifier
from gazax.ops.attention import grad_cam
from gazax.train.sharding import make_mesh
from gazax.train.state import init_state
from gazax.train.step import make_step
from gazax.typing import InputError
from tests.batches import spec_of, tiny_batch
from tests.methods.devices import check_same_step
from tests.methods.encoders import TinyGuide, TinyUNet
from tests.methods.test_saliency import equal, start, value_and_grad
from tests.methods.test_supervised import labelled_batch

FREEZE = ("densenet/.*", "unet/.*")


def make(**changes) -> Fusion:
    settings = dict(
        backbone=TinyUNet(),
        guide=TinyGuide(),
        classifier=FusionClassifier(3, hidden=8, dropout=0.25),
        task="multiclass",
        standard=UNDISTURBED,
        mean=0.0,
        std=1.0,
    )
    return Fusion(**{**settings, **changes})


def logits_of(params, features):
    """In float64, from the names of the classifier's two layers."""
    first, last = (
        jax.tree.map(np.float64, params["classifier"][name]) for name in ("layers_0", "layers_1")
    )
    hidden = np.maximum(np.asarray(features, np.float64) @ first["kernel"] + first["bias"], 0)
    return hidden @ last["kernel"] + last["bias"]


def test_it_classifies_by_the_features_of_both_encoders(rng):
    method, batch = make(), labelled_batch("multiclass")
    params, state = start(method, batch)
    assert set(params) == {"densenet", "unet", "classifier"}
    assert set(state) == {"densenet", "unet"}
    features, saliency = jax.jit(method.encode)(params, state, batch)
    assert features.shape == (8, 6 + 4)
    np.testing.assert_allclose(saliency.sum(axis=(1, 2)), 1.0, rtol=1e-5)
    logits = logits_of(params, features)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(method.predict(params, state, batch), probabilities, rtol=1e-4)
    (loss, _), _ = value_and_grad(method, params, state, batch, rng, train=False)
    expected = -np.log(probabilities[batch["label"] > 0]).mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


def test_dropout_is_an_examples_own(rng):
    """The batch in another order gives each example the loss that it had; training alone drops."""
    method = make(freeze=FREEZE)
    batch = labelled_batch("multiclass")
    params, state = start(method, batch)
    order = np.array([3, 1, 0, 2, 7, 6, 5, 4])
    (loss, _), grads = value_and_grad(method, params, state, batch, rng)
    other = jax.tree.map(lambda x: x[order], batch)
    (again, _), other_grads = value_and_grad(method, params, state, other, rng)
    np.testing.assert_allclose(loss, again, rtol=1e-6)
    equal(grads["classifier"], other_grads["classifier"], atol=1e-6)
    (elsewhere, _), _ = value_and_grad(method, params, state, batch, jax.random.key(7))
    (plain, _), _ = value_and_grad(method, params, state, batch, rng, train=False)
    assert len({float(loss), float(elsewhere), float(plain)}) == 3


def test_both_encoders_are_bit_frozen_and_the_classifier_learns():
    method, batch = make(freeze=FREEZE), labelled_batch("multiclass")
    tx = optax.adam(1e-2)
    state = init_state(method, tx, spec_of(batch), seed=0)
    before = jax.device_get((state.params, state.method_state))
    step = make_step(method, tx, lambda _: 1e-2, mesh=make_mesh(), parallel="jit", seed=0)
    for _ in range(2):
        state, _ = step(state, batch)
    after = jax.device_get((state.params, state.method_state))
    assert (
        before[0]["classifier"]["layers_0"]["kernel"]
        != after[0]["classifier"]["layers_0"]["kernel"]
    ).any()
    for one, other in zip(before, after, strict=True):
        for scope in ("densenet", "unet"):
            equal(one[scope], other[scope], atol=0, rtol=0)


def test_what_the_encoders_say_can_be_computed_once(rng):
    method, batch = make(freeze=FREEZE), labelled_batch("multiclass")
    params, state = start(method, batch)
    cached = {**batch, "cached": jax.device_get(jax.jit(method.precompute)(params, state, batch))}
    (loss, _), grads = value_and_grad(method, params, state, batch, rng)
    (same, _), same_grads = value_and_grad(method, params, state, cached, rng)
    np.testing.assert_allclose(loss, same, rtol=1e-6)
    equal(grads["classifier"], same_grads["classifier"], atol=1e-6)
    equal(method.predict(params, state, batch), method.predict(params, state, cached), atol=1e-6)
    with pytest.raises(InputError, match="'unet/.*' is trained"):
        make(freeze=("densenet/.*",)).precompute(params, state, batch)


def test_cached_the_encoders_cost_nothing(rng):
    """The compiled step holds not one of the products that the encoders are made of."""
    method, batch = make(freeze=FREEZE), labelled_batch("multiclass")
    params, state = start(method, batch)
    cached = {**batch, "cached": jax.device_get(jax.jit(method.precompute)(params, state, batch))}

    def flops(batch):
        def loss(trained, frozen):
            whole = frozen | {"classifier": trained}
            return method.loss(whole, state, batch, rng, step=jnp.int32(0), train=True)[0]

        frozen = {scope: params[scope] for scope in ("densenet", "unet")}
        compiled = jax.jit(jax.grad(loss)).lower(params["classifier"], frozen).compile()
        return compiled.cost_analysis()["flops"]

    assert flops(cached) < flops(batch) / 5


def test_the_explanation_is_grad_cam_of_the_highest_logit():
    method, batch = make(), labelled_batch("multiclass")
    params, state = start(method, batch)

    def highest(added):
        variables = {
            "params": params["densenet"],
            "batch_stats": state["densenet"],
            "perturbations": {"level_0": added},
        }
        image = jnp.asarray(batch["image"], jnp.float32) / 255
        (_, out) = TinyGuide().apply(variables, image)
        tapped = jax.lax.stop_gradient(out["tapped"])  # by the guide's own features alone
        _, unet = TinyUNet().apply(
            {"params": params["unet"], "batch_stats": state["unet"]}, image, guide=tapped
        )
        features = jnp.concatenate([out["features"], unet["features"]], axis=1)
        logits = method.classifier.apply({"params": params["classifier"]}, features)
        return logits.max(axis=1).sum(), out["feature_maps"][0]

    gradient, features = jax.grad(highest, has_aux=True)(jnp.zeros((8, 2, 2, 6)))
    expected = jax.vmap(lambda f, g: grad_cam(f, g, softness=0.5))(features, gradient)
    np.testing.assert_allclose(method.explain(params, state, batch), expected, rtol=1e-4, atol=1e-6)


def test_the_same_step_on_any_devices():
    """With everything trained, the statistics of both encoders among it, and dropout."""
    method, batch = make(), labelled_batch("multiclass", unknown=(1,))
    check_same_step(method, batch)


def test_a_classifier_for_other_classes_than_the_data_has_is_refused(rng):
    method = make(classifier=FusionClassifier(5))
    with pytest.raises(InputError, match="scores 5 classes and the data has 3"):
        method.init(rng, tiny_batch())

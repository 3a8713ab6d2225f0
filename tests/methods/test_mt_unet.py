import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from einops import rearrange
from flax import linen as nn

from gazax.methods import views
from gazax.methods.balance import BALANCES, Balance, TaskLosses
from gazax.methods.mt_unet import MTUNet
from gazax.methods.views import UNDISTURBED
from gazax.models.fusion import FusionClassifier
from gazax.models.layers import BatchNorm
from gazax.ops.attention import grad_cam
from gazax.typing import InputError
from tests.batches import tiny_batch
from tests.methods.descent import descend
from tests.methods.devices import check_same_step
from tests.methods.encoders import TinyUNet
from tests.methods.test_saliency import equal, start
from tests.methods.test_supervised import Same, labelled_batch
from tests.reference import multitask as reference

own_gaze = jax.jit(views.own_gaze)
SCALE = (1.0, 0.5)
TASKS = ("classification", "saliency")
EACH = pytest.mark.parametrize("balance", BALANCES)
EACH_BY_COST = pytest.mark.parametrize(
    "balance",
    [
        "uncertainty",
        "gradnorm",
        # these differ from the others by what the tests of the weights see
        *(pytest.param(balance, marks=pytest.mark.slow) for balance in ("kendall", "fixed")),
    ],
)
LEARNED = {"uncertainty": ("classification",), "kendall": TASKS}


class Decoder(nn.Module):
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x, train):
        x = nn.Dense(4, name="conv2")(x)
        return nn.tanh(BatchNorm(self.axis_name, name="bn2")(x, train=train))


class Deepest(nn.Module):
    """The weights that most of both tasks passes, where the U-Net has them."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(6, name="conv2")(x)


class TinyMTUNet(nn.Module):
    """Compiles in no time, with the names and the branches of the real one."""

    learned_sigmas: tuple[str, ...] = ("classification",)
    axis_name: str | None = None

    @nn.compact
    def __call__(self, image, dropout_keys=None, *, train=False):
        patches = rearrange(image, "b (h p) (w q) c -> b h w (p q c)", p=8, q=8)
        deepest = nn.tanh(Deepest(name="encoder5")(patches))
        if not self.is_initializing():
            deepest = self.perturb("level_0", deepest)
        up = rearrange(
            nn.Dense(64 * 3, name="up1")(deepest), "b h w (p q c) -> b (h p) (w q) c", p=8, q=8
        )
        last = Decoder(self.axis_name, name="decoder1")(jnp.concatenate([image, up], 3), train)
        scores = nn.Dense(1, name="head")(last)[..., 0]
        features = jnp.concatenate([x.mean(axis=(1, 2)) for x in (deepest, last)], axis=1)
        logits = FusionClassifier(3, hidden=16, name="classifier")(features, dropout_keys)
        log_sigma = {
            task: self.param(f"log_sigma_{task}", nn.initializers.zeros, ())
            if task in self.learned_sigmas
            else jnp.zeros(())
            for task in TASKS
        }
        return logits, {
            "logits": logits,
            "log_density": jax.nn.log_softmax(scores, axis=(1, 2)),
            "features": features,
            "feature_map": deepest,
            "feature_maps": [deepest],
            "log_sigma": log_sigma,
        }


def make(balance="uncertainty", **changes) -> MTUNet:
    settings = dict(
        backbone=TinyMTUNet(LEARNED.get(balance, ())),
        task="multiclass",
        standard=UNDISTURBED,
        mean=0.0,
        std=1.0,
        balance=balance,
    )
    return MTUNet(**{**settings, **changes})


METHODS = {balance: make(balance) for balance in BALANCES}
SAME_STATISTICS = make(freeze=("backbone/decoder1/bn2/.*",))


def batch_of(unlabelled=(), **settings):
    """Six images of eight with gaze, all with a label."""
    gaze = tiny_batch(8, **settings)
    return {**labelled_batch("multiclass", unknown=unlabelled), "fixations": gaze["fixations"]}


@functools.cache
def begin(method):
    """Parameters, and sigmas or GradNorm's weights away from where they start; and the state."""
    params, state = start(method.it, batch_of())
    for name in params["backbone"]:
        if name.startswith("log_sigma"):
            params["backbone"][name] += 0.4
    if "balance" in params:
        params["balance"]["log_weights"] = jnp.array([0.5, -0.3])
    return params, state


@functools.cache
def compiled(method, train):
    def loss(params, state, batch, rng, step):
        return method.it.loss(params, state, batch, rng, step=step, train=train)

    return jax.jit(jax.value_and_grad(loss, has_aux=True))


def step_of(method, batch, rng, *, train=True, step=0, params=None, state=None):
    """(loss, (state, terms)), gradients; compiled once a method."""
    started = begin(Same(method))
    params, state = started[0] if params is None else params, started[1] if state is None else state
    return compiled(Same(method), train)(params, state, batch, rng, jnp.int32(step))


def zero(tree):
    return all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(tree))


# --- the weights --------------------------------------------------------------------------------

LOSSES = jnp.array([0.9, 4.0])
LOG_SIGMA = jnp.array([0.4, -0.2])
LOG_WEIGHTS = {"balance": {"log_weights": jnp.array([0.5, -0.3])}}
SOFTMAX = 2 / (1 + np.exp([-0.8, 0.8]))  # of .5 and -.3, times 2


def said(valid=(True, True), norms=None):
    return TaskLosses(LOSSES, jnp.array(valid), LOG_SIGMA, norms)


@EACH
@pytest.mark.parametrize("valid", [(True, True), (True, False), (False, True), (False, False)])
def test_the_losses_that_there_are_are_weighed(balance, valid):
    given = {"weights": (0.7, 3.0)} if balance == "fixed" else {}
    total, (state, terms) = Balance(balance, **given).total(
        LOG_WEIGHTS, {}, said(valid), step=jnp.int32(0)
    )
    if balance in LEARNED:
        form = {"uncertainty": "log1p", "kendall": "kendall"}[balance]
        expected = reference.uncertainty_weighted(LOSSES, LOG_SIGMA, SCALE, form, valid)
        weights = np.array(SCALE) * np.exp(-2 * np.array(LOG_SIGMA))
    else:
        weights = {"fixed": [0.7, 3.0], "gradnorm": SOFTMAX}[balance]
        expected = np.dot(np.array(weights) * valid, LOSSES)
    np.testing.assert_allclose(total, expected, rtol=1e-5)
    np.testing.assert_allclose([terms[f"weight/{task}"] for task in TASKS], weights, rtol=1e-5)
    np.testing.assert_array_equal([terms[f"loss/{task}"] for task in TASKS], LOSSES)
    assert len(terms) == 4
    assert state == {}


def test_grad_norm_evens_the_gradients():
    """With alpha 0 the weights move until both tasks pull alike: w = (5, 1) / 3."""
    balance, norms = Balance("gradnorm", alpha=0.0), jnp.array([0.2, 1.0])
    params, state = balance.init(())

    def loss(params, step):
        return balance.total(params, state, said(norms=norms), step=step)[0]

    params, _ = descend(loss, params, learning_rate=0.01, steps=400)
    _, (_, terms) = balance.total(params, state, said(), step=jnp.int32(0))
    weights = [terms[f"weight/{task}"] for task in TASKS]
    np.testing.assert_allclose(weights, [5 / 3, 1 / 3], atol=0.02)


def test_grad_norm_keeps_the_losses_it_began_with():
    """Of step 0, whatever was there before; of a task that comes later, its first."""
    balance, norms = Balance("gradnorm"), jnp.ones(2)
    _, state = balance.init(())
    equal(state, {"balance": {"initial_losses": np.zeros(2)}}, rtol=0)
    old = {"balance": {"initial_losses": jnp.array([5.0, 5.0])}, "backbone": {"mean": 1.0}}
    for step, valid, factor, expected in (
        (0, (True, False), 1.0, [0.9, 0.0]),
        (1, (False, False), 2.0, [0.9, 0.0]),
        (2, (True, True), 3.0, [0.9, 12.0]),
        (3, (True, True), 4.0, [0.9, 12.0]),
    ):
        of = said(valid, norms)._replace(losses=factor * LOSSES)
        _, (old, _) = balance.total(LOG_WEIGHTS, old, of, step=jnp.int32(step))
        np.testing.assert_allclose(old["balance"]["initial_losses"], expected, rtol=1e-6)
    assert old["backbone"] == {"mean": 1.0}


def test_a_step_can_give_away_all_that_grad_norm_starts_with():
    params, state = Balance("gradnorm").init(())
    one, other = jax.tree.leaves((params, state))
    assert one.unsafe_buffer_pointer() != other.unsafe_buffer_pointer()


# --- the losses ---------------------------------------------------------------------------------


def test_the_losses_are_those_of_prediction_and_saliency(rng):
    """Of the images that count; what padding holds does not matter, and nothing is drawn."""
    method, batch = METHODS["uncertainty"], batch_of(unlabelled=(2,))
    batch["weight"] = (np.arange(8) < 6).astype(np.float32)
    params, state = begin(Same(method))
    (_, (after, terms)), _ = step_of(method, batch, rng, train=False)
    equal(after, state, rtol=0)
    probabilities = np.asarray(jax.jit(method.predict)(params, state, batch), np.float64)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-5)
    rows = np.array([0, 1, 3, 4, 5])
    of_class = -np.log(probabilities[rows][batch["label"][rows] == 1])
    predicted = np.asarray(jax.jit(method.saliency)(params, state, batch), np.float64)
    np.testing.assert_allclose(predicted.sum(axis=(1, 2)), 1.0, rtol=1e-5)
    gaze = np.asarray(own_gaze(batch), np.float64)
    rows = np.array([1, 2, 4, 5])
    assert (gaze.max(axis=(1, 2)) > 0).tolist() == [False, True, True] * 2 + [False, True]
    target = gaze[rows] / gaze[rows].sum(axis=(1, 2), keepdims=True)
    ratio = np.where(target > 0, target, 1) / predicted[rows]
    of_saliency = (target * np.log(ratio)).sum(axis=(1, 2))
    losses = [of_class.mean(), of_saliency.mean()]
    np.testing.assert_allclose([terms[f"loss/{task}"] for task in TASKS], losses, rtol=1e-4)

    junk = batch_of(seed=5, has_gaze=np.ones(8, bool))
    junk = {**junk, "label": junk["label"][::-1], "image": 255 - junk["image"]}
    padded = jax.tree.map(lambda a, b: np.concatenate([a[:6], b[6:]]), batch, junk)
    padded["weight"] = batch["weight"]
    (_, (_, same)), _ = step_of(method, padded, jax.random.key(7), train=False)
    equal(same, terms, rtol=1e-6)


@EACH_BY_COST
def test_every_balance_learns_both_tasks(balance, rng):
    method = METHODS[balance]
    batch = batch_of(has_gaze=np.ones(8, bool))
    gaze = np.asarray(own_gaze(batch))
    batch["image"] = (0.5 * batch["image"] + 127 * gaze[..., None]).astype(np.uint8)
    params, state = begin(Same(method))

    def loss(params, step):
        key = jax.random.fold_in(rng, step)
        return method.loss(params, state, batch, key, step=jnp.int32(0), train=True)[0]

    after, _ = descend(loss, params, learning_rate=0.03, steps=120)
    before, after = (
        step_of(method, batch, rng, params=which)[0][1][1] for which in (params, after)
    )
    for task in TASKS:
        assert after[f"loss/{task}"] < 0.7 * before[f"loss/{task}"], task


@EACH_BY_COST
def test_a_task_without_examples_teaches_nothing(balance, rng):
    """Exactly: nothing of what it has alone, and nothing of its weight."""
    nobody, everyone = dict(has_gaze=np.zeros(8, bool)), range(8)

    def gradients(batch):
        (total, (_, terms)), grads = step_of(METHODS[balance], batch, rng)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((total, grads, terms)))
        of_balance = grads.get("balance", {})
        return grads["backbone"], of_balance, terms

    grads, of_balance, terms = gradients(batch_of(**nobody))
    assert terms["loss/saliency"] == 0
    assert terms["loss/classification"] > 0
    assert zero((grads["head"], grads.get("log_sigma_saliency"), of_balance))
    assert not zero(grads["classifier"])
    assert not zero(grads["decoder1"])  # by the mean of its map
    assert "log_sigma_classification" not in grads or not zero(grads["log_sigma_classification"])

    grads, of_balance, terms = gradients(batch_of(unlabelled=everyone))
    assert terms["loss/classification"] == 0
    assert terms["loss/saliency"] > 0
    assert zero((grads["classifier"], grads.get("log_sigma_classification"), of_balance))
    assert not zero(grads["head"])
    assert "log_sigma_saliency" not in grads or not zero(grads["log_sigma_saliency"])

    assert zero(gradients(batch_of(unlabelled=everyone, **nobody))[:2])


def test_an_image_counts_for_the_tasks_that_it_has(rng):
    """Each loss, and the gradient of what it alone trains, are those of its own images."""
    has_gaze = np.isin(np.arange(8), (0, 2, 3, 6))
    batch = batch_of(unlabelled=(1, 2, 4, 6), has_gaze=has_gaze)
    (_, (_, terms)), grads = step_of(SAME_STATISTICS, batch, rng)
    for task, part, rows in (
        ("classification", "classifier", [0, 3, 5, 7]),
        ("saliency", "head", [0, 2, 3, 6]),
    ):
        # Twice each, so that the batch has its size: the mean is the same.
        alone = jax.tree.map(lambda x, rows=rows: x[np.array(rows * 2)], batch)
        (_, (_, expected)), of_alone = step_of(SAME_STATISTICS, alone, rng)
        np.testing.assert_allclose(terms[f"loss/{task}"], expected[f"loss/{task}"], rtol=1e-5)
        equal(grads["backbone"][part], of_alone["backbone"][part], atol=1e-6)


def test_dropout_is_of_training_alone_and_by_place(rng):
    batch = batch_of()
    order = np.array([3, 1, 0, 2, 7, 6, 5, 4])
    (_, (_, trained)), grads = step_of(SAME_STATISTICS, batch, rng)
    (_, (_, evaluated)), _ = step_of(SAME_STATISTICS, batch, rng, train=False)
    np.testing.assert_allclose(trained["loss/saliency"], evaluated["loss/saliency"], rtol=1e-5)
    assert abs(float(trained["loss/classification"] - evaluated["loss/classification"])) > 1e-4
    shuffled = jax.tree.map(lambda x: x[order], batch)
    (_, (_, again)), same = step_of(SAME_STATISTICS, shuffled, rng)
    equal(again, trained, rtol=1e-5)
    equal(same, grads, atol=1e-5)
    elsewhere = {**batch, "place": batch["place"] + 8}
    (_, (_, moved)), _ = step_of(SAME_STATISTICS, elsewhere, rng)
    np.testing.assert_allclose(moved["loss/saliency"], trained["loss/saliency"], rtol=1e-5)
    assert abs(float(moved["loss/classification"] - trained["loss/classification"])) > 1e-4


def test_the_gaze_moves_with_the_image(rng):
    """What is learned from turned views lies where the turned image is bright: where looked at."""
    method = make(standard=dict(crop=(0.5, 0.6), rotation_degrees=90.0))
    batch = batch_of(has_gaze=np.ones(8, bool))
    batch["image"] = (255 * np.asarray(own_gaze(batch))[..., None]).astype(np.uint8)
    params, state = begin(Same(method))

    def loss(params, step):
        key = jax.random.fold_in(rng, step)
        _, (_, terms) = method.loss(params, state, batch, key, step=step, train=True)
        return terms["loss/saliency"]

    _, values = descend(loss, params, learning_rate=0.05, steps=150)
    assert values[-10:].mean() < values[0] / 3


def test_grad_norm_learns_from_the_gradients_of_the_last_shared_weights(rng):
    """The gradient of each loss is what is left where the batch has no example of the other."""
    method, batch = METHODS["gradnorm"], batch_of(unlabelled=(2,))
    _, state = begin(Same(method))
    state = {**state, "balance": {"initial_losses": jnp.array([3.0, 0.5])}}

    def run(batch):
        (total, (after, terms)), grads = step_of(method, batch, rng, step=5, state=state)
        equal(after["balance"], state["balance"], rtol=0)
        return total, terms, grads

    total, terms, grads = run(batch)
    nobody = {**batch, "fixations": batch_of(has_gaze=np.zeros(8, bool))["fixations"]}
    unlabelled = {**batch, "label": np.full((8, 3), np.nan, np.float32)}
    kernels = [
        np.asarray(found["backbone"]["encoder5"]["conv2"]["kernel"], np.float64)
        for _, _, found in (run(nobody), run(unlabelled), (total, terms, grads))
    ]
    norms = [np.linalg.norm(one) / w for one, w in zip(kernels, SOFTMAX, strict=False)]
    assert min(norms) > 1e-4
    losses = np.array([terms[f"loss/{task}"] for task in TASKS], np.float64)
    value, slope = reference.grad_norm_loss(SOFTMAX, norms, losses, [3.0, 0.5], 1.5)
    assert value > 1e-3
    np.testing.assert_allclose(terms["loss/balance"], value, rtol=1e-4)
    np.testing.assert_allclose(total, np.dot(SOFTMAX, losses) + value, rtol=1e-4)
    # d w_i / d p_j = w_i (1[i = j] - w_j / 2), and nothing of the losses themselves
    through = np.diag(SOFTMAX) - np.outer(SOFTMAX, SOFTMAX) / 2
    np.testing.assert_allclose(grads["balance"]["log_weights"], through @ slope, rtol=1e-4)
    # all else is trained by the weighted sum alone
    np.testing.assert_allclose(kernels[2], kernels[0] + kernels[1], rtol=1e-3, atol=1e-6)


# --- what is read off ---------------------------------------------------------------------------


def test_encode_gives_the_fused_features_and_the_predicted_density():
    method, batch = METHODS["uncertainty"], batch_of()
    params, state = begin(Same(method))
    features, density = jax.jit(method.encode)(params, state, batch)
    assert features.shape == (8, 6 + 4)
    np.testing.assert_allclose(density.sum(axis=(1, 2)), 1.0, rtol=1e-5)
    equal(density, jax.jit(method.saliency)(params, state, batch), rtol=1e-5)


def test_the_explanation_is_grad_cam_of_the_highest_logit():
    method, batch = METHODS["uncertainty"], batch_of()
    params, state = begin(Same(method))
    image = jnp.asarray(batch["image"], jnp.float32) / 255

    def highest(added):
        variables = {
            "params": params["backbone"],
            "batch_stats": state["backbone"],
            "perturbations": {"level_0": added},
        }
        logits, out = TinyMTUNet().apply(variables, image)
        return logits.max(axis=1).sum(), out["feature_maps"][0]

    gradient, features = jax.jit(jax.grad(highest, has_aux=True))(jnp.zeros((8, 4, 4, 6)))
    expected = jax.vmap(lambda f, g: grad_cam(f, g, softness=0.5))(features, gradient)
    found = jax.jit(method.explain)(params, state, batch)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


# --- devices, mistakes --------------------------------------------------------------------------


@EACH_BY_COST
def test_the_same_step_on_any_devices(balance):
    """With rows of each kind spread unevenly, statistics of the batch, and dropout."""
    check_same_step(METHODS[balance], batch_of(unlabelled=(1, 2, 3)))


def test_settings_that_do_not_fit_are_named(rng):
    for settings, message in (
        (dict(balance="gradnrom"), r"method\.balance.*gradnorm"),
        (dict(weights=(1.0, 2.0)), r"weights=.*belongs to balance='fixed'.*'uncertainty'"),
        (dict(balance="gradnorm", weights=(1.0, 2.0)), r"weights=.*balance='fixed'"),
        (dict(balance="kendall", alpha=2.0), r"alpha=2.0 belongs to balance='gradnorm'"),
        (dict(balance="fixed", weights=(1.0,)), r"one weight for each of classification"),
        (dict(balance="fixed", weights=(-1.0, 1.0)), r"not negative"),
        (dict(balance="fixed", weights=(0.0, 0.0)), r"not all 0"),
        (dict(balance="gradnorm", alpha=-1.0), r"alpha is -1.0"),
        (dict(task="multilabel", label_smoothing=0.1), r"label_smoothing"),
        (dict(task="multiclas"), r"method\.task"),
    ):
        with pytest.raises(InputError, match=message):
            make(**settings)


@pytest.mark.parametrize(
    ("balance", "learned", "message"),
    [
        ("fixed", ("saliency",), r"sigma of saliency.*learned_sigmas=\(\)"),
        ("gradnorm", TASKS, r"sigma of classification and of saliency.*'gradnorm'"),
        ("uncertainty", (), r"learns none.*balance=fixed"),
        ("kendall", (), r"learns none.*balance=fixed"),
        ("kendall", ("classification",), r"'kendall' learns a sigma of every task"),
    ],
)
def test_sigmas_that_do_not_fit_the_balance_are_named(balance, learned, message, rng):
    with pytest.raises(InputError, match=message):
        jax.eval_shape(make(balance, backbone=TinyMTUNet(learned)).init, rng, batch_of())


def test_a_model_that_does_not_fit_is_named(rng):
    with pytest.raises(InputError, match="gives no logits.*mt_unet"):
        jax.eval_shape(make(backbone=TinyUNet()).init, rng, batch_of())
    batch = {**batch_of(), "label": np.zeros((8, 2), np.float32)}
    with pytest.raises(InputError, match="scores 3 classes and the data has 2"):
        jax.eval_shape(make().init, rng, batch)

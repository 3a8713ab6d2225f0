import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from einops import rearrange
from flax import linen as nn

from gazax.methods.supervised import Supervised
from gazax.methods.views import own_gaze, standard_views
from gazax.models import build as build_model
from gazax.models.heads import Classifier
from gazax.models.layers import BatchNorm
from gazax.ops.attention import grad_cam
from gazax.ops.gaze import to_density
from gazax.typing import InputError
from tests.batches import tiny_batch
from tests.methods.descent import descend
from tests.methods.devices import check_same_step


class Patches(nn.Module):
    """A backbone that compiles in no time: one linear map of each patch of 8 x 8 px."""

    @nn.compact
    def __call__(self, image, *, train=False):
        patches = rearrange(image, "b (h p) (w q) c -> b h w (p q c)", p=8, q=8)
        feature_map = nn.tanh(nn.Dense(16, name="patch")(patches))
        if not self.is_initializing():
            feature_map = self.perturb("level_0", feature_map)
        features = feature_map.mean(axis=(1, 2))
        return features, {
            "features": features,
            "feature_map": feature_map,
            "feature_maps": [feature_map],
            "attention": [jnp.square(feature_map).mean(axis=3)],
        }


class GazedPatches(nn.Module):
    """`Patches` of the image and of the normed gaze map."""

    takes_gaze: ClassVar[bool] = True

    axis_name: str | None = None

    @nn.compact
    def __call__(self, image, gaze, *, train=False):
        looked = BatchNorm(self.axis_name, name="norm")(gaze[..., None], train=train)
        features, out = Patches(name="patches")(jnp.concatenate([image, looked], axis=3))
        feature_map = out["feature_map"]
        if not self.is_initializing():
            feature_map = self.perturb("level_0", feature_map)
        features = feature_map.mean(axis=(1, 2))
        return features, {**out, "features": features, "feature_maps": [feature_map]}


def make(**changes) -> Supervised:
    settings = dict(
        backbone=Patches(),
        head=Classifier(3),
        task="multilabel",
        standard={},
        mean=0.5,
        std=0.25,
    )
    return Supervised(**{**settings, **changes})


def vit():
    return build_model("vit", width=16, depth=2, num_heads=2, patch_size=8)


def labelled_batch(task, *, batch_size=8, unknown=()):
    """Images whose brightest band is their label (of 'multilabel', every bright band is one)."""
    batch = tiny_batch(batch_size)
    rng = np.random.default_rng(0)
    label = np.eye(3)[np.arange(batch_size) % 3]
    if task == "multilabel":
        label = rng.integers(0, 2, (batch_size, 3))
    image = batch["image"] // 4
    for k in range(3):
        image[:, :, 10 * k : 10 * k + 10] += (150 * label[:, None, None, k, None]).astype(np.uint8)
    label = label.astype(np.float32)
    label[list(unknown)] = np.nan
    return {**batch, "image": image, "label": label}


def start(method, batch):
    return jax.jit(method.init)(jax.random.key(0), batch)


@functools.cache
def compiled(method, train):
    def loss(params, batch, rng):
        return method.it.loss(params, {}, batch, rng, step=jnp.int32(0), train=train)

    return jax.jit(jax.value_and_grad(loss, has_aux=True))


class Same:
    """A method by its identity, since its fields do not all hash; it stays alive with this."""

    def __init__(self, it):
        self.it = it

    def __eq__(self, other):
        return self.it is other.it

    def __hash__(self):
        return id(self.it)


def value_and_grad(method, train=True):
    return compiled(Same(method), train)


TASKS = {"multiclass": make(task="multiclass", label_smoothing=0.1), "multilabel": make()}
ALL = pytest.mark.parametrize("task", list(TASKS))


@ALL
def test_a_tiny_task_is_learned(task, rng):
    """60 steps on disturbed views of eight images: the loss falls by half at least."""
    method = make(task=task, backbone=vit())
    batch = labelled_batch(task)
    params, state = start(method, batch)
    assert set(params) == {"backbone", "head"}
    assert set(params["head"]) == {"kernel", "bias"}
    assert state == {}

    def loss(params, step):
        key = jax.random.fold_in(rng, step)
        return method.loss(params, state, batch, key, step=step, train=True)[0]

    params, values = descend(loss, params, learning_rate=5e-3, steps=60)
    assert values[-10:].mean() < values[0] / 2
    probabilities = jax.jit(method.predict)(params, state, batch)
    if task == "multiclass":
        np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-5)
        np.testing.assert_array_equal(probabilities.argmax(axis=1), batch["label"].argmax(axis=1))
    else:
        assert ((probabilities > 0.5) == (batch["label"] > 0.5)).mean() > 0.9


@ALL
def test_unlabelled_rows_are_masked_exactly(task, rng):
    """The loss and the gradient of a batch are those of its labelled rows, on their own draws."""
    method, unknown = TASKS[task], [1, 2, 6, 7]
    batch = labelled_batch(task, unknown=unknown)
    # Twice each, so that the batch has its size: the mean is the same.
    alone = jax.tree.map(lambda x: x[np.array([0, 3, 4, 5] * 2)], batch)
    params, _ = start(method, batch)
    (loss, (_, terms)), grads = value_and_grad(method)(params, batch, rng)
    (expected, _), expected_grads = value_and_grad(method)(params, alone, rng)
    assert terms.keys() == {"loss/classification"}
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert loss > 0
    for one, other in zip(jax.tree.leaves(grads), jax.tree.leaves(expected_grads), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    nothing = {**batch, "label": np.full((8, 3), np.nan, np.float32)}
    (loss, _), grads = value_and_grad(method)(params, nothing, rng)
    assert loss == 0.0
    for leaf in jax.tree.leaves(grads):
        np.testing.assert_array_equal(leaf, 0)


def test_a_row_with_some_labels_counts_by_those(rng):
    method, batch = TASKS["multilabel"], labelled_batch("multilabel")
    batch["label"][:, 1] = np.nan
    params, _ = start(method, batch)
    params["head"]["bias"] = jnp.array([0.3, 50.0, -0.2])
    (loss, _), grads = value_and_grad(method)(params, batch, rng)
    assert 0 < loss < 5
    np.testing.assert_array_equal(grads["head"]["bias"][1], 0)
    np.testing.assert_array_equal(grads["head"]["kernel"][:, 1], 0)
    assert (np.abs(grads["head"]["bias"][np.array([0, 2])]) > 1e-4).all()


def test_draws_follow_the_place_not_the_row(rng):
    method, batch = TASKS["multiclass"], labelled_batch("multiclass")
    params, _ = start(method, batch)
    order = np.array([5, 2, 7, 0, 1, 6, 3, 4])
    shuffled = jax.tree.map(lambda x: x[order], batch)
    (first, _), _ = value_and_grad(method)(params, batch, rng)
    (second, _), _ = value_and_grad(method)(params, shuffled, rng)
    np.testing.assert_allclose(first, second, rtol=1e-5)
    (moved, _), _ = value_and_grad(method)(params, {**batch, "place": batch["place"] + 8}, rng)
    assert abs(float(moved - first)) > 1e-5


def test_without_training_nothing_is_drawn_and_padding_does_not_count(rng):
    method, batch = TASKS["multiclass"], labelled_batch("multiclass")
    params, state = start(method, batch)
    padded = {**batch, "weight": (np.arange(8) < 5).astype(np.float32)}
    padded["label"] = np.where(padded["weight"][:, None] > 0, batch["label"], 1.0)
    first, second = (
        value_and_grad(method, train=False)(params, padded, key)[0][0]
        for key in jax.random.split(rng)
    )
    assert first == second
    probabilities = jax.jit(method.predict)(params, state, padded)[:5]
    targets = 0.9 * batch["label"][:5] + 0.1 / 3
    np.testing.assert_allclose(first, -(targets * np.log(probabilities)).sum() / 5, rtol=1e-5)


def test_predictions_do_not_depend_on_the_rest_of_the_batch(rng):
    method, batch = TASKS["multilabel"], labelled_batch("multilabel")
    params, state = start(method, batch)
    found = jax.jit(method.predict)(params, state, batch)
    assert (found > 0).all()
    assert (found < 1).all()
    other = {**batch, "image": batch["image"].copy(), "label": np.full((8, 3), np.nan, np.float32)}
    other["image"][5:] = 255 - other["image"][5:]
    np.testing.assert_allclose(
        jax.jit(method.predict)(params, state, other)[:5], found[:5], atol=1e-6
    )


def test_encode_gives_features_and_a_density(rng):
    method, batch = TASKS["multilabel"], labelled_batch("multilabel")
    params, state = start(method, batch)
    features, attention = jax.jit(method.encode)(params, state, batch)
    assert features.shape == (8, 16)
    assert attention.shape == (8, 4, 4)
    np.testing.assert_allclose(attention.sum(axis=(1, 2)), 1.0, rtol=1e-5)


def test_positive_weight_weighs_what_is_present(rng):
    batch = labelled_batch("multilabel")
    plain, heavy = make(), make(positive_weight=(4.0, 4.0, 4.0))
    params, _ = start(plain, batch)
    for value in (0.0, 1.0):
        one = {**batch, "label": np.full((8, 3), value, np.float32)}
        losses = [
            value_and_grad(method, train=False)(params, one, rng)[0][0] for method in (plain, heavy)
        ]
        np.testing.assert_allclose(losses[1], losses[0] * (4 if value else 1), rtol=1e-5)


def test_what_does_not_fit_is_named(rng):
    with pytest.raises(InputError, match=r"method\.task.*multiclas"):
        make(task="multiclas")
    with pytest.raises(InputError, match="leave it at 0"):
        make(label_smoothing=0.1)
    with pytest.raises(InputError, match=r"leave it at \(\)"):
        make(task="multiclass", positive_weight=(1.0, 2.0, 1.0))
    with pytest.raises(InputError, match=r"class_weight=.* belongs to task='multiclass'"):
        make(class_weight=(1.0, 2.0, 1.0))
    with pytest.raises(InputError, match=r"it lies in \[0, 1\)"):
        make(task="multiclass", label_smoothing=1.0)
    with pytest.raises(InputError, match="scores 5 classes and the data has 3"):
        make(head=Classifier(5)).init(rng, tiny_batch())
    with pytest.raises(InputError, match="one weight a label"):
        make(positive_weight=(1.0,)).init(rng, tiny_batch())


def test_attention_is_grad_cam_of_the_highest_logit(rng):
    """One level behind a mean: the channels' weights are the head's, over the number of cells."""
    method, batch = make(), labelled_batch("multilabel")
    params, state = start(method, batch)
    image = (jnp.asarray(batch["image"], jnp.float32) / 255 - 0.5) / 0.25
    _, out = Patches().apply({"params": params["backbone"]}, image)
    features = out["feature_maps"][0]
    logits = out["features"] @ params["head"]["kernel"] + params["head"]["bias"][None]
    weights = params["head"]["kernel"].T[logits.argmax(axis=1)] / 16
    expected = [
        to_density(grad_cam(one, jnp.broadcast_to(weight, one.shape), softness=0.5))
        for one, weight in zip(features, weights[:, None, None], strict=True)
    ]
    _, attention = method.encode(params, state, batch)
    np.testing.assert_allclose(attention, jnp.stack(expected), rtol=1e-4, atol=1e-6)


def test_an_attention_that_the_backbone_lacks_is_named(rng):
    with pytest.raises(InputError, match="method.attention='rows' needs a transformer"):
        make(attention="rows").init(rng, tiny_batch())
    with pytest.raises(InputError, match="method.attention='module'"):
        make(attention="module")


@pytest.fixture(scope="module")
def gazed():
    """A method whose backbone sees gaze, a batch in which every third image has none, a start."""
    method = make(backbone=GazedPatches(), gaze_input=True)
    batch = labelled_batch("multilabel")
    return method, batch, start(method, batch)


def with_gaze_of(batch, order):
    """The batch's images with the gaze of others."""
    return {**batch, "fixations": jax.tree.map(lambda x: x[order], batch["fixations"])}


def test_a_gaze_input_decides_along_with_the_image(gazed):
    """In predictions, features, attention and loss; an image without gaze has a map of zeros."""
    method, batch, (params, state) = gazed
    order = np.array([0, 2, 1, 3, 4, 5, 6, 7])  # 0, 3 and 6 have no gaze
    shuffled = with_gaze_of(batch, order)

    def asked(params, state, batch):
        loss, _ = method.loss(
            params, state, batch, jax.random.key(0), step=jnp.int32(0), train=False
        )
        features, attention = method.encode(params, state, batch)
        explained = method.explain(params, state, batch)
        return (method.predict(params, state, batch), features, attention, explained), loss

    (before, loss), (after, moved) = (
        jax.jit(asked)(params, state, one) for one in (batch, shuffled)
    )
    for one, other in zip(before, after, strict=True):
        assert np.isfinite(one).all()
        changed = np.abs(one - other).reshape(8, -1).max(axis=1)
        assert (changed[[1, 2]] > 1e-5).all()
        np.testing.assert_array_equal(changed[[0, 3, 4, 5, 6, 7]], 0)
    assert abs(float(loss - moved)) > 1e-6

    # what it saw: the undisturbed image and the batch's own maps
    image = (jnp.asarray(batch["image"], jnp.float32) / 255 - 0.5) / 0.25
    gaze = own_gaze(batch)
    assert (gaze.max(axis=(1, 2)) > 0).tolist() == [False, True, True] * 2 + [False, True]
    variables = {"params": params["backbone"], "batch_stats": state["backbone"]}
    features, _ = GazedPatches().apply(variables, image, gaze)
    np.testing.assert_allclose(before[1], features, rtol=1e-4, atol=1e-5)


def test_a_gaze_input_moves_along_with_the_view(gazed, rng):
    """In training the backbone sees both as one standard view leaves them."""
    method, batch, (params, state) = gazed
    _, (trained, _) = jax.jit(functools.partial(method.loss, train=True))(
        params, state, batch, rng, step=jnp.int32(0)
    )
    _, moved, _ = standard_views(batch, own_gaze(batch), rng, standard=method.standard)
    norm = trained["backbone"]["norm"]
    np.testing.assert_allclose(norm["mean"], 0.1 * moved.mean(), rtol=1e-5)
    assert abs(float(moved.mean() - own_gaze(batch).mean())) > 1e-4
    np.testing.assert_allclose(norm["var"], 0.9 + 0.1 * moved.var(ddof=1), rtol=1e-5)


def test_a_gaze_input_takes_the_same_step_on_any_devices(gazed):
    method, batch, _ = gazed
    _, moved = check_same_step(method, batch, learning_rate=0.5)
    assert min(jax.tree.leaves(moved)) > 1e-7


def test_a_gaze_input_that_the_backbone_does_not_take_is_named_and_one_that_it_needs():
    with pytest.raises(InputError, match=r"GazedPatches sees.*config\.method\.gaze_input=True"):
        make(backbone=GazedPatches())
    with pytest.raises(InputError, match=r"Patches sees only.*config\.method\.gaze_input=False"):
        make(gaze_input=True)

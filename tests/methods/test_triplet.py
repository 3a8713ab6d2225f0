import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from gazax.methods import build
from gazax.methods.triplet import Triplet
from gazax.models.heads import Projector
from gazax.models.layers import BatchNorm
from gazax.typing import InputError
from tests.batches import tiny_batch
from tests.methods.descent import descend
from tests.methods.devices import check_same_step
from tests.methods.test_supervised import Patches, value_and_grad
from tests.reference import cooperative as slow

OBJECTIVES = {
    "all": dict(mining="all"),
    "hard": dict(mining="hard"),
    "semi_hard": dict(mining="semi_hard"),
    "published": dict(distance="published", margin=1.0, projector=None),
    "sup_con": dict(objective="sup_con"),
}
EACH = pytest.mark.parametrize("name", list(OBJECTIVES))
AS_IS = dict(crop=(1.0, 1.0), rotation_degrees=0.0, brightness=0.0, contrast=0.0)


class NormedPatches(nn.Module):
    """`Patches` of images whose grey values are those of the batch."""

    axis_name: str | None = None

    @nn.compact
    def __call__(self, image, *, train=False):
        normed = BatchNorm(axis_name=self.axis_name, name="norm")(image, train=train)
        return Patches(name="patches")(normed, train=train)


def make(**changes) -> Triplet:
    settings = dict(
        backbone=Patches(),
        projector=Projector(hidden_dim=16, out_dim=8),
        margin=0.3,
        temperature=0.2,
        standard=AS_IS,
        mean=0.5,
        std=0.25,
    )
    return build("triplet", **{**settings, **changes})


def classed_batch(batch_size=8, *, classes=None, unknown=()):
    """Images whose bright band is their class."""
    batch = tiny_batch(batch_size)
    number = np.arange(batch_size) % 3 if classes is None else np.array(classes)
    label = np.eye(3, dtype=np.float32)[number]
    image = batch["image"] // 2
    for row, k in enumerate(number):
        image[row, :, 10 * k : 10 * k + 10] += 100
    label[list(unknown)] = np.nan
    return {**batch, "image": image, "label": label}


METHODS = {name: make(**settings) for name, settings in OBJECTIVES.items()}


@EACH
def test_the_loss_is_the_mean_over_the_images_that_have_a_triplet(name, rng):
    """Class 2 has one image of known class, so that it is a negative and no anchor."""
    method = METHODS[name]
    batch = classed_batch(unknown=[5])
    params, state = method.init(rng, batch)
    assert set(params) == ({"backbone"} if name == "published" else {"backbone", "projector"})
    assert state == {}
    (value, (_, terms)), grads = value_and_grad(method)(params, batch, rng)
    image = (jnp.asarray(batch["image"], jnp.float32) / 255 - 0.5) / 0.25
    _, out = Patches().apply({"params": params["backbone"]}, image)
    if name == "published":
        expected = slow.triplet_margin(
            out["feature_maps"][-1], batch["label"], 1.0, "all", "published"
        )
    else:
        z = method.projector.apply({"params": params["projector"]}, out["features"])
        if name == "sup_con":
            expected = slow.sup_con(z, batch["label"], 0.2)
        else:
            expected = slow.triplet_margin(z, batch["label"], 0.3, name)
    anchors = [0, 1, 3, 4, 6, 7]
    np.testing.assert_allclose(value, expected[anchors].mean(), rtol=2e-5)
    assert value > 0
    term = "loss/sup_con" if name == "sup_con" else "loss/triplet"
    assert terms.keys() == {term, "anchor_share"}
    assert terms[term] == value
    np.testing.assert_allclose(terms["anchor_share"], 6 / 8)
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(grads["backbone"])) > 1e-4


@EACH
@pytest.mark.parametrize("case", ["no negative", "no positive"])
def test_a_batch_without_anchors_is_zero_and_not_nan(name, case, rng):
    method = METHODS[name]
    if case == "no negative":
        batch = classed_batch(classes=[1] * 8)
    else:
        batch = classed_batch(unknown=range(3, 8))
    params, _ = method.init(rng, batch)
    (value, (_, terms)), grads = value_and_grad(method)(params, batch, rng)
    assert value == 0.0
    assert terms["anchor_share"] == 0.0
    for leaf in jax.tree.leaves(grads):
        np.testing.assert_array_equal(leaf, 0)


@pytest.mark.parametrize("name", ["all", "sup_con"])
def test_classes_part(name, rng):
    """60 steps on disturbed views: each image's nearest neighbour is of its class."""
    standard = dict(crop=(0.9, 1.0), rotation_degrees=3.0)
    method = make(**OBJECTIVES[name], standard=standard)
    batch = classed_batch(9)
    params, state = method.init(rng, batch)

    def loss(params, step):
        key = jax.random.fold_in(rng, step)
        return method.loss(params, state, batch, key, step=step, train=True)[0]

    params, values = descend(loss, params, learning_rate=5e-3, steps=60)
    assert values[-5:].mean() < 0.7 * values[0]
    features, _ = jax.jit(method.encode)(params, state, batch)
    features = features / jnp.linalg.norm(features, axis=1, keepdims=True)
    similarity = np.array(features @ features.T)
    np.fill_diagonal(similarity, -np.inf)
    np.testing.assert_array_equal(similarity.argmax(axis=1) % 3, np.arange(9) % 3)


def test_without_training_nothing_is_drawn_and_padding_does_not_count(rng):
    method = make(standard={})
    batch = classed_batch()
    params, _ = method.init(rng, batch)
    padded = {**batch, "weight": (np.arange(8) < 6).astype(np.float32)}
    tell = value_and_grad(method, train=False)
    (first, (_, terms)), grads = tell(params, padded, rng)
    (second, _), _ = tell(params, padded, jax.random.key(1))
    assert first == second
    assert terms["anchor_share"] == 1.0
    # As if the padding's class were unknown, and it is nobody's partner.
    (unknown, _), other = tell(params, classed_batch(unknown=[6, 7]), rng)
    np.testing.assert_allclose(first, unknown, rtol=1e-5)
    for one, two in zip(jax.tree.leaves(grads), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)
    (whole, _), _ = tell(params, batch, rng)
    assert abs(float(first - whole)) > 1e-4
    (drawn, _), _ = value_and_grad(method)(params, batch, rng)
    assert abs(float(drawn - whole)) > 1e-4


@pytest.mark.parametrize("name", ["published", "sup_con"])
def test_the_same_step_on_any_devices(name):
    """Class 2 is on one device alone; the batch statistics are the whole batch's."""
    method = make(backbone=NormedPatches(), **OBJECTIVES[name])
    batch = classed_batch(classes=[0, 1, 0, 1, 2, 2, 1, 0], unknown=[7])
    _, moved = check_same_step(method, batch, learning_rate=0.5, atol=5e-6)
    assert max(jax.tree.leaves(moved["backbone"])) > 1e-4


def test_encode_gives_features_and_a_density(rng):
    method, batch = make(), classed_batch(4)
    params, state = method.init(rng, batch)
    features, attention = jax.jit(method.encode)(params, state, batch)
    image = (jnp.asarray(batch["image"], jnp.float32) / 255 - 0.5) / 0.25
    expected, out = Patches().apply({"params": params["backbone"]}, image)
    np.testing.assert_allclose(features, expected, atol=1e-5)
    energy = out["attention"][0]
    density = energy / energy.sum(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(attention, density, rtol=1e-4)


def test_what_does_not_fit_is_named(rng):
    with pytest.raises(InputError, match=r"method\.objective='contrast'.*sup_con"):
        make(objective="contrast")
    with pytest.raises(InputError, match=r"method\.mining='semihard'.*semi_hard"):
        make(mining="semihard")
    with pytest.raises(InputError, match=r"method\.distance='publish'.*published"):
        make(distance="publish")
    with pytest.raises(InputError, match=r"method\.margin is 0"):
        make(margin=0.0)
    with pytest.raises(InputError, match=r"method\.temperature is -1"):
        make(temperature=-1.0)
    with pytest.raises(InputError, match="mining='hard' belongs to objective='triplet'"):
        make(objective="sup_con", mining="hard")
    with pytest.raises(InputError, match="distance='published' belongs to objective='triplet'"):
        make(objective="sup_con", distance="published", projector=None)
    with pytest.raises(InputError, match="which no projector takes"):
        make(distance="published")
    batch = tiny_batch()
    with pytest.raises(InputError, match="the data has 1 label columns"):
        make().init(rng, {**batch, "label": batch["label"][:, :1]})
    with pytest.raises(InputError, match="names level 3"):
        make(levels=(3,)).init(rng, batch)

"""Properties of the classifier on two encoders, and of the network that joins them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from gazax.models import MODELS, build
from gazax.models.densenet import make_densenet
from gazax.models.fusion import FusionClassifier, fuse
from gazax.typing import InputError
from tests.models.conftest import count, randomized, spec_of

SHAPE = (4, 64, 32, 1)  # not square, so that h and w cannot be swapped
TINY = dict(
    densenet=dict(blocks=(1, 1, 1, 1), growth_rate=4, init_features=8),
    unet=dict(width=4, reduction=2),
    hidden=8,
)


def draw(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.fixture(scope="module")
def tiny():
    """The joined network and its variables."""
    model = build("fusion", **TINY)
    return model, randomized(model, SHAPE)


def test_fusion_parameter_counts_are_the_published_ones():
    params = spec_of(build("fusion"), (1, 32, 64, 1))["params"]
    assert {scope: count(tree) for scope, tree in params.items()} == {
        "densenet": 18_092_928,
        "unet": 48_417_217,
        "classifier": 127_235,
    }
    assert count(params) == 66_637_380


def test_fusion_models_have_their_names():
    assert {"unet", "res_se_unet", "fusion", "densenet"} < set(MODELS)
    assert {name for name in MODELS if name.startswith("densenet")} == {
        "densenet",
        *(f"densenet{depth}" for depth in (121, 169, 201)),
    }


@pytest.mark.parametrize(("tap", "channels"), [("after", 1920), ("before", 896)])
def test_fusion_guide_has_the_channels_of_the_tap(tap, channels):
    assert make_densenet(depth=201, tap=tap).tapped_channels == channels
    densenet = make_densenet(blocks=(2, 1, 3), growth_rate=5, init_features=7, tap=tap)
    variables = spec_of(densenet, SHAPE)
    _, out = jax.eval_shape(densenet.apply, variables, jnp.zeros(SHAPE))
    assert out["tapped"].shape[-1] == densenet.tapped_channels


def test_fuse_puts_densenet_first():
    fused = fuse({"features": jnp.zeros((2, 1920))}, {"features": jnp.ones((2, 64))})
    assert fused.shape == (2, 1984)
    np.testing.assert_array_equal(fused.sum(axis=1), 64)
    np.testing.assert_array_equal(fused[:, :1920], 0)


def test_fusion_classifier_by_hand():
    params = {
        "layers_0": {"kernel": jnp.array([[1.0, -1.0]]), "bias": jnp.array([0.5, 0.5])},
        "layers_1": {"kernel": jnp.array([[2.0], [3.0]]), "bias": jnp.array([1.0])},
    }
    classifier = FusionClassifier(1, hidden=2)
    # relu(2 + .5, -2 + .5) = (2.5, 0): 2 * 2.5 + 1; relu(-.5, 1.5) = (0, 1.5): 3 * 1.5 + 1
    logits = classifier.apply({"params": params}, jnp.array([[2.0], [-1.0]]))
    np.testing.assert_allclose(logits, [[6.0], [5.5]], rtol=1e-6)


@pytest.fixture(scope="module")
def hidden_of():
    """(dropout, keys) -> the hidden numbers, all 1 without dropout."""

    def run(dropout, keys):
        classifier = FusionClassifier(64, dropout=dropout)
        params = {
            "layers_0": {"kernel": jnp.zeros((3, 64)), "bias": jnp.ones(64)},
            "layers_1": {"kernel": jnp.eye(64), "bias": jnp.zeros(64)},
        }
        rows = 5 if keys is None else len(keys)
        return classifier.apply({"params": params}, jnp.zeros((rows, 3)), keys)

    return run


def test_fusion_dropout_keeps_the_expectation(rng, hidden_of):
    hidden = np.asarray(hidden_of(0.25, jax.random.split(rng, 500)))
    np.testing.assert_allclose(np.unique(hidden), [0, 1 / 0.75], rtol=1e-6)
    # 32,000 draws: deviation of the share .0024, of the mean .0032
    assert abs((hidden == 0).mean() - 0.25) < 0.01
    assert abs(hidden.mean() - 1) < 0.013
    # each hidden number and each example has draws of its own
    assert ((hidden == 0).any(axis=0) & (hidden > 0).any(axis=0)).all()
    assert len(np.unique(hidden, axis=0)) == 500


def test_fusion_dropout_mask_belongs_to_the_key(rng, hidden_of):
    keys = jax.random.split(rng, 6)
    whole = hidden_of(0.5, keys)
    parts = [hidden_of(0.5, keys[a:b]) for a, b in ((0, 1), (1, 4), (4, 6))]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    order = np.array([3, 0, 5, 1, 2, 4])
    np.testing.assert_array_equal(hidden_of(0.5, keys[order]), whole[order])


def test_fusion_without_keys_drops_nothing(rng, hidden_of):
    np.testing.assert_array_equal(hidden_of(0.25, None), 1)
    np.testing.assert_array_equal(hidden_of(0.0, jax.random.split(rng, 3)), 1)
    for dropout in (1.0, -0.1):
        with pytest.raises(InputError, match=r"dropout.*\[0, 1\)"):
            hidden_of(dropout, None)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_fusion_intermediates_are_named_and_float32(dtype):
    model = build("fusion", **TINY, dtype=dtype)
    variables = spec_of(model, SHAPE)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    output, out = jax.eval_shape(model.apply, variables, jnp.zeros(SHAPE))
    assert output.shape == (4, 3)
    levels = [(4, 16, 8, 12), (4, 8, 4, 10), (4, 4, 2, 9), (4, 2, 1, 8)]
    assert jax.tree.map(jnp.shape, out) == {
        "log_density": (4, 64, 32),
        "features": (4, 8 + 4),
        "feature_maps": levels,
        "attention": [level[:3] for level in levels],
    }
    assert {leaf.dtype for leaf in jax.tree.leaves((output, out))} == {jnp.dtype("float32")}


def test_fusion_is_its_three_parts(tiny):
    model, variables = tiny
    image = draw(SHAPE)
    keys = jax.random.split(jax.random.key(1), 4)

    @jax.jit
    def joined(variables):
        return model.apply(variables, image, dropout_keys=keys)

    @jax.jit
    def apart(variables):
        of = {
            scope: {name: variables[name][scope] for name in variables if scope in variables[name]}
            for scope in ("densenet", "unet", "classifier")
        }
        _, densenet_out = model.densenet.apply(of["densenet"], image)
        log_density, unet_out = model.unet.apply(of["unet"], image, densenet_out["tapped"])
        features = fuse(densenet_out, unet_out)
        logits = model.classifier.apply(of["classifier"], features, keys)
        return logits, {
            "log_density": log_density,
            "features": features,
            "feature_maps": densenet_out["feature_maps"],
            "attention": densenet_out["attention"],
        }

    one, other = joined(variables), apart(variables)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), one, other)
    np.testing.assert_allclose(np.exp(one[1]["log_density"]).sum(axis=(1, 2)), 1, rtol=1e-5)


def test_fusion_axis_reaches_both_encoders(tiny):
    model, variables = tiny
    image = draw(SHAPE).at[:2].multiply(3)

    def train(model, image):
        (logits, _), updated = model.apply(variables, image, train=True, mutable=["batch_stats"])
        return logits, updated["batch_stats"]

    logits, stats = jax.jit(functools.partial(train, model))(image)
    assert set(stats) == {"densenet", "unet"}
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    split = PartitionSpec("data")
    mapped = jax.shard_map(
        functools.partial(train, model.clone(axis_name="data")),
        mesh=mesh,
        in_specs=split,
        out_specs=(split, PartitionSpec()),
    )
    split_logits, split_stats = jax.jit(mapped)(image)
    scale = float(np.abs(logits).max())
    np.testing.assert_allclose(split_logits, logits, rtol=1e-3, atol=1e-4 * scale)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), split_stats, stats
    )
    assert model.clone(axis_name="data").clone(axis_name=None) == model


def test_fusion_perturbs_the_levels_of_each_encoder(tiny):
    model, variables = tiny
    run = functools.partial(model.apply, mutable=["perturbations"])
    _, made = jax.eval_shape(run, variables, jnp.zeros(SHAPE))
    assert {scope: set(levels) for scope, levels in made["perturbations"].items()} == {
        "densenet": {f"level_{i}" for i in range(4)},
        "unet": {f"level_{i}" for i in range(5)},
    }


def test_fusion_layers_are_its_parts(tiny):
    model, variables = tiny
    assert {name: model.layer_of(name) for name in variables["params"]} == {
        "densenet": 0,
        "unet": 1,
        "classifier": 2,
    }
    assert model.num_layers == 3

"""Properties of the residual networks; their numbers against torchvision's are in tests/export."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from gazax.models import MODELS, build
from gazax.models.resnet import ResNet
from gazax.typing import InputError
from tests.models.conftest import check_perturbation_gradient, randomized, zero_levels

TINY = dict(stage_sizes=(1, 1, 1, 1), bottleneck=False)
SHAPE = (2, 64, 32, 1)  # not square, so that h and w cannot be swapped

# torchvision 0.28, 1000 classes
PARAMETERS = {18: 11_689_512, 34: 21_797_672, 50: 25_557_032, 101: 44_549_160}


def spec_of(model, shape):
    return jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(shape))


@pytest.fixture(scope="session")
def image():
    return jnp.asarray(np.random.default_rng(1).normal(size=SHAPE), jnp.float32)


@pytest.fixture(scope="session")
def tiny():
    """The network, its variables and the compiled (variables, image) -> (output, out)."""
    model = ResNet(**TINY)
    return model, randomized(model, SHAPE), jax.jit(model.apply)


@pytest.mark.parametrize("depth", PARAMETERS)
def test_resnet_parameter_counts_are_torchvisions(depth):
    spec = spec_of(build("resnet", depth=depth, num_classes=1000), (1, 64, 64, 3))
    assert sum(leaf.size for leaf in jax.tree.leaves(spec["params"])) == PARAMETERS[depth]
    named = spec_of(build(f"resnet{depth}", num_classes=1000), (1, 64, 64, 3))
    assert jax.tree.map(jnp.shape, named) == jax.tree.map(jnp.shape, spec)


@pytest.mark.torch
@pytest.mark.parametrize("depth", PARAMETERS)
def test_resnet_parameter_counts_were_read_off_torchvision(torchvision, depth):
    import torch

    with torch.device("meta"):
        net = torchvision.models.get_model(f"resnet{depth}", weights=None)
    assert sum(p.numel() for p in net.parameters()) == PARAMETERS[depth]


def test_resnet_names_are_the_checkpoints_keys():
    spec = spec_of(ResNet(**TINY, num_classes=3), SHAPE)
    assert set(spec) == {"params", "batch_stats"}
    names = set(flatten_dict(spec["params"], sep="/"))
    norms = {"bn1", *(f"layer{s}_0/bn{n}" for s in (1, 2, 3, 4) for n in (1, 2))}
    norms |= {f"layer{s}_0/downsample_1" for s in (2, 3, 4)}
    kernels = {name.replace("bn", "conv").replace("downsample_1", "downsample_0") for name in norms}
    assert names == {
        *(f"{name}/kernel" for name in kernels),
        *(f"{name}/{leaf}" for name in norms for leaf in ("scale", "bias")),
        "head/kernel",
        "head/bias",
    }
    stats = set(flatten_dict(spec["batch_stats"], sep="/"))
    assert stats == {f"{name}/{leaf}" for name in norms for leaf in ("mean", "var")}
    assert spec["params"]["conv1"]["kernel"].shape == (7, 7, 1, 64)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_resnet_intermediates_are_named_and_float32(dtype):
    model = ResNet(**TINY, num_classes=3, dtype=dtype)
    variables = spec_of(model, SHAPE)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    output, out = jax.eval_shape(model.apply, variables, jnp.zeros(SHAPE))
    assert output.shape == (2, 3)
    levels = [(2, 16, 8, 64), (2, 8, 4, 128), (2, 4, 2, 256), (2, 2, 1, 512)]
    assert jax.tree.map(jnp.shape, out) == {
        "features": (2, 512),
        "feature_map": levels[-1],
        "feature_maps": levels,
        "attention": [level[:3] for level in levels],
        "stem": (2, 32, 16, 64),
    }
    assert {leaf.dtype for leaf in jax.tree.leaves((output, out))} == {jnp.dtype("float32")}


def test_resnet_sides_that_do_not_divide_are_rounded_up():
    model = ResNet(**TINY)
    _, out = jax.eval_shape(model.apply, spec_of(model, SHAPE), jnp.zeros((2, 70, 33, 1)))
    assert [level.shape[1:3] for level in out["feature_maps"]] == [(18, 9), (9, 5), (5, 3), (3, 2)]


def test_resnet_features_pool_the_last_level_and_attention_is_its_energy(tiny, image):
    _, variables, apply = tiny
    output, out = apply(variables, image)
    np.testing.assert_array_equal(output, out["features"])
    np.testing.assert_array_equal(out["feature_map"], out["feature_maps"][-1])
    np.testing.assert_allclose(
        out["features"], out["feature_map"].mean(axis=(1, 2)), rtol=1e-5, atol=1e-5
    )
    for energy, level in zip(out["attention"], out["feature_maps"], strict=True):
        np.testing.assert_allclose(energy, (np.asarray(level) ** 2).mean(axis=-1), rtol=1e-5)
    assert out["stem"].min() == 0  # after its relu


def test_resnet_training_updates_every_statistic(tiny, image):
    model, variables, _ = tiny
    train = jax.jit(functools.partial(model.apply, train=True, mutable=["batch_stats"]))
    _, updated = train(variables, image)
    before = flatten_dict(variables["batch_stats"])
    for name, after in flatten_dict(updated["batch_stats"]).items():
        assert (after != before[name]).all(), name


def test_resnet_statistics_are_those_of_the_whole_axis():
    whole = ResNet((1,), bottleneck=True)
    image = jnp.asarray(np.random.default_rng(1).normal(size=(4, 16, 16, 1)), jnp.float32)
    image = image.at[:2].multiply(2)
    variables = randomized(whole, image.shape)

    def train(model, image):
        (features, _), updated = model.apply(variables, image, train=True, mutable=["batch_stats"])
        return features, updated["batch_stats"]

    features, stats = jax.jit(functools.partial(train, whole))(image)
    split = functools.partial(train, whole.clone(axis_name="data"))
    mapped = jax.jit(jax.vmap(split, axis_name="data"))
    split_features, split_stats = mapped(image.reshape(2, 2, 16, 16, 1))
    np.testing.assert_allclose(split_features.reshape(4, -1), features, rtol=1e-4, atol=1e-5)
    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one[1], other, rtol=1e-4, atol=1e-5),
        split_stats,
        stats,
    )


def test_resnet_remat_changes_no_number(image):
    def run(model):
        def loss(params):
            (features, _), updated = model.apply(
                {**variables, "params": params}, image, train=True, mutable=["batch_stats"]
            )
            return jnp.square(features).mean(), updated

        return jax.value_and_grad(loss, has_aux=True)

    model = ResNet((1,), bottleneck=True)
    variables = randomized(model, SHAPE)
    params = variables["params"]
    again = model.clone(remat=True)
    plain_program = str(jax.make_jaxpr(run(model))(params))
    assert "remat" not in plain_program
    assert "remat" in str(jax.make_jaxpr(run(again))(params))
    (value, stats), gradient = jax.jit(run(model))(params)
    (value_again, stats_again), gradient_again = jax.jit(run(again))(params)
    np.testing.assert_allclose(value_again, value, rtol=1e-5)
    for one, other in (stats_again, stats), (gradient_again, gradient):
        scale = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(other))
        jax.tree.map(
            lambda a, b, scale=scale: np.testing.assert_allclose(
                a, b, rtol=1e-3, atol=1e-5 * scale
            ),
            one,
            other,
        )


@pytest.mark.parametrize("remat", [False, True])
def test_resnet_perturbation_gradient_is_that_of_finite_differences(image, remat):
    model = ResNet((1, 1), bottleneck=False, remat=remat)
    variables = randomized(model, SHAPE)
    check_perturbation_gradient(model, variables, image, width=128)


def test_resnet_without_perturbations_is_the_same_program(tiny, image):
    model, variables, _ = tiny
    zeros = zero_levels(model, variables, image)

    def added(given):
        return str(jax.make_jaxpr(model.apply)(given, image)).count(" add ")

    assert added({**variables, "perturbations": zeros}) == added(variables) + len(zeros)


def test_resnet_layers_are_counted_from_the_input():
    model = build("resnet18", num_classes=3)
    names = spec_of(model, SHAPE)["params"]
    assert {name: model.layer_of(name) for name in names} == {
        "conv1": 0,
        "bn1": 0,
        **{f"layer{s}_{i}": 2 * s - 1 + i for s in (1, 2, 3, 4) for i in (0, 1)},
        "head": 9,
    }
    assert model.num_layers == 10
    assert build("resnet50").layer_of("layer3_5") == 3 + 4 + 6
    for name in ("layer1_2", "fc"):
        with pytest.raises(KeyError, match=name):
            model.layer_of(name)


def test_resnet_unknown_depth_lists_the_known_ones():
    with pytest.raises(InputError, match=r"depth 20.*18, 34, 50, 101"):
        build("resnet", depth=20)


def test_every_resnet_has_its_name():
    assert {name for name in MODELS if name.startswith("resnet")} == {
        "resnet",
        "resnet10",
        *(f"resnet{depth}" for depth in PARAMETERS),
    }

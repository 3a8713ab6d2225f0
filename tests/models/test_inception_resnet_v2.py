"""Properties of Inception-ResNet-v2; its numbers against timm's are in tests/export."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from gazax.models.inception_blocks import (
    BLOCK_35,
    ConvNorm,
    Layer,
    Mixed,
    Residual,
    mean_pool,
    scaled,
)
from gazax.models.inception_resnet_v2 import InceptionResNetV2
from gazax.typing import InputError
from tests.models.conftest import count, randomized, spec_of, zero_levels

TINY = dict(blocks=(1, 1, 1), width_multiplier=0.125, padding="same")
SHAPE = (2, 64, 32, 1)  # not square, so that h and w cannot be swapped
PARAMETERS = 55_843_464, 54_306_464  # timm 1.0.31: with 1000 classes, and with none


def draw(*shape, seed=1):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def spec_of_block(block, x):
    """Shapes of the variables of a module of (map, train)."""
    return jax.eval_shape(lambda key, x: block.init(key, x, False), jax.random.key(0), x)


@pytest.fixture(scope="module")
def published():
    """Shapes of the published network's variables."""
    return spec_of(InceptionResNetV2(num_classes=1000), (1, 75, 75, 1))


@pytest.fixture(scope="module")
def tiny():
    """The network, its variables, an image, and the compiled perturbations -> (output, out)."""
    model, image = InceptionResNetV2(**TINY), draw(*SHAPE)
    variables = randomized(model, SHAPE)
    params = flatten_dict(variables["params"])
    # near 1, so that an image still makes a difference after 20 norms
    params = {path: x + 1 if path[-1] == "scale" else x for path, x in params.items()}
    variables = {**variables, "params": unflatten_dict(params)}

    @jax.jit
    def apply(perturbations):
        return model.apply({**variables, "perturbations": perturbations}, image)

    return model, variables, image, apply


@pytest.fixture(scope="module")
def seen(tiny):
    """Perturbations of zero, and (output, out) with them."""
    model, variables, image, apply = tiny
    zeros = zero_levels(model, variables, image)
    return zeros, apply(zeros)


def test_inception_resnet_parameter_counts_are_timms(published):
    params = published["params"]
    assert (count(params), count(params) - count(params["head"])) == PARAMETERS


def test_inception_resnet_names_are_the_checkpoints_keys(published):
    assert set(published) == {"params", "batch_stats"}
    params = published["params"]
    stem = {f"conv2d_{name}" for name in ("1a", "2a", "2b", "3b", "4a")}
    assert set(params) == {
        *stem,
        *("mixed_5b", "mixed_6a", "mixed_7a", "block8", "conv2d_7b", "head"),
        *(f"repeat_{i}" for i in range(10)),
        *(f"repeat_1_{i}" for i in range(20)),
        *(f"repeat_2_{i}" for i in range(9)),
    }
    branches = {
        "mixed_5b": "branch0 branch1_0 branch1_1 branch2_0 branch2_1 branch2_2 branch3_1",
        "mixed_7a": "branch0_0 branch0_1 branch1_0 branch1_1 branch2_0 branch2_1 branch2_2",
        "repeat_1_0": "branch0 branch1_0 branch1_1 branch1_2 conv2d",
    }
    assert {name: set(params[name]) for name in branches} == {
        name: set(inside.split()) for name, inside in branches.items()
    }
    assert set(flatten_dict(params["conv2d_1a"], sep="/")) == {"conv/kernel", "bn/scale", "bn/bias"}
    assert params["conv2d_1a"]["conv"]["kernel"].shape == (3, 3, 3, 32)  # of a grey image too
    kernels = [params["repeat_1_0"][f"branch1_{i}"]["conv"]["kernel"].shape for i in range(3)]
    assert kernels == [(1, 1, 1088, 128), (1, 7, 128, 160), (7, 1, 160, 192)]
    assert set(params["block8"]["conv2d"]) == {"kernel", "bias"}
    norms = {path for path in flatten_dict(params, sep="/") if path.endswith("bn/scale")}
    assert set(flatten_dict(published["batch_stats"], sep="/")) == {
        path.replace("scale", name) for path in norms for name in ("mean", "var")
    }


def test_inception_resnet_kernels_start_as_timms(rng):
    """Uniform within 1 / sqrt(fan in), as torch's own convolution."""
    kernel = jax.jit(ConvNorm(64, 3).init, static_argnums=2)(rng, jnp.zeros((1, 4, 4, 16)), False)
    kernel = kernel["params"]["conv"]["kernel"]
    assert 0.98 / 12 < float(jnp.abs(kernel).max()) <= 1 / 12
    assert float(kernel.std()) == pytest.approx(1 / 12 / 3**0.5, rel=0.02)


def test_inception_resnet_intermediates_are_named_and_float32_in_bfloat16_too():
    model = InceptionResNetV2(**TINY, num_classes=3, dtype="bfloat16")
    spec = jax.eval_shape(model.init_with_output, jax.random.key(0), jnp.zeros(SHAPE))
    (output, out), variables = spec
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert output.shape == (2, 3)
    # eighths, each a multiple of 8: 16 + 8 + 16 + 8; 48 + 48 + 48; 48 + 40 + 40 + 144
    levels = [(2, 8, 4, 48), (2, 4, 2, 144), (2, 2, 1, 272), (2, 2, 1, 192)]
    assert jax.tree.map(jnp.shape, out) == {
        "features": (2, 192),
        "feature_map": levels[-1],
        "feature_maps": levels,
        "attention": [level[:3] for level in levels],
        "stem": (2, 32, 16, 8),
    }
    assert {leaf.dtype for leaf in jax.tree.leaves((output, out))} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("padding", "size", "grids"),
    [
        ("valid", (75, 299), [(7, 35), (3, 17), (1, 8), (1, 8)]),
        ("same", (5, 299), [(1, 38), (1, 19), (1, 10), (1, 10)]),
    ],
)
def test_inception_resnet_grids_follow_the_padding(padding, size, grids):
    model = InceptionResNetV2(**{**TINY, "padding": padding})
    spec = jax.eval_shape(model.init_with_output, jax.random.key(0), jnp.zeros((1, *size, 1)))
    (_, out), _ = spec
    assert [level.shape[1:3] for level in out["feature_maps"]] == grids


def test_inception_resnet_width_rounds_to_positive_multiples_of_8():
    assert [scaled(channels, 0.125) for channels in (32, 80, 96, 160)] == [8, 8, 16, 24]
    assert [scaled(channels, 1.5) for channels in (48, 80, 1088)] == [72, 120, 1632]
    assert all(scaled(channels, 1) == channels for channels in (32, 48, 80, 288, 1536))


def test_inception_resnet_pools_its_last_map_and_attention_is_the_levels_energy(seen):
    _, (output, out) = seen
    np.testing.assert_array_equal(output, out["features"])
    np.testing.assert_array_equal(out["feature_map"], out["feature_maps"][-1])
    mean = np.asarray(out["feature_map"]).mean(axis=(1, 2))
    np.testing.assert_allclose(output, mean, rtol=1e-5, atol=1e-6)
    for energy, level in zip(out["attention"], out["feature_maps"], strict=True):
        np.testing.assert_allclose(energy, (np.asarray(level) ** 2).mean(axis=-1), rtol=1e-5)
    # all but what block8 gives out are behind a relu
    smallest = [float(x.min()) for x in (out["stem"], *out["feature_maps"])]
    assert [value == 0 for value in smallest] == [True, True, True, False, True]
    assert smallest[3] < -0.1


def test_inception_resnet_features_are_timms_convolution_of_the_last_stage(tiny, seen):
    """conv2d_7b written out: the norm's epsilon is 1e-3, its statistics are the running ones."""
    variables, (_, out) = tiny[1], seen[1]
    params, stats = (variables[name]["conv2d_7b"] for name in ("params", "batch_stats"))
    values = {name: np.asarray(value) for name, value in {**params["bn"], **stats["bn"]}.items()}
    y = np.asarray(out["feature_maps"][2]) @ np.asarray(params["conv"]["kernel"])[0, 0]
    y = (y - values["mean"]) / np.sqrt(values["var"] + 1e-3) * values["scale"] + values["bias"]
    np.testing.assert_allclose(out["feature_map"], np.maximum(y, 0), rtol=1e-5, atol=2e-5)


def test_residual_scales_what_its_branches_find():
    """With kernels of zeros the branches find the bias of conv2d."""
    block = Residual(BLOCK_35, width=0.25, scale=0.5)
    x = draw(1, 3, 4, 6)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), spec_of_block(block, x))
    zeros["params"]["conv2d"]["bias"] = jnp.arange(6.0) - 3
    expected = np.asarray(x) + np.arange(6) / 2 - 1.5
    y, linear = jax.jit(
        lambda: [b.apply(zeros, x, False) for b in (block, block.clone(relu=False))]
    )()
    np.testing.assert_allclose(linear, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(y, np.maximum(expected, 0), rtol=1e-5, atol=1e-6)


def test_mean_pool_does_not_count_what_lies_outside():
    x = jnp.arange(6.0).reshape(1, 2, 3, 1)
    # rows 0 1 2 and 3 4 5: of 4 cells at the sides, of 6 in the middle
    expected = np.array([[2, 2.5, 3], [2, 2.5, 3]])
    y = mean_pool(x.astype(jnp.bfloat16))
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y[0, :, :, 0], expected, rtol=1e-6)


def test_inception_resnet_uses_the_statistics_of_the_whole_axis_and_remat_where_it_says(tiny):
    """Every norm averages a mean and a variance; what that gives, the norm's own test says."""
    model, variables, image, _ = tiny
    split = model.clone(axis_name="data", remat=True)

    def train(variables, image):
        return split.apply(variables, image, train=True, mutable=["batch_stats"])

    program = str(jax.make_jaxpr(train, axis_env=[("data", 2)])(variables, image))
    norms = 5 + 7 + 6 + 4 + 4 + 7 + 2 * 4 + 1
    assert len(jax.tree.leaves(variables["batch_stats"])) == 2 * norms
    assert program.count("psum") == 2 * norms
    assert len(re.findall(r"\b(?:remat2?|checkpoint)\[", program)) == 3 + 3 + 1


def test_inception_resnet_levels_can_be_perturbed(tiny, seen):
    """What is added to a level is added there, changes all that comes after, nothing before."""
    apply = tiny[-1]
    zeros, (output, out) = seen
    levels = out["feature_maps"]
    assert jax.tree.map(jnp.shape, zeros) == {
        f"level_{i}": level.shape for i, level in enumerate(levels)
    }
    for i, level in enumerate(levels):
        step = draw(*level.shape, seed=i)
        moved_output, moved = apply({**zeros, f"level_{i}": step})
        moved_levels = moved["feature_maps"]
        for before, after in zip(levels[:i], moved_levels[:i], strict=True):
            np.testing.assert_array_equal(after, before)
        np.testing.assert_allclose(moved_levels[i], level + step, rtol=1e-5, atol=1e-5)
        for before, after in zip(levels[i + 1 :], moved_levels[i + 1 :], strict=True):
            assert np.abs(after - before).max() > 0.1
        assert np.abs(moved_output - output).max() > 0.1
    # the last one is what is pooled: its gradient is that of a mean
    np.testing.assert_allclose(moved_output, output + step.mean(axis=(1, 2)), rtol=1e-5, atol=1e-5)


def test_inception_resnet_layers_are_counted_from_the_input(published):
    order = [
        *("conv2d_1a", "conv2d_2a", "conv2d_2b", "conv2d_3b", "conv2d_4a"),
        *("mixed_5b", *(f"repeat_{i}" for i in range(10))),
        *("mixed_6a", *(f"repeat_1_{i}" for i in range(20))),
        *("mixed_7a", *(f"repeat_2_{i}" for i in range(9))),
        *("block8", "conv2d_7b", "head"),
    ]
    model = InceptionResNetV2(num_classes=1000)
    assert {name: model.layer_of(name) for name in published["params"]} == {
        name: place for place, name in enumerate(order)
    }
    assert model.num_layers == len(order)
    for name in ("repeat_10", "repeat_1_20", "classif"):
        with pytest.raises(KeyError, match=name):
            model.layer_of(name)


@pytest.mark.parametrize(
    ("settings", "shape", "message"),
    [
        (
            dict(padding="valid"),
            (1, 80, 74, 1),
            r"80x74 px .* 75 px a side.* config\.model\.padding='same', .* config\.data\.size",
        ),
        ({}, (*SHAPE[:3], 4), r"of one channel or of 3, not of 4\b"),
        (dict(padding="full"), SHAPE, r"padding 'full'; the known ones are valid, same"),
        (
            dict(blocks=(1, 1)),
            SHAPE,
            r"blocks=\(1, 1\), width_multiplier=0.125: blocks are 3 numbers",
        ),
        (dict(blocks=(1, 0, 1)), SHAPE, r"blocks=\(1, 0, 1\), .* of 1 or more"),
        (dict(width_multiplier=0.0), SHAPE, r"width_multiplier=0\.0: .* the multiplier is above 0"),
    ],
)
def test_inception_resnet_refuses_what_does_not_fit(settings, shape, message):
    with pytest.raises(InputError, match=message):
        spec_of(InceptionResNetV2(**{**TINY, **settings}), shape)


def test_mixed_reductions_join_their_branches_in_order():
    """A max-pool's channels come last, as they are; a convolution's first."""
    x = draw(1, 5, 7, 2)
    block = Mixed(((Layer(8, 3, 2),), ("max",)))
    variables = spec_of_block(block, x)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), variables)
    y = jax.jit(block.apply, static_argnums=2)(zeros, x, False)
    assert y.shape == (1, 2, 3, 10)
    assert (y[..., :8] == 0).all()
    assert float(y[0, 1, 2, 9]) == float(x[0, 2:5, 4:7, 1].max())

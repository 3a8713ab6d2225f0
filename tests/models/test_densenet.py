"""Properties of the dense networks; their numbers against torchvision's are in tests/export."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from gazax.models import MODELS, build
from gazax.models.densenet import DEPTHS, DenseLayer, DenseNet, make_densenet
from gazax.typing import InputError
from tests.models.conftest import check_perturbation_gradient, count, randomized, spec_of

TINY = dict(blocks=(2, 2, 1, 2), growth_rate=8, init_features=16)
SHORT = dict(blocks=(2, 1), growth_rate=4, init_features=8)
SHAPE = (2, 64, 32, 1)  # not square, so that h and w cannot be swapped
SMALL = (2, 16, 8, 1)

# torchvision 0.28: with 1000 classes, and of `features` alone
PARAMETERS = {
    121: (7_978_856, 6_953_856),
    169: (14_149_480, 12_484_480),
    201: (20_013_928, 18_092_928),
}
TAPPED = {121: (1024, 512), 169: (1664, 640), 201: (1920, 896)}  # channels after, before


@pytest.fixture(scope="session")
def image():
    return jnp.asarray(np.random.default_rng(1).normal(size=SMALL), jnp.float32)


@pytest.fixture(scope="session")
def short():
    """The network, its variables and the compiled (variables, image) -> (output, out)."""
    model = DenseNet(**SHORT)
    return model, randomized(model, SMALL), jax.jit(model.apply)


@pytest.mark.parametrize("depth", PARAMETERS)
def test_densenet_parameter_counts_are_torchvisions(depth):
    params = spec_of(build(f"densenet{depth}", num_classes=1000), (1, 32, 32, 1))["params"]
    assert (count(params), count(params) - count(params["head"])) == PARAMETERS[depth]
    assert build(f"densenet{depth}") == build("densenet", depth=depth)
    taps = params["norm5"]["scale"].size, params["transition3"]["conv"]["kernel"].shape[-1]
    assert taps == TAPPED[depth]


@pytest.mark.torch
@pytest.mark.parametrize("depth", PARAMETERS)
def test_densenet_parameter_counts_were_read_off_torchvision(torchvision, depth):
    import torch

    with torch.device("meta"):
        net = torchvision.models.get_model(f"densenet{depth}", weights=None)
    counts = [sum(p.numel() for p in part.parameters()) for part in (net, net.features)]
    assert tuple(counts) == PARAMETERS[depth]


def test_densenet_names_are_the_checkpoints_keys():
    spec = spec_of(make_densenet(**TINY, num_classes=3), SHAPE)
    assert set(spec) == {"params", "batch_stats"}
    layers = [f"denseblock{b}_denselayer{i}" for b, n in enumerate(TINY["blocks"], 1) for i in
              range(1, n + 1)]  # fmt: skip
    norms = {"norm0", "norm5", *(f"transition{i}/norm" for i in (1, 2, 3))}
    norms |= {f"{layer}/norm{n}" for layer in layers for n in (1, 2)}
    kernels = {name.replace("norm", "conv") for name in norms} - {"conv5"}
    assert set(flatten_dict(spec["params"], sep="/")) == {
        *(f"{name}/kernel" for name in (*kernels, "head")),
        *(f"{name}/{leaf}" for name in norms for leaf in ("scale", "bias")),
        "head/bias",
    }
    stats = set(flatten_dict(spec["batch_stats"], sep="/"))
    assert stats == {f"{name}/{leaf}" for name in norms for leaf in ("mean", "var")}
    assert spec["params"]["conv0"]["kernel"].shape == (7, 7, 3, 16)  # of a grey image too


def test_densenet_kernels_start_as_torchvisions(rng):
    init = jax.jit(DenseLayer(64, None, jnp.float32).init, static_argnums=2)
    kernel = init(rng, (jnp.zeros((1, 4, 4, 16)),), False)["params"]["conv2"]["kernel"]
    assert kernel.shape == (3, 3, 256, 64)
    assert float(kernel.std()) == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.02)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("tap", "tapped"), [("after", 28), ("before", 12)])
def test_densenet_intermediates_are_named_and_float32(dtype, tap, tapped):
    model = make_densenet(**TINY, num_classes=3, dtype=dtype, tap=tap)
    variables = spec_of(model, SHAPE)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    output, out = jax.eval_shape(model.apply, variables, jnp.zeros(SHAPE))
    assert output.shape == (2, 3)
    # 16 + 2 * 8 = 32, halved 16 + 16 = 32, halved 16 + 8 = 24, halved 12 + 16 = 28
    levels = [(2, 16, 8, 32), (2, 8, 4, 32), (2, 4, 2, 24), (2, 2, 1, 28)]
    assert jax.tree.map(jnp.shape, out) == {
        "features": (2, 28),
        "feature_map": levels[-1],
        "feature_maps": levels,
        "attention": [level[:3] for level in levels],
        "stem": (2, 32, 16, 16),
        "tapped": (2, 2, 1, tapped),
    }
    assert {leaf.dtype for leaf in jax.tree.leaves((output, out))} == {jnp.dtype("float32")}


def test_densenet_sides_that_do_not_divide_are_rounded_as_torch_rounds_them():
    model = make_densenet(**TINY)
    _, out = jax.eval_shape(model.apply, spec_of(model, SHAPE), jnp.zeros((2, 71, 29, 1)))
    # 71 -> 36 -> 18 -> 9 -> 4 -> 2; 29 -> 15 -> 8 -> 4 -> 2 -> 1
    assert [level.shape[1:3] for level in out["feature_maps"]] == [(18, 8), (9, 4), (4, 2), (2, 1)]


def test_densenet_pools_relu_of_norm5_and_attention_is_the_levels_energy(short, image):
    _, variables, apply = short
    output, out = apply(variables, image)
    np.testing.assert_array_equal(output, out["features"])
    np.testing.assert_array_equal(out["tapped"], out["feature_maps"][-1])
    norm = {**variables["params"]["norm5"], **variables["batch_stats"]["norm5"]}
    norm = {name: np.asarray(value) for name, value in norm.items()}
    normed = (np.asarray(out["tapped"]) - norm["mean"]) / np.sqrt(norm["var"] + 1e-5)
    expected = np.maximum(normed * norm["scale"] + norm["bias"], 0)
    np.testing.assert_allclose(out["feature_map"], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        out["features"], out["feature_map"].mean(axis=(1, 2)), rtol=1e-5, atol=1e-5
    )
    for energy, level in zip(out["attention"], out["feature_maps"], strict=True):
        np.testing.assert_allclose(energy, (np.asarray(level) ** 2).mean(axis=-1), rtol=1e-5)
    assert out["stem"].min() == 0  # after its relu


def test_densenet_keeps_what_a_layer_took_before_what_it_adds(short, image):
    """A layer whose last kernel is zero adds zeros, behind channels that stay as they are."""
    _, variables, apply = short
    silent = jax.tree.map(lambda leaf: leaf, variables)  # other dicts, the same arrays
    layer = silent["params"]["denseblock1_denselayer2"]
    layer["conv2"] = {"kernel": jnp.zeros_like(layer["conv2"]["kernel"])}
    (_, out), (_, without) = apply(variables, image), apply(silent, image)
    level, quiet = out["feature_maps"][0], without["feature_maps"][0]
    np.testing.assert_array_equal(quiet[..., :12], level[..., :12])
    assert (quiet[..., 12:] == 0).all()
    assert (level[..., 12:] != 0).any()


def test_densenet_sees_a_grey_image_as_three_equal_channels(short, image):
    _, variables, apply = short
    grey, colour = apply(variables, image)[0], apply(variables, jnp.repeat(image, 3, axis=-1))[0]
    np.testing.assert_allclose(grey, colour, rtol=1e-5, atol=1e-6)
    red = jnp.concatenate([image, jnp.zeros_like(image), jnp.zeros_like(image)], axis=-1)
    assert np.abs(apply(variables, red)[0] - grey).max() > 0.01


def test_densenet_training_updates_every_statistic(short, image):
    model, variables, _ = short
    train = jax.jit(functools.partial(model.apply, train=True, mutable=["batch_stats"]))
    _, updated = train(variables, image)
    before = flatten_dict(variables["batch_stats"])
    for name, after in flatten_dict(updated["batch_stats"]).items():
        assert (after != before[name]).all(), name


def test_densenet_statistics_are_those_of_the_whole_axis():
    whole = DenseNet((1, 1), 4, 8)
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


def training_gradient(model, variables, image):
    """params -> ((loss, updated statistics), gradient)."""

    def loss(params):
        (features, _), updated = model.apply(
            {**variables, "params": params}, image, train=True, mutable=["batch_stats"]
        )
        return jnp.square(features).mean(), updated

    return jax.value_and_grad(loss, has_aux=True)


def test_densenet_remat_changes_no_number(short, image):
    model, variables, _ = short
    again = model.clone(remat=True)
    params = variables["params"]
    plain, rerun = (training_gradient(one, variables, image) for one in (model, again))
    assert str(jax.make_jaxpr(plain)(params)).count("remat") == 0
    assert "remat" in str(jax.make_jaxpr(rerun)(params))
    (value, stats), gradient = jax.jit(plain)(params)
    (value_again, stats_again), gradient_again = jax.jit(rerun)(params)
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


def test_densenet_remat_keeps_each_channel_once(image):
    """What is kept for the backward pass grows with a block's layers, not with their square."""

    def kept(layers):
        model = DenseNet((layers,), 4, 8, remat=True)
        variables = spec_of(model, SMALL)

        def backward(variables):
            def features(params):
                return model.apply({**variables, "params": params}, jnp.zeros(SMALL))[0]

            return jax.vjp(features, variables["params"])[1]

        leaves = jax.tree.leaves(jax.eval_shape(backward, variables))
        return sum(leaf.size for leaf in leaves if leaf.shape[:3] == (2, 4, 2))

    assert kept(3) - kept(2) == kept(4) - kept(3) > 0


@pytest.mark.parametrize("remat", [False, True])
def test_densenet_perturbation_gradient_is_that_of_finite_differences(short, image, remat):
    model, variables, _ = short
    model = model.clone(remat=remat)
    check_perturbation_gradient(model, variables, image, width=12)


def test_densenet_layers_are_counted_from_the_input():
    model = make_densenet(**TINY, num_classes=3)
    names = spec_of(model, SHAPE)["params"]
    order = [
        "denseblock1_denselayer1",
        "denseblock1_denselayer2",
        "transition1",
        "denseblock2_denselayer1",
        "denseblock2_denselayer2",
        "transition2",
        "denseblock3_denselayer1",
        "transition3",
        "denseblock4_denselayer1",
        "denseblock4_denselayer2",
    ]
    assert {name: model.layer_of(name) for name in names} == {
        "conv0": 0,
        "norm0": 0,
        **{name: place for place, name in enumerate(order, start=1)},
        "norm5": 11,
        "head": 11,
    }
    assert model.num_layers == 12
    assert build("densenet201").num_layers == 98 + 3 + 2
    for name in ("denseblock1_denselayer3", "transition4", "classifier"):
        with pytest.raises(KeyError, match=name):
            model.layer_of(name)


def test_densenet_sizes_come_before_those_of_the_depth():
    model = build("densenet121", blocks=[1, 2], growth_rate=12)
    assert (model.blocks, model.growth_rate, model.init_features) == ((1, 2), 12, 64)
    assert make_densenet(depth=201, init_features=32).blocks == DEPTHS[201][0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(depth=161), r"depth 161; give one of 121, 169, 201$"),
        (dict(depth=121, tap="inside"), r"unknown DenseNet tap 'inside'; .* after, before$"),
        ({}, r"\(121, 169, 201\) also needs blocks, growth_rate, init_features$"),
        (dict(blocks=(2, 2), init_features=8), r"also needs growth_rate$"),
        (dict(depth=121, blocks=(6, 0)), r"blocks=\(6, 0\), growth_rate=32, .*each size is 1"),
        (dict(depth=121, growth_rate=0), r"growth_rate=0, .*each size is 1"),
    ],
)
def test_densenet_settings_that_make_no_model_are_named(settings, message):
    with pytest.raises(InputError, match=message):
        make_densenet(**settings)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            (1, 64, 28, 1),
            r"image of 64x28 px is halved to nothing .* 4 dense blocks; .*least 29 px",
        ),
        ((1, 64, 64, 4), r"of one channel or of 3, not of 4\b"),
    ],
)
def test_densenet_images_that_do_not_fit_are_named(shape, message):
    with pytest.raises(InputError, match=message):
        spec_of(make_densenet(**TINY), shape)


def test_every_densenet_has_its_name():
    assert {name for name in MODELS if name.startswith("densenet")} == {
        "densenet",
        *(f"densenet{depth}" for depth in PARAMETERS),
    }

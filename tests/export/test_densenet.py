"""Weights to and from torchvision: the same numbers from both models, and nothing unmatched."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gazax.export.densenet import from_torchvision, to_torchvision
from gazax.models.densenet import DEPTHS, make_densenet
from gazax.typing import InputError
from tests.export.conftest import nchw, randomize_norms, resnet_image, run_torch, tiny_densenet
from tests.models.conftest import randomized

TINY = dict(blocks=(2, 2, 2, 2), growth_rate=8, init_features=16)


def random_state_dict(*, blocks=(1, 2, 1), growth=2, head=True, seed=0):
    """Arrays by torchvision's keys, of a stem of four channels."""
    channels = 4
    shapes = {"features.conv0.weight": (channels, 3, 7, 7)}
    norms = {"features.norm0": channels}
    for block, layers in enumerate(blocks, start=1):
        if block > 1:
            key = f"features.transition{block - 1}"
            norms[f"{key}.norm"] = channels
            shapes[f"{key}.conv.weight"] = (channels // 2, channels, 1, 1)
            channels //= 2
        for i in range(1, layers + 1):
            key = f"features.denseblock{block}.denselayer{i}"
            norms |= {f"{key}.norm1": channels, f"{key}.norm2": 4 * growth}
            shapes[f"{key}.conv1.weight"] = (4 * growth, channels, 1, 1)
            shapes[f"{key}.conv2.weight"] = (growth, 4 * growth, 3, 3)
            channels += growth
    norms["features.norm5"] = channels
    for key, c in norms.items():
        for name in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{key}.{name}"] = (c,)
    if head:
        shapes |= {"classifier.weight": (3, channels), "classifier.bias": (3,)}
    numbers = np.random.default_rng(seed)
    made = {k: numbers.normal(size=shape).astype(np.float32) for k, shape in shapes.items()}
    return made | {f"{key}.num_batches_tracked": np.array(0, np.int64) for key in norms}


def close(found, expected):
    scale = np.abs(expected).max()
    assert scale > 0.1
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * scale)


@pytest.mark.parametrize("head", [False, True])
def test_there_and_back_is_the_same(head):
    state_dict = random_state_dict(head=head)
    params, stats = from_torchvision(state_dict)
    assert ("head" in params) == head
    assert set(params["denseblock2_denselayer2"]) == {"norm1", "conv1", "norm2", "conv2"}
    back = to_torchvision(params, stats)
    assert back.keys() == state_dict.keys()
    for key, value in back.items():
        np.testing.assert_array_equal(value, state_dict[key], err_msg=key)
        assert value.dtype == state_dict[key].dtype
        assert value.flags.c_contiguous  # safetensors wants it


def test_counters_of_batches_are_optional_and_the_keys_of_downloaded_files_are_read():
    state_dict = random_state_dict()
    old = {
        key.replace("norm1.", "norm.1.").replace("norm2.", "norm.2.")
        .replace("conv1.", "conv.1.").replace("conv2.", "conv.2."): value
        for key, value in state_dict.items()
        if not key.endswith("num_batches_tracked")
    }  # fmt: skip
    assert "features.denseblock2.denselayer1.norm.2.running_var" in old
    jax.tree.map(np.testing.assert_array_equal, from_torchvision(old), from_torchvision(state_dict))


def test_more_than_ten_layers_and_any_number_of_blocks_keep_their_numbers():
    state_dict = random_state_dict(blocks=(1, 12))
    params, _ = from_torchvision(state_dict)
    np.testing.assert_array_equal(
        params["denseblock2_denselayer12"]["norm2"]["bias"],
        state_dict["features.denseblock2.denselayer12.norm2.bias"],
    )


@pytest.mark.parametrize(
    ("removed", "added", "message"),
    [
        ("features.conv0.", {}, "DenseNet .* place: none; missing: features.conv0.weight$"),
        ("features.norm5.weight", {}, "place: none; missing: features.norm5.weight$"),
        ("classifier.bias", {}, "missing: classifier.bias$"),
        ("features.transition2.conv.", {}, "missing: features.transition2.conv.weight$"),
        (
            "features.denseblock2.denselayer1.conv",
            {},
            r"missing: \S+denselayer1.conv1.weight, \S+denselayer1.conv2.weight$",
        ),
        (
            "nothing",
            {"features.denseblock0.x": (1,), "classifier2": (1,)},
            "place: classifier2, features.denseblock0.x; missing: none$",
        ),
        (
            "features.conv0.",
            {"features.conv0.weight": (4, 3)},
            r"'features.conv0.weight' has the shape \(4, 3\); a DenseNet's has 4 axes",
        ),
    ],
)
def test_from_torchvision_names_what_does_not_fit(removed, added, message):
    state_dict = {k: v for k, v in random_state_dict().items() if not k.startswith(removed)}
    state_dict |= {key: np.zeros(shape) for key, shape in added.items()}
    with pytest.raises(InputError, match=message):
        from_torchvision(state_dict)


def test_to_torchvision_names_every_unmatched_parameter_and_statistic():
    params, stats = from_torchvision(random_state_dict())
    del stats["norm0"]["mean"]
    params["projector"] = {"layers_0": {"kernel": np.zeros((8, 8))}}
    message = "place: params/projector/layers_0/kernel; missing: batch_stats/norm0/mean"
    with pytest.raises(InputError, match=message):
        to_torchvision(params, stats)


@pytest.mark.torch
@pytest.mark.parametrize(
    "depth",
    # the larger ones have more of the same layers
    [pytest.param(depth, marks=[pytest.mark.slow] if depth > 121 else []) for depth in DEPTHS],
)
def test_every_key_of_torchvisions_sizes_has_its_shape(torchvision, depth):
    import torch

    with torch.device("meta"):
        net = torchvision.models.get_model(f"densenet{depth}", weights=None)
    expected = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    without_head = {k: v for k, v in expected.items() if not k.startswith("classifier.")}
    for num_classes, names in ((1000, expected), (0, without_head)):
        model = make_densenet(depth=depth, num_classes=num_classes)
        spec = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 1)))
        # one byte for the whole array: the mapping moves shapes without the zeros
        empty = jax.tree.map(lambda leaf: np.broadcast_to(np.int8(0), leaf.shape), spec)
        made = to_torchvision(empty["params"], empty["batch_stats"])
        assert {key: value.shape for key, value in made.items()} == names


@pytest.fixture(scope="module")
def levels_of_both(torchvision):
    """By mode: (ours, torchvision's) of everything that has a name on both sides."""
    import torch

    net = tiny_densenet(torchvision.models)
    params, stats = from_torchvision(net.state_dict())
    image = resnet_image(3, 75, 46, 3)  # odd where the transitions halve
    seen = {}
    for name in ("norm0", "denseblock1", "denseblock2", "denseblock3", "denseblock4", "norm5"):
        # a copy: what follows a norm is a relu in place
        net.features.get_submodule(name).register_forward_hook(
            lambda module, given, made, name=name: seen.update({name: made.clone()})
        )
    net.features.transition3.register_forward_hook(
        lambda module, given, made: seen.update(transition3=made.clone())
    )

    def apply(model, params, train):
        variables = {"params": params, "batch_stats": stats}
        return model.apply(variables, image, train=train, mutable=["batch_stats"])[0]

    @functools.partial(jax.jit, static_argnums=0)
    def run(train):
        without_head = {key: value for key, value in params.items() if key != "head"}
        before = apply(make_densenet(**TINY, tap="before"), without_head, train)
        return apply(make_densenet(**TINY, num_classes=5), params, train), before

    def both(train):
        (logits, out), (features, tapped) = run(train)
        with torch.no_grad():
            expected = net.train(train)(nchw(image))
        theirs = {name: made.permute(0, 2, 3, 1).numpy() for name, made in seen.items()}
        theirs["logits"] = expected.numpy()
        feature_map = np.maximum(theirs["norm5"], 0)
        ours = {
            "logits": (logits, theirs["logits"]),
            "stem": (out["stem"], np.maximum(theirs["norm0"], 0)),
            "feature_map": (out["feature_map"], feature_map),
            "features": (features, feature_map.mean(axis=(1, 2))),
            "after": (out["tapped"], theirs["denseblock4"]),
            "before": (tapped["tapped"], theirs["transition3"]),
        }
        for i, level in enumerate(out["feature_maps"]):
            ours[f"level_{i}"] = (level, theirs[f"denseblock{i + 1}"])
        return ours

    return {train: both(train) for train in (False, True)}


@pytest.mark.torch
@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "stem",
        *(f"level_{i}" for i in range(4)),
        "before",
        "after",
        "feature_map",
        "features",
        "logits",
    ],
)
def test_model_with_torchvisions_weights_computes_what_it_does(levels_of_both, train, name):
    ours, theirs = levels_of_both[train][name]
    assert ours.shape == theirs.shape
    close(ours, theirs)


@pytest.mark.torch
def test_torchvision_with_our_weights_computes_what_we_do_with_a_grey_image(torchvision):
    import torch

    model = make_densenet(**TINY, num_classes=5)
    image = resnet_image(2, 32, 64, 1)
    variables = randomized(model, image.shape)
    net = torchvision.models.DenseNet(8, (2, 2, 2, 2), 16, num_classes=5)
    made = to_torchvision(variables["params"], variables["batch_stats"])
    net.load_state_dict({k: torch.from_numpy(v) for k, v in made.items()}, strict=True)
    output, _ = jax.jit(model.apply)(variables, image)
    close(output, run_torch(net.eval(), jnp.repeat(image, 3, axis=-1)))


@pytest.mark.slow
@pytest.mark.torch
def test_densenet201_computes_what_torchvisions_does(torchvision):
    import torch

    torch.manual_seed(0)
    net = randomize_norms(torchvision.models.densenet201(weights=None))
    params, stats = from_torchvision(net.state_dict())
    image = resnet_image(2, 64, 64, 3)
    model = make_densenet(depth=201, num_classes=1000)
    output, _ = jax.jit(model.apply)({"params": params, "batch_stats": stats}, image)
    close(output, run_torch(net.eval(), image))

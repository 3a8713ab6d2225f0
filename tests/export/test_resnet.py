"""Weights to and from torchvision: the same numbers from both models, and nothing unmatched."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gazax.export.resnet import from_torchvision, to_torchvision
from gazax.models import build
from gazax.models.resnet import ResNet
from gazax.typing import InputError
from tests.export.conftest import randomize_resnet, resnet_image, run_torch
from tests.models.conftest import randomized


def random_state_dict(*, sizes=(1, 2, 1, 1), bottleneck=False, head=True, seed=0):
    """Arrays by torchvision's keys with few channels: as many as the number of the stage."""
    shapes = {"conv1.weight": (1, 1, 7, 7)}
    norms = {"bn1": 1}
    before = 1
    for stage, blocks in enumerate(sizes, start=1):
        wide = 4 * stage if bottleneck else stage
        for i in range(blocks):
            key = f"layer{stage}.{i}"
            kernels = (1, 3, 1) if bottleneck else (3, 3)
            outs = (stage, stage, wide) if bottleneck else (stage, stage)
            ins = (before, *outs[:-1])
            for n, (side, c_out, c_in) in enumerate(zip(kernels, outs, ins, strict=True), start=1):
                shapes[f"{key}.conv{n}.weight"] = (c_out, c_in, side, side)
                norms[f"{key}.bn{n}"] = c_out
            if i == 0 and (stage > 1 or bottleneck):
                shapes[f"{key}.downsample.0.weight"] = (wide, before, 1, 1)
                norms[f"{key}.downsample.1"] = wide
            before = wide
    for key, c in norms.items():
        for name in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{key}.{name}"] = (c,)
    if head:
        shapes |= {"fc.weight": (3, before), "fc.bias": (3,)}
    numbers = np.random.default_rng(seed)
    made = {k: numbers.normal(size=shape).astype(np.float32) for k, shape in shapes.items()}
    return made | {f"{key}.num_batches_tracked": np.array(0, np.int64) for key in norms}


def without(state_dict, prefix):
    return {key: value for key, value in state_dict.items() if not key.startswith(prefix)}


@pytest.mark.parametrize("bottleneck", [False, True])
@pytest.mark.parametrize("head", [False, True])
def test_there_and_back_is_the_same(bottleneck, head):
    state_dict = random_state_dict(bottleneck=bottleneck, head=head)
    params, stats = from_torchvision(state_dict)
    assert ("head" in params) == head
    back = to_torchvision(params, stats)
    assert back.keys() == state_dict.keys()
    for key, value in back.items():
        np.testing.assert_array_equal(value, state_dict[key], err_msg=key)
        assert value.dtype == state_dict[key].dtype
        assert value.flags.c_contiguous  # safetensors wants it


def test_from_torchvision_copies():
    state_dict = random_state_dict()
    params, _ = from_torchvision(state_dict)
    before = params["bn1"]["scale"].copy()
    state_dict["bn1.weight"] += 1
    np.testing.assert_array_equal(params["bn1"]["scale"], before)


def test_counters_of_batches_are_optional():
    state_dict = random_state_dict()
    fewer = {k: v for k, v in state_dict.items() if not k.endswith("num_batches_tracked")}
    jax.tree.map(
        np.testing.assert_array_equal, from_torchvision(fewer), from_torchvision(state_dict)
    )


def test_more_than_ten_blocks_keep_their_numbers():
    state_dict = random_state_dict(sizes=(1, 1, 23, 1))
    params, _ = from_torchvision(state_dict)
    np.testing.assert_array_equal(
        params["layer3_12"]["bn1"]["bias"], state_dict["layer3.12.bn1.bias"]
    )


@pytest.mark.parametrize(
    ("removed", "added", "message"),
    [
        ("conv1", [], "without a place: none; missing: conv1.weight"),
        ("fc.bias", [], "without a place: none; missing: fc.bias"),
        ("layer2.1.bn2.running_var", [], "missing: layer2.1.bn2.running_var"),
        (
            "layer2.0.downsample.",
            [],
            "missing: layer2.0.downsample.0.weight, layer2.0.downsample.1",
        ),
        ("layer4.", [], "missing: layer4.0.bn1.bias, layer4.0.bn1.running_mean"),
        (
            "nothing",
            ["layer1.0.se.fc1.weight", "layer5.0.conv1.weight"],
            "place: layer1.0.se.fc1.weight, layer5.0.conv1.weight; missing: none",
        ),
        (
            "nothing",
            ["layer1.0.conv3.weight"],
            "missing: layer1.0.bn3.bias, .*layer2.1.conv3.weight",
        ),
    ],
)
def test_from_torchvision_names_every_unmatched_key(removed, added, message):
    state_dict = without(random_state_dict(), removed) | {key: np.zeros(8) for key in added}
    with pytest.raises(InputError, match=message):
        from_torchvision(state_dict)


def test_to_torchvision_names_every_unmatched_parameter_and_statistic():
    params, stats = from_torchvision(random_state_dict())
    del stats["bn1"]["mean"]
    params["projector"] = {"layers_0": {"kernel": np.zeros((8, 8))}}
    message = "place: params/projector/layers_0/kernel; missing: batch_stats/bn1/mean"
    with pytest.raises(InputError, match=message):
        to_torchvision(params, stats)


@pytest.mark.torch
@pytest.mark.parametrize("depth", [18, 34, 50, 101])
def test_every_key_of_torchvisions_sizes_has_its_shape(torchvision, depth):
    import torch

    with torch.device("meta"):
        net = torchvision.models.get_model(f"resnet{depth}", weights=None)
    model = build("resnet", depth=depth, num_classes=1000)
    spec = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    # one byte for the whole array: the mapping moves shapes without the zeros
    empty = jax.tree.map(lambda leaf: np.broadcast_to(np.int8(0), leaf.shape), spec)
    made = to_torchvision(empty["params"], empty["batch_stats"])
    ours = {key: value.shape for key, value in made.items()}
    assert ours == {key: tuple(value.shape) for key, value in net.state_dict().items()}


@pytest.mark.torch
@pytest.mark.parametrize(
    ("depth", "channels", "size"), [(18, 1, (64, 96)), (18, 3, (50, 33)), (50, 1, (64, 32))]
)
def test_model_with_torchvisions_weights_computes_what_it_does(torchvision, depth, channels, size):
    net = randomize_resnet(torchvision.models, depth, channels=channels)
    params, stats = from_torchvision(net.state_dict())
    model = build("resnet", depth=depth, num_classes=5)
    image = resnet_image(2, *size, channels)
    output, _ = jax.jit(model.apply)({"params": params, "batch_stats": stats}, image)
    expected = run_torch(net.eval(), image)
    scale = np.abs(expected).max()
    assert scale > 0.1
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-4 * scale)


@pytest.mark.torch
def test_torchvision_with_our_weights_computes_what_we_do(torchvision):
    import torch

    model = ResNet((1, 1, 1, 1), bottleneck=True)
    image = resnet_image(2, 32, 32, 1)
    variables = randomized(model, image.shape)
    net = torchvision.models.ResNet(torchvision.models.resnet.Bottleneck, [1, 1, 1, 1])
    net.conv1 = torch.nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    net.fc = torch.nn.Identity()
    made = to_torchvision(variables["params"], variables["batch_stats"])
    tensors = {key: torch.from_numpy(value) for key, value in made.items()}
    net.load_state_dict(tensors, strict=True)
    output, _ = jax.jit(model.apply)(variables, image)
    expected = run_torch(net.eval(), image)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-4 * scale)

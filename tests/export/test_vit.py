"""Weights to and from timm: the same numbers from both models, and nothing unmatched."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from gazax.export.vit import from_timm, to_timm
from gazax.models import build
from gazax.typing import InputError
from tests.export.conftest import randomize_vit, run_torch


def random_state_dict(*, width=8, depth=2, num_classes=3, seed=0):
    """Arrays by timm's keys, for a patch of 2 px, one channel and four patches."""
    shapes = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 5, width),
        "patch_embed.proj.weight": (width, 1, 2, 2),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
        "head.weight": (num_classes, width),
        "head.bias": (num_classes,),
    }
    for i in range(depth):
        for norm in ("norm1", "norm2"):
            shapes[f"blocks.{i}.{norm}.weight"] = shapes[f"blocks.{i}.{norm}.bias"] = (width,)
        for name, out_dim, in_dim in (
            ("attn.qkv", 3 * width, width),
            ("attn.proj", width, width),
            ("mlp.fc1", 4 * width, width),
            ("mlp.fc2", width, 4 * width),
        ):
            shapes[f"blocks.{i}.{name}.weight"] = (out_dim, in_dim)
            shapes[f"blocks.{i}.{name}.bias"] = (out_dim,)
    numbers = np.random.default_rng(seed)
    return {k: numbers.normal(size=shape).astype(np.float32) for k, shape in shapes.items()}


def without(state_dict, prefix):
    return {key: value for key, value in state_dict.items() if not key.startswith(prefix)}


def test_there_and_back_is_the_same():
    state_dict = random_state_dict()
    back = to_timm(from_timm(state_dict))
    assert back.keys() == state_dict.keys()
    for key, value in back.items():
        np.testing.assert_array_equal(value, state_dict[key], err_msg=key)
        assert value.dtype == np.float32
        assert value.flags.c_contiguous  # safetensors wants it


def test_from_timm_has_the_parameters_of_the_model():
    model = build("vit", patch_size=2, width=8, depth=2, num_heads=2, num_classes=3)
    spec = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 4, 4, 1)))
    params = from_timm(random_state_dict())
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, spec["params"])


def test_from_timm_copies():
    state_dict = random_state_dict()
    params = from_timm(state_dict)
    before = params["cls_token"].copy()
    state_dict["cls_token"] += 1
    np.testing.assert_array_equal(params["cls_token"], before)


def test_head_is_optional_both_ways():
    state_dict = without(random_state_dict(), "head.")
    params = from_timm(state_dict)
    assert "head" not in params
    assert to_timm(params).keys() == state_dict.keys()


def test_more_than_ten_blocks_keep_their_numbers():
    state_dict = random_state_dict(depth=12)
    params = from_timm(state_dict)
    np.testing.assert_array_equal(
        params["blocks_10"]["norm1"]["bias"], state_dict["blocks.10.norm1.bias"]
    )
    assert to_timm(params).keys() == state_dict.keys()


@pytest.mark.parametrize(
    ("removed", "added", "message"),
    [
        ("pos_embed", [], "without a place: none; missing: pos_embed"),
        ("head.bias", [], "without a place: none; missing: head.bias"),
        ("blocks.0.mlp.fc1.weight", [], "missing: blocks.0.mlp.fc1.weight"),
        ("blocks.0.", [], "missing: blocks.0.attn.proj.bias, blocks.0.attn.proj.weight"),
        ("nothing", ["blocks.1.ls1.gamma", "reg_token"], "blocks.1.ls1.gamma, reg_token; missing"),
        ("norm.", ["fc_norm.bias"], "place: fc_norm.bias; missing: norm.bias, norm.weight"),
    ],
)
def test_from_timm_names_every_unmatched_key(removed, added, message):
    state_dict = without(random_state_dict(), removed) | {key: np.zeros(8) for key in added}
    with pytest.raises(InputError, match=message):
        from_timm(state_dict)


def test_to_timm_names_every_unmatched_parameter():
    params = from_timm(random_state_dict())
    del params["norm"]["bias"]
    params["projector"] = {"layers_0": {"kernel": np.zeros((8, 8))}}
    with pytest.raises(InputError, match="place: projector/layers_0/kernel; missing: norm/bias"):
        to_timm(params)


@pytest.fixture
def tiny(timm):
    def make(patch, channels, size, **kwargs):
        return timm.create_model(
            "vit_tiny_patch16_224",
            patch_size=patch,
            img_size=size,
            in_chans=channels,
            depth=3,
            **dict(num_classes=5) | kwargs,
        )

    return make


SETTINGS = [(8, 1, (24, 40)), (8, 3, (32, 16)), (16, 1, (32, 48)), (16, 3, (32, 32))]


def inputs(channels, size):
    return np.random.default_rng(1).normal(size=(2, *size, channels)).astype(np.float32)


@pytest.mark.torch
@pytest.mark.parametrize(("patch", "channels", "size"), SETTINGS)
def test_model_with_timms_weights_computes_what_timm_does(tiny, patch, channels, size):
    net = randomize_vit(tiny(patch, channels, size))
    model = build("vit", variant=f"Ti/{patch}", depth=3, num_classes=5)
    image = inputs(channels, size)
    variables = {"params": from_timm(net.state_dict())}
    output, _ = jax.jit(model.apply)(variables, image)
    expected = run_torch(net, image)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.torch
@pytest.mark.parametrize(("patch", "channels", "size"), SETTINGS)
def test_timm_with_our_weights_computes_what_we_do(tiny, rng, patch, channels, size):
    import torch

    model = build("vit", variant=f"Ti/{patch}", depth=3, num_classes=0)
    image = inputs(channels, size)
    spec = jax.eval_shape(model.init, rng, image)
    leaves, tree = jax.tree.flatten(spec["params"])
    numbers = np.random.default_rng(2)
    params = tree.unflatten(
        [numbers.normal(0, 0.1, leaf.shape).astype(np.float32) for leaf in leaves]
    )
    net = tiny(patch, channels, size, num_classes=0).eval()
    tensors = {key: torch.from_numpy(value) for key, value in to_timm(params).items()}
    net.load_state_dict(tensors, strict=True)
    output, _ = jax.jit(model.apply)({"params": params}, image)
    expected = run_torch(net, image)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.torch
def test_average_pooling_is_timms_without_fc_norm(tiny):
    net = randomize_vit(tiny(8, 1, (24, 40), global_pool="avg", fc_norm=False))
    model = build("vit", variant="Ti/8", depth=3, num_classes=5, pool="avg")
    image = inputs(1, (24, 40))
    output, _ = jax.jit(model.apply)({"params": from_timm(net.state_dict())}, image)
    np.testing.assert_allclose(output, run_torch(net, image), rtol=1e-4, atol=1e-4)


@pytest.mark.torch
def test_attention_is_timms_softmax(tiny):
    net = randomize_vit(tiny(8, 1, (24, 40)))
    seen = []
    for block in net.blocks:
        block.attn.fused_attn = False  # the softmax then passes through attn_drop
        block.attn.attn_drop.register_forward_hook(lambda _, __, output: seen.append(output))
    image = inputs(1, (24, 40))
    run_torch(net, image)
    model = build("vit", variant="Ti/8", depth=3, num_classes=5, attention="full")
    _, out = jax.jit(model.apply)({"params": from_timm(net.state_dict())}, image)
    assert len(seen) == 3
    for ours, timms in zip(out["attention_full"], seen, strict=True):
        np.testing.assert_allclose(ours, timms.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.torch
@pytest.mark.parametrize("size", ["tiny", "small", "base", "large"])
def test_every_key_of_timms_sizes_has_its_shape(timm, size):
    import torch

    with torch.device("meta"):
        net = timm.create_model(f"vit_{size}_patch16_224")
    variant = dict(tiny="Ti/16", small="S/16", base="B/16", large="L/16")[size]
    model = build("vit", variant=variant, num_classes=1000)
    spec = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))
    # one byte for the whole array: the mapping moves shapes without 1.2 GB of zeros
    params = jax.tree.map(lambda leaf: np.broadcast_to(np.int8(0), leaf.shape), spec["params"])
    ours = {key: value.shape for key, value in to_timm(params).items()}
    assert ours == {key: tuple(value.shape) for key, value in net.state_dict().items()}
    assert len(flatten_dict(params)) == len(ours)

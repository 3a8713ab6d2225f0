"""One reader for the layouts of torchvision, timm and `modeling_gazax`, told by their keys."""

import json

import jax
import numpy as np
import pytest

from gazax.export import densenet, foreign, resnet, vit
from gazax.export.full import full_state
from gazax.models import build
from gazax.typing import InputError
from tests.export import test_densenet, test_resnet, test_vit
from tests.export.conftest import randomize_vit, run_torch
from tests.export.test_modeling_gazax import METHODS, assert_same_arrays, made


def from_timms_vit(state_dict):
    return vit.from_timm(state_dict), {}


CASES = {
    "a DenseNet by the keys of torchvision and timm": (
        densenet.from_torchvision,
        test_densenet.random_state_dict(),
    ),
    "a ResNet by the keys of torchvision and timm": (
        resnet.from_torchvision,
        test_resnet.random_state_dict(bottleneck=True),
    ),
    "a ViT by timm's keys": (from_timms_vit, test_vit.random_state_dict()),
}


@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("what", CASES)
def test_a_layout_is_told_by_its_keys_and_becomes_scopes(what, head):
    read, state_dict = CASES[what]
    heads = ("classifier.", "fc.", "head.")
    if not head:
        state_dict = {k: v for k, v in state_dict.items() if not k.startswith(heads)}
    found = foreign.read(state_dict, {})
    assert found.what == what
    params, stats = read(state_dict)
    scopes = {"head": params.pop("head")} if head else {}
    assert_same_arrays(found.params, {"backbone": params, **scopes})
    assert_same_arrays(found.state, {"backbone": stats} if stats else {})
    stem = found.params["backbone"]
    for name in found.stem:
        stem = stem[name]
    assert stem.ndim == 4
    assert set(found.ignored) == {k for k in state_dict if k.endswith("num_batches_tracked")}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            [f"features.{i}.weight" for i in range(5)],
            r"found features\.0\.weight, features\.1\.weight, features\.2\.weight and 2 more;",
        ),
        (["module.layer1.0.conv1.weight"], r"found module\.layer1\.0\.conv1\.weight; known are"),
        ([], "found none; known are, without a prefix, a DenseNet by"),
        (["mean", "std", "backbone.norm.bias"], r"gazax's own layout.*give the whole folder"),
        (["mean", "std"], "no architecture that is known: found mean, std;"),
    ],
)
def test_other_keys_are_named_with_what_is_known(keys, message):
    with pytest.raises(InputError, match=message):
        foreign.read({key: np.zeros(2) for key in keys}, {})


@pytest.mark.parametrize(
    ("state_dict", "message"),
    [
        (
            test_densenet.random_state_dict() | {"fc.weight": np.zeros((2, 2))},
            r"torchvision's .* the DenseNet .* without a place: fc\.weight; missing: none",
        ),
        (
            test_vit.without(test_vit.random_state_dict(), "blocks.1.norm1.bias"),
            r"timm's .* the ViT .* without a place: none; missing: blocks\.1\.norm1\.bias",
        ),
        (
            test_vit.random_state_dict() | {"patch_embed.proj.weight": np.zeros((8, 4))},
            r"'patch_embed\.proj\.weight' has the shape \(8, 4\); a ViT's has 4 axes",
        ),
        (
            {"encoder.layers.encoder_layer_0.ln_1.bias": np.zeros(2)},
            r"missing: .*blocks\.0\.attn\.qkv\.bias.*\(torchvision's keys, by timm's names",
        ),
    ],
)
def test_keys_that_begin_like_a_layout_must_be_its_own(state_dict, message):
    with pytest.raises(InputError, match=message):
        foreign.read(state_dict, {})


@pytest.mark.parametrize(
    ("begins", "key"),
    [
        ("blocks.0.attn.qkv.bias", "blocks.30000000.norm1.bias"),
        ("features.denseblock1.x", "features.denseblock1.denselayer30000000.norm1.bias"),
        ("layer1.0.conv1.weight", "layer1.30000000.conv1.weight"),
        ("mixed_5b.x", "repeat.30000000.conv2d.bias"),
        ("layer1.0.conv1.weight", f"layer1.{'9' * 5000}.conv1.weight"),
    ],
)
def test_a_block_of_a_number_that_cannot_be_is_named(begins, key):
    with pytest.raises(InputError, match=rf"'{key[:20]}.* of a block with a number larger than 2"):
        foreign.read({name: np.zeros(2) for name in (begins, key)}, {})


@pytest.mark.torch
def test_torchvision_and_timm_name_a_resnet_and_a_densenet_alike(torchvision, timm):
    import torch

    with torch.device("meta"):
        for name in ("resnet18", "resnet50", "densenet121"):
            theirs = torchvision.models.get_model(name, weights=None).state_dict()
            timms = timm.create_model(name).state_dict()
            assert {k: v.shape for k, v in theirs.items()} == {k: v.shape for k, v in timms.items()}


@pytest.mark.torch
@pytest.mark.parametrize("downloaded", [False, True])
def test_torchvisions_vit_computes_what_it_does(torchvision, downloaded):
    net = randomize_vit(
        torchvision.models.VisionTransformer(
            image_size=16,
            patch_size=8,
            num_layers=2,
            num_heads=2,
            hidden_dim=16,
            mlp_dim=24,
            num_classes=3,
        )
    )
    state_dict = net.state_dict()
    if downloaded:  # its older names
        state_dict = {
            key.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): value
            for key, value in state_dict.items()
        }
    found = foreign.read(state_dict, {})
    assert found.what == "a ViT by torchvision's keys"
    params = found.params["backbone"] | {"head": found.params["head"]}
    sizes = dict(patch_size=8, width=16, depth=2, num_heads=2, mlp_dim=24, num_classes=3)
    model = build("vit", **sizes)
    image = np.random.default_rng(1).normal(size=(2, 16, 16, 3)).astype(np.float32)
    output, _ = jax.jit(model.apply)({"params": params}, image)
    expected = run_torch(net, image)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-4)


# --- what was exported ----------------------------------------------------------------------------


def exported(method):
    """Parameters and state of the method; its state dict, and the folder's config."""
    params, state, _ = made(method)
    name, settings, arrays = full_state(method, params, state)
    described = {"layout": "gazax", "architecture": name, "model_args": settings}
    return params, state, arrays, json.loads(json.dumps(described))


@pytest.mark.parametrize("name", ["byol", "fusion"])
def test_a_whole_model_comes_back_bit_for_bit(name):
    params, state, arrays, described = exported(METHODS[name])
    found = foreign.read(arrays, described)
    assert found.what == f"gazax's {described['architecture']}"
    assert_same_arrays(found.params, params)
    assert_same_arrays(found.state, {k: tree for k, tree in state.items() if k in params})
    counters = {key for key in arrays if key.endswith("num_batches_tracked")}
    assert set(found.ignored) == {"mean", "std"} | counters
    assert found.images == {"mean": np.float32(0.4), "std": np.float32(0.3)}


def test_a_whole_model_that_does_not_fit_its_config_is_named():
    *_, arrays, described = exported(METHODS["supervised"])

    def refused(message, found=arrays, **changes):
        with pytest.raises(InputError, match=message):
            foreign.read(found, {**described, **changes})

    refused(
        r"not that of an export of gazax \(KeyError\('name'\)\)", model_args={"backbone": {"x": 1}}
    )
    refused(r"not that of an export.*UNKNOWN", model_args={"backbone": {"name": "UNKNOWN"}})
    refused(
        "without a place: projector.bias; missing: none", {**arrays, "projector.bias": np.zeros(2)}
    )
    fewer = {key: value for key, value in arrays.items() if key != "head.bias"}
    refused("Classifier do not match; without a place: none; missing: bias", fewer)
    conv = {**described["model_args"]["backbone"], "stem": "conv", "patch_size": ["8", "8"]}
    refused("not that of an export of gazax", model_args={"backbone": conv})

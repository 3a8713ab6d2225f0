"""Weights of torchvision, timm or an export as what a run begins with."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from gazax.config import of_run
from gazax.experiment.export import Export
from gazax.export import foreign, vit
from gazax.models import build
from gazax.models.densenet import DenseNet
from gazax.train import init_from
from gazax.train.source import load_source
from gazax.typing import InputError
from tests.experiment.trained import PROBE, make_config, make_workdir
from tests.export import test_vit
from tests.export.conftest import (  # noqa: F401
    randomize_vit,
    resnet_image,
    run_torch,
    timm,
    torchvision,
)
from tests.export.test_densenet import random_state_dict
from tests.runs import make_run
from tests.train.test_init_from import equal, source

READ = dict(read_foreign=foreign.read)


def made_of(model, channels, **others):
    """Params and state of a run whose backbone it is: shapes alone."""
    spec = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, channels)))
    return {"backbone": spec["params"], **others}, {"backbone": spec["batch_stats"]}


@pytest.fixture
def densenet_file(tmp_path):
    """A DenseNet of torchvision's keys, of three classes, and its arrays."""
    arrays = random_state_dict()
    save_file(arrays, tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors", arrays


NEW_HEAD = {"kernel": np.full((5, 7), 0.5), "bias": np.zeros(7)}


def test_a_foreign_file_is_a_backbone_and_a_head(densenet_file):
    file, arrays = densenet_file
    found = load_source(file, **READ)
    read = foreign.read(arrays, {})
    equal((found.params, found.state), (read.params, read.state))
    assert (found.foreign, found.stem, found.ignored) == (read.what, read.stem, read.ignored)
    assert found.scopes == ("backbone", "head")
    assert found.name == str(file)
    assert len(found.identity) == 64
    headless = {key: value for key, value in arrays.items() if not key.startswith("classifier")}
    save_file(headless, file)
    assert load_source(file, **READ).scopes == ("backbone",)


@pytest.mark.parametrize("scopes", [None, {"backbone": "backbone"}])
def test_a_foreign_backbone_is_loaded_without_its_head(densenet_file, scopes):
    file, _ = densenet_file
    found = load_source(file, **READ)
    target = made_of(DenseNet((1, 2, 1), 2, 4), 1, head=NEW_HEAD)
    params, state = init_from.initialise(*target, found, scopes=scopes, fresh=("head",))
    equal((params["backbone"], state), (found.params["backbone"], found.state))
    assert params["head"] is not found.params["head"]
    equal(params["head"], NEW_HEAD)


def test_a_foreign_backbone_can_become_the_densenet(densenet_file):
    file, _ = densenet_file
    found = load_source(file, **READ)
    mine, state = made_of(DenseNet((1, 2, 1), 2, 4), 1)
    params, state = init_from.initialise(
        {"densenet": mine["backbone"], "unet": NEW_HEAD},
        {"densenet": state["backbone"]},
        found,
        scopes={"backbone": "densenet"},
        fresh=("unet",),
    )
    equal(
        (params["densenet"], state["densenet"]), (found.params["backbone"], *found.state.values())
    )
    equal(params["unet"], NEW_HEAD)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("blocks.0.weight",), r"w\.safetensors': .*found blocks\.0\.weight; known are,"),
        (
            ("layer1.0.conv1.weight",),
            r"w\.safetensors': .*the ResNet do not match; .*conv1\.weight",
        ),
    ],
)
def test_a_foreign_file_that_does_not_fit_is_named_with_why(tmp_path, names, message):
    file = tmp_path / "w.safetensors"
    save_file({name: np.zeros(2, np.float32) for name in names}, file)
    with pytest.raises(InputError, match=f"(?s){message}.*would be params/<scope>/"):
        load_source(file, **READ)


STEMS = {"conv1": (), "conv0": (), "patch_embed": (), "conv2d_1a": ("conv",)}


def stems(channels, *, scope="backbone", name="conv1", dtype=np.float32):
    kernel = np.arange(2 * 2 * channels * 4, dtype=dtype).reshape(2, 2, channels, 4)
    inside = {"kernel": kernel}
    for outer in reversed((name, *STEMS.get(name, ()))):
        inside = {outer: inside}
    return {scope: inside}


def foreign_source(params, name="conv1"):
    return source(params, {}, foreign="a net", stem=(name, *STEMS[name], "kernel"))


@pytest.mark.parametrize("name", STEMS)
def test_a_colour_stem_is_added_up_for_grey_images_and_otherwise_left(name):
    theirs = stems(3, name=name, dtype=np.float16)
    found = foreign_source(theirs, name)
    ((grey, _), (same, _)) = (
        init_from.initialise(stems(channels, name=name), {}, found) for channels in (1, 3)
    )
    (kernel,) = jax.tree.leaves(theirs)
    expected = kernel[:, :, :1] + kernel[:, :, 1:2] + kernel[:, :, 2:]
    (made,) = jax.tree.leaves(grey)
    np.testing.assert_array_equal(made, expected)
    equal(same, stems(3, name=name))
    renamed, _ = init_from.initialise(
        stems(1, scope="encoder", name=name), {}, found, scopes={"backbone": "encoder"}
    )
    equal(renamed["encoder"], grey["backbone"])
    told = init_from.describe(stems(1, name=name), {}, found)
    path = "/".join(found.stem)
    assert f"fitted: backbone/{path}, its 3 input channels added up to 1" in told
    assert "fitted" not in init_from.describe(stems(3, name=name), {}, found)


def test_a_grey_stem_is_shared_out_among_colours():
    found = foreign_source(stems(1, name="conv0"), "conv0")
    (made, _) = init_from.initialise(stems(3, name="conv0"), {}, found)
    (kernel,) = jax.tree.leaves(made)
    np.testing.assert_allclose(
        kernel.sum(axis=2), found.params["backbone"]["conv0"]["kernel"][:, :, 0]
    )
    told = init_from.describe(stems(3, name="conv0"), {}, found)
    assert "fitted: backbone/conv0/kernel, a third of it for each of 3 input channels" in told


@pytest.mark.parametrize(
    ("changes", "others"),
    [({}, {}), ({"name": "conv2"}, {"foreign": "a net", "stem": ("conv1", "kernel")})],
)
def test_no_other_kernel_is_added_up(changes, others):
    message = r"kernel: \(2, 2, 3, 4\) in the source, \(2, 2, 1, 4\) in this run"
    with pytest.raises(InputError, match=message):
        init_from.initialise(stems(1, **changes), {}, source(stems(3, **changes), {}, **others))
    with pytest.raises(InputError, match=r"\(2, 2, 2, 4\) in the source"):
        init_from.initialise(stems(1), {}, foreign_source(stems(2)))


@pytest.mark.torch
def test_a_grey_run_sees_what_torchvision_sees_of_the_repeated_image(torchvision, tmp_path):  # noqa: F811
    import torch
    from safetensors.torch import save_file as save_torch

    torch.manual_seed(0)
    resnet = torchvision.models.resnet
    net = resnet.ResNet(resnet.BasicBlock, [1, 1, 1, 1], num_classes=5).eval()
    save_torch(net.state_dict(), tmp_path / "net.safetensors")
    found = load_source(tmp_path / "net.safetensors", **READ)
    model = build("resnet10")
    params, state = init_from.initialise(
        *made_of(model, 1, head={"kernel": np.zeros((512, 5), np.float32), "bias": np.zeros(5)}),
        found,
    )
    image = resnet_image(2, 64, 32, 1)
    variables = {"params": params["backbone"], "batch_stats": state["backbone"]}
    features, _ = jax.jit(model.apply)(variables, image)
    logits = features @ params["head"]["kernel"] + params["head"]["bias"][None]
    expected = run_torch(net, jnp.repeat(image, 3, axis=-1))
    scale = np.abs(expected).max()
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4 * scale)


@pytest.mark.torch
def test_a_grey_vit_of_another_image_size_is_timms(timm, tmp_path):  # noqa: F811
    """The stem added up and the positions resampled, against timm's own resampling."""
    from safetensors.torch import save_file as save_torch

    def make(size, **kwargs):
        sizes = dict(patch_size=8, embed_dim=48, depth=2, num_classes=5)
        return timm.create_model("vit_tiny_patch16_224", img_size=size, **sizes, **kwargs)

    net = randomize_vit(make((24, 24)))
    save_torch(net.state_dict(), tmp_path / "net.safetensors")
    found = load_source(tmp_path / "net.safetensors", **READ)
    model = build("vit", patch_size=8, width=48, depth=2, num_heads=3)
    target = vit_run(model, (32, 16), head={"kernel": np.zeros((48, 5)), "bias": np.zeros(5)})
    params, _ = init_from.initialise(target, {}, found, size=(32, 16))
    image = np.random.default_rng(1).normal(size=(2, 32, 16, 1)).astype(np.float32)
    features, _ = jax.jit(model.apply)({"params": params["backbone"]}, image)
    logits = features @ params["head"]["kernel"] + params["head"]["bias"][None]
    net.set_input_size((32, 16))
    expected = run_torch(net, np.repeat(image, 3, axis=3))
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


# --- positions ------------------------------------------------------------------------------------


def vit_run(model, size, *, channels=1, **others):
    spec = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *size, channels)))
    return {"backbone": spec["params"], **others}


TINY = dict(patch_size=2, width=8, depth=2, num_heads=2)
FRESH = dict(scopes={"backbone": "backbone"}, fresh=("head",))


def small_vit(size, **changes):
    return vit_run(build("vit", **TINY | changes), size, head=NEW_HEAD)


@pytest.fixture
def vit_file(tmp_path):
    """A ViT of timm's keys, of a patch of 2 px and images of 4x4."""
    save_file(test_vit.random_state_dict(), tmp_path / "vit.safetensors")
    return load_source(tmp_path / "vit.safetensors", **READ)


def test_positions_are_resampled_for_the_runs_images_and_that_is_said(vit_file):
    mine = small_vit((6, 10))
    params, _ = init_from.initialise(mine, {}, vit_file, size=(6, 10), **FRESH)
    theirs = vit_file.params["backbone"]["pos_embed"]
    assert params["backbone"]["pos_embed"].shape == (1, 16, 8)
    np.testing.assert_array_equal(params["backbone"]["pos_embed"][:, 0], theirs[:, 0])
    told = init_from.describe(mine, {}, vit_file, size=(6, 10), **FRESH).splitlines()
    assert told == [
        f"weights from {vit_file.name}, a ViT by timm's keys",
        "  loaded: backbone, 30 arrays (blocks_0/attn/proj/bias, blocks_0/attn/proj/kernel, "
        "blocks_0/attn/qkv/bias and 27 more)",
        "  fitted: backbone/pos_embed, positions of 2x2 patches resampled to 3x5, bicubic",
        "  fresh: head, 2 arrays (bias, kernel)",
        "  without its head, 2 arrays (bias, kernel)",
    ]


def test_positions_of_the_same_grid_are_taken_as_they_are(vit_file):
    params, _ = init_from.initialise(small_vit((4, 4)), {}, vit_file, size=(4, 4), **FRESH)
    equal(params["backbone"], vit_file.params["backbone"])


def test_a_grid_of_the_same_count_and_another_shape_is_resampled(vit_file):
    mine = small_vit((2, 8))
    params, _ = init_from.initialise(mine, {}, vit_file, size=(2, 8), **FRESH)
    assert (params["backbone"]["pos_embed"] != vit_file.params["backbone"]["pos_embed"]).any()
    assert "2x2 patches resampled to 1x4" in init_from.describe(
        mine, {}, vit_file, size=(2, 8), **FRESH
    )


@pytest.mark.parametrize(
    ("size", "changes", "message"),
    [
        (None, {}, r"pos_embed: \(1, 5, 8\) in the source, \(1, 10, 8\) in this run"),
        ((6, 6), {"patch_size": 1}, r"(?s)kernel: \(2, 2, 1, 8\).*patches are of another size"),
        ((6, 6), {"width": 16}, "(?s)a ViT by timm's keys, does not fit.*architecture is another"),
        ((6, 6), {"depth": 3}, r"blocks_2/attn/proj/bias: only in this run"),
    ],
)
def test_a_vit_that_differs_in_more_than_its_images_is_refused(vit_file, size, changes, message):
    with pytest.raises(InputError, match=message):
        init_from.initialise(small_vit((6, 6), **changes), {}, vit_file, size=size, **FRESH)


def test_positions_behind_a_convolutional_stem_are_resampled():
    """Its patch is what its convolutions halve: 4 px of two of them."""
    conv = dict(patch_size=4, stem="conv")
    theirs = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), small_vit((8, 8), **conv))
    file = dataclasses.replace(
        source(theirs, {}, config={"data": {"size": [8, 8]}}), foreign="gazax's Encoder"
    )
    told = init_from.describe(small_vit((12, 20), **conv), {}, file, size=(12, 20), **FRESH)
    assert "positions of 2x2 patches resampled to 3x5" in told
    with pytest.raises(InputError, match="patch_embed/conv_2/kernel: only in this run"):
        init_from.initialise(
            small_vit((16, 24), **conv | {"patch_size": 8}), {}, file, size=(16, 24), **FRESH
        )


def test_positions_of_a_run_of_gazax_are_not_resampled(vit_file):
    own = source(vit_file.params, {}, config={"data": {"size": [4, 4]}})
    with pytest.raises(InputError, match=r"another image size.*config\.data\.size=\[4, 4\]"):
        init_from.initialise(small_vit((6, 6)), {}, own, size=(6, 6), **FRESH)


def test_positions_of_no_square_need_their_images_size(tmp_path):
    arrays = test_vit.random_state_dict()
    arrays["pos_embed"] = np.random.default_rng(0).normal(size=(1, 7, 8)).astype(np.float32)
    save_file(arrays, tmp_path / "model.safetensors")
    mine = small_vit((4, 4))
    with pytest.raises(InputError, match=r"pos_embed: \(1, 7, 8\) in the source"):
        init_from.initialise(
            mine, {}, load_source(tmp_path / "model.safetensors", **READ), size=(4, 4), **FRESH
        )
    described = {"layout": "timm", "preprocessing": {"size": [4, 6]}}
    (tmp_path / "config.json").write_text(json.dumps(described))
    told = init_from.describe(mine, {}, load_source(tmp_path, **READ), size=(4, 4), **FRESH)
    assert "positions of 2x3 patches resampled to 2x2" in told


# --- folders, and files of torch ------------------------------------------------------------------


def test_an_exported_folder_is_its_file_and_says_what_it_was_trained_on(tmp_path):
    arrays = random_state_dict()
    save_file(arrays, tmp_path / "model.safetensors")
    training = {"data": "phantom", "protocol": "paper", "method": "supervised"}
    described = {"layout": "timm", "training": training, "preprocessing": {"size": [64, 48]}}
    (tmp_path / "config.json").write_text(json.dumps(described))
    folder, file = (load_source(tmp_path / name, **READ) for name in ("", "model.safetensors"))
    assert folder.identity == file.identity
    equal((folder.params, folder.state), (file.params, file.state))
    data = {"name": "phantom", "protocol": "paper", "size": [64, 48]}
    assert folder.config == file.config == {"data": data}
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json', beside the weights, is no JSON"):
        load_source(tmp_path, **READ)
    # of somebody else's folder it is not asked
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "densenet121"}))
    assert load_source(tmp_path, **READ).config == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preprocessing": None}, "'preprocessing' is None, and an object is expected"),
        ({"preprocessing": {"mean": 0.5}}, r"'preprocessing\.mean' is 0\.5, and a list of numbers"),
        ({"preprocessing": {"std": []}}, r"'preprocessing\.std' is \[\], and a list of numbers"),
        (
            {"preprocessing": {"size": "32"}},
            r"'preprocessing\.size' is '32', and \[height, width\]",
        ),
        ({"training": None}, "'training' is None, and an object is expected"),
        ({"training": {"data": 3}}, r"'training\.data' is 3, and a name is expected"),
    ],
)
def test_an_entry_of_another_shape_beside_the_weights_is_named(tmp_path, changes, message):
    save_file({"a": np.zeros(1)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"layout": "timm", **changes}))
    with pytest.raises(InputError, match=rf"config\.json', beside the weights: {message}"):
        load_source(tmp_path, **READ)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A run's classifier, and its export in two layouts."""
    folder = tmp_path_factory.mktemp("exported")
    workdir = make_workdir(folder / "run", make_config())
    for layout in ("timm", "gazax"):
        export = Export(of_run(str(workdir)), workdir, which="best", layout=layout, part="full")
        export.write(folder / layout, verify=False)
    return folder


@pytest.mark.parametrize("layout", ["timm", "gazax"])
def test_what_was_exported_comes_back_bit_for_bit(exported, layout):
    found, before = load_source(exported / layout, **READ), load_source(exported / "run")
    equal((found.params, found.state), (before.params, before.state))
    assert found.config["data"]["size"] == [32, 32]
    assert found.config["views"] == {"mean": 0.5, "std": 0.25}


@pytest.mark.parametrize("layout", ["timm", "gazax"])
@pytest.mark.parametrize(("key", "theirs", "mine"), [("mean", 0.5, 0.45), ("std", 0.25, 0.2)])
def test_weights_for_images_of_another_mean_or_std_are_refused(
    env, exported, tmp_path, layout, key, theirs, mine
):
    """Of a file as of a folder; nothing is written, and what the message says mends it."""
    begin = dict(init_from__path=str(exported / layout), **{f"views__{key}": mine})
    message = (
        rf"the weights of .*{layout}/model\.safetensors are for images of {key} {theirs}, and "
        rf"config\.views\.{key} is {mine}.*Take config\.views\.{key}={theirs}\."
    )
    with pytest.raises(InputError, match=message):
        make_run(env, tmp_path / "run", PROBE, **begin)
    assert not (tmp_path / "run").exists()


@pytest.mark.torch
def test_a_file_of_torch_is_read_where_that_is_allowed(tmp_path):
    torch = pytest.importorskip("torch")
    arrays = random_state_dict()
    save_file(arrays, tmp_path / "net.safetensors")
    path = tmp_path / "net.pth"
    tensors = {key: torch.from_numpy(value) for key, value in arrays.items()}
    torch.save({"state_dict": tensors, "epoch": 7}, path)
    with pytest.raises(InputError, match=r"(?s)a pickle.*config\.init_from\.allow_pickle=True"):
        load_source(path, **READ)
    found = load_source(path, **READ, allow_pickle=True)
    expected = load_source(tmp_path / "net.safetensors", **READ)
    equal((found.params, found.state), (expected.params, expected.state))
    assert set(found.ignored) == {*expected.ignored, "epoch"}
    assert found.identity != expected.identity


@pytest.mark.parametrize(("part", "name"), [("params", "denseblock1_denselayer1/conv1/kernel")])
def test_what_is_not_finite_is_named_with_its_file(densenet_file, part, name):
    file, arrays = densenet_file
    arrays["features.denseblock1.denselayer1.conv1.weight"][0, 0] = np.nan
    save_file(arrays, file)
    target = made_of(DenseNet((1, 2, 1), 2, 4), 1, head=NEW_HEAD)
    message = rf"'{part}/backbone/{name}' of .*net\.safetensors holds NaN or .*; take a file"
    with pytest.raises(InputError, match=message):
        init_from.initialise(*target, load_source(file, **READ), **FRESH)


# --- a run ----------------------------------------------------------------------------------------


@pytest.mark.torch
@pytest.mark.slow
def test_a_run_says_what_it_begins_with(env, tmp_path, capsys):
    """A probe on timm's ViT of another image size, in colour, of torch's own format."""
    torch = pytest.importorskip("torch")
    spec = "configs/eval/linear_probe.py:smoke"
    model = build("vit", patch_size=8, width=32, depth=2, num_heads=2)
    shapes = vit_run(model, (48, 48), channels=3)["backbone"]
    numbers = np.random.default_rng(0)
    params = jax.tree.map(lambda x: numbers.normal(size=x.shape).astype(np.float32), shapes)
    tensors = {key: torch.from_numpy(array) for key, array in vit.to_timm(params).items()}
    torch.save(tensors, tmp_path / "vit.pth")
    begin = dict(
        init_from__path=str(tmp_path / "vit.pth"),
        init_from__scopes=("backbone",),
        init_from__fresh=("head",),
    )
    with pytest.raises(InputError, match=r"config\.init_from\.allow_pickle=True"):
        make_run(env, tmp_path / "run", spec, **begin)
    run = make_run(env, tmp_path / "run", spec, **begin, init_from__allow_pickle=True)
    run.start()
    told = capsys.readouterr().out
    assert f"weights from {tmp_path}/vit.pth, a ViT by timm's keys\n  loaded: backbone, " in told
    kernel = "fitted: backbone/patch_embed/kernel, its 3 input channels added up to 1\n"
    assert (
        f"{kernel}  fitted: backbone/pos_embed, positions of 6x6 patches resampled to 4x4" in told
    )
    assert "fresh: head, 2 arrays (bias, kernel)\n" in told

"""From a workdir to a folder that torch loads: what it holds, what it says, what is refused."""

import json
import shutil
import sys

import jax
import numpy as np
import pytest
from etils import epath
from ml_collections import ConfigDict
from PIL import Image
from safetensors.numpy import load_file

from gazax import config as config_lib
from gazax.experiment import export
from gazax.experiment.export import Export
from gazax.export import foreign, probes, stablehlo
from gazax.train import init_from
from gazax.train.checkpoint import Checkpoints, write_manifest
from gazax.train.source import load_source
from gazax.train.state import TrainState
from gazax.train.workdir import write_json
from gazax.typing import InputError, RunError
from tests.experiment.trained import LABELS, STEP, make_config, make_workdir
from tests.models.conftest import import_torchvision

GAZAT = "configs/gazat_vit.py:smoke"
RESNET = "configs/eval/linear_probe.py:model=resnet,smoke"


@pytest.fixture(scope="module")
def timm():
    import_torchvision()
    return pytest.importorskip("timm")


def make_export(folder, *, layout="timm", part="backbone"):
    folder = epath.Path(folder)
    config = config_lib.of_run(str(folder))
    return Export(config, folder, which="best", layout=layout, part=part)


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    """A classifier over a ViT."""
    return make_workdir(tmp_path_factory.mktemp("runs") / "vit", make_config())


@pytest.fixture(scope="module")
def gazat(tmp_path_factory):
    return make_workdir(tmp_path_factory.mktemp("runs") / "gazat", make_config(GAZAT))


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    """A classifier over a ResNet-10."""
    return make_workdir(tmp_path_factory.mktemp("runs") / "resnet", make_config(RESNET))


@pytest.fixture(scope="module")
def written(timm, vit, tmp_path_factory):
    """The classifier in timm's layout, verified."""
    out = tmp_path_factory.mktemp("out") / "vit"
    return out, make_export(vit, part="full").write(out, verify=True)


@pytest.mark.torch
def test_timms_own_transform_keeps_the_whole_image(written):
    """Its borders are the mean's, which the card says; in training they are 0."""
    from timm.data import create_transform, resolve_data_config

    found = json.loads((written[0] / "config.json").read_text())["pretrained_cfg"]
    white = Image.new("L", (200, 100), 255)
    column = create_transform(**resolve_data_config(pretrained_cfg=found))(white)[0, :, 16].numpy()
    step = 1 / 255 / found["std"][0]
    np.testing.assert_allclose(column[[0, 7, 24, 31]], 0, atol=step)
    np.testing.assert_allclose(column[8:24], (1 - found["mean"][0]) / found["std"][0], atol=step)


def reload(monkeypatch, timm, out, **kwargs):
    """timm's own loading of the folder, which may say no word of keys that are left over."""
    monkeypatch.chdir(out)
    return timm.create_model("local-dir:.", pretrained=True, **kwargs).eval()


@pytest.mark.torch
def test_the_folder_holds_the_weights_bit_for_bit_and_what_they_are(timm, vit, written):
    out, found = written
    names = {"config.json", "model.safetensors", "parity.json", "README.md"}
    assert {path.name for path in out.iterdir()} == names
    tensors = load_file(out / "model.safetensors")
    params = load_source(vit).params
    np.testing.assert_array_equal(tensors["head.weight"], params["head"]["kernel"].T)
    np.testing.assert_array_equal(tensors["pos_embed"], params["backbone"]["pos_embed"])
    config = json.loads((out / "config.json").read_text())
    assert config["label_names"] == list(LABELS)
    assert config["training"]["step"] == STEP
    assert config["training"]["phantom"] is True
    assert json.loads((out / "parity.json").read_text()) == found
    tensors = {one["tensor"] for one in found["compared"]}
    assert {"stem", "block", "attention_0", "feature_map", "features", "logits"} <= tensors
    assert found["max_relative_difference"] < 1e-5


@pytest.mark.torch
def test_timm_makes_it_from_the_config_and_loads_it_strictly(
    timm, monkeypatch, vit, written, tmp_path
):
    import torch

    out, _ = written
    config = json.loads((out / "config.json").read_text())
    net = timm.create_model(
        config["architecture"],
        pretrained=False,
        num_classes=config["num_classes"],
        **config["model_args"],
    ).eval()
    tensors = {k: torch.from_numpy(v) for k, v in load_file(out / "model.safetensors").items()}
    net.load_state_dict(tensors, strict=True)
    image = torch.rand(2, 1, 32, 32, generator=torch.manual_seed(0))
    local = reload(monkeypatch, timm, out)
    with torch.no_grad():
        torch.testing.assert_close(local(image), net(image), rtol=0, atol=0)
    assert_comes_back(net, vit, tmp_path)
    cfg = local.pretrained_cfg
    assert (cfg["mean"], cfg["std"]) == ([0.5], [0.25])
    assert tuple(cfg["input_size"]) == (1, 32, 32)
    assert cfg["label_names"] == list(LABELS)


def assert_comes_back(net, workdir, folder):
    """What torch's network holds is, as a run begins with it, what the workdir has."""
    from safetensors.torch import save_file

    save_file(net.state_dict(), folder / "back.safetensors")
    back = load_source(folder / "back.safetensors", read_foreign=foreign.read)
    before = load_source(workdir)
    scopes = ({"backbone": before.params["backbone"]}, dict(before.state))
    found = init_from.initialise(*scopes, back, scopes={"backbone": "backbone"})
    jax.tree.map(np.testing.assert_array_equal, found, scopes)


def make_model(folder, **model):
    """A classifier over any backbone."""
    config = make_config(RESNET)
    config.model = ConfigDict({"dtype": "float32", "remat": False, **model})
    if "inception" in model["name"]:
        config.data.size = (80, 96)
    return make_workdir(folder, config)


SMALL_DENSENET = dict(name="densenet", blocks=(1, 2, 1, 1), growth_rate=8, init_features=16)


@pytest.mark.torch
@pytest.mark.parametrize(
    ("layout", "model"),
    [
        ("timm", dict(name="resnet", depth=10)),
        pytest.param("torchvision", dict(name="resnet", depth=18), marks=pytest.mark.slow),
        pytest.param("timm", SMALL_DENSENET, marks=pytest.mark.slow),
        pytest.param("torchvision", dict(name="densenet", depth=121), marks=pytest.mark.slow),
        pytest.param("timm", dict(name="inception_resnet_v2"), marks=pytest.mark.slow),
    ],
)
def test_a_convolutional_net_is_verified_on_an_odd_size_too(
    timm,
    monkeypatch,
    tmp_path,
    layout,
    model,
):
    import torch

    workdir = make_model(tmp_path / "run", **model)
    out = tmp_path / "out"
    found = make_export(workdir, layout=layout).write(out, verify=True)
    assert "101x87" in {one["image"].split()[1] for one in found["compared"]}
    assert {"stem", "block", "level_0", "features"} <= {one["tensor"] for one in found["compared"]}
    config = json.loads((out / "config.json").read_text())
    channels = config["preprocessing"]["channels"]
    assert channels == (1 if (layout, model["name"]) == ("timm", "resnet") else 3)
    net = reload(monkeypatch, timm, out)
    with torch.no_grad():
        features = net(torch.zeros(1, channels, *config["preprocessing"]["size"]))
    assert features.shape == (1, config["num_features"])
    assert_comes_back(net, workdir, tmp_path)


@pytest.mark.torch
def test_weights_that_were_changed_on_the_way_fail_and_leave_nothing(
    timm,
    monkeypatch,
    resnet,
    tmp_path,
):
    tensors = probes.LibraryModel.tensors

    def changed(self):
        found = tensors(self)
        found["conv1.weight"][0, 0, 3, 3] += 0.01
        return found

    monkeypatch.setattr(probes.LibraryModel, "tensors", changed)
    with pytest.raises(RunError, match="(?s)does not compute what ours does.*\n  stem of noise"):
        make_export(resnet).write(tmp_path / "out", verify=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.torch
def test_what_exists_nowhere_else_comes_with_its_modules(timm, gazat, tmp_path):
    export = make_export(gazat, layout="gazax", part="full")
    found = export.write(tmp_path / "out", verify=True, also=("stablehlo",))
    program = found.pop("stablehlo")
    assert program["passed"]
    assert {one["tensor"] for one in program["compared"]} == {"features", "attention"}
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"modeling_gazax.py", "modeling_gazax.LICENSE"} <= names
    tensors = {one["tensor"] for one in found["compared"]}
    assert tensors >= {"stem", "block", "level_1", "attention_0", "feature_map"}
    assert tensors >= {"features", "attention_density", "projection"}
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["architecture"] == "Encoder"
    assert config["preprocessing"]["mean"] == [0.0]
    assert "label_names" not in config  # it has been shown some, and says none
    modes = {path.stat().st_mode for path in (tmp_path / "out").iterdir()}
    assert len(modes) == 1  # whoever reads the card can read the weights


@pytest.mark.slow
@pytest.mark.torch
def test_a_program_that_says_something_else_fails_the_export(timm, monkeypatch, gazat, tmp_path):
    save = stablehlo.save_weights

    def changed(path, arrays, *, form):
        save(path, {name: 1.01 * array for name, array in arrays.items()}, form=form)

    monkeypatch.setattr(stablehlo, "save_weights", changed)
    with pytest.raises(RunError, match=r"model\.stablehlo does not compute what the model does"):
        make_export(gazat).write(tmp_path / "out", verify=True, also=("stablehlo",))
    assert list(tmp_path.iterdir()) == []


def test_writing_needs_no_torch(monkeypatch, gazat, tmp_path):
    import builtins

    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.partition(".")[0] in ("torch", "timm", "torchvision"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    export = make_export(gazat / "checkpoints" / str(STEP))
    found = export.write(tmp_path / "out", verify=False)
    assert found == {"passed": None, "reason": "written without verification"}
    config = export.config_json
    assert (config["num_classes"], config["left_out"]) == (0, ["projector"])
    assert not any(key.startswith("head") for key in load_file(tmp_path / "out/model.safetensors"))
    assert "was not verified when this was written" in (tmp_path / "out/README.md").read_text()


def test_the_card_has_the_numbers_of_these_weights_alone(gazat, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(gazat, workdir)
    write_json(
        epath.Path(workdir) / "summary.json", {"best_step": STEP, "table": "AUC .7 [.6, .8]"}
    )
    (workdir / "evaluation").mkdir()
    known = dict(
        weights=load_source(workdir).identity,
        phantom_numbers=True,
        protocol="strict",
        split="test",
        images=5,
        patients=4,
        step=STEP,
        suites={"alignment": {"table": "CC .5 [.4, .6]"}},
    )
    for weights, shown in (({}, True), ({"weights": "of others"}, False)):
        write_json(epath.Path(workdir) / "evaluation" / "numbers.json", known | weights)
        make_export(workdir).write(tmp_path / f"out{shown}", verify=False)
        text = (tmp_path / f"out{shown}" / "README.md").read_text()
        assert "AUC .7 [.6, .8]" in text
        assert ("CC .5 [.4, .6]" in text) == shown
        assert str(tmp_path) not in text


def test_bfloat16_and_remat_of_the_run_change_nothing(vit, tmp_path):
    config = make_config()
    config.model.dtype, config.model.remat = "bfloat16", True
    other = make_workdir(tmp_path / "run", config)
    make_export(other).write(tmp_path / "other", verify=False)
    make_export(vit).write(tmp_path / "vit", verify=False)
    same = [load_file(tmp_path / name / "model.safetensors") for name in ("other", "vit")]
    assert all(value.dtype == np.float32 for value in same[0].values())
    jax.tree.map(np.testing.assert_array_equal, *same)


@pytest.mark.parametrize(
    ("workdir", "given", "message"),
    [
        ("vit", dict(layout="torchvision"), "names the weights of its ViT otherwise"),
        ("resnet", dict(layout="torchvision"), r"no ResNet of blocks \(1, 1, 1, 1\)"),
        ("gazat", dict(part="full"), "'gazat' has projector, and timm's models have a linear"),
        ("gazat", dict(layout="gazax"), "writes a whole model.*--part=full"),
        ("gazat", dict(layout="onnx"), "--layout='onnx' is unknown"),
    ],
)
def test_what_a_layout_has_no_place_for_is_refused(request, workdir, given, message):
    with pytest.raises(InputError, match=message):
        make_export(request.getfixturevalue(workdir), **given)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config: config.pop("model"), "has no section 'model': it is not that of a run"),
        (lambda config: config["data"].update(name="fantom"), "'fantom' is unknown.*'phantom'"),
    ],
)
def test_a_config_of_no_run_is_refused(vit, tmp_path, change, message):
    held = json.loads((vit / "config.json").read_text())
    change(held["config"])
    (tmp_path / "config.json").write_text(json.dumps(held))
    with pytest.raises(InputError, match=message):
        make_export(tmp_path)


def test_onnx_needs_the_layouts_library_though_nothing_is_verified(monkeypatch, vit, tmp_path):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match="written as ONNX, with timm, which cannot be imported"):
        make_export(vit).write(tmp_path / "new" / "out", verify=False, also=("onnx",))
    assert list(tmp_path.iterdir()) == []


def damaged(workdir, folder):
    shutil.copytree(workdir, folder)
    return folder / "checkpoints" / str(STEP)


def test_a_weight_that_is_no_number_is_named(vit, tmp_path):
    source = load_source(vit)
    source.params["backbone"]["norm"]["bias"][3] = np.nan
    shutil.copytree(vit, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    checkpoints = Checkpoints(epath.Path(tmp_path) / "run" / "checkpoints", keep=1)
    state = TrainState(jax.numpy.int32(STEP), source.params, source.state, {})
    checkpoints.save(state, step=STEP, examples=0, best_step=None)
    checkpoints.close()
    with pytest.raises(InputError, match="'params/backbone/norm/bias' of .* holds NaN or infinity"):
        make_export(tmp_path / "run")


def test_a_file_that_is_cut_off_is_refused(vit, tmp_path):
    checkpoint = damaged(vit, tmp_path / "run")
    largest = max(checkpoint.rglob("*"), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-10])
    with pytest.raises(InputError, match="damaged or unfinished: .* does not have the bytes"):
        make_export(tmp_path / "run")


def test_weights_of_another_config_are_refused(vit, tmp_path):
    checkpoint = damaged(vit, tmp_path / "run")
    config = make_config()
    config.model.depth = 3
    (tmp_path / "run" / "config.json").unlink()
    held = {
        "config": json.loads(json.dumps(config.to_dict(), default=list)),
        "data_fingerprint": "",
    }
    write_json(epath.Path(tmp_path) / "run" / "config.json", held)
    write_manifest(epath.Path(checkpoint))
    with pytest.raises(InputError, match="params/backbone/blocks_2"):
        make_export(tmp_path / "run")


def test_where_the_run_that_predicts_gaze_lies_is_not_said():
    assert export._gaze("predicted:/home/somebody/run") == "predicted:(a run)"
    assert export._gaze("own") == "own"

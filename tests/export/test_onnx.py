"""ONNX files: onnxruntime makes of them what torch makes of the network, or none is written."""

import json

import numpy as np
import pytest

from gazax.export.full import full_state
from gazax.export.onnx import FILE, LIMIT, OUTPUTS, PACKAGES, write_onnx
from gazax.methods import Supervised
from gazax.models import build
from gazax.models.heads import Classifier
from gazax.typing import InputError, RunError
from tests.export.test_modeling_gazax import IMAGES, METHODS, SLOW, load, made

pytestmark = pytest.mark.torch
SIZE = (32, 64)
TINY = "a classifier of a ViT of one block"
ALL = {
    TINY: Supervised(
        build("vit", patch_size=16, width=8, depth=1, num_heads=2),
        head=Classifier(3),
        task="multiclass",
        attention="rows",
        **IMAGES,
    ),
    **METHODS,
}
ABOUT = {
    "classes": ["normal", "pneumonia", "heart_failure"],
    "terms": "None: \u00bbsimulated\u00ab",
}


@pytest.fixture(scope="module", autouse=True)
def packages():
    """Skips, and says so, where one of them is missing."""
    for name in PACKAGES:
        pytest.importorskip(name, reason=f"no ONNX file can be written or run without {name}")


def network_of(name):
    params, state, _ = made(ALL[name])
    return load(*full_state(ALL[name], params, state))


def radiographs(*, channels=1, size=SIZE):
    """Two that look a little like some: dark at the rim, bright in the middle."""
    y, x = np.mgrid[: size[0], : size[1]]
    bright = np.sin(np.pi * y / size[0]) * np.sin(np.pi * x / size[1])
    grey = np.broadcast_to(bright, (channels, *size)).astype(np.float32)
    return {"bright": grey, "dark": 0.2 * grey**3}


def write(network, folder, **more):
    return write_onnx(network, folder, **{"images": radiographs(), "about": ABOUT} | more)


def outputs_of(path, inputs):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The network, the folder and what was found of the tiny classifier."""
    folder = tmp_path_factory.mktemp("onnx")
    network = network_of(TINY)
    return network, folder, write(network, folder)


def test_inputs_and_outputs_are_named_in_the_stated_order(written):
    import onnx

    _, folder, found = written
    graph = onnx.load(folder / FILE).graph
    names = [one.name for one in graph.output]
    assert names == found["outputs"]
    assert names == [
        *("features", "feature_map", "attention_density", "logits", "probabilities"),
        "attention_0",
    ]
    assert names[:-1] == [name for name in OUTPUTS if name in names]
    assert [one.name for one in graph.input] == found["inputs"] == ["image"]
    shape = graph.input[0].type.tensor_type.shape.dim
    assert shape[0].dim_param == "batch"
    assert [side.dim_value for side in shape[1:]] == [1, *SIZE]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_any_number_of_images_gives_what_torch_does(written, count):
    import torch

    network, folder, _ = written
    image = np.random.default_rng(count).uniform(size=(count, 1, *SIZE)).astype(np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(image))
    found = outputs_of(folder / FILE, {"image": image})
    for name in ("probabilities", "attention_density", "feature_map"):
        values = expected[name].numpy()
        assert values.std() > 1e-5
        np.testing.assert_allclose(found[name], values, rtol=0, atol=1e-5 * np.abs(values).max())
    np.testing.assert_array_equal(found["attention_0"].shape, (count, 2, 4))


def test_each_image_and_output_is_compared(written):
    found = written[2]
    assert found["passed"] is True
    assert set(found["versions"]) == set(PACKAGES)
    images = {one["image"] for one in found["compared"]}
    assert images == {"bright", "dark", "noise 0", "noise 1", "noise 2"}
    assert len(found["compared"]) == len(images) * len(found["outputs"])
    worst = max(one["relative_difference"] for one in found["compared"])
    assert 0 < found["max_relative_difference"] == worst < 1e-5


def test_the_file_says_what_it_is(written):
    import onnx

    _, folder, found = written
    model = onnx.load(folder / FILE)
    notes = {one.key: one.value for one in model.metadata_props}
    assert json.loads(notes["classes"]) == ABOUT["classes"]
    assert notes["terms"] == ABOUT["terms"]
    assert json.loads(notes["image_size"]) == list(SIZE)
    assert json.loads(notes["outputs"]) == found["outputs"]
    assert model.producer_name == "gazax"
    assert b".py" not in (folder / FILE).read_bytes()  # no paths of the disk that it was made on
    assert {one.domain: one.version for one in model.opset_import}[""] == found["opset"] == 18
    assert [path.name for path in folder.iterdir()] == [FILE]


@pytest.mark.parametrize("change", [1 + 2 * LIMIT, np.nan])
def test_a_file_that_computes_something_else_is_not_written(written, tmp_path, monkeypatch, change):
    """The exported weights are not those that torch runs with."""
    import onnx

    from gazax.export import onnx as module

    network, folder, _ = written
    model = onnx.load(folder / FILE)
    bias = next(one for one in model.graph.initializer if one.name.endswith("head.bias"))
    wrong = onnx.numpy_helper.to_array(bias) * np.float32(change) + np.float32(change - 1)
    bias.CopyFrom(onnx.numpy_helper.from_array(wrong, bias.name))
    monkeypatch.setattr(module, "_model", lambda *_: model)
    with pytest.raises(RunError, match=r"(?s)tensors differ. Nothing is written.\n  logits of "):
        write(network, tmp_path)
    assert not any(tmp_path.iterdir())


def test_what_torch_cannot_write_leaves_nothing(tmp_path):
    import torch

    class Deciding(torch.nn.Module):
        def forward(self, image):
            return image if image.sum() > 0 else -image

    with pytest.raises(RunError, match="torch cannot write Deciding as ONNX"):
        write(Deciding(), tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_network_of_one_tensor_and_of_colours_has_one_output(tmp_path):
    import torch

    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 8, 8), torch.nn.Flatten())
    found = write(network, tmp_path, images=radiographs(channels=3, size=(8, 16)))
    assert found["outputs"] == ["output"]
    image = np.zeros((2, 3, 8, 16), np.float32)
    assert outputs_of(tmp_path / FILE, {"image": image})["output"].shape == (2, 8)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ({}, "those that are given are none"),
        (
            {**radiographs(), "odd": radiographs(size=(8, 8))["dark"]},
            r"are \[\(1, 8, 8\), \(1, 32, 64\)\]",
        ),
    ],
)
def test_images_are_of_one_size(written, tmp_path, images, message):
    with pytest.raises(InputError, match=message):
        write(written[0], tmp_path, images=images)


def test_a_missing_package_is_named(written, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(InputError, match=r"needs onnxscript.*pip install 'gazax\[torch\]'"):
        write(written[0], tmp_path)
    assert not any(tmp_path.iterdir())


@SLOW
@pytest.mark.parametrize("name", METHODS)
def test_every_network_becomes_a_file(name, tmp_path):
    takes_gaze = getattr(METHODS[name], "gaze_input", False)
    found = write(network_of(name), tmp_path, takes_gaze=takes_gaze)
    assert found["inputs"] == (["image", "gaze"] if takes_gaze else ["image"])
    assert {"features", "feature_map"} <= set(found["outputs"])
    assert found["max_relative_difference"] < LIMIT

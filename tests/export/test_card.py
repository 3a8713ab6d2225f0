"""The model card: terms of every data set, and a snippet that reads images as training did."""

import numpy as np
import pytest
from PIL import Image

from gazax.data.datasets import DATASETS
from gazax.data.pixels.frame import Frame
from gazax.export.card import TERMS, model_card, snippet


def config(layout="timm", *, size=(32, 40), canvas=None, num_classes=0, **more):
    training = dict(
        gazax="0", method="simclr", step=3, phantom=False, data="reflacx", task=None, gaze="own"
    )
    return {
        "architecture": "resnet18",
        "num_classes": num_classes,
        "num_features": 512,
        "model_args": {"in_chans": 1},
        "layout": layout,
        "left_out": ["projector"],
        "takes_gaze": False,
        "preprocessing": dict(channels=1, size=size, canvas=canvas, mean=[0.5], std=[0.25]),
        "training": {**training, "protocol": "strict", **more},
    }


def card(found, **kwargs):
    given = dict(title="REFLACX", parity="Verified.", run_config={"seed": 0}, tables=())
    return model_card(found, **given | kwargs)


def test_what_is_done_to_grey_values_is_said_where_there_is_something():
    assert "divided by 255; then (x - 0.5) / 0.25 |" in card(config())
    plain = config("gazax")
    plain["preprocessing"] |= dict(mean=[0.0], std=[1.0])
    assert "8 bits, divided by 255 |" in card(plain)


def test_every_data_set_has_its_terms():
    assert set(TERMS) == set(DATASETS)


def test_it_says_data_numbers_terms_and_what_is_left_out():
    text = card(config(), tables=["AUC  0.700 [0.600, 0.800]"])
    for said in ("REFLACX", "credentialed data use agreement", "0.700 [0.600, 0.800]", "projector"):
        assert said in text
    assert "phantom" not in text
    assert "None are known of these weights" in card(config())


def test_the_phantom_is_named_before_anything_else():
    text = card(config(phantom=True, data="phantom"), title="the phantom")
    assert "tags: [chest-x-ray, gazax, phantom]" in text
    assert text.index("**Trained on the phantom") < text.index("Made by")


def test_gaze_that_was_a_control_and_the_papers_protocol_are_named():
    text = card(config(gaze="shuffled", protocol="paper"))
    assert "REFLACX, gaze `shuffled`, protocol `paper`." in text


def test_the_modules_that_come_along_have_their_licence_beside_them():
    assert "its licence is `modeling_gazax.LICENSE`" in card(config("gazax"))
    assert "modeling_gazax" not in card(config("timm"))


@pytest.mark.parametrize("run", [True, False])
def test_a_program_that_was_not_run_is_called_so(run):
    text = card({**config(), "also": {"stablehlo": run}})
    assert ("It was run once when it was written, and compared" in text) == run
    assert ("It was not run when it was written" in text) == (not run)
    assert "model.onnx" not in text


@pytest.mark.parametrize("layout", ["timm", "torchvision", "gazax"])
def test_the_snippet_is_python_and_short(layout):
    text = snippet(config(layout))
    compile(text, "snippet", "exec")
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.torch
@pytest.mark.parametrize(
    ("stored", "size", "canvas"),
    [
        ((50, 20), (32, 40), None),
        ((32, 40), (32, 40), None),
        ((7, 90), (32, 40), None),
        ((61, 71), (32, 40), (64, 80)),
        ((99, 30), (32, 40), (64, 80)),
    ],
)
def test_the_snippet_reads_an_image_as_training_did(tmp_path, stored, size, canvas):
    pytest.importorskip("torch")
    pixels = np.random.default_rng(0).integers(0, 256, stored, np.uint8)
    Image.fromarray(pixels).save(tmp_path / "radiograph.png")
    found = config(size=size, canvas=canvas)
    text = snippet(found)
    start, end = text.index("def preprocess"), text.index('image = preprocess("')
    names = {"config": found}
    exec("import numpy as np\nimport torch\nfrom PIL import Image\n", names)
    exec(text[start:end], names)
    expected = Frame(stored, size, canvas).pixels(pixels).astype(np.float32) / 255
    image = names["preprocess"](tmp_path / "radiograph.png")
    assert image.shape == (1, 1, *size)
    np.testing.assert_allclose(image[0, 0], (expected - 0.5) / 0.25, atol=1e-6)

"""Portable programs: they say what the method says, without gazax and of any number of images."""

import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax import export
from safetensors.numpy import load_file

from gazax.export.stablehlo import (
    ABOUT,
    GUARANTEE,
    PLATFORMS,
    PROGRAM,
    WEIGHTS,
    compare_stablehlo,
    load_stablehlo,
    write_stablehlo,
)
from gazax.methods import GazAT, Supervised
from gazax.methods.base import Classifies, PredictsSaliency
from gazax.methods.segmentation import Segmentation
from gazax.models import build
from gazax.models.heads import Classifier, Projector
from gazax.typing import InputError, RunError
from tests.batches import spec_of, tiny_batch
from tests.export.test_modeling_gazax import IMAGES, METHODS, SLOW, drawn

TINY = "a classifier of a ViT of one block"
PAIR = "the attention of a pair"
VIT = build("vit", patch_size=16, width=8, depth=1, num_heads=2)
ALL = {
    TINY: Supervised(VIT, head=Classifier(3), task="multiclass", attention="grad_cam", **IMAGES),
    PAIR: GazAT(
        backbone=VIT,
        projector=Projector(out_dim=6),
        attention_module=None,
        attention="grad_cam",
        pooling="backbone",
        temperature=0.1,
        alpha=1.0,
        beta=1.0,
        levels=(-1,),
        level_weights=(1.0,),
        distance="kl",
        regional_temperature=0.1,
        strong={},
        **IMAGES,
    ),
    **METHODS,
}


def batch_of(count):
    return tiny_batch(count, has_gaze=np.arange(count) % 2 == 0)


def said(method, params, state, batch):
    """What the method says, at the precision of the program."""

    @jax.jit
    def run(params, state, batch):
        features, attention = method.encode(params, state, batch)
        found = {"features": features, "attention": attention}
        if isinstance(method, (Classifies, Segmentation)):
            found["probabilities"] = method.predict(params, state, batch)
        if isinstance(method, PredictsSaliency):
            found["density"] = method.saliency(params, state, batch)
        return found

    with jax.default_matmul_precision("highest"):
        return jax.device_get(run(params, state, batch))


def write(name, folder, **more):
    """Parameters, state and what was written."""
    method, spec = ALL[name], spec_of(batch_of(2))
    params, state = drawn(jax.eval_shape(method.init, jax.random.key(0), spec))
    return params, state, write_stablehlo(method, params, state, folder, spec=spec, **more)


def inputs_of(about, batch):
    """The batch's arrays that the program takes, by its names."""
    found = {}
    for name in about["inputs"]:
        key, _, field = name.partition(".")
        found[name] = batch[key][field] if field else batch[key]
    return found


def assert_says_the_same(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert values.std() > 1e-6, name
        scale = np.abs(values).max()
        np.testing.assert_allclose(found[name], values, rtol=0, atol=1e-5 * scale, err_msg=name)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Folder, parameters, state and what is said of the tiny classifier."""
    folder = tmp_path_factory.mktemp("stablehlo")
    return folder, *write(TINY, folder)


@pytest.mark.parametrize("count", [1, 3])
def test_any_number_of_images_gives_what_the_method_says(written, count):
    folder, params, state, about = written
    batch = batch_of(count)
    found = load_stablehlo(folder)(inputs_of(about, batch))
    assert_says_the_same(found, said(ALL[TINY], params, state, batch))


def test_it_is_lowered_for_platforms_that_are_not_here(written):
    exported = export.deserialize(bytearray((written[0] / PROGRAM).read_bytes()))
    assert exported.platforms == PLATFORMS == ("cpu", "cuda", "tpu")
    assert export.default_export_platform() == "cpu"


def test_products_are_full_on_every_platform(written):
    text = export.deserialize(bytearray((written[0] / PROGRAM).read_bytes())).mlir_module()
    kinds = ("= stablehlo.dot_general ", "= stablehlo.convolution(")
    products = [line for line in text.splitlines() if any(kind in line for kind in kinds)]
    assert len(products) > 5
    assert all("HIGHEST" in line and "DEFAULT" not in line for line in products)


def test_what_is_written_says_what_it_takes_and_how_long_it_is_good_for(written):
    folder, params, _, about = written
    assert sorted(path.name for path in folder.iterdir()) == sorted([PROGRAM, WEIGHTS, ABOUT])
    assert json.loads((folder / ABOUT).read_text()) == about
    image = {"shape": ["b", 32, 32, 1], "dtype": "uint8", "what": "grey values, 8 bits"}
    assert about["inputs"] == {"image": image}
    assert {name: one["shape"] for name, one in about["outputs"].items()} == {
        "features": ["b", 8],
        "attention": ["b", 2, 2],
        "probabilities": ["b", 3],
    }
    assert b".py" not in (folder / PROGRAM).read_bytes()  # no paths of the disk that made it
    assert "6 months newer" in GUARANTEE == about["guarantee"]
    assert about["jax"] == jax.__version__
    weights = load_file(folder / WEIGHTS)
    np.testing.assert_array_equal(weights["params/head/kernel"], params["head"]["kernel"])


def test_it_runs_in_another_process_without_gazax(written, env, tmp_path):
    """By the lines that come with it, which are all that a receiver has."""
    folder, _, _, about = written
    code = [
        "import sys; sys.modules.update(gazax=None, flax=None)",
        *about["use"],
        "print({name: value.shape for name, value in outputs.items()})",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(code)],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert "'probabilities': (1, 3)" in done.stdout


def test_weights_of_another_training_go_into_the_same_program(written):
    folder, params, state, about = written
    batch = batch_of(3)
    other = jax.tree.map(lambda leaf: 1.1 * leaf, params)
    weights = load_file(folder / WEIGHTS)
    program = export.deserialize(bytearray((folder / PROGRAM).read_bytes()))
    scaled = {name: np.float32(1.1) * one for name, one in weights.items()}
    found = jax.jit(program.call)(scaled, inputs_of(about, batch))
    assert_says_the_same(found, said(ALL[TINY], other, state, batch))


def test_inputs_and_weights_are_those_that_the_outputs_depend_on(tmp_path):
    """A pair's second view is drawn from the index; features are not projected or followed."""
    _, _, about = write(PAIR, tmp_path, platforms=("cpu",))
    assert set(about["inputs"]) == {"image", "content", "index"}
    assert all("gazax" not in one["what"] for one in about["inputs"].values())
    params, state, about = write("byol", tmp_path, platforms=("cpu",))
    assert set(about["inputs"]) == {"image"}
    assert {"projector", "predictor"} < set(params)
    assert "target" in state
    assert {name.split("/")[1] for name in load_file(tmp_path / WEIGHTS)} == {"backbone"}


def test_it_is_run_where_it_was_written_beside_the_method(written):
    folder, params, state, _ = written
    images = {"one": batch_of(1), "other": {**batch_of(1), "image": batch_of(2)["image"][1:]}}
    found = compare_stablehlo(ALL[TINY], params, state, folder, images=images)
    assert (found["passed"], found["platform"]) == (True, "cpu")
    assert [(one["image"], one["tensor"], one["shape"]) for one in found["compared"]] == [
        (image, tensor, shape)
        for image in images
        for tensor, shape in (("attention", [2, 2]), ("features", [8]), ("probabilities", [3]))
    ]
    params = {**params, "head": jax.tree.map(lambda leaf: 1.01 * leaf, params["head"])}
    message = "(?s)program in model.stablehlo does not compute.*: 2 of 6 .*probabilities of one"
    with pytest.raises(RunError, match=message):
        compare_stablehlo(ALL[TINY], params, state, folder, images=images)


def test_a_wrong_input_is_named(written):
    run = load_stablehlo(written[0])
    with pytest.raises(InputError, match="are image; missing: image; unknown: picture"):
        run({"picture": np.zeros((1, 32, 32, 1), np.uint8)})


def changed(about, **entries):
    (about.parent / ABOUT).write_text(json.dumps(json.loads(about.read_text()) | entries))


def test_a_folder_that_is_not_whole_is_refused(written, tmp_path):
    folder = tmp_path / "copy"
    with pytest.raises(InputError, match=r"does not hold model\.stablehlo"):
        load_stablehlo(folder)
    shutil.copytree(written[0], folder)
    content = (folder / PROGRAM).read_bytes()
    (folder / PROGRAM).write_bytes(content[:-100])
    with pytest.raises(InputError, match=r"model\.stablehlo is not as stablehlo\.json says"):
        load_stablehlo(folder)
    (folder / PROGRAM).write_bytes(content)
    (folder / WEIGHTS).unlink()
    with pytest.raises(InputError, match=r"does not hold .*stablehlo\.safetensors"):
        load_stablehlo(folder)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"calling_convention_version": 10**6}, "calling convention 1000000, and jax .* knows"),
        ({"platforms": ["tpu"]}, "is for tpu, and JAX runs on cpu here"),
    ],
)
def test_what_this_jax_cannot_run_is_refused(written, tmp_path, entries, message):
    folder = tmp_path / "copy"
    shutil.copytree(written[0], folder)
    changed(folder / ABOUT, **entries)
    with pytest.raises(InputError, match=message):
        load_stablehlo(folder)


def test_a_program_of_one_platform_is_of_that_alone(tmp_path):
    write(TINY, tmp_path, platforms=("tpu",))
    with pytest.raises(InputError, match="is for tpu, and JAX runs on cpu here"):
        load_stablehlo(tmp_path)


@SLOW
@pytest.mark.parametrize("name", [PAIR, *METHODS])
def test_every_method_becomes_a_program(name, tmp_path):
    params, state, about = write(name, tmp_path)
    if getattr(ALL[name], "gaze_input", False):
        fields = ("duration", "reader", "sigma", "window", "xy")
        assert set(about["inputs"]) == {"image", "reader_weight"} | {
            f"fixations.{field}" for field in fields
        }
    elif name != PAIR:
        assert set(about["inputs"]) == {"image"}
    batch = batch_of(3)
    found = load_stablehlo(tmp_path)(inputs_of(about, batch))
    assert_says_the_same(found, said(ALL[name], params, state, batch))

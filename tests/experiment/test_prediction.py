"""A workdir taken up without its data: the pixels that it sees, and what it says of them."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from etils import epath
from jax import numpy as jnp

from gazax import config as config_lib
from gazax import data
from gazax.data.decode import decode
from gazax.data.sources.egd_cxr import read_egd_cxr
from gazax.data.sources.reflacx import read_reflacx
from gazax.data.sources.tables import Faults
from gazax.experiment import parts, prediction
from gazax.experiment.prediction import Predictor
from gazax.train.checkpoint import MANIFEST
from gazax.typing import InputError
from tests.data.folders import table, write_folder
from tests.data.trees.egd_cxr import write_egd_cxr
from tests.data.trees.reflacx import write_reflacx
from tests.experiment import trained
from tests.experiment.trained import LABELS, SEGMENTATION, STEP, make_config, make_workdir

SIZES = ((30, 40), (50, 20), (32, 32), (7, 61), (90, 91))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A gaze folder of images of several shapes."""
    rng = np.random.default_rng(0)
    pixels = {f"im{i}": rng.integers(0, 256, size, np.uint8) for i, size in enumerate(SIZES)}
    rows = [f"{name},{name},train,{i % 2}" for i, name in enumerate(pixels)]
    return write_folder(
        tmp_path_factory.mktemp("images"),
        pixels,
        labels=table("image_id,patient_id,split,a", *rows),
    )


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return make_workdir(tmp_path_factory.mktemp("run") / "probe", make_config())


def predictor(folder, *, which="best", batch_size=4, maps=True):
    config = config_lib.of_run(str(folder))
    return Predictor(config, epath.Path(folder), which=which, batch_size=batch_size, maps=maps)


def decoded(one, root):
    """Of the images of a gaze folder, in order."""
    folder = root / "images"
    return [
        (path.stem, decode(one.task_of(path, roots=(root,)))) for path in sorted(folder.iterdir())
    ]


def test_pixels_are_those_of_the_prepared_records(images, classifier, tmp_path):
    records = data.prepare("gaze_folder", root=images, size=(32, 32), cache=tmp_path, keep_ids=True)
    source = records.source("train")
    found = dict(decoded(predictor(classifier), images))
    assert len(source) == len(found) == len(SIZES)
    for record in source:
        pixels = found[records.image_ids[record["index"]]]
        np.testing.assert_array_equal(pixels.image, record["image"][..., 0])
        np.testing.assert_allclose(pixels.frame.content, record["content"])


@pytest.mark.parametrize(
    ("name", "source"),
    [("reflacx", {}), ("egd_cxr", {}), ("egd_cxr", {"gaze": "cxrgazelearn"})],
)
def test_images_are_read_as_the_reader_of_the_training_data_says(tmp_path, name, source):
    if name == "reflacx":
        raw = read_reflacx(write_reflacx(tmp_path), faults=Faults(0.0))
    else:
        raw = read_egd_cxr(write_egd_cxr(tmp_path), faults=Faults(1.0), **source)
    dataset = data.DATASETS[name]
    assert (dataset.display, dataset.canvas(**source)) == (raw.display, raw.canvas)


def test_probabilities_are_those_of_the_method(images, classifier):
    one = predictor(classifier)
    assert one.kinds == ("probability", "grad_cam")
    assert one.label_names == LABELS
    assert one.task == "multiclass"
    pairs = decoded(one, images)
    found = dict(one.predictions(iter(pairs)))
    assert list(found) == [name for name, _ in pairs]
    batch = {"image": np.stack([pixels.image for _, pixels in pairs])[..., None]}
    expected = one.method.predict(*one._weights, batch)
    probability = np.stack([each["probability"] for each in found.values()])
    np.testing.assert_allclose(probability, expected, rtol=1e-5)
    np.testing.assert_allclose(probability.sum(axis=1), 1, atol=1e-6)
    assert len(np.unique(probability[:, 0])) == len(SIZES)


def test_a_segmentation_gives_a_plane_a_label(images, tmp_path):
    one = predictor(make_workdir(tmp_path / "run", make_config(SEGMENTATION)))
    assert one.kinds == ("masks",)
    assert one.label_names == LABELS
    assert one.task is None
    for _, found in one.predictions(decoded(one, images)):
        assert found["masks"].shape == (32, 32, 3)
        assert 0 < found["masks"].min() < found["masks"].max() < 1


def test_one_program_serves_the_last_batch_too(images, classifier):
    one = predictor(classifier, batch_size=2)  # on four devices: batches of four
    assert len(list(one.predictions(decoded(one, images)))) == len(SIZES)
    assert one._run._cache_size() == 1


def test_two_batches_are_in_memory_at_a_time(images, classifier):
    one = predictor(classifier, maps=False)
    assert one.kinds == ("probability",)
    (_, pixels), taken = decoded(one, images)[0], []
    many = ((taken.append(i) or i, pixels) for i in range(40))
    for i, _ in one.predictions(many):
        assert len(taken) <= i // 4 * 4 + 8


@dataclasses.dataclass(frozen=True)
class Brightness:
    """People look where it is bright; the classes are bright, dark, and large in the frame."""

    task: str = "multilabel"

    def init(self, rng, batch):
        return {"backbone": {"w": jnp.ones(())}}, {}

    def saliency(self, params, state, batch):
        light = params["backbone"]["w"] * batch["image"][..., 0].astype(jnp.float32) + 1e-3
        return light / light.sum(axis=(1, 2), keepdims=True)

    def predict(self, params, state, batch):
        mean = batch["image"].mean(axis=(1, 2)) / 255
        left, top, right, bottom = batch["content"].T
        large = (right - left) * (bottom - top) / 32**2
        return jnp.concatenate([mean, 1 - mean, large[:, None]], axis=1)

    def explain(self, params, state, batch):
        return batch["image"][:, ::8, ::8, 0].astype(jnp.float32)


def test_what_a_method_can_say_is_what_is_predicted(images, tmp_path, monkeypatch):
    """Saliency and classes, as the third stage of cooperative learning says both."""
    for module in (prediction, trained):
        monkeypatch.setattr(module, "build_method", lambda config: Brightness())
    one = predictor(make_workdir(tmp_path / "run", make_config()))
    assert one.kinds == ("probability", "saliency", "grad_cam")
    assert one.task == "multilabel"
    assert predictor(tmp_path / "run", maps=False).kinds == ("probability",)
    pairs = decoded(one, images)
    for (_, pixels), (_, found) in zip(pairs, one.predictions(pairs), strict=True):
        assert found["saliency"].argmax() == pixels.image.argmax()
        assert found["saliency"].sum() == pytest.approx(1, rel=1e-5)
        assert found["grad_cam"].shape == (4, 4)
        assert found["probability"][0] == pytest.approx(pixels.image.mean() / 255, rel=1e-5)
        left, top, right, bottom = pixels.frame.content
        assert found["probability"][2] == pytest.approx((right - left) * (bottom - top) / 32**2)


@dataclasses.dataclass(frozen=True)
class Drawn(Brightness):
    """As GazAT's Grad-CAM, looks at what it draws by the index of an image; says nothing else."""

    saliency = predict = explain = None

    def encode(self, params, state, batch):
        drawn = jax.vmap(lambda i: jax.random.uniform(jax.random.key(i), (32, 32)))(batch["index"])
        return drawn[:, 0], drawn * batch["image"][..., 0]


def test_a_prediction_does_not_depend_on_the_other_images(images, tmp_path, monkeypatch):
    for module in (prediction, trained):
        monkeypatch.setattr(module, "build_method", lambda config: Drawn())
    one = predictor(make_workdir(tmp_path / "run", make_config()))
    assert one.kinds == ("attention",)
    assert one.label_names == ()
    pairs = decoded(one, images)
    forward, backward = (dict(one.predictions(order)) for order in (pairs, pairs[::-1]))
    assert list(forward) == list(backward)[::-1]
    for name, found in forward.items():
        np.testing.assert_array_equal(found["attention"], backward[name]["attention"])


def test_facts_say_whose_predictions_they_are(classifier):
    facts = predictor(classifier).facts
    assert facts["step"] == STEP
    assert facts["workdir"] == str(classifier)
    assert facts["labels"] == list(LABELS)
    assert facts["trained_on"] == "phantom"
    of_checkpoint = predictor(classifier / "checkpoints" / str(STEP)).facts
    assert of_checkpoint["weights"] == facts["weights"]
    json.dumps(facts)


def test_nothing_but_the_workdir_is_needed(classifier, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the data is asked for")

    monkeypatch.setattr(parts, "prepare", refuse)
    monkeypatch.setattr(data, "prepare", refuse)
    predictor(classifier)


@pytest.mark.parametrize("wrong", ["no checkpoint", "another model", "damaged"])
def test_a_workdir_that_cannot_predict_says_why(classifier, tmp_path, wrong):
    folder, config = tmp_path / "run", make_config()
    shutil.copytree(classifier, folder)
    manifest = folder / "checkpoints" / str(STEP) / MANIFEST
    if wrong == "another model":
        config.model.width = 64
    elif wrong == "no checkpoint":
        manifest.unlink()
    else:
        manifest.write_text(manifest.read_text().replace("0", "1"))
    messages = {
        "no checkpoint": "has no checkpoint yet; let its run go on",
        "another model": "does not fit this run",
        "damaged": "the checkpoint is damaged",
    }
    with pytest.raises(InputError, match=messages[wrong]):
        Predictor(config, epath.Path(folder), which="best", batch_size=4, maps=True)


def test_probabilities_alone_of_a_model_without_classes_are_refused(classifier, monkeypatch):
    monkeypatch.setattr(prediction, "build_method", lambda config: Drawn())
    with pytest.raises(InputError, match="which has no head for classes.*Leave --nomaps out"):
        predictor(classifier, maps=False)


def test_a_model_that_sees_gaze_in_use_predicts_nothing_of_images_alone(tmp_path):
    config = make_config("configs/baselines/gaze_gnn.py:smoke", size=(64, 64))
    with pytest.raises(InputError, match="'gaze_gnn', which sees gaze beside the image"):
        Predictor(config, epath.Path(tmp_path), which="best", batch_size=4, maps=True)

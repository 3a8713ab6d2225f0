"""Fake predictions, measured: what they know of the gaze is known, and so is what they do not."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gazax.eval.encode import load_split, walk
from gazax.eval.report import Evaluation
from gazax.eval.saliency import ALL_METRICS, OF_DENSITIES, SALIENCY_METRICS, centred_gaussian
from gazax.eval.saliency_prediction import SaliencyEvaluation
from gazax.methods.supervised import Supervised
from gazax.metrics.saliency import auc_judd, cc, kl, nss, sim
from gazax.ops.gaze import gaze_maps, to_density
from gazax.train import sharding
from tests.batches import tiny_batch
from tests.eval.splits import batches
from tests.methods.test_supervised import make

CONTENT = np.tile(np.float32([0, 4, 32, 30]), (12, 1))
PATIENTS = np.array([f"p{i // 2}" for i in range(12)])
LOOKED_AT = (1, 2, 4, 5, 7, 8)
"""Of ten images; the others have no gaze."""
BASELINES = ("mean_map", "centre")


@dataclasses.dataclass(frozen=True)
class Seer(Supervised):
    """Predicts the true density of gaze, as far as ``params['share']`` goes, and else the image."""

    def saliency(self, params, state, batch):
        _, height, width, _ = batch["image"].shape
        gaze = gaze_maps(batch["fixations"], batch["reader_weight"], size=(height, width))
        of_gaze = jax.vmap(to_density)(gaze)
        of_image = jax.vmap(to_density)(jnp.asarray(batch["image"][..., 0], jnp.float32))
        return params["share"] * of_gaze + (1 - params["share"]) * of_image


def weights(share):
    return {"share": jnp.float32(share)}, {}


@pytest.fixture(scope="module")
def mesh():
    return sharding.make_mesh()


@pytest.fixture(scope="module")
def load(mesh):
    def load(**changes):
        of = functools.partial(batches, content=CONTENT, **changes)
        return load_split(of, patient_ids=PATIENTS, mesh=mesh)

    return load


@pytest.fixture(scope="module")
def split(load):
    return load()


@pytest.fixture(scope="module")
def evaluate(load, mesh):
    """An evaluation, whose mean map is that of other images."""
    train = load(seed=1)

    def evaluate(validation):
        return SaliencyEvaluation(
            Seer(**vars(make())),
            train=train,
            validation=validation,
            mesh=mesh,
            seed=0,
            label_names=("a", "b", "c"),
        )

    return evaluate


@pytest.fixture(scope="module")
def evaluation(evaluate, split):
    return evaluate(split)


@pytest.fixture(scope="module")
def report(evaluation, split):
    return evaluation.on_test(weights(0.5), weights(0), split)


def test_it_is_an_evaluation(evaluation):
    assert isinstance(evaluation, Evaluation)


def test_validation_is_that_of_each_image_over_its_content(evaluation, load):
    found = evaluation.on_validation(*weights(0.5))
    rows = ("saliency", *BASELINES)
    assert list(found) == [f"validation/{row}/{m}" for row in rows for m in SALIENCY_METRICS]
    whole = {**tiny_batch(12), "content": CONTENT}
    gaze = np.asarray(gaze_maps(whole["fixations"], whole["reader_weight"], size=(32, 32)))
    predicted = np.asarray(Seer(**vars(make())).saliency(*weights(0.5), whole), np.float64)
    content = np.zeros((32, 32), bool)
    content[4:30] = True
    maps = {
        "saliency": predicted,
        "mean_map": np.tile(load(seed=1).mean_gaze_map, (12, 1, 1)),
        "centre": np.tile(centred_gaussian(content), (12, 1, 1)),
    }
    assert predicted[:, ~content].sum() > 0  # what it says of the padding does not count
    for row, of_images in maps.items():
        scores = {name: [] for name in SALIENCY_METRICS}
        for i in LOOKED_AT:
            reader, xy = whole["fixations"]["reader"][i], whole["fixations"]["xy"][i]
            one, where = of_images[i], content
            scores["kl"].append(kl(one, gaze[i], where=where))
            scores["cc"].append(cc(one, gaze[i], where=where))
            scores["sim"].append(sim(one, gaze[i], where=where))
            scores["nss"].append(nss(one, xy[reader >= 0], where=where))
            scores["auc"].append(auc_judd(one, xy[reader >= 0], where=where))
        for name, values in scores.items():
            expected = pytest.approx(np.mean(values), abs=1e-4)
            assert found[f"validation/{row}/{name}"] == expected, (row, name)


def test_who_knows_the_gaze_scores_as_well_as_can_be(evaluation):
    found = evaluation.on_validation(*weights(1))
    best = {"kl": 0, "cc": 1, "sim": 1}
    for name, value in best.items():
        assert found[f"validation/saliency/{name}"] == pytest.approx(value, abs=1e-4)


def test_baselines_are_scored_once(evaluate, split, monkeypatch):
    evaluation = evaluate(split)
    first = evaluation.on_validation(*weights(0))

    def fail(*_, **__):
        pytest.fail("scored again")

    monkeypatch.setattr("gazax.eval.saliency_prediction.baseline_maps", fail)
    again = evaluation.on_validation(*weights(0.5))
    assert list(again) == list(first)
    for row in BASELINES:
        assert again[f"validation/{row}/kl"] == first[f"validation/{row}/kl"]
    assert again["validation/saliency/kl"] < first["validation/saliency/kl"]


def test_every_row_and_metric_is_reported(report):
    numbers = report.numbers
    rows = ("saliency", *BASELINES, "uniform", "readers", "saliency@readers", "mean_map@readers")
    pairs = [("saliency", other) for other in (*BASELINES, "readers")]
    pairs += [("saliency@readers", other) for other in ("readers", "mean_map@readers")]
    names = [*rows, *(f"{one}-{other}" for one, other in pairs)]
    expected = {
        f"{name}/{metric}"
        for name in names
        for metric in ALL_METRICS
        if not ((name == "readers" or name.endswith("-readers")) and metric in OF_DENSITIES)
    }
    assert numbers.keys() == expected
    for one, other in pairs[:2]:
        for metric in ALL_METRICS:
            estimate, low, high = numbers[f"{one}-{other}/{metric}"]
            parts = numbers[f"{one}/{metric}"][0] - numbers[f"{other}/{metric}"][0]
            assert estimate == pytest.approx(parts)
            assert low < high
    assert numbers["saliency-mean_map/kl"][2] < 0
    assert not any("attention" in name for name in numbers)


def test_the_papers_metrics_come_first_and_the_table_fits_a_page(report):
    lines = report.table.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0].split() == ["KL", "(nat)", "CC", "SIM"]
    assert lines[1].startswith("saliency, predicted")
    for words in ("predicted - mean map", "each reader, by saliency", "AUC (Borji)", "inf. gain"):
        assert words in report.table
    assert "attention" not in report.table


def test_the_picture_is_the_prediction(report, split, mesh):
    assert list(report.pictures) == ["saliency, predicted"]
    batch, (found,) = next(walk(split.batches(), *report.pictures.values(), mesh=mesh))
    expected = Seer(**vars(make())).saliency(*weights(0.5), batch)
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_without_gaze_there_is_nothing_to_say(evaluate, load):
    empty = load(has_gaze=np.zeros(12, bool))
    evaluation = evaluate(empty)
    assert evaluation.on_validation(*weights(0)) == {}
    report = evaluation.on_test(weights(0), weights(0), empty)
    assert report.numbers == {}
    assert "saliency against gaze: skipped" in report.table

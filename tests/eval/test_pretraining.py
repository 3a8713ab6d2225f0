import dataclasses

import jax
import numpy as np
import pytest

from gazax.eval import pretraining, representation
from gazax.eval.encode import Encoder, load_split
from gazax.eval.features import Examples, Features, exclude_each_other
from gazax.eval.gradients import make_gradient_norms
from gazax.eval.pretraining import PretrainingEvaluation
from gazax.eval.saliency import centred_gaussian
from gazax.metrics.saliency import auc_judd, cc, nss
from gazax.ops.gaze import gaze_maps
from gazax.train import sharding
from tests.batches import tiny_batch
from tests.eval.splits import batches
from tests.methods.test_gazat import make


@pytest.fixture(scope="module")
def mesh():
    return sharding.make_mesh()


@pytest.fixture(scope="module")
def split(mesh):
    return load_split(batches, patient_ids=np.array([f"p{i}" for i in range(12)]), mesh=mesh)


@pytest.fixture(scope="module")
def weights():
    method = make()
    return (
        method,
        method.init(jax.random.key(0), tiny_batch(4)),
        method.init(jax.random.key(1), tiny_batch(4)),
    )


def make_evaluation(weights, split, mesh):
    names = tuple("abc"[: split.label.shape[1]])
    return PretrainingEvaluation(
        weights[0], train=split, validation=split, mesh=mesh, seed=0, label_names=names
    )


@pytest.fixture(scope="module")
def evaluation(weights, split, mesh):
    return make_evaluation(weights, split, mesh)


def test_validation_has_every_number(evaluation, weights):
    values = evaluation.on_validation(*weights[1])
    names = {f"{m}/{k}" for m in ("attention", "mean_map", "centre") for k in ("cc", "nss", "auc")}
    assert {f"validation/{name}" for name in names} | {"validation/probe_auc"} == values.keys()
    assert all(np.isfinite(value) for value in values.values())


def test_numbers_are_those_of_maps_held_whole(evaluation, weights, split):
    """Streamed or not, with padding in the last batch: the same means over the same images."""
    method, (params, state), _ = weights
    whole = tiny_batch(12)
    gaze = np.asarray(gaze_maps(whole["fixations"], whole["reader_weight"], size=(32, 32)))[:10]
    looked = np.flatnonzero(gaze.max(axis=(1, 2)) > 0)
    assert len(looked) == 6
    attention = jax.jit(method.encode)(params, state, whole)[1]
    attention = jax.image.resize(attention, (12, 32, 32), "bilinear")
    centre = centred_gaussian(np.ones((32, 32), bool))
    maps = {
        "attention": np.asarray(attention, np.float64),
        "mean_map": np.tile(gaze[looked].mean(axis=0, dtype=np.float64), (10, 1, 1)),
        "centre": np.tile(centre, (10, 1, 1)),
    }
    # The second time, the baselines are those of the first.
    for values in (evaluation.on_validation(params, state) for _ in range(2)):
        for name, of_map in maps.items():
            found = {"cc": [], "nss": [], "auc": []}
            for i in looked:
                reader = whole["fixations"]["reader"][i]
                xy = whole["fixations"]["xy"][i][reader >= 0]
                found["cc"].append(cc(of_map[i], gaze[i]))
                found["nss"].append(nss(of_map[i], xy))
                found["auc"].append(auc_judd(of_map[i], xy))
            for metric, of_images in found.items():
                expected = pytest.approx(np.mean(of_images), abs=1e-4)
                assert values[f"validation/{name}/{metric}"] == expected


def test_baselines_of_validation_are_scored_once(evaluation, weights, monkeypatch):
    first = evaluation.on_validation(*weights[1])

    def fail(*_, **__):
        pytest.fail("scored again")

    monkeypatch.setattr("gazax.eval.pretraining.baseline_maps", fail)
    again = evaluation.on_validation(*weights[2])
    assert list(again) == list(first)
    for row in ("mean_map", "centre"):
        assert again[f"validation/{row}/cc"] == first[f"validation/{row}/cc"]
    assert again["validation/attention/cc"] != first["validation/attention/cc"]


def test_numbers_on_test_pair_what_they_compare(evaluation, weights, split):
    _, trained, first = weights
    report = evaluation.on_test(trained, first, split)
    numbers = report.numbers
    assert set(report.pictures) == {"attention, step 0", "attention, trained"}
    for metric in ("cc", "nss", "auc"):
        difference = numbers[f"attention-mean_map/{metric}"][0]
        parts = numbers[f"attention/{metric}"][0] - numbers[f"mean_map/{metric}"][0]
        assert difference == pytest.approx(parts)
    shown = report.table
    for row in ("attention, trained", "training-mean gaze map", "linear probe, trained"):
        assert row in shown
    same = evaluation.on_test(trained, trained, split).numbers
    assert same["attention-attention_step_0/cc"] == (0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def one_hot(mesh):
    """Images of one class each, of three."""
    label = np.eye(3, dtype=np.float32)[[0, 1, 2, 2, 1, 0, 0, 1, 2, 0, 0, 0]]
    patients = np.arange(12).astype(str)
    return load_split(lambda: batches(label=label), patient_ids=patients, mesh=mesh)


def test_the_probe_is_the_one_of_an_evaluation_of_frozen_features(weights, one_hot, mesh):
    method, trained, first = weights
    numbers = make_evaluation(weights, one_hot, mesh).on_test(trained, first, one_hot).numbers
    encoder = Encoder(method, mesh=mesh)

    def encode(both):
        features = encoder.features(*both, one_hot.batches())
        one = Examples(features=features, label=one_hot.label, patient=one_hot.patient)
        split = dict.fromkeys(("train", "validation", "test"), one)
        return Features(**split, exclusive=True, label_names=tuple("abc"))

    part = representation.measure(
        encode(trained), untrained=encode(first), seed=0, fractions=(), num_samples=10
    )
    for row in ("probe", "probe_step_0", "probe-probe_step_0"):
        assert numbers[f"{row}/auc_macro"][0] == part.numbers[f"{row}/auc_macro"][0]


def test_the_probe_knows_whether_labels_exclude_each_other(
    weights, split, one_hot, mesh, monkeypatch
):
    asked = []
    choose = pretraining.choose_probe

    def watch(*arguments, exclusive):
        asked.append(exclusive)
        return choose(*arguments, exclusive=exclusive)

    monkeypatch.setattr(pretraining, "choose_probe", watch)
    for one in (one_hot, split):
        evaluation = make_evaluation(weights, one, mesh)
        evaluation.on_validation(*weights[1])
        evaluation.on_test(weights[1], weights[2], one)
    assert asked == [True] * 3 + [False] * 3


NAN = np.nan


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[1, 0], [0, 1]], True),
        ([[1, 0], [NAN, NAN]], True),
        ([[1, 0], [1, 1]], False),
        ([[1, 0], [0, 0]], False),
        ([[1, 0], [NAN, 1]], False),
        ([[0.5, 0.5]], False),
        ([[NAN, NAN]], False),
        ([[1], [1]], False),
        ([[], []], False),
    ],
)
def test_labels_exclude_each_other_where_each_known_row_is_one_hot(rows, expected):
    label = np.array(rows, np.float32)
    assert exclude_each_other(label, label[:0]) is expected
    assert exclude_each_other(label[:0], label) is expected


def test_without_gaze_and_labels_there_is_nothing_to_say(weights, mesh):
    def bare():
        for batch in batches(has_gaze=np.zeros(12, bool)):
            yield {**batch, "label": np.zeros((4, 0), np.float32)}

    split = load_split(bare, patient_ids=np.arange(12).astype(str), mesh=mesh)
    evaluation = make_evaluation(weights, split, mesh)
    assert evaluation.on_validation(*weights[1]) == {}
    report = evaluation.on_test(weights[1], weights[2], split)
    numbers = report.numbers
    assert numbers == {}
    shown = report.table
    assert "attention against gaze: skipped" in shown
    assert "linear probe: skipped" in shown


def test_gradient_norms_are_those_of_each_term_alone(weights, mesh):
    method, (params, state), _ = weights
    batch = tiny_batch(8)
    norms = make_gradient_norms(method, batch, mesh=mesh, seed=0)(params, state)
    assert norms.keys() == {"gradient/contrast", "gradient/attention", "gradient/regional"}

    def term(backbone):
        _, (_, terms) = method.loss(
            {**params, "backbone": backbone},
            state,
            batch,
            jax.random.key(0),
            step=jax.numpy.int32(0),
            train=True,
        )
        return terms["loss/attention"]

    gradient = jax.jit(jax.grad(term))(params["backbone"])
    expected = np.sqrt(sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(gradient)))
    assert norms["gradient/attention"] == pytest.approx(expected, rel=1e-4)
    assert norms["gradient/attention"] > 0


def test_a_frozen_backbone_has_no_gradient_to_tell_of(weights, mesh):
    method, (params, state), _ = weights
    frozen = dataclasses.replace(method, freeze=("backbone/.*",))
    assert make_gradient_norms(frozen, tiny_batch(8), mesh=mesh, seed=0)(params, state) == {}

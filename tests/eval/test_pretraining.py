import dataclasses

import jax
import numpy as np
import pytest

from gazax.eval.encode import load_split, make_encoder
from gazax.eval.gradients import make_gradient_norms
from gazax.eval.pretraining import PretrainingEvaluation
from gazax.ops.gaze import gaze_map
from gazax.train import sharding
from tests.batches import tiny_batch
from tests.methods.test_gazat import make


def batches(n=10, *, batch_size=4, seed=0, has_gaze=None):
    """n examples once, the last batch padded with weight 0."""
    total = -(-n // batch_size) * batch_size
    whole = tiny_batch(total, seed=seed, has_gaze=has_gaze)
    whole["weight"] = (np.arange(total) < n).astype(np.float32)
    for start in range(0, total, batch_size):
        yield jax.tree.map(lambda x, start=start: x[start : start + batch_size], whole)


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


def test_every_example_once_and_no_padding(split):
    assert split.index.tolist() == list(range(10))
    assert split.patient.tolist() == [f"p{i}" for i in range(10)]
    assert split.gaze.shape == split.content.shape == (10, 32, 32)
    assert len(split.xy) == 10


def test_gaze_is_rendered_as_in_training(split):
    whole = tiny_batch(12)
    fixations = jax.tree.map(lambda x: x[1], whole["fixations"])
    expected = gaze_map(
        *(fixations[name] for name in ("xy", "duration", "sigma", "window", "reader")),
        whole["reader_weight"][1],
        size=(32, 32),
    )
    np.testing.assert_allclose(split.gaze[1], expected, atol=1e-6)
    np.testing.assert_array_equal(split.xy[1], fixations["xy"][fixations["reader"] >= 0])
    assert not split.has_gaze[0]


def test_encoder_gives_every_row_its_own(weights, mesh):
    method, (params, state), _ = weights
    encoded = make_encoder(method, mesh=mesh)(params, state, batches())
    assert encoded.features.shape == (10, 16)
    assert encoded.attention.shape == (10, 32, 32)
    features, _ = method.encode(params, state, tiny_batch(12))
    np.testing.assert_allclose(encoded.features, features[:10], atol=1e-5)


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

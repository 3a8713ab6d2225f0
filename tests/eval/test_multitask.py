"""A method of two tasks is measured in both, and a step is chosen by both."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from gazax.eval.encode import load_split
from gazax.eval.multitask import JOINT, MultitaskEvaluation
from gazax.eval.report import Evaluation
from gazax.train import sharding
from tests.eval.splits import batches
from tests.eval.test_saliency_prediction import PATIENTS, Seer, weights
from tests.methods.test_supervised import make

LABEL = np.eye(3, dtype=np.float32)[np.arange(12) % 3]


@dataclasses.dataclass(frozen=True)
class Both(Seer):
    """Knows every class as far as ``params['share']`` goes, and gaze likewise."""

    def predict(self, params, state, batch):
        label = jnp.asarray(batch["label"])
        return params["share"] * label + (1 - params["share"]) * label[:, ::-1]


@pytest.fixture(scope="module")
def evaluate():
    mesh = sharding.make_mesh()

    def load(**changes):
        return load_split(lambda: batches(label=LABEL, **changes), patient_ids=PATIENTS, mesh=mesh)

    def evaluate(**changes):
        return MultitaskEvaluation(
            Both(**vars(make(task="multiclass"))),
            train=load(),
            validation=load(**changes),
            mesh=mesh,
            seed=0,
            label_names=("a", "b", "c"),
        ), load()

    return evaluate


def test_a_step_is_chosen_by_the_mean_of_area_and_correlation(evaluate):
    made, _ = evaluate()
    assert isinstance(made, Evaluation)
    best, worse = (made.on_validation(*weights(share)) for share in (1.0, 0.4))
    for found in (best, worse):
        expected = (found["validation/auc_macro"] + found["validation/saliency/cc"]) / 2
        assert found[JOINT] == pytest.approx(expected)
    assert best[JOINT] == pytest.approx(1, abs=1e-4)
    assert worse[JOINT] < 0.9
    assert "validation/mean_map/cc" in best


def test_without_gaze_there_is_nothing_to_choose_by(evaluate):
    made, _ = evaluate(has_gaze=np.zeros(12, bool))
    found = made.on_validation(*weights(1.0))
    assert found["validation/auc_macro"] == 1
    assert JOINT not in found


def test_both_tasks_are_reported_each_beside_its_baselines(evaluate):
    made, test = evaluate()
    report = made.on_test(weights(1.0), weights(0.0), test)
    for name in ("classifier/accuracy", "prior/accuracy", "saliency/cc", "mean_map/cc"):
        assert name in report.numbers
    assert "classifier" in report.table
    assert "saliency, predicted" in report.table
    assert report.numbers["saliency/cc"][0] == pytest.approx(1, abs=1e-4)
    assert report.numbers["classifier/accuracy"][0] == 1

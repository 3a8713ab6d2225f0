import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from gazax.eval.encode import load_split, walk
from gazax.eval.finetune import ClassificationEvaluation, make_predictor
from gazax.methods.supervised import Supervised
from gazax.train import sharding
from gazax.typing import InputError
from tests.batches import tiny_batch
from tests.methods.test_supervised import make

NAMES = ("quiet", "busy", "odd")
MULTICLASS, MULTILABEL = make(task="multiclass"), make()


def batches_of(label, *, seed=0, junk=0):
    """Images with these labels once, in batches of 4; padding has weight 0 and other pixels."""

    def batches():
        n = len(label)
        total = -(-n // 4) * 4
        whole = tiny_batch(total, seed=seed)
        whole["weight"] = (np.arange(total) < n).astype(np.float32)
        whole["label"] = np.concatenate([label, np.ones((total - n, 3))]).astype(np.float32)
        whole["image"][n:] = junk
        for start in range(0, total, 4):
            yield jax.tree.map(lambda x, start=start: x[start : start + 4], whole)

    return batches


@pytest.fixture(scope="module")
def mesh():
    return sharding.make_mesh()


@pytest.fixture(scope="module")
def load(mesh):
    def load(label, *, seed=0):
        patients = np.array([f"p{i // 2}" for i in range(40)])
        return load_split(batches_of(label, seed=seed), patient_ids=patients, mesh=mesh)

    return load


def exclusive(n, seed=0):
    return np.eye(3)[np.random.default_rng(seed).permutation(n) % 3]


def several(n, seed=0):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, (n, 3)).astype(float)
    label[0], label[1] = 0, 1
    return np.where((rng.random((n, 3)) < 0.2) & (np.arange(n) > 1)[:, None], np.nan, label)


@pytest.fixture(scope="module")
def weights():
    return MULTICLASS.init(jax.random.key(3), tiny_batch(4))


def evaluation(method, load, mesh, label):
    return ClassificationEvaluation(
        method,
        train=load(label(14, 1), seed=1),
        validation=load(label(11, 2), seed=2),
        mesh=mesh,
        seed=0,
        label_names=NAMES,
    )


@pytest.fixture(scope="module")
def of_classes(load, mesh):
    return evaluation(MULTICLASS, load, mesh, exclusive)


@pytest.fixture(scope="module")
def of_labels(load, mesh):
    return evaluation(MULTILABEL, load, mesh, several)


def test_predictions_are_one_a_real_image_whatever_the_padding_is(weights, mesh):
    label = exclusive(10)
    predict = make_predictor(MULTICLASS, mesh=mesh)
    found = predict(*weights, batches_of(label)())
    assert found.shape == (10, 3)
    np.testing.assert_array_equal(found, predict(*weights, batches_of(label, junk=200)()))
    expected = jax.jit(MULTICLASS.predict)(*weights, tiny_batch(12))
    np.testing.assert_allclose(found, expected[:10], atol=1e-6)


def test_numbers_of_classes_are_scikit_learns(of_classes, weights, load, mesh):
    label = exclusive(20, 3)
    label[7] = np.nan
    test = load(label, seed=3)
    report = of_classes.on_test(weights, weights, test)
    known = ~np.isnan(label[:, 0])
    truth = label[known]
    scores = make_predictor(MULTICLASS, mesh=mesh)(*weights, test.batches())[known]
    called = scores.argmax(axis=1)
    expected = {
        "auc_macro": roc_auc_score(truth, scores, average="macro"),
        "auc_micro": roc_auc_score(truth, scores, average="micro"),
        "accuracy": (called == truth.argmax(axis=1)).mean(),
        "f1_macro": f1_score(truth.argmax(axis=1), called, average="macro"),
    } | {f"auc/{name}": roc_auc_score(truth[:, k], scores[:, k]) for k, name in enumerate(NAMES)}
    for name, value in expected.items():
        estimate, low, high = report.numbers[f"classifier/{name}"]
        assert estimate == pytest.approx(value), name
        assert low < high
    # The prior of 14 training images, 5, 5 and 4: the first class wherever it has to choose.
    prior = np.tile(of_classes._prior, (len(truth), 1))
    assert report.numbers["prior/accuracy"][0] == pytest.approx(truth[:, 0].mean())
    assert report.numbers["prior/auc_macro"] == (0.5, 0.5, 0.5)
    micro = roc_auc_score(truth, prior, average="micro")
    assert report.numbers["prior/auc_micro"][0] == pytest.approx(micro)
    for name in ("auc_macro", "auc_micro", "accuracy", "f1_macro"):
        parts = [report.numbers[f"{row}/{name}"][0] for row in ("classifier", "prior")]
        difference = report.numbers[f"classifier-prior/{name}"][0]
        assert difference == pytest.approx(parts[0] - parts[1])
    for words in ("macro AUC", "macro F1", "prior (shares in training)", *NAMES):
        assert words in report.table
    _, (attention,) = next(walk(test.batches(), report.pictures["attention"], mesh=mesh))
    assert attention.shape == (4, 32, 32)


@dataclasses.dataclass(frozen=True)
class Both(Supervised):
    """Classifies, and predicts gaze on the row of pixels that tells the image's first pixel."""

    def encode(self, params, state, batch):
        return super().encode(params, state, batch)[0], self.saliency(params, state, batch)

    def explain(self, params, state, batch):
        """On a grid of 2 x 2, all in one corner."""
        return jnp.tile(jnp.array([[1.0, 0.0], [0.0, 0.0]])[None], (len(batch["image"]), 1, 1))

    def saliency(self, params, state, batch):
        _, height, width, _ = batch["image"].shape
        rows = jax.nn.one_hot(batch["image"][:, 0, 0, 0] % height, height) / width
        return jnp.tile(rows[:, :, None], (1, 1, width))


def test_who_predicts_gaze_too_shows_it_and_the_evidence_for_the_class(weights, load, mesh):
    method = Both(**vars(MULTICLASS))
    test = load(exclusive(20, 3), seed=3)
    report = evaluation(method, load, mesh, exclusive).on_test(weights, weights, test)
    assert list(report.pictures) == ["attention", "saliency, predicted"]
    batch, (evidence, saliency) = next(walk(test.batches(), *report.pictures.values(), mesh=mesh))
    assert evidence.shape == saliency.shape == (4, 32, 32)
    # The corner of the grid, enlarged: whole about it, and nothing in the opposite one.
    np.testing.assert_allclose(evidence[0, [0, 7, 31], [0, 7, 31]], [1, 1, 0], atol=0.05)
    np.testing.assert_allclose(saliency.sum(axis=(1, 2)), 1, rtol=1e-6)
    rows = saliency.sum(axis=2).argmax(axis=1)
    np.testing.assert_array_equal(rows, np.asarray(batch["image"])[:, 0, 0, 0] % 32)


def test_thresholds_of_labels_come_from_validation(of_labels, weights, load, mesh):
    test = load(several(20, 3), seed=3)
    report = of_labels.on_test(weights, weights, test)
    predict = make_predictor(MULTILABEL, mesh=mesh)
    scores = predict(*weights, test.batches())
    validation = load(several(11, 2), seed=2)
    of_validation = predict(*weights, validation.batches())
    found = []
    for k in range(3):
        known = ~np.isnan(validation.label[:, k])
        truth = validation.label[known, k]
        tried = of_validation[known, k]
        # The highest of equally good ones.
        achieved = [
            (round(f1_score(truth, tried >= threshold), 9), threshold) for threshold in tried
        ]
        _, threshold = max(achieved)
        known = ~np.isnan(test.label[:, k])
        found.append(f1_score(test.label[known, k], scores[known, k] >= threshold))
    assert report.numbers["classifier/f1_macro"][0] == pytest.approx(np.mean(found))
    # A constant score is above its own threshold everywhere: F1 of calling everything present.
    shares = np.nanmean(test.label, axis=0)
    assert report.numbers["prior/f1_macro"][0] == pytest.approx(np.mean(2 * shares / (1 + shares)))
    assert "classifier/accuracy" not in report.numbers
    assert "accuracy" not in report.table


def test_a_label_of_one_value_is_named_and_left_out(of_labels, weights, load):
    label = several(20, 3)
    full = of_labels.on_test(weights, weights, load(label, seed=3)).numbers
    label[:, 1] = np.where(np.isnan(label[:, 1]), np.nan, 1)
    report = of_labels.on_test(weights, weights, load(label, seed=3))
    assert "busy: left out of macro means (it is 1 wherever it is known" in report.table
    assert "classifier/auc/busy" not in report.numbers
    rest = np.mean([full[f"classifier/auc/{name}"][0] for name in ("quiet", "odd")])
    assert report.numbers["classifier/auc_macro"][0] == pytest.approx(rest)
    label[:, 1] = np.nan
    report = of_labels.on_test(weights, weights, load(label, seed=3))
    assert "busy: left out of macro means (unknown in the test split)" in report.table
    f1 = report.numbers["classifier/f1_macro"][0]
    label[:, 1] = 1
    again = of_labels.on_test(weights, weights, load(label, seed=3)).numbers
    assert again["classifier/f1_macro"][0] == pytest.approx(f1)


def test_validation_has_what_can_be_followed(of_classes, of_labels, weights):
    values = of_classes.on_validation(*weights)
    assert values.keys() == {"validation/auc_macro", "validation/auc_micro", "validation/accuracy"}
    assert all(0 <= value <= 1 for value in values.values())
    assert of_labels.on_validation(*weights).keys() == {
        "validation/auc_macro",
        "validation/auc_micro",
    }


def test_labels_that_teach_nothing_are_named(load, mesh):
    def refused(method, label, names=NAMES):
        with pytest.raises(InputError) as caught:
            ClassificationEvaluation(
                method,
                train=load(label),
                validation=load(label),
                mesh=mesh,
                seed=0,
                label_names=names,
            )
        return str(caught.value)

    label = exclusive(12)
    label[:, 1] = 0
    label[label.sum(axis=1) == 0, 2] = 1
    assert "'busy' has only 0: the class is absent in the training split" in refused(
        MULTICLASS, label
    )
    label = several(12)
    label[:, 2] = np.nan
    assert "'odd' has no known value in the training split" in refused(MULTILABEL, label)
    label = exclusive(12)
    label[5] = [1, 0, 1]
    message = refused(MULTICLASS, label)
    assert "the first one quiet, odd" in message
    assert "task='multilabel'" in message
    assert "labels.csv has no label column" in refused(MULTICLASS, label, names=())

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from gazax.eval.probe import REGULARISATION, choose_probe, fit_probe
from gazax.metrics.classification import accuracy, roc_auc
from gazax.typing import InputError


def two_classes(n, seed, *, spread=1.0):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, n)
    features = rng.normal(size=(n, 5)) * spread
    features[:, 2] += 3.0 * label
    return features, np.stack([label, 1 - label], axis=1).astype(np.float32)


def test_what_is_linear_is_read_off():
    features, labels = two_classes(200, 0)
    held_out, held_out_labels = two_classes(200, 1)
    probe = fit_probe(features, labels, inverse_penalty=1.0)
    scores = probe.score(held_out)
    assert roc_auc(scores, held_out_labels)["macro"] > 0.95
    np.testing.assert_allclose(scores[:, 0], 1 - scores[:, 1], atol=1e-3)


def test_noise_is_not():
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(200, 5)), rng.integers(0, 2, (200, 1)).astype(float)
    probe = fit_probe(features, labels, inverse_penalty=1.0)
    auc = roc_auc(probe.score(rng.normal(size=(400, 5))), rng.integers(0, 2, (400, 1)))["macro"]
    assert 0.4 < auc < 0.6


def test_unknown_labels_equal_left_out_rows():
    features, labels = two_classes(100, 0)
    labels[50:, 0] = np.nan
    probe = fit_probe(features, labels[:, :1], inverse_penalty=1.0)
    x = probe.scaler.transform(features)
    alone = LogisticRegression(C=1.0, max_iter=300).fit(x[:50], labels[:50, 0])
    np.testing.assert_allclose(probe.score(features)[:, 0], alone.predict_proba(x)[:, 1])


@pytest.mark.parametrize(("value", "score"), [(1.0, 1.0), (0.0, 0.0), (np.nan, 0.5)])
def test_a_label_of_one_value_gets_it(value, score):
    features, labels = two_classes(50, 0)
    labels[:, 1] = value
    probe = fit_probe(features, labels, inverse_penalty=1.0)
    assert (probe.score(features)[:, 1] == score).all()


def test_the_penalty_is_chosen_on_validation():
    """Many features and few rows: a weak penalty overfits, and validation says so."""
    rng = np.random.default_rng(0)
    truth = np.zeros(60)
    truth[:2] = 1.0

    def draw(n):
        x = rng.normal(size=(n, 60))
        return x, (x @ truth + rng.normal(size=n) * 2 > 0)[:, None].astype(float)

    train, validation = draw(60), draw(400)
    probe, auc = choose_probe(*train, *validation)
    assert auc == max(
        roc_auc(fit_probe(*train, inverse_penalty=c).score(validation[0]), validation[1])["macro"]
        for c in REGULARISATION
    )
    assert auc == roc_auc(probe.score(validation[0]), validation[1])["macro"]


def test_no_label_with_two_values_gives_no_auc():
    features, labels = two_classes(20, 0)
    with np.errstate(all="raise"):
        _, auc = choose_probe(features, labels, features[:3], np.ones((3, 2)))
    assert np.isnan(auc)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_scale_of_the_features_does_not_matter(scale):
    features, labels = two_classes(80, 0)
    shift = np.arange(5)
    first = fit_probe(features, labels, inverse_penalty=1.0).score(features)
    second = fit_probe(features * scale + shift, labels, inverse_penalty=1.0).score(
        features * scale + shift
    )
    np.testing.assert_allclose(first, second, rtol=1e-3, atol=1e-3)


def three_classes(n, seed, *, shares=(0.5, 0.3, 0.2), spread=0.7):
    rng = np.random.default_rng(seed)
    label = rng.choice(3, n, p=shares)
    return np.eye(8)[label] + spread * rng.normal(size=(n, 8)), np.eye(3)[label]


def test_exclusive_classes_are_one_regression():
    features, labels = three_classes(200, 0)
    labels[:20] = np.nan
    scores = fit_probe(features, labels, inverse_penalty=0.1, exclusive=True).score(features)
    x = StandardScaler().fit_transform(features)
    alone = LogisticRegression(C=0.1, max_iter=300).fit(x[20:], labels[20:].argmax(axis=1))
    np.testing.assert_allclose(scores, alone.predict_proba(x))
    np.testing.assert_allclose(scores.sum(axis=1), 1)


def test_a_class_that_training_does_not_have_gets_nothing():
    features, labels = three_classes(100, 0)
    some = labels[:, 1] == 0
    scores = fit_probe(features[some], labels[some], inverse_penalty=1.0, exclusive=True).score(
        features
    )
    assert not scores[:, 1].any()
    np.testing.assert_allclose(scores.sum(axis=1), 1)
    one = labels[:, 2] == 1
    scores = fit_probe(features[one], labels[one], inverse_penalty=1.0, exclusive=True).score(
        features
    )
    np.testing.assert_array_equal(scores, np.tile([0, 0, 1], (100, 1)))


def test_the_penalty_of_exclusive_classes_does_not_give_the_accuracy_away():
    """Easy classes: all penalties rank alike, the strongest calls everything the largest class."""
    train, validation = three_classes(60, 0, spread=0.1), three_classes(100, 1, spread=0.1)
    test_features, test_labels = three_classes(200, 2, spread=0.1)
    of_penalty = [
        fit_probe(*train, inverse_penalty=c, exclusive=True).score(validation[0])
        for c in REGULARISATION
    ]
    assert np.argmax([roc_auc(scores, validation[1])["macro"] for scores in of_penalty]) == 0
    strongest = fit_probe(*train, inverse_penalty=REGULARISATION[0], exclusive=True)
    probe, auc = choose_probe(*train, *validation, exclusive=True)
    chosen = accuracy(probe.score(test_features), test_labels)
    assert accuracy(strongest.score(test_features), test_labels) < 0.7
    assert chosen == 1.0
    assert auc == roc_auc(probe.score(validation[0]), validation[1])["macro"]


def test_a_given_scaler_is_used():
    features, labels = two_classes(40, 0)
    scaler = StandardScaler().fit(10 * features + 3)
    probe, _ = choose_probe(features, labels, features, labels, scaler=scaler)
    assert probe.scaler is scaler


def test_no_validation_takes_the_middle_penalty():
    features, labels = two_classes(40, 0)
    probe, auc = choose_probe(features, labels, features[:0], labels[:0])
    middle = fit_probe(features, labels, inverse_penalty=0.1)
    assert np.isnan(auc)
    np.testing.assert_array_equal(probe.score(features), middle.score(features))
    assert probe.score(features[:0]).shape == (0, 2)


def test_no_training_row_is_refused():
    features, labels = two_classes(40, 0)
    with pytest.raises(InputError, match="no row"):
        choose_probe(features[:0], labels[:0], features, labels)

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import ledoit_wolf
from sklearn.metrics import average_precision_score, roc_auc_score

from gazax.eval.anomaly import NUM_NEIGHBOURS, measure, normal_rows
from gazax.eval.features import Examples, Features


def make(n_train=60, n_test=80, seed=0, *, shift=2.0):
    """Normal images around one point, others moved along one direction."""
    rng = np.random.default_rng(seed)

    def split(n):
        odd = rng.random(n) < 0.5
        x = rng.normal(size=(n, 6)) + 3
        x[:, 0] += shift * odd
        label = np.stack([~odd, odd], axis=1).astype(float)
        return Examples(features=x, label=label, patient=np.arange(n) // 2)

    return Features(
        train=split(n_train),
        validation=split(10),
        test=split(n_test),
        exclusive=True,
        label_names=("Normal", "odd"),
    )


def run(features, **changes):
    normals = {}
    for name, split in (("normal_train", features.train), ("normal_test", features.test)):
        normals[name], how = normal_rows(split.label, features.label_names, exclusive=True)
    return measure(features, **normals | changes, how=how, seed=0, num_samples=30)


def test_scores_equal_the_formulas():
    features = make()
    part = run(features)
    normals = features.train.features[features.train.label[:, 0] == 1]
    precision = np.linalg.inv(ledoit_wolf(normals)[0])
    unit = normals / np.linalg.norm(normals, axis=1, keepdims=True)
    for row, x in enumerate(features.test.features[:10]):
        far = mahalanobis(x, normals.mean(axis=0), precision)
        np.testing.assert_allclose(part.scores["anomaly_mahalanobis"][0, row, 0], far)
        distances = np.sort(np.linalg.norm(unit - x / np.linalg.norm(x), axis=1))
        near = distances[:NUM_NEIGHBOURS].mean()
        np.testing.assert_allclose(part.scores["anomaly_knn"][0, row, 0], near)


def test_numbers_equal_scikit_learn():
    features = make()
    part = run(features)
    odd = features.test.label[:, 1]
    for row in ("anomaly_mahalanobis", "anomaly_knn"):
        np.testing.assert_array_equal(part.targets[row][:, 0], odd)
        score = part.scores[row][0, :, 0]
        references = {"auc_macro": roc_auc_score, "ap_macro": average_precision_score}
        for column, reference in references.items():
            estimate, low, high = part.numbers[f"{row}/{column}"]
            np.testing.assert_allclose(estimate, reference(odd, score))
            assert 0.3 < low < estimate < high


def test_nothing_is_found_where_nothing_is_odd():
    part = run(make(n_train=300, n_test=300, shift=0.0))
    for row in ("anomaly_mahalanobis", "anomaly_knn"):
        assert 0.4 < part.numbers[f"{row}/auc_macro"][0] < 0.6


def test_abnormal_training_images_are_not_looked_at():
    features = make()
    first = run(features)
    features.train.features[features.train.label[:, 1] == 1] += 100.0
    second = run(features)
    for row, scores in first.scores.items():
        np.testing.assert_array_equal(scores, second.scores[row])


def test_unknown_images_do_not_count():
    features = make()
    normal, _ = normal_rows(features.test.label, features.label_names, exclusive=True)
    normal[:20] = np.nan
    part = run(features, normal_test=normal)
    known = ~np.isnan(normal)
    for row in part.scores:
        assert np.isnan(part.targets[row][:20]).all()
        area = roc_auc_score(1 - normal[known], part.scores[row][0, known, 0])
        np.testing.assert_allclose(part.numbers[f"{row}/auc_macro"][0], area)


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_normals_are_said(count):
    features = make()
    normal = np.zeros(60)
    normal[:count] = 1
    part = run(features, normal_train=normal)
    assert not part.numbers
    assert not part.scores
    assert f"skipped ({count} normal images in the training split" in part.table


def test_fewer_normals_than_neighbours_or_features_still_score():
    features = make()
    normal = np.zeros(60)
    normal[:3] = 1
    part = run(features, normal_train=normal)
    assert all(np.isfinite(scores).all() for scores in part.scores.values())


def test_a_test_split_of_normals_has_no_number():
    part = run(make(), normal_test=np.ones(80))
    assert not part.numbers
    assert part.table.endswith("0 of 80 test images are not: no number")


@pytest.mark.parametrize("name", ["normal", "No Finding", "no_finding", " NORMAL ", "Healthy"])
def test_a_label_called_normal_decides(name):
    labels = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, np.nan], [0.0, np.nan], [0.0, 0.0]])
    normal, how = normal_rows(labels, ("mass", name), exclusive=False)
    np.testing.assert_array_equal(normal, [1, 0, 0, np.nan, 0])
    assert name in how


@pytest.mark.parametrize("name", ["abnormal", "normal heart", "not healthy"])
def test_a_label_that_only_contains_the_word_does_not(name):
    normal, how = normal_rows(np.array([[1.0], [0.0]]), (name,), exclusive=False)
    np.testing.assert_array_equal(normal, [0, 1])
    assert "all of whose labels are 0" in how


def test_without_such_a_label_all_must_be_absent():
    labels = np.array([[0.0, 0.0], [1.0, np.nan], [0.0, np.nan], [np.nan, np.nan], [1.0, 1.0]])
    normal, _ = normal_rows(labels, ("mass", "oedema"), exclusive=False)
    np.testing.assert_array_equal(normal, [1, 0, np.nan, np.nan, 0])


def test_classes_without_a_normal_one_have_no_normal_image():
    labels = np.array([[0.0, 1.0], [1.0, 0.0], [np.nan, np.nan]])
    normal, how = normal_rows(labels, ("mass", "oedema"), exclusive=True)
    np.testing.assert_array_equal(normal, [0, 0, np.nan])
    assert "no label is called normal" in how


def test_no_label_at_all_says_nothing():
    normal, _ = normal_rows(np.zeros((3, 0)), (), exclusive=False)
    assert np.isnan(normal).all()

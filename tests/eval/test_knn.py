import numpy as np
import pytest

from gazax.eval.knn import NEIGHBOURS, choose_neighbours
from gazax.metrics.classification import roc_auc
from gazax.typing import InputError


def data(n, seed):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, n)
    features = rng.normal(size=(n, 6)) + 1.5 * np.eye(6)[label]
    return features, np.eye(3)[label]


def by_hand(query, features, labels, k):
    """One image and one label, from the formula."""
    known = ~np.isnan(labels)
    features, labels = features[known], labels[known]
    cosine = np.array([query @ x / np.sqrt(query @ query) / np.sqrt(x @ x) for x in features])
    nearest = sorted(range(len(labels)), key=lambda i: -cosine[i])[:k]
    weights = [np.exp(cosine[i] / 0.07) for i in nearest]
    return sum(w * labels[i] for w, i in zip(weights, nearest, strict=True)) / sum(weights)


@pytest.mark.parametrize("unknown", [0.0, 0.4])
def test_votes_equal_the_formula(unknown):
    features, labels = data(60, 0)
    labels[np.random.default_rng(2).random(labels.shape) < unknown] = np.nan
    queries, of_queries = data(30, 1)
    neighbours, _ = choose_neighbours(features, labels, queries, of_queries)
    expected = [
        [by_hand(q, features, column, neighbours.num_neighbours) for column in labels.T]
        for q in queries
    ]
    np.testing.assert_allclose(neighbours.score(queries), expected, atol=1e-12)


def test_the_number_is_the_one_of_the_highest_auc():
    """Labels that are noise near by: one neighbour is worse than many."""
    (features, labels), (queries, of_queries) = data(300, 0), data(100, 1)
    neighbours, auc = choose_neighbours(features, labels, queries, of_queries)
    aucs = [
        roc_auc(
            np.array([[by_hand(q, features, column, k) for column in labels.T] for q in queries]),
            of_queries,
        )["macro"]
        for k in (1, 5, 20)
    ]
    assert neighbours.num_neighbours > 1
    assert auc >= max(aucs)
    assert auc == roc_auc(neighbours.score(queries), of_queries)["macro"]


def test_where_classes_exclude_each_other_the_number_is_that_of_the_lowest_log_loss():
    """The AUC would take another: both are by hand, and a class without a vote has 1 / n."""
    (features, labels), (queries, of_queries) = data(100, 0), data(60, 1)
    losses, aucs = [], []
    for k in NEIGHBOURS:
        votes = [[by_hand(q, features, column, k) for column in labels.T] for q in queries]
        right = np.maximum(votes, 1 / 100)[of_queries == 1]
        losses.append(-np.log(right).mean())
        aucs.append(roc_auc(np.array(votes), of_queries)["macro"])
    arguments = features, labels, queries, of_queries
    best = int(np.argmin(np.round(losses, 9)))
    neighbours, auc = choose_neighbours(*arguments, exclusive=True)
    assert neighbours.num_neighbours == NEIGHBOURS[best]
    assert auc == pytest.approx(aucs[best])
    by_auc, _ = choose_neighbours(*arguments)
    assert by_auc.num_neighbours == NEIGHBOURS[int(np.argmax(np.round(aucs, 9)))]
    assert by_auc.num_neighbours != neighbours.num_neighbours


def test_one_image_without_a_vote_for_its_class_does_not_decide():
    """20 images of one class stand beside 160 of another; those of a third are behind these.

    A validation image of the third among the 20 has a vote only where everybody has one, and then
    the 20 are outvoted.
    """
    angles = {0: np.linspace(0.02, 0.03, 160), 1: np.linspace(-0.03, -0.02, 20), 2: np.full(5, 0.1)}
    angle = np.concatenate(list(angles.values()))
    labels = np.repeat(np.eye(3), [len(one) for one in angles.values()], axis=0)
    queries, of_queries = np.array([0.025] * 4 + [-0.025] * 5), np.eye(3)[[0] * 4 + [1] * 4 + [2]]

    def at(angle):
        return np.stack([np.cos(angle), np.sin(angle)], axis=1)

    neighbours, _ = choose_neighbours(at(angle), labels, at(queries), of_queries, exclusive=True)
    assert neighbours.num_neighbours == 1


def test_votes_for_classes_sum_to_one():
    (features, labels), (queries, of_queries) = data(50, 0), data(20, 1)
    scores = choose_neighbours(features, labels, queries, of_queries)[0].score(queries)
    np.testing.assert_allclose(scores.sum(axis=1), 1)


def test_the_length_of_a_feature_vector_does_not_matter():
    (features, labels), (queries, of_queries) = data(50, 0), data(20, 1)
    lengths = np.random.default_rng(0).uniform(0.1, 1e4, (50, 1))
    first, _ = choose_neighbours(features, labels, queries, of_queries)
    second, _ = choose_neighbours(features * lengths, labels, queries * 1e-3, of_queries)
    np.testing.assert_allclose(first.score(queries), second.score(queries))


def test_opposite_and_zero_features_are_finite():
    features, labels = np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([[1.0], [0.0]])
    queries = np.array([[-1.0, 0.0], [0.0, 0.0]])
    neighbours, auc = choose_neighbours(features, labels, queries, np.ones((2, 1)))
    # cosines -1 and 0; 0 and 0
    expected = [[np.exp(-1 / 0.07) / (np.exp(-1 / 0.07) + 1)], [0.5]]
    np.testing.assert_allclose(neighbours.score(queries), expected)
    assert np.isnan(auc)
    assert neighbours.num_neighbours in NEIGHBOURS


def test_a_label_never_known_is_as_likely_as_not():
    features, labels = data(20, 0)
    labels[:, 1] = np.nan
    neighbours, _ = choose_neighbours(features, labels, features, labels)
    np.testing.assert_array_equal(neighbours.score(features)[:, 1], 0.5)


def test_no_validation_gives_no_auc():
    features, labels = data(20, 0)
    neighbours, auc = choose_neighbours(features, labels, features[:0], labels[:0])
    assert np.isnan(auc)
    assert neighbours.num_neighbours == 20
    assert neighbours.score(features[:0]).shape == (0, 3)


def test_no_training_row_is_refused():
    features, labels = data(20, 0)
    with pytest.raises(InputError, match="no training row"):
        choose_neighbours(features[:0], labels[:0], features, labels)

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gazax.methods.positives import mean_positive, same_label, similar_gaze
from gazax.typing import InputError
from tests.batches import tiny_batch
from tests.methods.test_gazat import loss_of, make


def test_same_label_by_hand():
    nan = np.nan
    label = jnp.array([[1.0, 0.0], [1.0, nan], [0.0, 0.0], [0.0, 0.0], [nan, 0.0], [0.0, 1.0]])
    found = same_label(label, label)
    expected = np.zeros((6, 6), bool)
    expected[0, 1] = expected[1, 0] = True  # both have the first
    expected[2, 3] = expected[3, 2] = True  # both are known to have none
    expected[[0, 1, 2, 3, 5], [0, 1, 2, 3, 5]] = True  # not 4, of which nothing is known for sure
    np.testing.assert_array_equal(found, expected)


def test_similar_gaze_is_a_correlation_and_no_gaze_is_like_nothing():
    generator = np.random.default_rng(0)
    maps = generator.uniform(size=(4, 3, 5)).astype(np.float32)
    maps[1] = 0.5 * maps[0] + 0.1  # correlation 1
    maps[3] = 0.0
    expected = np.zeros((4, 4), bool)
    for i in range(3):
        for j in range(3):
            r = np.corrcoef(maps[i].reshape(-1), maps[j].reshape(-1))[0, 1]
            expected[i, j] = r >= 0.2
    np.testing.assert_array_equal(similar_gaze(maps, maps, threshold=0.2), expected)
    assert expected[0, 1]
    assert not expected.all()


def test_mean_positive_by_hand_and_its_own_where_there_is_none():
    own = jnp.array([[0.0, 2.0], [5.0, 0.0]])
    everyone = jnp.array([[3.0, 0.0], [0.0, 1.0], [jnp.nan, jnp.nan]])
    chosen = jnp.array([[True, True, False], [False, False, False]])
    found = mean_positive(own, everyone, chosen)
    np.testing.assert_allclose(found, [[0.5, 0.5], [1.0, 0.0]], atol=1e-6)
    grads = jax.grad(lambda everyone: mean_positive(own, everyone, chosen).sum())(everyone)
    assert np.isfinite(grads).all()


@pytest.fixture(scope="module")
def case():
    """A batch in which all have gaze, weights, and the regional term by the other view."""
    batch = tiny_batch(8, has_gaze=np.ones(8, bool))
    batch["label"] = np.eye(3, dtype=np.float32)[np.arange(8) % 3]
    params, _ = jax.jit(make().init)(jax.random.key(0), batch)
    return batch, params, regional_term(params, batch)


def regional_term(params, batch, **settings):
    method = make(alpha=0.0, **settings)
    _, (_, terms) = loss_of(method, params, batch, jax.random.key(0))
    return float(terms["loss/regional"])


@pytest.mark.parametrize(
    "settings",
    [
        dict(positives="label"),
        dict(positives="gaze", gaze_similarity=0.0),
        dict(regions="top", top_fraction=0.25),
    ],
)
def test_other_positives_and_regions_change_the_regional_term(case, settings):
    batch, params, by_view = case
    assert abs(regional_term(params, batch, **settings) - by_view) > 1e-3


def test_without_any_positive_the_other_view_stands_in(case):
    """Every image has a label of its own: positives by label are those by view."""
    batch, params, by_view = case
    alone = {**batch, "label": np.eye(8, dtype=np.float32)}
    assert regional_term(params, alone, positives="label") == pytest.approx(by_view, rel=1e-5)


def test_positives_by_label_need_labels(rng):
    batch = tiny_batch(4)
    batch["label"] = np.zeros((4, 0), np.float32)
    with pytest.raises(InputError, match="positives='label' and the data has no label column"):
        make(positives="label").init(rng, batch)

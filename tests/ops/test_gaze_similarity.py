import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gazax.ops.gaze_similarity import (
    difference_hash,
    hash_similarity,
    moment_similarity,
    moments,
)
from tests.reference import scanpaths as reference


def test_moments_by_hand():
    # ones: mean squared distance from the middle of 32 cells, (32^2 - 1) / 12, both ways, / 1024
    expected = [1024, 2 * (32**2 - 1) / 12 / 1024]
    np.testing.assert_allclose(moments(np.ones((32, 32), np.float32)), expected, rtol=1e-5)
    # four corners of a square of side 10, each sqrt(50) from its centre: 4 * 50 / 4^2
    corners = np.zeros((32, 32), np.float32)
    corners[np.ix_([3, 13], [20, 30])] = 1
    np.testing.assert_allclose(moments(corners), [4, 12.5], rtol=1e-5)
    np.testing.assert_allclose(moments(corners / 2), [2, 25], rtol=1e-5)
    np.testing.assert_array_equal(moments(np.zeros((24, 40), np.float32)), [0, 0])


@pytest.mark.parametrize("size", [(24, 32), (40, 33)])
def test_moments_equal_loops(size):
    gaze_map = np.random.default_rng(0).uniform(size=size).astype(np.float32) ** 4
    np.testing.assert_allclose(moments(gaze_map), reference.moments(gaze_map), rtol=1e-4)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([8, 0.2], [8, 0.2], 1),
        ([8, 0.2], [4, 0.15], 1 - (0.5 + 0.25) / 2),
        ([1, 0], [1, 0], 1),  # lone cells have no spread, and do not differ in it
        ([1, 0], [1, 0.2], 0.5),
        ([8, 0.2], [0, 0], 0),  # nobody looked
        ([0, 0], [0, 0], 0),
    ],
)
def test_moment_similarity_by_hand(a, b, expected):
    a, b = np.float32(a), np.float32(b)
    assert float(moment_similarity(a, b)) == pytest.approx(expected)
    assert float(moment_similarity(b, a)) == pytest.approx(expected)


def test_difference_hash_by_hand():
    gaze_map = np.zeros((8, 9), np.float32)
    gaze_map[2, 4] = 1.0  # falls once, to the right of it
    gaze_map[5, :] = np.linspace(1, 0, 9)  # falls all along
    gaze_map[6, :] = 0.001 * np.linspace(1, 0, 9)  # a tail, below a level
    expected = np.zeros((8, 8), bool)
    expected[2, 4] = True
    expected[5, :] = True
    np.testing.assert_array_equal(difference_hash(gaze_map), expected.reshape(-1))
    larger = np.kron(gaze_map, np.ones((3, 2), np.float32))
    np.testing.assert_array_equal(difference_hash(larger), expected.reshape(-1))


def test_hash_similarity_is_a_cosine():
    bits = np.random.default_rng(0).integers(0, 2, (4, 64)).astype(bool)
    for a, b in itertools.combinations_with_replacement(bits, 2):
        expected = (a * 1.0) @ b / np.linalg.norm(a) / np.linalg.norm(b)
        assert float(hash_similarity(a, b)) == pytest.approx(expected, rel=1e-6)
        assert hash_similarity(a, b) == hash_similarity(b, a)
    nothing = np.zeros(64, bool)
    assert float(hash_similarity(nothing, nothing)) == 0
    assert float(hash_similarity(nothing, bits[0])) == 0


def test_gradients_are_finite_where_nobody_looked():
    def similarity(gaze_map):
        return moment_similarity(moments(gaze_map), moments(gaze_map))

    assert np.isfinite(jax.grad(similarity)(jnp.zeros((24, 32)))).all()

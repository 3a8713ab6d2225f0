import json
import math
import pathlib

import jax
import numpy as np
import pytest

from gazax.data.scanpaths import simplify
from gazax.ops.scanpaths import align, multimatch, multimatch_similarity, tima_similarity
from tests.reference import scanpaths as reference

GOLDEN = json.loads((pathlib.Path(__file__).parents[1] / "golden/multimatch.json").read_text())
LENGTH = 20

compare = jax.jit(multimatch)
warp = jax.jit(tima_similarity)
path_of = jax.jit(align)


def padded(rows, length=LENGTH, columns=5):
    """What lies behind the count is anything."""
    out = np.full((length, columns), 7, np.float32)
    out[: len(rows)] = np.reshape(rows, (-1, columns))
    return out, np.int32(len(rows))


def measures(a, b, *, diagonal, length=LENGTH):
    """Lengths are given in diagonals, so that one program does for all screens."""
    unit = np.float32([diagonal] * 4 + [1])[None]
    (a, m), (b, n) = padded(a, length), padded(b, length)
    return compare(a / unit, m, b / unit, n)


def random_path(generator, number):
    xy = generator.uniform(0, 1, (number + 1, 2))
    return np.column_stack([xy[:-1], np.diff(xy, axis=0), generator.uniform(0.1, 1, number)])


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda c: f"{len(c['a'])}-{len(c['b'])}")
def test_multimatch_equals_the_public_implementation(case):
    thresholds = {
        "amplitude": case["amplitude"],
        "direction": case["direction"],
        "longest": case["duration"],
    }
    a, b = (
        simplify(path[:, :2], path[:, 2], **thresholds)
        for path in (np.array(case["a"]), np.array(case["b"]))
    )
    expected = [0.0 if value is None else value for value in case["expected"]]
    diagonal = math.hypot(*case["screen"])
    np.testing.assert_allclose(measures(a, b, diagonal=diagonal), expected, atol=2e-6)
    np.testing.assert_allclose(measures(b, a, diagonal=diagonal), expected, atol=2e-6)


def test_multimatch_by_hand():
    # One saccade of 4 to the right after .2 s, and one of 3 down after .1 s, which starts 2 lower;
    # the screen's diagonal is 10.
    a, b = [[1, 1, 4, 0, 0.2]], [[1, 3, 0, 3, 0.1]]
    expected = [1 - 5 / 20, 1 - 0.5, 1 - 1 / 10, 1 - 2 / 10, 1 - 0.5]
    found = measures(a, b, diagonal=10)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert float(multimatch_similarity(found)) == pytest.approx(np.mean(expected))


def test_multimatch_equals_loops_and_is_symmetric():
    generator = np.random.default_rng(1)
    for m, n in [(1, 5), (4, 6), (6, 6)]:
        a, b = random_path(generator, m), random_path(generator, n)
        expected = reference.multimatch(a, b, diagonal=1.0)
        np.testing.assert_allclose(measures(a, b, diagonal=1), expected, atol=2e-6)
        np.testing.assert_allclose(measures(b, a, diagonal=1), expected, atol=2e-6)


def test_a_scanpath_is_itself_and_like_none_without_saccades():
    path = random_path(np.random.default_rng(2), LENGTH)
    np.testing.assert_allclose(measures(path, path, diagonal=1), 1, atol=1e-6)
    for a, b in [(path, []), ([], path), ([], [])]:
        np.testing.assert_array_equal(measures(a, b, diagonal=1), 0)


def test_durations_of_zero_do_not_differ():
    path = random_path(np.random.default_rng(2), 3)
    path[:, 4] = 0
    np.testing.assert_allclose(measures(path, path, diagonal=1), 1, atol=1e-6)


def test_align_by_hand():
    # Of three rows two count and of four columns three.
    cost = np.float32([[1, 5, 0, 0], [0, 2, 1, 0], [0, 0, 0, 0]])
    on, i, j = path_of(cost, np.int32(2), np.int32(3))
    cells = [(int(a), int(b)) for o, a, b in zip(on, i, j, strict=True) if o]
    # (0, 0) straight to (1, 1) costs 1 + 2 + 1 = 4; by (1, 0) the same: the diagonal goes first
    assert cells == [(0, 0), (1, 1), (1, 2)]


@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 4), (5, 2), (5, 5), (0, 3)])
def test_tima_equals_loops(m, n):
    generator = np.random.default_rng(10 * m + n)
    a, b = (generator.uniform(0.1, 1, (k, 2)).astype(np.float32) for k in (m, n))
    for one, other in ((a, b), (b, a)):
        found = warp(*padded(one, 6, 2), *padded(other, 6, 2))
        assert float(found) == pytest.approx(reference.tima(one, other), abs=1e-6)
    if m:
        assert float(warp(*padded(a, 6, 2), *padded(a, 6, 2))) == 1


def test_tima_by_hand():
    # Two clusters against one: both go to it, and differ by 0 and by .7 / 2 + .3 / 4.
    found = warp(*padded([[4, 2], [2, 1.5]], 6, 2), *padded([[4, 2]], 6, 2))
    assert float(found) == pytest.approx(1 - (0.7 / 2 + 0.3 / 4) / 2)

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gazax.ops.windows import (
    area_shares,
    centres_inside,
    draw_rectangles,
    draw_windows,
    first_accepted,
    window_sums,
)
from tests.reference import windows as reference

SIZE = (9, 11)
CONTENT = jnp.array([1.0, 2, 10, 8])
MAP = jnp.asarray(np.random.default_rng(0).uniform(0, 1, SIZE), jnp.float32)


@jax.jit
def sums(map, windows):
    """By share of area, and by the pixels' centres."""
    size = map.shape
    return (
        window_sums(map, *area_shares(windows, size)),
        window_sums(map, *centres_inside(windows, size)),
    )


@functools.partial(jax.jit, static_argnames=("zoom", "count"))
def windows_of(rng, zoom, count):
    return draw_windows(rng, CONTENT, zoom=zoom, count=count)


@functools.partial(jax.jit, static_argnames=("side", "count"))
def rectangles_of(rng, side, count):
    return draw_rectangles(rng, CONTENT, side=side, count=count)


def test_draw_windows_have_one_size_and_lie_all_over_the_content(rng):
    windows = np.asarray(windows_of(rng, (1.5, 1.5), 200))
    sides = windows[:, 2:] - windows[:, :2]
    np.testing.assert_allclose(sides, np.tile([[9 / 1.5, 6 / 1.5]], (200, 1)), atol=1e-5)
    assert (windows[:, :2] >= [1, 2]).all()
    assert (windows[:, 2:] <= [10 + 1e-5, 8 + 1e-5]).all()
    # 3 and 2 px are left to move in.
    assert (windows[:, :2].min(axis=0) < [1.1, 2.1]).all()
    assert (windows[:, :2].max(axis=0) > [3.9, 3.9]).all()


def test_draw_windows_zoom_is_uniform_in_its_range(rng):
    draw = jax.jit(jax.vmap(lambda key: draw_windows(key, CONTENT, zoom=(1.0, 2.0), count=1)[0]))
    windows = np.asarray(draw(jax.random.split(rng, 400)))
    zoom = 9 / (windows[:, 2] - windows[:, 0])
    assert zoom.min() >= 1 - 1e-5
    assert zoom.max() <= 2 + 1e-5
    np.testing.assert_allclose(np.quantile(zoom, [0.25, 0.5, 0.75]), [1.25, 1.5, 1.75], atol=0.1)


def test_draw_rectangles_keep_their_sides_and_the_content(rng):
    found = np.asarray(rectangles_of(rng, (0.2, 0.6), 500))
    assert (found[:, :2] >= [1, 2]).all()
    assert (found[:, 2:] <= [10 + 1e-5, 8 + 1e-5]).all()
    share = (found[:, 2:] - found[:, :2]) / [9, 6]
    assert share.min() >= 0.2 - 1e-6
    assert share.max() <= 0.6 + 1e-6
    assert (share.max(axis=0) > 0.55).all()
    assert ((found[:, :2] - [1, 2]) / [9, 6]).max() > 0.75  # up to 1 - .2


def test_window_sums_by_hand():
    # The window takes half of the left column and a quarter of the right one, in the top row.
    map = jnp.array([[1.0, 2], [4, 8]])
    window = jnp.array([[0.5, 0, 1.25, 1]])
    by_area, by_centre = sums(map, window)
    np.testing.assert_allclose(by_area, [0.5 * 1 + 0.25 * 2])
    # Of the centres at .5 and 1.5, it holds the left one.
    np.testing.assert_allclose(by_centre, [1.0])


def test_window_sums_equal_loops(rng):
    windows = rectangles_of(rng, (0.2, 1.0), 6)
    by_area, by_centre = sums(MAP, windows)
    map, windows = np.asarray(MAP, float), np.asarray(windows)
    np.testing.assert_allclose(by_area, [reference.mass(map, w) for w in windows], rtol=1e-5)
    masked = [(map * reference.rectangle(w, SIZE)).sum() for w in windows]
    np.testing.assert_allclose(by_centre, masked, rtol=1e-5)


@pytest.mark.parametrize(
    ("accepted", "chosen"), [([0, 0, 1, 1], 2), ([1, 0, 0, 0], 0), ([0, 0, 0, 0], 3)]
)
def test_first_accepted_by_hand(accepted, chosen):
    assert first_accepted(jnp.array(accepted, bool)) == chosen

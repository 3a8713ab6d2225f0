import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gazax.ops.warp import show_window
from tests.reference import windows as reference

WHOLE = np.float32([0, 0, 12, 10])
PADDED = np.float32([2, 1, 11, 8])
MAPS = np.random.default_rng(0).uniform(0, 1, (2, 10, 12)).astype(np.float32)


@jax.jit
def shown(content, window, angle=0.0, mirrored=False):
    return show_window(
        jnp.asarray(MAPS), content, window, angle=jnp.asarray(angle), mirrored=jnp.asarray(mirrored)
    )


@pytest.mark.parametrize("content", [WHOLE, PADDED])
def test_show_window_of_the_whole_content_is_an_exact_copy_and_mirror(content):
    left, top, right, bottom = content.astype(int)
    inside = np.s_[:, top:bottom, left:right]
    for mirrored in (False, True):
        maps, mask = shown(content, content, 0.0, mirrored)
        expected = np.zeros(MAPS.shape, np.float32)
        expected[inside] = MAPS[inside][:, :, ::-1] if mirrored else MAPS[inside]
        np.testing.assert_array_equal(maps, expected)
        np.testing.assert_array_equal(mask, expected[0] > 0)


def test_show_window_by_hand():
    # A window of 2 x 2 px around the corner of four pixels, shown 6 times as large: the middle
    # lies on that corner, and is the mean of the four.
    maps, mask = shown(WHOLE, np.float32([3, 4, 5, 6]))
    middle = np.asarray(maps)[:, 4:6, 5:7].mean(axis=(1, 2))
    np.testing.assert_allclose(middle, MAPS[:, 4:6, 3:5].mean(axis=(1, 2)), atol=1e-6)
    assert mask.min() == 1


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("angle", [0.0, 0.3])
def test_show_window_equals_loops(angle, mirrored):
    window = np.float32([4.8, 1.0, 11.0, 5.6])
    maps, mask = shown(PADDED, window, angle, mirrored)
    for k in range(2):
        expected, inside = reference.show_window(
            MAPS[k].astype(float), PADDED, window, angle, mirrored
        )
        np.testing.assert_allclose(maps[k], expected, atol=1e-5)
        np.testing.assert_array_equal(mask, inside)
    if angle:
        assert 0 < (1 - mask[1:8, 2:11]).sum() < 20  # a corner turns in from beyond the content


def test_show_window_of_an_empty_content_is_empty():
    for values in shown(np.zeros(4, np.float32), np.zeros(4, np.float32)):
        np.testing.assert_array_equal(values, 0)

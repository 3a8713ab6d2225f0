"""A stem and positions made to fit: by hand, by a plain twin, and as timm has them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gazax.train.fit import fit_channels, resample_positions
from tests.models.conftest import timm  # noqa: F401

GRIDS = [((14, 14), (24, 24)), ((14, 14), (7, 7)), ((14, 14), (4, 6)), ((3, 5), (14, 9))]


def positions_of(grid, width=8, offset=1.0):
    shape = (1, 1 + grid[0] * grid[1], width)
    return (offset + np.random.default_rng(0).normal(size=shape)).astype(np.float32)


def test_colours_are_added_up_and_grey_is_shared_out():
    kernel = np.arange(6, dtype=np.float32).reshape(1, 1, 3, 2)
    np.testing.assert_array_equal(fit_channels(kernel, 1), [[[[6, 9]]]])
    np.testing.assert_allclose(fit_channels(kernel[:, :, 2:], 3), [[[[4 / 3, 5 / 3]] * 3]])


def test_a_grey_kernel_comes_back_from_colours_bit_for_bit():
    kernel = np.random.default_rng(0).normal(size=(7, 7, 1, 64)).astype(np.float32)
    colours = fit_channels(kernel, 3)
    np.testing.assert_allclose(colours, np.broadcast_to(kernel / 3, colours.shape), rtol=1e-6)
    np.testing.assert_array_equal(fit_channels(colours, 1), kernel)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_channels_come_out_in_single_precision(dtype):
    kernel = np.full((1, 1, 3, 1), 30000, dtype)  # the sum of three is none of half precision
    assert fit_channels(kernel, 1).item() == 90000
    assert fit_channels(kernel[:, :, :1], 3).dtype == np.float32


def test_a_grey_image_repeated_makes_the_same_of_either_kernel():
    numbers = np.random.default_rng(0)
    image = numbers.normal(size=(2, 9, 8, 1)).astype(np.float32)

    def convolve(kernel):
        seen = jnp.repeat(image, kernel.shape[2], axis=3)
        return jax.lax.conv_general_dilated(
            seen, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    for channels, other in ((3, 1), (1, 3)):
        kernel = numbers.normal(size=(3, 3, channels, 4)).astype(np.float32)
        fitted = fit_channels(kernel, other)
        assert fitted.shape == (3, 3, other, 4)
        np.testing.assert_allclose(convolve(fitted), convolve(kernel), atol=1e-5)


def keys_cubic(x):
    x = abs(x)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def weights_of(old, new):
    """Row i: what each of the old cells gives to the new cell i."""
    stretch = max(old / new, 1.0)
    table = np.zeros((new, old))
    for i in range(new):
        centre = (i + 0.5) * old / new - 0.5
        for j in range(old):
            table[i, j] = keys_cubic((j - centre) / stretch)
        table[i] /= table[i].sum()
    return table


@pytest.mark.parametrize(("old", "new"), GRIDS)
def test_positions_are_those_of_a_plain_twin(old, new):
    positions = positions_of(old)
    found = resample_positions(positions, old, new)
    assert found.shape == (1, 1 + new[0] * new[1], 8)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[:, 0], positions[:, 0])  # the class token's
    grid = positions[0, 1:].astype(np.float64).reshape(*old, 8)
    expected = np.einsum(
        "yh,xw,hwd->yxd", weights_of(old[0], new[0]), weights_of(old[1], new[1]), grid
    )
    np.testing.assert_allclose(found[0, 1:].reshape(expected.shape), expected, atol=1e-5)


def test_positions_that_are_all_alike_stay_so():
    positions = np.full((1, 10, 4), 0.7, np.float32)
    found = resample_positions(positions, (3, 3), (5, 2))
    np.testing.assert_allclose(found, np.full((1, 11, 4), 0.7), atol=1e-6)


@pytest.mark.torch
@pytest.mark.parametrize(("old", "new"), [*GRIDS, ((24, 24), (32, 20)), ((2, 2), (1, 1))])
def test_positions_are_timms_within_a_millionth(timm, old, new):  # noqa: F811
    import torch

    positions = positions_of(old, width=64)
    found = resample_positions(positions, old, new)
    made = timm.layers.resample_abs_pos_embed(torch.from_numpy(positions), list(new), list(old))
    expected = made.numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(expected).max())

"""Rendering of gaze maps beside its rivals: ``pytest tests/benchmarks --benchmark-enable``.

64 maps of 256 fixations, at two sizes. In one group: ours jitted, one scipy filter an image, the
separable product in numpy, and the bare contraction of ready-made profiles, which is the floor.

2026-11-23, one core of an AMD EPYC (Zen 4), other programs on it, best of six, processor time: ours
takes 1.27 times as long as the bare contraction at 224x224 and 1.39 times at 640x512.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from gazax.ops.gaze import gaze_map, render_gaze

MAPS, FIXATIONS = 64, 256
SIZES = [(224, 224), (640, 512)]
each_size = pytest.mark.parametrize("size", SIZES, ids=["224x224", "640x512"])


def fixations(size):
    height, width = size
    generator = np.random.default_rng(0)
    xy = generator.uniform(0, 1, (MAPS, FIXATIONS, 2)) * [width, height]
    duration = generator.uniform(0.1, 0.6, (MAPS, FIXATIONS))
    return xy.astype(np.float32), duration.astype(np.float32), max(size) / 28


def profiles(xy, duration, sigma, size):
    """The two factors of the heat map of each image, [b, f, h] and [b, f, w], in numpy."""
    factors = []
    for axis, length in ((1, size[0]), (0, size[1])):
        centre = np.arange(length, dtype=np.float32) + np.float32(0.5)
        z = (centre[None, None, :] - xy[:, :, axis, None]) / np.float32(sigma)
        factors.append(np.exp(np.float32(-0.5) * z * z))
    return factors[0] * duration[:, :, None], factors[1]


def ours(sigma, size):
    return jax.jit(
        jax.vmap(lambda xy, duration: render_gaze(xy, duration, sigma_px=sigma, size=size))
    )


@each_size
def test_render_gaze(benchmark, size):
    benchmark.group = f"render {size}"
    xy, duration, sigma = fixations(size)
    arrays, render = (jnp.asarray(xy), jnp.asarray(duration)), ours(sigma, size)
    heat = jax.block_until_ready(render(*arrays))
    rows, columns = profiles(xy, duration, sigma, size)
    np.testing.assert_allclose(heat[0], rows[0].T @ columns[0], atol=1e-4)
    benchmark(lambda: jax.block_until_ready(render(*arrays)))


@each_size
def test_bare_contraction(benchmark, size):
    benchmark.group = f"render {size}"
    rows, columns = map(jnp.asarray, profiles(*fixations(size), size))
    contract = jax.jit(lambda rows, columns: jnp.einsum("bfh,bfw->bhw", rows, columns))
    jax.block_until_ready(contract(rows, columns))
    benchmark(lambda: jax.block_until_ready(contract(rows, columns)))


@each_size
def test_numpy_separable(benchmark, size):
    benchmark.group = f"render {size}"
    xy, duration, sigma = fixations(size)

    def render():
        rows, columns = profiles(xy, duration, sigma, size)
        return np.matmul(rows.transpose(0, 2, 1), columns)

    benchmark(render)


@each_size
def test_scipy_filter_one_image_at_a_time(benchmark, size):
    benchmark.group = f"render {size}"
    xy, duration, sigma = fixations(size)

    def render():
        heats = []
        for image in range(MAPS):
            impulses = np.zeros(size, np.float32)
            column, row = np.floor(xy[image]).astype(int).T
            np.add.at(impulses, (row, column), duration[image])
            heats.append(gaussian_filter(impulses, sigma, mode="constant"))
        return heats

    benchmark(render)


@pytest.mark.parametrize("readers", [1, 4, 16])
def test_gaze_map(benchmark, readers):
    """A training batch of 128 images at 64 px, all readers and both min-max steps."""
    benchmark.group = "gaze_map 128 x (64, 64)"
    generator = np.random.default_rng(0)
    shape = (128, FIXATIONS)
    arrays = jax.device_put(
        (
            generator.uniform(0, 64, (*shape, 2)).astype(np.float32),
            generator.uniform(0.1, 0.6, shape).astype(np.float32),
            np.full((*shape, 2), 64 / 28, np.float32),
            np.tile(np.float32([0, 0, 64, 64]), (*shape, 1)),
            generator.integers(0, readers, shape, np.int32),
            np.ones((128, readers), np.float32),
        )
    )
    render = jax.jit(jax.vmap(lambda *fixation: gaze_map(*fixation, size=(64, 64))))
    jax.block_until_ready(render(*arrays))
    benchmark(lambda: jax.block_until_ready(render(*arrays)))


@each_size
def test_peak_memory_does_not_grow_with_pixels_times_fixations(size):
    """No benchmark: what XLA has set aside, for the numbers of the report."""

    def peak_bytes(number):
        spec = jax.ShapeDtypeStruct
        arguments = (
            spec((MAPS, number, 2), jnp.float32),
            spec((MAPS, number), jnp.float32),
        )
        compiled = ours(max(size) / 28, size).lower(*arguments).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    few, many = peak_bytes(FIXATIONS), peak_bytes(4 * FIXATIONS)
    print(f"\n{size}: temp {few / 1e6:.1f} MB at f=256, {many / 1e6:.1f} MB at f=1024")
    # Some copies of the profiles, f * (h + w); a single array of h * w * f would be 100 times more.
    profile_bytes = 4 * MAPS * FIXATIONS * sum(size)
    assert many - few <= 3 * 3 * profile_bytes
    assert few < MAPS * FIXATIONS * size[0] * size[1] * 4 / 20

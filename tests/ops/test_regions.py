import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gazax.ops.regions import pool_regions, top_region
from tests.reference import gaze as reference


def case(seed=0):
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(3, 4, 5)).astype(np.float32)
    gaze = generator.uniform(0, 1, (3, 4)).astype(np.float32)
    content = generator.uniform(0, 1, (3, 4)).astype(np.float32)
    return jnp.asarray(features), jnp.asarray(gaze), jnp.asarray(content)


def test_pool_regions_by_hand():
    # Cells 1 and 3 with gaze 1 and 1/3: high = (1 * 1 + 3 / 3) / (4/3) = 1.5, low = 3.
    high, low = pool_regions(
        jnp.array([[[1.0], [3.0]]]), jnp.array([[1.0, 1 / 3]]), jnp.ones((1, 2))
    )
    np.testing.assert_allclose(high, [1.5], atol=1e-6)
    np.testing.assert_allclose(low, [3], atol=1e-6)


def test_pool_regions_equals_loops_for_grid_and_rows():
    features, gaze, content = case()
    expected = reference.pool_regions(*[np.asarray(x, float) for x in (features, gaze, content)])
    for shape in ((3, 4, 5), (12, 5)):
        got = pool_regions(features.reshape(shape), gaze, content)
        np.testing.assert_allclose(got, expected, atol=1e-6)


def test_pool_regions_does_not_see_padding():
    features, gaze, content = case()
    content = content.at[:, 0].set(0)
    changed = pool_regions(features.at[:, 0].set(1e3), gaze.at[:, 0].set(1), content)
    np.testing.assert_array_equal(changed, pool_regions(features, gaze, content))


@pytest.mark.parametrize(("value", "empty"), [(0.0, 0), (1.0, 1)])
def test_pool_regions_without_weight_is_zero_with_finite_gradient(value, empty):
    features, gaze, content = case()
    gaze = jnp.full_like(gaze, value)
    regions = pool_regions(features, gaze, content)
    np.testing.assert_array_equal(regions[empty], 0)
    assert jnp.abs(regions[1 - empty]).max() > 0
    gradients = jax.grad(
        lambda *x: sum(region.sum() for region in pool_regions(*x, content)), argnums=(0, 1)
    )(features, gaze)
    for gradient in gradients:
        assert jnp.isfinite(gradient).all()


def test_pool_regions_all_padding_is_zero():
    features, gaze, content = case()
    for region in pool_regions(features, gaze, jnp.zeros_like(content)):
        np.testing.assert_array_equal(region, 0)


def test_pool_regions_computes_in_float32_from_bfloat16():
    features, gaze, content = case()
    low = features.astype(jnp.bfloat16)
    for got, want in zip(
        pool_regions(low, gaze, content),
        pool_regions(low.astype(jnp.float32), gaze, content),
        strict=True,
    ):
        assert got.dtype == jnp.float32
        np.testing.assert_array_equal(got, want)


def test_top_region_by_hand():
    # Four of six cells are content; a half of them is two: .9 and .7, not the .8 in the padding.
    gaze = jnp.array([[0.9, 0.8, 0.1], [0.7, 0.2, 0.6]])
    content = jnp.array([[1.0, 0.0, 1.0], [1.0, 0.5, 0.0]])
    found = top_region(gaze, content, fraction=0.5)
    np.testing.assert_array_equal(found, [[1, 0, 0], [1, 0, 0]])


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5, 0.75, 1.0])
def test_top_region_takes_the_share_and_breaks_ties_by_place(fraction):
    gaze = np.random.default_rng(0).permutation(16).reshape(4, 4) / 16 + 0.01
    found = np.asarray(top_region(gaze, np.ones((4, 4)), fraction=fraction))
    count = int(np.ceil(fraction * 16))
    assert found.sum() == count
    assert set(gaze[found == 1]) == set(np.sort(gaze.reshape(-1))[-count:])
    flat = np.asarray(top_region(np.full((2, 2), 0.5), np.ones((2, 2)), fraction=0.5))
    np.testing.assert_array_equal(flat, [[1, 1], [0, 0]])


def test_top_region_never_takes_a_cell_without_gaze():
    gaze = jnp.zeros((3, 3)).at[1, 1].set(0.2)
    assert top_region(gaze, jnp.ones((3, 3)), fraction=1.0).sum() == 1
    assert top_region(jnp.zeros((3, 3)), jnp.ones((3, 3)), fraction=0.5).sum() == 0

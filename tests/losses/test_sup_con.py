from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gazax.losses import info_nce, sup_con
from tests.reference import cooperative as reference

NAN = np.nan
CLASSES = (0, 1, 0, 2, 1, 0, 0)
VALID = np.array([True, True, False, True, True, True, False])
jitted = jax.jit(sup_con)


@jax.jit
def value_and_gradient(z, label, temperature, valid=None):
    def total(z):
        losses = jitted(z, label, temperature=temperature, valid=valid)
        return losses.sum(), losses

    gradient, losses = jax.grad(total, has_aux=True)(z)
    return losses, gradient


def one_hot(classes=CLASSES, k=3):
    return np.eye(k, dtype=np.float32)[list(classes)]


def embeddings(seed=0, b=7, d=4):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(b, d)), jnp.float32)


def test_sup_con_by_hand():
    # Anchor (1, 0), t = .5: its positives at cosines 1 and 0, a negative at -1.
    # -1/2 [ln(e^2 / S) + ln(1 / S)], S = e^2 + 1 + e^-2: ln S - 1 = 2.142932 - 1
    z = jnp.array([[2.0, 0.0], [0.5, 0.0], [0.0, 3.0], [-1.0, 0.0]])
    got = jitted(z, one_hot([0, 0, 0, 1]), temperature=0.5)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got[0], 1.142932, atol=1e-5)
    assert got[3] == 0.0


@pytest.mark.parametrize("valid", [None, VALID, VALID.astype(np.float32)])
def test_sup_con_equals_loops(valid):
    z, label = embeddings(), one_hot()
    label[4] = NAN
    got = jitted(z, label, temperature=0.2, valid=valid)
    expected = reference.sup_con(z, label, 0.2, valid)
    np.testing.assert_allclose(got, expected, atol=2e-6)
    assert expected.max() > 0.1


def test_sup_con_of_pairs_is_optax_ntxent():
    """With one positive each, the positives of others are negatives: both mean the same."""
    z, classes = embeddings(1, b=8), np.arange(8) // 2
    got = jitted(z, one_hot(classes, k=4), temperature=0.3).mean()
    np.testing.assert_allclose(got, jax.jit(optax.losses.ntxent)(z, classes, 0.3), rtol=1e-5)


def test_sup_con_of_two_views_of_each_image_is_info_nce():
    z = embeddings(2, b=8)
    losses, gradient = value_and_gradient(z, one_hot(np.arange(8) // 2, k=4), 0.3)

    @jax.jit
    @partial(jax.value_and_grad, has_aux=True)
    def expected(z):
        contrast = info_nce(z[::2], z[1::2], temperature=0.3)
        return 2 * contrast.sum(), contrast

    (_, contrast), slope = expected(z)
    np.testing.assert_allclose(losses.reshape(4, 2).mean(axis=1), contrast, atol=1e-6)
    np.testing.assert_allclose(gradient, slope, atol=2e-6)
    assert np.abs(slope).max() > 0.1


def test_sup_con_uniform_is_log_of_the_others():
    got = jitted(jnp.ones((7, 3)), one_hot(), temperature=0.1, valid=VALID)
    # Five rows count; of class 0 there are two, of class 1 two, of class 2 one.
    expected = np.where([1, 1, 0, 0, 1, 1, 0], np.log(4), 0.0)
    np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize("junk", [1e3, 0.0, NAN, np.inf])
def test_sup_con_of_what_does_not_count_equals_what_is_not_there(junk):
    z, label = embeddings(3), one_hot()
    label[4] = NAN
    kept = VALID & (np.arange(7) != 4)
    dirty = z.at[~kept].set(junk)
    losses, gradient = value_and_gradient(dirty, label, 0.2, VALID)
    short_losses, short_gradient = value_and_gradient(z[kept], label[kept], 0.2)
    np.testing.assert_array_equal(losses[~kept], 0)
    np.testing.assert_allclose(losses[kept], short_losses, atol=1e-6)
    np.testing.assert_array_equal(gradient[~kept], 0)
    np.testing.assert_allclose(gradient[kept], short_gradient, atol=1e-6)
    assert np.abs(gradient).max() > 1e-3


@pytest.mark.parametrize(
    ("classes", "rows"), [(range(7), 7), ((0, 0), 2), ((0,), 1)], ids=["alone", "pair", "one row"]
)
def test_sup_con_with_nothing_to_tell_apart_is_exactly_zero(classes, rows):
    """No positive; or a positive and nobody else."""
    losses, gradient = value_and_gradient(embeddings(b=rows), one_hot(classes, k=7), 0.1)
    np.testing.assert_array_equal(losses, 0)
    np.testing.assert_array_equal(gradient, 0)


def test_sup_con_has_no_nan_inside_either():
    """What `jax_debug_nans` would stop a run at: rows without a partner of any kind."""
    with jax.debug_nans(True):
        for valid in (np.ones(7), np.arange(7) == 3, np.zeros(7)):
            jax.grad(lambda z, v=valid: sup_con(z, one_hot(), temperature=0.2, valid=v).sum())(
                embeddings()
            )


def test_sup_con_of_coincident_and_zero_rows_has_finite_gradients():
    z = embeddings(4)
    for degenerate in (jnp.zeros_like(z), jnp.ones_like(z), z.at[2].set(z[0]).at[3].set(0.0)):
        for found in value_and_gradient(degenerate, one_hot(), 0.05):
            assert jnp.isfinite(found).all()


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31 - 1), scale=st.floats(1e-3, 1e3))
def test_sup_con_ignores_scale_and_order(seed, scale):
    z, label = embeddings(seed), one_hot()
    order = np.random.default_rng(seed).permutation(7)
    expected = jitted(z, label, temperature=0.5)
    np.testing.assert_allclose(jitted(scale * z, label, temperature=0.5), expected, atol=2e-6)
    moved = jitted(z[order], label[order], temperature=0.5)
    np.testing.assert_allclose(moved, expected[order], atol=2e-6)
    assert (expected >= 0).all()


def test_sup_con_computes_in_float32_from_bfloat16():
    z = embeddings(5).astype(jnp.bfloat16)
    got = jitted(z, one_hot(), temperature=0.2)
    assert got.dtype == jnp.float32
    expected = jitted(z.astype(jnp.float32), one_hot(), temperature=0.2)
    np.testing.assert_array_equal(got, expected)

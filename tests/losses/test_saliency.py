from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gazax.losses import saliency_kl
from tests.losses.devices import assert_same_on_all_devices
from tests.reference import cooperative as reference

NAN = np.nan
VALID = np.array([True, False, True, False])


def maps(seed=0, b=4, size=(5, 6)):
    """Log densities, and target densities of which a third of the pixels are 0."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2, (b, *size))
    target = np.where(generator.random((b, *size)) < 1 / 3, 0.0, generator.random((b, *size)))
    target /= target.sum(axis=(1, 2), keepdims=True)
    return log_softmax(jnp.asarray(logits, jnp.float32)), target.astype(np.float32)


def log_softmax(logits):
    return jax.nn.log_softmax(logits, axis=(1, 2))


def gradient(loss, x):
    return jax.grad(lambda x: loss(x).sum())(x)


def test_saliency_kl_by_hand():
    # t = (1/2, 1/2, 0), p = (1/4, 1/2, 1/4): 1/2 ln 2 + 1/2 ln 1
    log_density = jnp.log(jnp.array([[[0.25, 0.5, 0.25]]]))
    got = saliency_kl(log_density, np.array([[[0.5, 0.5, 0.0]]]))
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, [0.346574], atol=1e-6)


def test_saliency_kl_of_the_target_itself_is_zero():
    log_density, _ = maps()
    np.testing.assert_allclose(saliency_kl(log_density, jnp.exp(log_density)), 0, atol=1e-6)


def test_saliency_kl_of_one_pixel_and_a_uniform_prediction_is_log_of_pixels():
    target = np.zeros((1, 5, 6), np.float32)
    target[0, 2, 3] = 1
    got = saliency_kl(log_softmax(jnp.zeros((1, 5, 6))), target)
    np.testing.assert_allclose(got, np.log(30), rtol=1e-6)


@pytest.mark.parametrize("valid", [None, VALID, VALID.astype(np.float32)])
def test_saliency_kl_equals_loops(valid):
    log_density, target = maps()
    got = saliency_kl(log_density, target, valid=valid)
    np.testing.assert_allclose(
        got, reference.saliency_kl(log_density, target, valid), rtol=1e-5, atol=1e-6
    )


def test_the_mean_is_torchs_batchmean():
    torch = pytest.importorskip("torch")
    log_density, target = maps(1)
    x = torch.tensor(np.array(log_density), requires_grad=True)
    theirs = torch.nn.KLDivLoss(reduction="batchmean")(x, torch.tensor(target))
    theirs.backward()
    ours, slope = jax.value_and_grad(lambda x: saliency_kl(x, target).mean())(log_density)
    np.testing.assert_allclose(ours, theirs.item(), rtol=1e-5)
    np.testing.assert_allclose(slope, x.grad.numpy(), atol=1e-6)


def test_the_gradient_at_the_logits_is_prediction_minus_target():
    logits = jnp.asarray(np.random.default_rng(2).normal(size=(4, 5, 6)), jnp.float32)
    _, target = maps(2)
    slope = gradient(lambda x: saliency_kl(log_softmax(x), target), logits)
    np.testing.assert_allclose(slope, jax.nn.softmax(logits, axis=(1, 2)) - target, atol=1e-6)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31 - 1), scale=st.floats(0.01, 100.0))
def test_a_target_of_another_sum_is_taken_as_it_is(seed, scale):
    log_density, target = maps(seed)
    base = saliency_kl(log_density, target)
    assert (base >= -1e-6).all()
    got = saliency_kl(log_density, scale * target)
    np.testing.assert_allclose(got, scale * base + scale * np.log(scale), rtol=1e-4, atol=1e-4)


def test_zeros_in_the_target_hide_what_is_impossible_and_give_finite_gradients():
    log_density, target = maps(3)
    impossible = jnp.where(target == 0, -jnp.inf, log_density)
    loss = partial(saliency_kl, target_density=target)
    np.testing.assert_array_equal(loss(impossible), loss(log_density))
    np.testing.assert_allclose(gradient(loss, impossible), -target, atol=1e-7)
    assert jnp.isinf(loss(jnp.where(target > 0, -jnp.inf, log_density))).all()
    of_target = gradient(lambda t: saliency_kl(impossible, t), jnp.asarray(target))
    assert jnp.isfinite(of_target).all()
    # A target of nothing at all.
    nothing = partial(saliency_kl, target_density=np.zeros_like(target))
    np.testing.assert_array_equal(nothing(log_density), 0)
    np.testing.assert_array_equal(gradient(nothing, log_density), 0)


@pytest.mark.parametrize("junk", [NAN, np.inf, -np.inf, 0.0, 1e30])
def test_rows_that_do_not_count_are_exactly_zero(junk):
    log_density, target = maps(4)
    row = VALID[:, None, None]
    dirty = jnp.where(row, log_density, junk), jnp.where(row, target, junk)
    loss = partial(saliency_kl, valid=VALID)
    np.testing.assert_array_equal(loss(*dirty)[~VALID], 0)
    np.testing.assert_array_equal(loss(*dirty), loss(log_density, target))
    got = jax.grad(lambda *pair: loss(*pair).sum(), argnums=(0, 1))(*dirty)
    for slope in got:
        np.testing.assert_array_equal(slope[~VALID], 0)
        assert jnp.isfinite(slope).all()
        assert np.abs(slope[VALID]).max() > 1e-3


def test_a_nan_that_counts_comes_out():
    log_density, target = maps(5)
    target[2, 0, 0] = NAN
    np.testing.assert_array_equal(np.isnan(saliency_kl(log_density, target)), np.arange(4) == 2)


def test_the_sum_over_the_papers_pixels_is_exact_enough():
    generator = np.random.default_rng(6)
    logits = jnp.asarray(generator.normal(0, 3, (1, 640, 512)), jnp.float32)
    target = generator.random((1, 640, 512)) ** 4
    target /= target.sum()
    log_density = np.asarray(logits, float)
    log_density -= np.log(np.exp(log_density).sum())
    expected = (target * (np.log(target) - log_density)).sum()
    got = jax.jit(saliency_kl)(log_softmax(logits), target.astype(np.float32))
    np.testing.assert_allclose(got, [expected], rtol=2e-6)


def test_saliency_kl_computes_in_float32_from_bfloat16():
    log_density, target = maps(7)
    low = log_density.astype(jnp.bfloat16)
    got = saliency_kl(low, target)
    assert got.dtype == jnp.float32
    np.testing.assert_array_equal(got, saliency_kl(low.astype(jnp.float32), target))


def test_saliency_kl_is_the_same_on_one_device_and_four():
    # Two valid rows on one device, none on another.
    generator = np.random.default_rng(8)
    _, target = maps(8, b=8)
    rows = {
        "x": jnp.asarray(generator.normal(size=(8, 5, 6)), jnp.float32),
        "target": jnp.asarray(target),
        "valid": jnp.array([1, 1, 0, 1, 0, 0, 1, 0.0]),
    }

    def per_example(scale, rows, axis_name):
        log_density = log_softmax(scale * jnp.sin(rows["x"]))
        return saliency_kl(log_density, rows["target"], valid=rows["valid"])

    assert_same_on_all_devices(per_example, jnp.float32(1.3), rows)

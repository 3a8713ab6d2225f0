from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gazax.losses.multitask import (
    FORMS,
    grad_norm_loss,
    precision_weights,
    uncertainty_weighted,
)
from gazax.typing import InputError
from tests.reference import multitask as reference

NAN = np.nan
SCALE = jnp.array([1.0, 0.5])
ALL_FORMS = pytest.mark.parametrize("form", FORMS)


def array(*values):
    return jnp.array(values, jnp.float32)


def weighted(losses, log_sigma, **settings):
    """Value, and the gradients with respect to losses and log_sigma."""
    loss = partial(uncertainty_weighted, **{"scale": SCALE, **settings})
    value, gradients = jax.value_and_grad(loss, argnums=(0, 1))(losses, log_sigma)
    return value, *gradients


# --- uncertainty_weighted -----------------------------------------------------------------------


def test_uncertainty_weighted_by_hand():
    # s = (2, 1): 3 / 4 + ln 3 + 5 / 2 + ln 2
    losses, log_sigma = array(3.0, 5.0), array(np.log(2.0), 0.0)
    got = uncertainty_weighted(losses, log_sigma, scale=SCALE)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, 3.25 + np.log(6.0), rtol=1e-6)
    # 3 / 4 + ln 2 + 5 / 2 + ln 1
    got = uncertainty_weighted(losses, log_sigma, scale=SCALE, form="kendall")
    np.testing.assert_allclose(got, 3.25 + np.log(2.0), rtol=1e-6)


def test_sigmas_of_one_give_the_scaled_sum():
    losses, zeros = array(3.0, 5.0), jnp.zeros(2)
    np.testing.assert_allclose(
        uncertainty_weighted(losses, zeros, scale=SCALE), 5.5 + 2 * np.log(2.0), rtol=1e-6
    )
    np.testing.assert_allclose(
        uncertainty_weighted(losses, zeros, scale=SCALE, form="kendall"), 5.5, rtol=1e-6
    )
    np.testing.assert_array_equal(precision_weights(zeros, scale=SCALE), SCALE)


@ALL_FORMS
@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31 - 1), spread=st.floats(0.1, 6.0))
def test_uncertainty_weighted_equals_the_loop(form, seed, spread):
    numbers = np.random.default_rng(seed)
    losses, log_sigma = numbers.exponential(2.0, 5), numbers.normal(0, spread, 5)
    scale, valid = numbers.choice([0.5, 1.0], 5), numbers.random(5) < 0.7
    got = uncertainty_weighted(losses, log_sigma, scale=scale, form=form, valid=valid)
    expected = reference.uncertainty_weighted(losses, log_sigma, scale, form, valid)
    parts = sum(losses * np.exp(-2 * log_sigma) + np.abs(log_sigma))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6 * parts)


@pytest.mark.parametrize("form", FORMS)
def test_uncertainty_weighted_gradients_are_torchs(form):
    torch = pytest.importorskip("torch")
    losses, log_sigma = array(0.7, 2.5, 1e-3), array(-1.3, 0.4, 2.0)
    scale = array(1.0, 0.5, 1.0)
    value, *gradients = weighted(losses, log_sigma, scale=scale, form=form)
    x, y = (torch.tensor(np.array(one), requires_grad=True) for one in (losses, log_sigma))
    s = torch.exp(y)
    price = torch.log(s + 1) if form == "log1p" else torch.log(s)
    theirs = (torch.tensor(np.array(scale)) * x / s**2 + price).sum()
    theirs.backward()
    np.testing.assert_allclose(value, theirs.item(), rtol=1e-6)
    for ours, expected in zip(gradients, (x.grad, y.grad), strict=True):
        np.testing.assert_allclose(ours, expected.numpy(), rtol=1e-5)


def test_kendalls_minimum_is_where_the_variance_is_twice_the_scaled_loss():
    losses = array(0.3, 40.0)
    best = 0.5 * jnp.log(2 * SCALE * losses)
    _, _, slope = weighted(losses, best, form="kendall")
    np.testing.assert_allclose(slope, 0.0, atol=1e-6)
    for away in (-0.1, 0.1):
        more = uncertainty_weighted(losses, best + away, scale=SCALE, form="kendall")
        assert more > uncertainty_weighted(losses, best, scale=SCALE, form="kendall")


def test_only_the_published_form_is_above_zero():
    small, log_sigma = array(1e-6, 1e-6), array(-5.0, -5.0)
    assert uncertainty_weighted(small, log_sigma, scale=SCALE) > 0
    assert uncertainty_weighted(small, log_sigma, scale=SCALE, form="kendall") < -9


@ALL_FORMS
@pytest.mark.parametrize("log_sigma", [-1e4, -45.0, 45.0, 1e4])
@pytest.mark.parametrize("loss", [0.0, 3.0, 1e4])
def test_large_log_sigmas_are_finite_and_drive_back(form, log_sigma, loss):
    value, of_loss, of_sigma = weighted(array(loss, loss), array(log_sigma, 0.0), form=form)
    assert jnp.isfinite(value)
    assert jnp.isfinite(of_loss).all()
    assert jnp.isfinite(of_sigma).all()
    if log_sigma > 0:
        # nothing is left of the loss; ln(s + 1) is ln s
        others = reference.uncertainty_weighted([loss], [0.0], [0.5], form)
        np.testing.assert_allclose(value, log_sigma + others, rtol=1e-6)
        np.testing.assert_allclose(of_sigma[0], 1.0, rtol=1e-6)
    elif loss > 1:
        assert of_sigma[0] < -1e20


def test_the_weight_is_exact_up_to_where_it_is_held():
    log_sigma = array(-30.0, -29.0)
    expected = np.array([1.0, 0.5]) * np.exp([60.0, 58.0])
    np.testing.assert_allclose(precision_weights(log_sigma, scale=SCALE), expected, rtol=1e-5)
    np.testing.assert_allclose(
        precision_weights(array(-31.0, -300.0), scale=SCALE), SCALE * np.exp(60.0), rtol=1e-4
    )


@ALL_FORMS
@pytest.mark.parametrize("junk", [NAN, np.inf, -np.inf, 1e30])
def test_a_task_without_examples_is_exactly_zero(form, junk):
    """For its loss and its sigma; the other counts as if it were alone."""
    valid = np.array([False, True])
    value, *gradients = weighted(array(junk, 2.0), array(junk, 0.3), form=form, valid=valid)
    alone = reference.uncertainty_weighted([2.0], [0.3], [0.5], form)
    np.testing.assert_allclose(value, alone, rtol=1e-6)
    for gradient in gradients:
        assert gradient[0] == 0.0
        assert np.isfinite(gradient[1])
        assert abs(gradient[1]) > 1e-3
    nothing, *gradients = weighted(
        array(junk, junk), array(junk, junk), form=form, valid=np.zeros(2, bool)
    )
    assert nothing == 0.0
    np.testing.assert_array_equal(jnp.stack(gradients), 0.0)


def test_an_unknown_form_is_named():
    with pytest.raises(InputError, match=r"form 'log'.*log1p, kendall"):
        uncertainty_weighted(jnp.ones(2), jnp.ones(2), scale=SCALE, form="log")


# --- grad_norm_loss -----------------------------------------------------------------------------


def balance(weights, norms, losses, initial, **settings):
    """Value, and the gradients with respect to all four."""
    loss = partial(grad_norm_loss, **{"alpha": 1.5, **settings})
    return jax.value_and_grad(loss, argnums=(0, 1, 2, 3))(weights, norms, losses, initial)


def test_grad_norm_by_hand():
    # G = (2, 4), mean 3; with alpha 0 both should be 3: 1 + 1. Slopes: -2 below, +4 above.
    even = balance(array(1, 1), array(2, 4), array(1, 1), array(2, 1), alpha=0.0)
    np.testing.assert_allclose(even[0], 2.0, rtol=1e-6)
    np.testing.assert_allclose(even[1][0], [-2.0, 4.0], rtol=1e-6)
    # G = (2, 2). L / L(0) = (1/2, 1), mean 3/4, r = (2/3, 4/3); targets 4/3 and 8/3: 2/3 + 2/3.
    # The task that has learned less is to weigh more.
    value, (of_weights, *others) = balance(
        array(1, 1), array(2, 2), array(1, 1), array(2, 1), alpha=1.0
    )
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, 4 / 3, rtol=1e-6)
    np.testing.assert_allclose(of_weights, [2.0, -2.0], rtol=1e-6)
    np.testing.assert_array_equal(jnp.stack(others), 0.0)  # all else is constant


@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31 - 1), alpha=st.floats(0.0, 3.0))
def test_grad_norm_equals_the_loop(seed, alpha):
    numbers = np.random.default_rng(seed)
    given = [numbers.exponential(1.0, 4).astype(np.float32) for _ in range(4)]
    given[3][0] *= numbers.integers(0, 2)  # an initial loss of 0
    valid = numbers.random(4) < 0.7
    value, (slope, *_) = balance(*map(jnp.asarray, given), alpha=alpha, valid=valid)
    expected, expected_slope = reference.grad_norm_loss(*given, alpha, valid)
    np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)
    if valid.sum() > 1:  # alone a task has what it should have, to rounding
        np.testing.assert_allclose(slope, expected_slope, rtol=1e-5)


def test_grad_norm_gradients_are_torchs():
    """A net of two tasks; torch differentiates its own norm."""
    torch = pytest.importorskip("torch")
    numbers = np.random.default_rng(0)
    shared, inputs = numbers.normal(size=(3, 4)), numbers.normal(size=(5, 3))
    heads = numbers.normal(size=(2, 4))
    initial = np.array([2.0, 0.5])

    def torch_losses(kernel):
        hidden = torch.tanh(torch.tensor(inputs) @ kernel)
        return [((hidden @ torch.tensor(head)) ** 2).mean() for head in heads]

    kernel = torch.tensor(shared, requires_grad=True)
    log_weights = torch.tensor([0.3, -0.2], dtype=torch.float64, requires_grad=True)
    weights = 2 * torch.softmax(log_weights, 0)
    losses = torch_losses(kernel)
    norms = torch.stack(
        [
            torch.linalg.norm(torch.autograd.grad(w * loss, kernel, create_graph=True)[0])
            for w, loss in zip(weights, losses, strict=True)
        ]
    )
    rates = torch.stack(losses).detach() / torch.tensor(initial)
    target = (norms.mean() * (rates / rates.mean()) ** 1.5).detach()
    theirs = (norms - target).abs().sum()
    (expected,) = torch.autograd.grad(theirs, log_weights)

    def jax_losses(kernel):
        hidden = jnp.tanh(jnp.asarray(inputs, jnp.float32) @ kernel)
        return jnp.square(hidden @ jnp.asarray(heads.T, jnp.float32)).mean(axis=0)

    kernel = jnp.asarray(shared, jnp.float32)
    found = jnp.linalg.norm(jax.jacrev(jax_losses)(kernel).reshape(2, -1), axis=1)

    def ours(log_weights):
        weights = 2 * jax.nn.softmax(log_weights)
        return grad_norm_loss(weights, found, jax_losses(kernel), initial, alpha=1.5)

    value, slope = jax.value_and_grad(ours)(array(0.3, -0.2))
    np.testing.assert_allclose(value, theirs.item(), rtol=1e-4)
    np.testing.assert_allclose(slope, expected.numpy(), rtol=1e-4)


def test_grad_norm_is_zero_where_nothing_is_to_be_balanced():
    weights = array(1.0, 2.0)
    alike = balance(weights, array(4, 2), array(1, 3), array(2, 6))
    np.testing.assert_allclose(alike[0], 0.0, atol=1e-6)
    one = balance(weights, array(4, 2), array(1, 3), array(2, 1), valid=np.array([True, False]))
    assert one[0] == 0.0
    np.testing.assert_array_equal(jnp.stack(one[1]), 0.0)


def test_grad_norm_follows_the_scale_of_the_norms_and_not_that_of_a_loss():
    given = [array(0.5, 1.5), array(2.0, 3.0), array(1.0, 0.2), array(2.0, 1.0)]
    value = grad_norm_loss(*given, alpha=1.5)
    weights, norms, losses, initial = given
    larger = grad_norm_loss(weights, 7 * norms, losses, initial, alpha=1.5)
    np.testing.assert_allclose(larger, 7 * value, rtol=1e-6)
    units = array(10.0, 0.3)
    same = grad_norm_loss(weights, norms, losses * units, initial * units, alpha=1.5)
    np.testing.assert_allclose(same, value, rtol=1e-5)


DEGENERATE = {
    "nothing lost": (array(2, 3), array(0, 0), array(1, 2)),
    "one loss of 0": (array(2, 3), array(0, 1), array(1, 2)),
    "no gradients": (array(0, 0), array(1, 1), array(1, 2)),
    "one without gradient": (array(0, 3), array(1, 1), array(1, 2)),
    "nothing to begin with": (array(2, 3), array(1, 1), array(0, 0)),
    "one without a beginning": (array(2, 3), array(1, 1), array(0, 2)),
    "nearly nothing to begin with": (array(2, 3), array(1e5, 1), array(1e-37, 2)),
    "all nothing": (array(0, 0), array(0, 0), array(0, 0)),
    "negative by rounding": (array(2, 3), array(-1e-8, 1), array(1, 2)),
}


@pytest.mark.parametrize("name", list(DEGENERATE))
@pytest.mark.parametrize("alpha", [0.0, 1.5])
def test_degenerate_tasks_are_finite(name, alpha):
    value, slopes = balance(array(1, 1), *DEGENERATE[name], alpha=alpha)
    assert jnp.isfinite(value)
    assert jnp.isfinite(jnp.stack(slopes)).all()
    if name == "nothing lost":  # all rates alike: G = (2, 3) should both be 5/2
        np.testing.assert_allclose(value, 1.0, rtol=1e-6)


@pytest.mark.parametrize("junk", [NAN, np.inf, -np.inf, 1e30])
def test_grad_norm_leaves_out_a_task_without_examples(junk):
    valid = np.array([True, False, True])
    dirty = [array(a, junk, b) for a, b in ((0.5, 1.5), (2, 3), (1, 2), (3, 1))]
    clean = [one[np.array([0, 2])] for one in dirty]
    value, slopes = balance(*dirty, valid=valid)
    expected, expected_slopes = balance(*clean)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert value > 0.1
    np.testing.assert_array_equal(jnp.stack(slopes)[:, 1], 0.0)
    np.testing.assert_allclose(slopes[0][np.array([0, 2])], expected_slopes[0], rtol=1e-6)


# --- both ---------------------------------------------------------------------------------------


def test_multitask_losses_jit_equals_eager_and_compute_in_float32():
    low = [array(*row).astype(jnp.bfloat16) for row in ((1, 2), (3, 0.5), (1, 2), (3, 1))]
    for loss in (
        lambda *given: uncertainty_weighted(*given[:2], scale=SCALE),
        lambda *given: grad_norm_loss(*given, alpha=1.5),
    ):
        value = loss(*low)
        assert value.dtype == jnp.float32
        np.testing.assert_array_equal(value, loss(*(one.astype(jnp.float32) for one in low)))
        np.testing.assert_allclose(jax.jit(loss)(*low), value, rtol=1e-6)

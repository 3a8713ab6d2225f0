from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gazax.losses import cosine_regression
from tests.losses.devices import assert_same_on_all_devices
from tests.reference import keys as reference

jitted = jax.jit(cosine_regression)


def rows(seed=0, b=6, d=4):
    generator = np.random.default_rng(seed)
    return [jnp.asarray(generator.normal(size=(b, d)), jnp.float32) for _ in range(2)]


def some_positives(seed=0, b=6):
    return jnp.asarray(np.random.default_rng(seed).uniform(size=(b, b)) < 0.3)


def test_same_direction_is_0_right_angles_2_and_opposite_4():
    target = jnp.array([[3.0, 0.0], [0.0, 0.5], [-2.0, 0.0]])
    got = cosine_regression(jnp.array([[1.0, 0.0]] * 3), target)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, [0, 2, 4], atol=1e-6)


def test_several_targets_by_hand():
    # Row 0 also has the opposite direction as a target: (0 + 4) / 2. Row 1 has its own alone.
    z = jnp.array([[1.0, 0.0], [-1.0, 0.0]])
    got = jitted(z, z, positives=jnp.array([[0.0, 1.0], [0.0, 0.0]]))
    np.testing.assert_allclose(got, [2, 0], atol=1e-6)


def test_it_is_the_squared_distance_of_unit_vectors_and_twice_optax_cosine_distance():
    prediction, target = rows()
    got = jitted(prediction, target)
    unit = [z / jnp.linalg.norm(z, axis=1, keepdims=True) for z in (prediction, target)]
    np.testing.assert_allclose(got, jnp.square(unit[0] - unit[1]).sum(axis=1), atol=1e-6)
    np.testing.assert_allclose(got, 2 * optax.losses.cosine_distance(prediction, target), atol=1e-6)


@pytest.mark.parametrize("with_positives", [False, True])
def test_it_equals_loops(with_positives):
    prediction, target = rows(1)
    positives = some_positives(1) if with_positives else None
    expected = reference.cosine_regression(prediction, target, positives)
    np.testing.assert_allclose(jitted(prediction, target, positives=positives), expected, atol=1e-6)


def test_the_diagonal_of_positives_does_not_matter():
    prediction, target = rows(2)
    expected = jitted(prediction, target)
    for diagonal in (jnp.zeros((6, 6)), jnp.eye(6)):
        got = jitted(prediction, target, positives=diagonal)
        np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize("with_positives", [False, True])
def test_zero_vectors_give_2_and_finite_gradients(with_positives):
    prediction, target = rows(3)
    prediction, target = prediction.at[0].set(0), target.at[2].set(0)
    loss = partial(jitted, positives=some_positives(3) if with_positives else None)
    assert loss(prediction, target)[0] == 2
    gradients = jax.grad(lambda *z: loss(*z).sum(), argnums=(0, 1))(prediction, target)
    for gradient in gradients:
        assert jnp.isfinite(gradient).all()
        assert jnp.abs(gradient).max() > 0.1  # no gradient is stopped inside


def test_it_computes_in_float32_from_bfloat16():
    low = [z.astype(jnp.bfloat16) for z in rows(4)]
    got = jitted(*low)
    assert got.dtype == jnp.float32
    np.testing.assert_array_equal(got, jitted(*[z.astype(jnp.float32) for z in low]))


def test_it_is_the_same_on_one_device_and_four():
    generator = np.random.default_rng(5)
    weight = jnp.asarray(generator.normal(size=(5, 4)), jnp.float32)
    x_a, x_b = rows(5, b=8, d=5)
    batch = {"a": x_a, "b": x_b, "positives": some_positives(5, 8)}
    assert batch["positives"][:2, 2:].any()  # rows of other devices are targets

    def per_example(weight, batch, axis_name):
        return cosine_regression(
            jnp.tanh(batch["a"] @ weight),
            batch["b"] @ weight,
            positives=batch["positives"],
            axis_name=axis_name,
        )

    assert_same_on_all_devices(per_example, weight, batch)

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gazax.losses import info_nce, info_nce_keys, info_nce_queue
from tests.losses.devices import assert_same_on_all_devices
from tests.reference import keys as keys_reference
from tests.reference import losses as reference

SEEDS = st.integers(0, 2**31 - 1)
FEW = settings(max_examples=20, deadline=None, derandomize=True)
jitted_info_nce = jax.jit(info_nce)
jitted_keys = jax.jit(info_nce_keys)
jitted_queue = jax.jit(info_nce_queue)


def embeddings(seed, *shapes):
    generator = np.random.default_rng(seed)
    return [jnp.asarray(generator.normal(size=shape), jnp.float32) for shape in shapes]


def pairs(seed=0, b=6, d=4):
    return embeddings(seed, (b, d), (b, d))


def some_positives(seed=0, b=6, columns=6):
    return jnp.asarray(np.random.default_rng(seed).uniform(size=(b, columns)) < 0.3)


# --- info_nce -----------------------------------------------------------------------------------


def test_info_nce_by_hand():
    # a_1 = b_1 = e1, a_2 = b_2 = e2, t = 1: each anchor has its positive at 1 and two negatives
    # at 0: -ln( e / (e + 2) ) = 0.551445.
    z = jnp.eye(2)
    np.testing.assert_allclose(info_nce(z, z, temperature=1.0), [0.551445] * 2, atol=1e-6)


@pytest.mark.parametrize("b", [2, 5])
def test_info_nce_uniform_is_log_of_all_other_views(b):
    z = jnp.ones((b, 3))
    np.testing.assert_allclose(info_nce(z, 2 * z, temperature=0.1), np.log(2 * b - 1), atol=1e-6)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_info_nce_equals_loops(temperature):
    z_a, z_b = pairs()
    got = info_nce(z_a, z_b, temperature=temperature)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, reference.info_nce(z_a, z_b, temperature), atol=1e-5)


def test_info_nce_equals_optax():
    z_a, z_b = pairs(1)
    labels = jnp.tile(jnp.arange(6), 2)
    expected = optax.losses.ntxent(jnp.concatenate([z_a, z_b]), labels, temperature=0.3)
    np.testing.assert_allclose(info_nce(z_a, z_b, temperature=0.3).mean(), expected, atol=1e-6)


def test_info_nce_with_positives_equals_loops():
    z_a, z_b = pairs(2)
    positives = some_positives(2)
    assert positives.any()
    expected = reference.info_nce(z_a, z_b, 0.5, positives=np.asarray(positives))
    for given_positives in (positives, positives.astype(jnp.float32)):
        got = info_nce(z_a, z_b, temperature=0.5, positives=given_positives)
        np.testing.assert_allclose(got, expected, atol=1e-6)


def test_info_nce_with_positives_by_hand():
    # Two images, the other one is a positive as well, all similarities equal: each of the three
    # positives has the share 1/3.
    z = jnp.ones((2, 3))
    got = info_nce(z, z, temperature=0.2, positives=jnp.ones((2, 2)))
    np.testing.assert_allclose(got, np.log(3), atol=1e-6)


def test_info_nce_diagonal_of_positives_does_not_matter():
    z_a, z_b = pairs(3)
    got = info_nce(z_a, z_b, temperature=0.5, positives=jnp.eye(6))
    np.testing.assert_array_equal(got, info_nce(z_a, z_b, temperature=0.5))


def test_info_nce_with_index_and_positives_equals_loops():
    z_a, z_b = pairs(4)
    index = jnp.array([7, 3, 7, 1, 3, 0])
    positives = some_positives(6)
    # One copy is a positive of the other in one direction only.
    assert positives[0, 2] != positives[2, 0]
    expected = reference.info_nce(z_a, z_b, 0.5, np.asarray(index), np.asarray(positives))
    got = info_nce(z_a, z_b, temperature=0.5, index=index, positives=positives)
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_info_nce_same_image_twice_is_no_negative():
    # The second copy of image 0 counts for rows 1 and 2 only: for row 0 it is as if deleted.
    z_a, z_b = pairs(5, b=4)
    got = info_nce(z_a, z_b, temperature=0.3, index=jnp.array([0, 1, 2, 0]))
    without = info_nce(z_a[:3], z_b[:3], temperature=0.3, index=jnp.array([0, 1, 2]))
    np.testing.assert_allclose(got[0], without[0], atol=1e-6)
    assert jnp.abs(got - info_nce(z_a, z_b, temperature=0.3))[jnp.array([0, 3])].min() > 1e-3
    np.testing.assert_allclose(got, reference.info_nce(z_a, z_b, 0.3, [0, 1, 2, 0]), atol=1e-6)


def test_info_nce_all_rows_of_one_image_is_zero_with_zero_gradient():
    z_a, z_b = pairs(6)
    loss = partial(info_nce, temperature=0.3, index=jnp.zeros(6, int))
    np.testing.assert_array_equal(loss(z_a, z_b), 0)
    np.testing.assert_array_equal(jax.grad(lambda z: loss(z, z_b).sum())(z_a), 0)


def test_info_nce_of_one_image_says_what_to_do():
    z = jnp.ones((1, 3))
    with pytest.raises(ValueError, match="batch size of at least 2"):
        info_nce(z, z, temperature=0.1)


def test_info_nce_zero_vectors_have_finite_gradients():
    z_a, z_b = pairs(7)
    z_a, z_b = z_a.at[2].set(0), z_b.at[2].set(0)
    loss = partial(info_nce, temperature=0.1)
    np.testing.assert_allclose(loss(z_a, z_b), reference.info_nce(z_a, z_b, 0.1), atol=1e-5)
    for gradient in jax.grad(lambda *z: loss(*z).sum(), argnums=(0, 1))(z_a, z_b):
        assert jnp.isfinite(gradient).all()
    zeros = jnp.zeros((3, 4))
    np.testing.assert_allclose(loss(zeros, zeros), np.log(5), atol=1e-6)


@FEW
@given(seed=SEEDS, scale=st.floats(1e-3, 1e3))
def test_info_nce_ignores_scale_and_order_and_which_view_is_first(seed, scale):
    z_a, z_b = pairs(seed)
    order = np.random.default_rng(seed).permutation(6)
    expected = jitted_info_nce(z_a, z_b, temperature=0.5)
    for got in (
        jitted_info_nce(scale * z_a, z_b / scale, temperature=0.5),
        jitted_info_nce(z_b, z_a, temperature=0.5),
        jitted_info_nce(z_a[order], z_b[order], temperature=0.5)[np.argsort(order)],
    ):
        np.testing.assert_allclose(got, expected, atol=2e-6)
    assert (expected > 0).all()


def test_info_nce_jit_equals_eager():
    z_a, z_b = pairs(8)
    got = jitted_info_nce(z_a, z_b, temperature=0.5)
    np.testing.assert_allclose(got, info_nce(z_a, z_b, temperature=0.5), atol=1e-6)


def test_info_nce_computes_in_float32_from_bfloat16():
    z_a, z_b = pairs(9)
    low = [z.astype(jnp.bfloat16) for z in (z_a, z_b)]
    got = info_nce(*low, temperature=0.5)
    assert got.dtype == jnp.float32
    expected = info_nce(*[z.astype(jnp.float32) for z in low], temperature=0.5)
    np.testing.assert_array_equal(got, expected)
    # Rounding to 8 bits moves a cosine by at most 2^-7, that is 2 * 2^-7 / t for the loss.
    np.testing.assert_allclose(got, info_nce(z_a, z_b, temperature=0.5), atol=2**-6 / 0.5)


@pytest.mark.parametrize("case", ["plain", "index", "positives"])
def test_info_nce_is_the_same_on_one_device_and_four(case):
    x_a, x_b, weight = embeddings(10, (8, 5), (8, 5), (5, 4))
    rows = {"a": x_a, "b": x_b}
    if case == "index":
        rows["index"] = jnp.array([0, 1, 2, 3, 0, 5, 3, 3])
    if case == "positives":
        rows["positives"] = some_positives(10, 8, 8)

    def per_example(weight, rows, axis_name):
        return info_nce(
            rows["a"] @ weight,
            rows["b"] @ weight,
            temperature=0.3,
            index=rows.get("index"),
            positives=rows.get("positives"),
            axis_name=axis_name,
        )

    assert_same_on_all_devices(per_example, weight, rows)


# --- info_nce_keys ------------------------------------------------------------------------------


def test_info_nce_keys_by_hand():
    # The own key at 1, the other's at 0, t = .5: -ln( e^2 / (e^2 + 1) ) = 0.126928. The other
    # query, at 1 as well, is no negative.
    got = info_nce_keys(jnp.array([[3.0, 0.0], [1.0, 0.0]]), jnp.eye(2), temperature=0.5)
    np.testing.assert_allclose(got, [0.126928, 2.126928], atol=1e-6)


@pytest.mark.parametrize("b", [2, 5])
def test_info_nce_keys_uniform_is_log_of_the_batch(b):
    got = jitted_keys(jnp.ones((b, 3)), jnp.ones((b, 3)), temperature=0.1)
    np.testing.assert_allclose(got, np.log(b), atol=1e-6)


def test_info_nce_keys_equals_softmax_cross_entropy():
    query, keys = pairs(20)
    similarity = optax.losses.cosine_similarity(query[:, None, :], keys[None, :, :]) / 0.2
    expected = optax.losses.softmax_cross_entropy_with_integer_labels(similarity, jnp.arange(6))
    np.testing.assert_allclose(jitted_keys(query, keys, temperature=0.2), expected, atol=2e-6)


def test_info_nce_keys_with_index_and_positives_equals_loops():
    query, keys = pairs(21)
    index = jnp.array([7, 3, 7, 1, 3, 0])
    positives = some_positives(6)
    # One copy is a positive of the other in one direction only.
    assert positives[0, 2] != positives[2, 0]
    for chosen in (None, positives):
        got = jitted_keys(query, keys, temperature=0.5, index=index, positives=chosen)
        expected = keys_reference.info_nce_keys(query, keys, 0.5, index, chosen)
        np.testing.assert_allclose(got, expected, atol=1e-6)


def test_info_nce_keys_diagonal_of_positives_does_not_matter():
    query, keys = pairs(22)
    got = jitted_keys(query, keys, temperature=0.5, positives=jnp.eye(6))
    np.testing.assert_allclose(got, jitted_keys(query, keys, temperature=0.5), atol=1e-6)


def test_info_nce_keys_all_rows_of_one_image_is_zero_with_zero_gradient():
    query, keys = pairs(23)
    loss = partial(jitted_keys, keys=keys, temperature=0.3, index=jnp.zeros(6, int))
    np.testing.assert_array_equal(loss(query), 0)
    np.testing.assert_array_equal(jax.grad(lambda z: loss(z).sum())(query), 0)


def test_info_nce_keys_of_one_image_says_what_to_do():
    with pytest.raises(ValueError, match="batch size of at least 2"):
        info_nce_keys(jnp.ones((1, 3)), jnp.ones((1, 3)), temperature=0.1)


def test_info_nce_keys_zero_vectors_have_finite_gradients():
    query, keys = pairs(24)
    query, keys = query.at[2].set(0), keys.at[3].set(0)
    loss = lambda *arrays: jitted_keys(*arrays, temperature=0.1).sum()  # noqa: E731
    for gradient in jax.grad(loss, argnums=(0, 1))(query, keys):
        assert jnp.isfinite(gradient).all()
        assert jnp.abs(gradient).max() > 0.1  # no gradient is stopped inside


def test_info_nce_keys_computes_in_float32_from_bfloat16():
    low = [z.astype(jnp.bfloat16) for z in pairs(25)]
    got = jitted_keys(*low, temperature=0.5)
    assert got.dtype == jnp.float32
    expected = jitted_keys(*[z.astype(jnp.float32) for z in low], temperature=0.5)
    np.testing.assert_array_equal(got, expected)


def test_info_nce_keys_is_the_same_on_one_device_and_four():
    x_a, x_b, weight = embeddings(26, (8, 5), (8, 5), (5, 4))
    index = jnp.array([0, 1, 2, 3, 0, 5, 3, 3])
    rows = {"a": x_a, "b": x_b, "index": index, "positives": some_positives(26, 8, 8)}

    def per_example(weight, rows, axis_name):
        return info_nce_keys(
            jnp.tanh(rows["a"] @ weight),
            rows["b"] @ weight,
            temperature=0.3,
            index=rows["index"],
            positives=rows["positives"],
            axis_name=axis_name,
        )

    assert_same_on_all_devices(per_example, weight, rows)


# --- info_nce_queue -----------------------------------------------------------------------------


def test_info_nce_queue_by_hand():
    # Positive at 1, keys at 0 and -1, t = 1: -ln( e / (e + 1 + 1/e) ) = 0.407606.
    z = jnp.array([[2.0, 0.0]])
    got = info_nce_queue(z, z, jnp.array([[0.0, 1.0], [-3.0, 0.0]]), temperature=1.0)
    np.testing.assert_allclose(got, [0.407606], atol=1e-6)


def test_info_nce_queue_uniform_is_log_of_queue_and_positive():
    got = info_nce_queue(jnp.ones((2, 3)), jnp.ones((2, 3)), jnp.ones((7, 3)), temperature=0.1)
    np.testing.assert_allclose(got, np.log(8), atol=1e-6)


@pytest.mark.parametrize("with_positives", [False, True])
def test_info_nce_queue_equals_loops(with_positives):
    z, z_pos, queue = embeddings(11, (4, 5), (4, 5), (9, 5))
    positives = some_positives(11, 4, 9) if with_positives else None
    got = info_nce_queue(z, z_pos, queue, temperature=0.2, positives=positives)
    expected = reference.info_nce_queue(z, z_pos, queue, 0.2, positives)
    np.testing.assert_allclose(got, expected, atol=2e-6)
    jitted = jax.jit(info_nce_queue)(z, z_pos, queue, temperature=0.2, positives=positives)
    np.testing.assert_allclose(jitted, got, atol=1e-6)


def test_info_nce_queue_equals_softmax_cross_entropy():
    z, z_pos, queue = embeddings(12, (4, 5), (4, 5), (9, 5))
    keys = jnp.concatenate([z_pos, queue])
    similarity = optax.losses.cosine_similarity(z[:, None, :], keys[None, :, :]) / 0.2
    logits = jnp.concatenate([jnp.diag(similarity[:, :4])[:, None], similarity[:, 4:]], axis=1)
    expected = optax.losses.softmax_cross_entropy_with_integer_labels(logits, jnp.zeros(4, int))
    np.testing.assert_allclose(
        info_nce_queue(z, z_pos, queue, temperature=0.2), expected, atol=2e-6
    )


@FEW
@given(seed=SEEDS)
def test_info_nce_queue_ignores_the_order_of_keys(seed):
    z, z_pos, queue = embeddings(seed, (3, 4), (3, 4), (6, 4))
    shuffled = queue[np.random.default_rng(seed).permutation(6)]
    np.testing.assert_allclose(
        info_nce_queue(z, z_pos, shuffled, temperature=0.5),
        info_nce_queue(z, z_pos, queue, temperature=0.5),
        atol=1e-6,
    )


def test_info_nce_queue_zero_vectors_have_finite_gradients():
    z, z_pos, queue = embeddings(13, (3, 4), (3, 4), (6, 4))
    z, queue = z.at[0].set(0), queue.at[2].set(0)
    loss = lambda *arrays: info_nce_queue(*arrays, temperature=0.1).sum()  # noqa: E731
    for gradient in jax.grad(loss, argnums=(0, 1, 2))(z, z_pos, queue):
        assert jnp.isfinite(gradient).all()


def test_info_nce_queue_computes_in_float32_from_bfloat16():
    arrays = [array.astype(jnp.bfloat16) for array in embeddings(14, (3, 4), (3, 4), (6, 4))]
    got = info_nce_queue(*arrays, temperature=0.5)
    assert got.dtype == jnp.float32
    expected = info_nce_queue(*[a.astype(jnp.float32) for a in arrays], temperature=0.5)
    np.testing.assert_array_equal(got, expected)


def test_info_nce_queue_negatives_by_hand():
    # Positive at 1, t = 1, and of the keys at 0 and -1 the second is absent:
    # -ln( e / (e + 1) ) = 0.313262.
    z = jnp.array([[2.0, 0.0]])
    queue = jnp.array([[0.0, 1.0], [-3.0, 0.0]])
    got = info_nce_queue(z, z, queue, temperature=1.0, negatives=jnp.array([[True, False]]))
    np.testing.assert_allclose(got, [0.313262], atol=1e-6)


def test_info_nce_queue_absent_keys_equal_loops():
    z, z_pos, queue = embeddings(15, (4, 5), (4, 5), (9, 5))
    positives, negatives = some_positives(15, 4, 9), some_positives(16, 4, 9)
    # All four roles: a positive needs no place among the negatives to count.
    assert len({*zip(positives.ravel().tolist(), negatives.ravel().tolist(), strict=True)}) == 4
    expected = keys_reference.info_nce_queue(z, z_pos, queue, 0.2, positives, negatives)
    for given_negatives in (negatives, negatives.astype(jnp.float32)):
        got = jitted_queue(
            z, z_pos, queue, temperature=0.2, positives=positives, negatives=given_negatives
        )
        np.testing.assert_allclose(got, expected, atol=2e-6)


def test_info_nce_queue_all_negatives_is_none_given():
    z, z_pos, queue = embeddings(17, (4, 5), (4, 5), (9, 5))
    got = jitted_queue(z, z_pos, queue, temperature=0.2, negatives=jnp.ones((4, 9), bool))
    expected = jitted_queue(z, z_pos, queue, temperature=0.2)
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_info_nce_queue_of_absent_keys_is_zero_with_zero_gradient():
    z, z_pos, queue = embeddings(18, (3, 4), (3, 4), (6, 4))
    queue = queue.at[2].set(0)  # a place not yet filled
    loss = partial(jitted_queue, temperature=0.1, negatives=jnp.zeros((3, 6)))
    np.testing.assert_array_equal(loss(z, z_pos, queue), 0)
    gradients = jax.grad(lambda *arrays: loss(*arrays).sum(), argnums=(0, 1, 2))(z, z_pos, queue)
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, 0)

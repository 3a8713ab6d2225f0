import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from gazax.losses import has_triplet, info_nce, sup_con, triplet_margin
from gazax.losses.parallel import gather, global_rows, masked_mean, value_and_grad
from tests.losses.devices import DEVICES, assert_same_on_all_devices, run

WHOLE, SPLIT = PartitionSpec(), PartitionSpec("data")


def sharded(function, out_specs):
    mesh = jax.make_mesh((DEVICES,), ("data",), axis_types=(AxisType.Auto,))
    return jax.jit(jax.shard_map(function, mesh=mesh, in_specs=SPLIT, out_specs=out_specs))


def test_masked_mean_by_hand():
    # (2 + 6) / 2
    got = masked_mean(jnp.array([2.0, 5.0, 6.0]), jnp.array([True, False, True]))
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, 4, atol=1e-6)
    np.testing.assert_allclose(masked_mean(jnp.array([2.0, 5.0, 5.0]), None), 4, atol=1e-6)


@pytest.mark.parametrize("junk", [np.nan, np.inf])
def test_masked_mean_does_not_see_what_does_not_count(junk):
    values, valid = jnp.array([2.0, junk, 6.0]), jnp.array([1.0, 0.0, 1.0])
    np.testing.assert_allclose(masked_mean(values, valid), 4, atol=1e-6)
    gradient = jax.grad(lambda values: masked_mean(values, valid))(values)
    np.testing.assert_allclose(gradient, [0.5, 0, 0.5], atol=1e-6)


def test_masked_mean_of_nothing_is_zero_with_zero_gradient():
    value, gradient = jax.value_and_grad(masked_mean)(jnp.full(3, jnp.nan), jnp.zeros(3, bool))
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("counted", [8, 3, 0])
def test_masked_mean_shares_average_to_the_global_mean(counted):
    values = jnp.asarray(np.random.default_rng(0).normal(size=8), jnp.float32)
    # Uneven: the first shard has none, the next ones more and more.
    valid = jnp.arange(8) >= 8 - counted

    def mean_of_shares(rows):
        return jax.lax.pmean(masked_mean(*rows, axis_name="data"), "data")

    got = sharded(mean_of_shares, WHOLE)((values, valid))
    np.testing.assert_allclose(got, masked_mean(values, valid), atol=1e-6)


def test_gather_keeps_the_order_of_the_shards_and_global_rows_name_the_places():
    x = jnp.arange(16.0).reshape(8, 2)

    def own_rows(x):
        return gather(x, "data")[global_rows(x.shape[0], "data")]

    np.testing.assert_array_equal(sharded(own_rows, SPLIT)(x), x)
    np.testing.assert_array_equal(gather(x, None), x)
    np.testing.assert_array_equal(global_rows(3, None), [0, 1, 2])


def masked_square(weight, rows, axis_name):
    return jnp.square(rows["x"] @ weight).sum(axis=1)


@pytest.mark.parametrize("parallel", ["jit", "shard_map", "pmap"])
def test_value_and_grad_is_that_of_the_global_mean(parallel):
    generator = np.random.default_rng(1)
    x = jnp.asarray(generator.normal(size=(8, 3)), jnp.float32)
    weight = jnp.asarray(generator.normal(size=(3, 2)), jnp.float32)
    valid = jnp.array([1, 1, 1, 0, 0, 0, 0, 1.0])
    kept = np.asarray(x, float)[np.asarray(valid) > 0]
    # d/dW mean |x W|^2 = 2 mean x x' W
    expected = 2 * kept.T @ kept @ np.asarray(weight, float) / 4
    mean, _, gradient = run(masked_square, weight, {"x": x, "valid": valid}, parallel=parallel)
    np.testing.assert_allclose(mean, np.square(kept @ weight).sum() / 4, rtol=1e-6)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)


def test_value_and_grad_names_what_it_knows():
    with pytest.raises(ValueError, match="'jit', 'shard_map' or 'pmap'"):
        value_and_grad(lambda params: (params, None), parallel="xmap", axis_name=None)


def test_differentiating_a_shard_map_from_outside_gives_the_same_gradient():
    z_a, z_b = (
        jnp.asarray(np.random.default_rng(seed).normal(size=(8, 3)), jnp.float32) for seed in (2, 3)
    )

    def global_mean(z):
        values = info_nce(*z, temperature=0.4, axis_name="data")
        return jax.lax.pmean(masked_mean(values, None, axis_name="data"), "data")

    got = jax.grad(sharded(global_mean, WHOLE))((z_a, z_b))
    expected = jax.grad(lambda z: info_nce(*z, temperature=0.4).mean())((z_a, z_b))
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


# Two rows a device: class 0 is on all but the second, class 2 has one row that counts.
CLASSES = np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 0, 2, 2, 0]]
COUNTING = np.array([1, 1, 1, 0, 1, 1, 0, 1.0], np.float32)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("sup_con", dict(temperature=0.3)),
        *(("triplet", dict(margin=0.5, mining=m)) for m in ("all", "hard", "semi_hard")),
        ("triplet", dict(margin=1.0, distance="published")),
    ],
    ids=["sup_con", "all", "hard", "semi_hard", "published"],
)
def test_losses_by_class_are_the_same_on_one_device_and_four(name, settings):
    """Partners come from all devices; a gradient reaches them there."""
    generator = np.random.default_rng(4)
    shape = (8, 2, 3, 5) if "distance" in settings else (8, 5)
    x = jnp.asarray(generator.normal(size=shape), jnp.float32)
    weight = jnp.asarray(generator.normal(size=(5, 4)), jnp.float32)
    label = CLASSES.copy()
    label[7] = np.nan
    counting = jnp.asarray(COUNTING)
    rows = {
        "x": jnp.where(counting.reshape(-1, *[1] * (x.ndim - 1)) > 0, x, 0.0),
        "label": jnp.asarray(label),
        "counting": counting,
        # Over which the mean is taken.
        "valid": has_triplet(label, valid=counting),
    }
    assert rows["valid"].tolist() == [True, True, False, False, True, False, False, False]

    def per_example(weight, rows, axis_name):
        common = dict(valid=rows["counting"], axis_name=axis_name)
        loss = triplet_margin if name == "triplet" else sup_con
        return loss(rows["x"] @ weight, rows["label"], **settings, **common)

    assert_same_on_all_devices(per_example, weight, rows, atol=2e-6)


def test_has_triplet_is_the_same_on_one_device_and_four():
    def local(rows):
        return has_triplet(rows["label"], valid=rows["valid"], axis_name="data")

    rows = {"label": jnp.asarray(CLASSES), "valid": jnp.asarray(COUNTING)}
    got = sharded(local, SPLIT)(rows)
    np.testing.assert_array_equal(got, has_triplet(CLASSES, valid=COUNTING))
    assert got.any()
    assert not got.all()

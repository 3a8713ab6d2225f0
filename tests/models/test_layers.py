"""The layers of the convolutional networks against torch's, and on several devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import AxisType, PartitionSpec

from gazax.losses.parallel import value_and_grad
from gazax.models.layers import BatchNorm, Conv, max_pool
from gazax.typing import InputError


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def tensor(x):
    import torch

    return torch.tensor(np.asarray(x))


def nchw(x):
    return tensor(x).permute(0, 3, 1, 2)


def nhwc(y):
    return y.detach().permute(0, 2, 3, 1).numpy()


@pytest.mark.torch
@pytest.mark.parametrize(
    ("size", "stride", "padding"),
    [
        *((1, 1, None), (1, 2, None), (1, 1, 1), (3, 1, None), (3, 2, None), (7, 2, None)),
        *((3, 1, 0), (3, 2, 0)),
        *(((1, 7), 1, None), ((7, 1), 1, None), ((1, 3), 2, None), ((5, 7), 1, 0), ((3, 1), 1, 1)),
    ],
)
def test_conv_is_torchs(size, stride, padding):
    torch = pytest.importorskip("torch")
    window = (size, size) if isinstance(size, int) else size
    x, kernel, bias = draw(2, 7, 8, 3), draw(*window, 3, 4, seed=1), draw(4, seed=2)
    conv = Conv(4, size, stride, padding=padding, use_bias=True)
    ours = conv.apply({"params": {"kernel": kernel, "bias": bias}}, x)
    weight = tensor(kernel).permute(3, 2, 0, 1)
    given = [side // 2 for side in window] if padding is None else padding
    theirs = torch.nn.functional.conv2d(nchw(x), weight, tensor(bias), stride, given)
    np.testing.assert_allclose(ours, nhwc(theirs), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 2), (3, 2), (4, 6), (7, 7)])
@pytest.mark.parametrize("stride", [1, 2])
def test_conv_of_few_cells_is_laxs_with_the_same_gradient(height, width, stride):
    """On both sides of the number of cells at which the product takes over."""
    x, kernel = draw(2, height, width, 3), draw(3, 3, 3, 4, seed=1)

    def ours(x, kernel):
        return Conv(4, 3, stride).apply({"params": {"kernel": kernel}}, x)

    def laxs(x, kernel):
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            [(1, 1), (1, 1)],
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    np.testing.assert_allclose(ours(x, kernel), laxs(x, kernel), rtol=1e-5, atol=1e-5)
    grads = [
        jax.grad(lambda x, kernel, f=f: jnp.sin(f(x, kernel)).sum(), argnums=(0, 1))(x, kernel)
        for f in (ours, laxs)
    ]
    for one, other in zip(*grads, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
def test_conv_1x1_is_laxs_with_the_same_gradient(stride):
    x, kernel, weight = draw(2, 5, 6, 3), draw(1, 1, 3, 4, seed=1), draw(2, 5, 6, 4, seed=2)
    weight = weight[:, ::stride, ::stride]

    def ours(x, kernel):
        y = Conv(4, 1, stride).apply({"params": {"kernel": kernel}}, x)
        return (y * weight).sum(), y

    def laxs(x, kernel):
        numbers = ("NHWC", "HWIO", "NHWC")
        y = jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), "VALID", dimension_numbers=numbers
        )
        return (y * weight).sum(), y

    gradient, y = jax.grad(ours, argnums=(0, 1), has_aux=True)(x, kernel)
    expected_gradient, expected = jax.grad(laxs, argnums=(0, 1), has_aux=True)(x, kernel)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    for one, other in zip(gradient, expected_gradient, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    program = str(jax.make_jaxpr(jax.grad(lambda x, kernel: ours(x, kernel)[0]))(x, kernel))
    assert "conv_general_dilated" not in program


def test_conv_starts_kaiming_normal_of_its_outputs(rng):
    variables = Conv(64, 3, use_bias=True).init(rng, jnp.zeros((1, 4, 4, 16)))
    kernel = variables["params"]["kernel"]
    assert float(kernel.std()) == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.03)
    np.testing.assert_array_equal(variables["params"]["bias"], 0)


@pytest.mark.parametrize("layer", [Conv(4, dtype="bfloat16"), Conv(4, 1, dtype="bfloat16")])
def test_conv_bfloat16_has_float32_parameters(rng, layer):
    x = draw(1, 4, 4, 3)
    variables = layer.init(rng, x)
    assert variables["params"]["kernel"].dtype == jnp.float32
    y = layer.apply(variables, x)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(
        y.astype(jnp.float32), layer.clone(dtype="float32").apply(variables, x), atol=0.05
    )


@pytest.mark.torch
@pytest.mark.parametrize(
    ("size", "window", "stride", "padding"),
    [
        ((7, 8), 3, 2, 1),
        ((7, 8), 2, 2, 0),
        ((5, 6), 3, 1, 1),
    ],
)
def test_max_pool_is_torchs_with_the_same_gradient(size, window, stride, padding):
    torch = pytest.importorskip("torch")
    # all negative: a padding of zeros would win
    x = -np.random.default_rng(0).permutation(2 * size[0] * size[1] * 3).astype(np.float32) - 1
    x = jnp.asarray(x.reshape(2, *size, 3))
    given = nchw(x).requires_grad_()
    theirs = torch.nn.functional.max_pool2d(given, window, stride, padding)
    ours = max_pool(x, window=window, stride=stride, padding=padding)
    np.testing.assert_array_equal(ours, nhwc(theirs))
    weight = draw(*ours.shape)
    (theirs * nchw(weight)).sum().backward()

    def loss(x):
        return (max_pool(x, window=window, stride=stride, padding=padding) * weight).sum()

    gradient = jax.grad(loss)(x)
    np.testing.assert_allclose(gradient, nhwc(given.grad), rtol=1e-6, atol=1e-6)
    assert "scatter" not in str(jax.make_jaxpr(jax.grad(loss))(x))


BATCH = (8, 3, 2, 5)


def batch_norm_rows():
    """A channel's mean far from 0, so that one pass in float32 would lose its variance."""
    x = (1.5 * draw(*BATCH)).at[..., 1].add(3000)
    weight = draw(*BATCH, seed=1)
    return {"x": x, "weight": weight}


def batch_norm_variables():
    return {
        "params": {"scale": draw(5, seed=2), "bias": draw(5, seed=3)},
        "batch_stats": {"mean": draw(5, seed=4), "var": jnp.square(draw(5, seed=5)) + 0.1},
    }


def batch_norm_step(rows, parallel):
    """Output, statistics, and the gradient with respect to the parameters and the input."""
    variables = batch_norm_variables()
    axis_name = None if parallel == "jit" else "data"
    layer = BatchNorm(axis_name=axis_name)

    def share(params, rows):
        y, updated = layer.apply(
            {**variables, "params": params}, rows["x"], train=True, mutable=["batch_stats"]
        )
        return (y * rows["weight"]).sum(axis=(1, 2, 3)).mean(), (y, updated["batch_stats"])

    step = value_and_grad(share, parallel=parallel, axis_name=axis_name)
    whole, split = PartitionSpec(), PartitionSpec("data")
    if parallel == "jit":
        (_, (y, stats)), grads = jax.jit(step)(variables["params"], rows)
    elif parallel == "shard_map":
        mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
        out_specs = ((whole, (split, whole)), whole)
        step = jax.shard_map(step, mesh=mesh, in_specs=(whole, split), out_specs=out_specs)
        (_, (y, stats)), grads = jax.jit(step)(variables["params"], rows)
    else:
        cut = jax.tree.map(lambda x: x.reshape(4, -1, *x.shape[1:]), rows)
        (_, (y, stats)), grads = jax.pmap(step, axis_name="data", in_axes=(None, 0))(
            variables["params"], cut
        )
        for copies in jax.tree.leaves((stats, grads)):
            np.testing.assert_array_equal(copies, jnp.broadcast_to(copies[:1], copies.shape))
        stats, grads = jax.tree.map(lambda copies: copies[0], (stats, grads))
        y = y.reshape(BATCH)
    return y, stats, grads


@pytest.mark.torch
def test_batch_norm_is_torchs_in_training():
    torch = pytest.importorskip("torch")
    rows, variables = batch_norm_rows(), batch_norm_variables()
    norm = torch.nn.BatchNorm2d(5).double()
    with torch.no_grad():
        norm.weight.copy_(tensor(variables["params"]["scale"]))
        norm.bias.copy_(tensor(variables["params"]["bias"]))
        norm.running_mean.copy_(tensor(variables["batch_stats"]["mean"]))
        norm.running_var.copy_(tensor(variables["batch_stats"]["var"]))
    given = nchw(rows["x"]).double().requires_grad_()
    theirs = norm(given)
    (theirs * nchw(rows["weight"])).sum().div(BATCH[0]).backward()
    y, stats, grads = batch_norm_step(rows, "jit")
    # float32 knows 3000 + x to 1.2e-4, its mean over 48 values a little better
    np.testing.assert_allclose(y, nhwc(theirs), rtol=1e-4, atol=2e-4)
    np.testing.assert_allclose(stats["mean"], norm.running_mean, rtol=1e-5)
    np.testing.assert_allclose(stats["var"], norm.running_var, rtol=1e-5)
    np.testing.assert_allclose(grads["scale"], norm.weight.grad, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(grads["bias"], norm.bias.grad, rtol=1e-4, atol=1e-5)

    layer = BatchNorm()

    def loss(x):
        y, _ = layer.apply(variables, x, train=True, mutable=["batch_stats"])
        return (y * rows["weight"]).sum() / BATCH[0]

    np.testing.assert_allclose(jax.grad(loss)(rows["x"]), nhwc(given.grad), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("parallel", ["shard_map", "pmap"])
def test_batch_norm_is_the_same_on_several_devices(parallel):
    rows = batch_norm_rows()
    rows["x"] = rows["x"].at[:2].add(1)  # shards differ, in the mean too
    for got, expected in zip(
        jax.tree.leaves(batch_norm_step(rows, parallel)),
        jax.tree.leaves(batch_norm_step(rows, "jit")),
        strict=True,
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("parallel", ["jit", "shard_map", "pmap"])
def test_batch_norm_input_gradient_crosses_devices(parallel):
    """The sum of the normalised values is 0 whatever x is; that of their cubes is not."""
    x, weight = draw(*BATCH), draw(*BATCH, seed=1)
    variables = batch_norm_variables()

    def mean(x, weight, axis_name):
        layer = BatchNorm(axis_name=axis_name)
        y, _ = layer.apply(variables, x, train=True, mutable=["batch_stats"])
        share = (y**3 * weight).mean()
        return share if axis_name is None else jax.lax.pmean(share, axis_name)

    expected = jax.grad(mean)(x, weight, None)
    if parallel == "jit":
        step = 1e-2 * draw(*BATCH, seed=6)
        moved = mean(x + step, weight, None) - mean(x - step, weight, None)
        assert float((expected * step).sum() * 2) == pytest.approx(float(moved), rel=0.02)
        return
    if parallel == "shard_map":
        mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
        split = PartitionSpec("data")
        mapped = jax.shard_map(
            lambda x, weight: mean(x, weight, "data"),
            mesh=mesh,
            in_specs=split,
            out_specs=PartitionSpec(),
        )
        got = jax.jit(jax.grad(mapped))(x, weight)
    else:
        mapped = jax.pmap(jax.grad(lambda x, weight: mean(x, weight, "data")), axis_name="data")
        # a device's gradient is that of the sum of four equal means
        got = mapped(x.reshape(4, 2, 3, 2, 5), weight.reshape(4, 2, 3, 2, 5)).reshape(BATCH) / 4
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("settings", "epsilon"), [({}, 1e-5), ({"epsilon": 0.1}, 0.1)])
def test_batch_norm_in_inference_uses_the_running_statistics(settings, epsilon):
    variables, x = batch_norm_variables(), draw(*BATCH)
    stats, params = jax.device_get((variables["batch_stats"], variables["params"]))
    expected = (np.asarray(x) - stats["mean"]) / np.sqrt(stats["var"] + epsilon) * params[
        "scale"
    ] + params["bias"]
    y = BatchNorm(**settings).apply(variables, x, train=False)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_batch_norm_marked_frozen_does_not_move():
    variables, x = batch_norm_variables(), draw(*BATCH)
    marked = {**variables, "frozen": {"statistics": True}}
    y, updated = BatchNorm().apply(marked, x, train=True, mutable=["batch_stats"])
    np.testing.assert_array_equal(y, BatchNorm().apply(variables, x, train=False))
    for name in ("mean", "var"):
        np.testing.assert_array_equal(updated["batch_stats"][name], variables["batch_stats"][name])


def test_batch_norm_mark_is_of_one_layer():
    class Two(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = BatchNorm(name="first")(x, train=True)
            return BatchNorm(name="second")(x, train=True)

    x = draw(*BATCH)
    variables = Two().init(jax.random.key(0), x)
    variables["frozen"] = {"first": {"statistics": True}}
    _, updated = Two().apply(variables, x, mutable=["batch_stats"])
    np.testing.assert_array_equal(updated["batch_stats"]["first"]["mean"], 0)
    assert np.abs(updated["batch_stats"]["second"]["mean"]).max() > 1e-4


def test_batch_norm_starts_as_the_identity_of_torch():
    variables = BatchNorm().init(jax.random.key(0), draw(*BATCH), train=True)
    assert jax.tree.map(lambda leaf: set(leaf.tolist()), variables) == {
        "params": {"scale": {1.0}, "bias": {0.0}},
        "batch_stats": {"mean": {0.0}, "var": {1.0}},
    }


def test_batch_norm_bfloat16_takes_its_moments_in_float32():
    variables = batch_norm_variables()
    x = jnp.asarray(draw(64, 8, 8, 5) + 4, jnp.bfloat16)
    layer = BatchNorm(dtype="bfloat16")
    y, updated = layer.apply(variables, x, train=True, mutable=["batch_stats"])
    assert y.dtype == jnp.bfloat16
    exact, expected = BatchNorm().apply(
        variables, x.astype(jnp.float32), train=True, mutable=["batch_stats"]
    )
    for name in ("mean", "var"):
        assert updated["batch_stats"][name].dtype == jnp.float32
        np.testing.assert_allclose(
            updated["batch_stats"][name], expected["batch_stats"][name], rtol=1e-6
        )
    np.testing.assert_allclose(y.astype(jnp.float32), exact, rtol=2**-7, atol=1e-6)


def test_batch_norm_of_one_value_is_refused():
    with pytest.raises(InputError, match="one value a channel"):
        BatchNorm().apply(
            batch_norm_variables(), draw(1, 1, 1, 5), train=True, mutable=["batch_stats"]
        )

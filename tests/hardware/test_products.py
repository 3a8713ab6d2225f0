"""Products counted by hand, and in published models."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec

from gazax.hardware.products import count_flops
from gazax.models import build
from gazax.train.sharding import DATA, make_mesh


def flops(function, *shapes):
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return count_flops(jax.make_jaxpr(function)(*arrays))


def convolve(image, kernel, *, stride=1, groups=1):
    return jax.lax.conv_general_dilated(
        image,
        kernel,
        (stride, stride),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def test_a_product_is_two_m_k_n_for_each_of_a_batch():
    assert flops(jnp.matmul, (3, 4), (4, 5)) == 2 * 3 * 4 * 5
    assert flops(jnp.matmul, (7, 3, 4), (7, 4, 5)) == 7 * 2 * 3 * 4 * 5


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_convolution_meets_its_kernel_once_an_output(stride, groups):
    wanted = 2 * (2 * (8 // stride) ** 2 * 6) * 3 * 3 * 4 // groups
    image, kernel = (2, 8, 8, 4), (3, 3, 4 // groups, 6)
    run = functools.partial(convolve, stride=stride, groups=groups)
    assert flops(run, image, kernel) == wanted
    # Each of the two gradients is as much work again, strided or not.
    gradients = jax.grad(lambda *arrays: run(*arrays).sum(), (0, 1))
    assert flops(gradients, image, kernel) == 3 * wanted


def test_control_flow_counts_its_turns_and_its_largest_branch():
    def looped(x):
        return jax.lax.scan(lambda carry, _: (carry @ carry, None), x, length=5)[0]

    def branched(x):
        return jax.lax.cond(x.sum() > 0, lambda x: x @ x @ x, lambda x: x @ x, x)

    one = 2 * 4**3
    assert flops(looped, (4, 4)) == 5 * one
    assert flops(jax.jit(branched), (4, 4)) == 2 * one


def test_a_part_a_device_counts_once_a_device():
    product = jax.shard_map(
        jnp.matmul,
        mesh=make_mesh(),
        in_specs=(PartitionSpec(DATA), PartitionSpec()),
        out_specs=PartitionSpec(DATA),
    )
    assert flops(product, (8 * jax.device_count(), 4), (4, 5)) == flops(
        jnp.matmul, (8 * jax.device_count(), 4), (4, 5)
    )


@pytest.mark.parametrize(
    ("model", "published"),
    [
        (build("resnet50", num_classes=1000), 4.09e9),
        (build("vit", variant="B/16", num_classes=1000), 17.56e9),
    ],
    ids=("resnet50", "vit_b_16"),
)
def test_a_model_is_as_much_work_as_published(model, published):
    """torchvision's table of weights, which counts a multiplication and its addition as one."""
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    found = count_flops(jax.make_jaxpr(model.apply)(variables, image)) / 2
    assert found == pytest.approx(published, rel=0.01)

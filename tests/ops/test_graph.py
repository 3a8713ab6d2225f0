import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gazax.ops.graph import max_relative, nearest_neighbours, relative_position
from gazax.typing import InputError
from tests.reference import graph as reference

# angles to the nodes: 0, 90, 45 and 180 degrees; squared distances 0, 2, 2 - sqrt(2) and 4
NODES = jnp.array([[1.0, 0.0], [0.0, 5.0]])
OTHERS = jnp.array([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0], [-1.0, 0.0]])


def drawn(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def test_nearest_neighbours_by_hand():
    # To the second node the first and the last other are equally far: the first comes first.
    found = nearest_neighbours(NODES, OTHERS, k=4)
    np.testing.assert_array_equal(found, [[0, 2, 1, 3], [1, 2, 0, 3]])
    assert jnp.issubdtype(found.dtype, jnp.integer)
    np.testing.assert_array_equal(nearest_neighbours(NODES, OTHERS, k=2), found[:, :2])
    np.testing.assert_array_equal(
        nearest_neighbours(NODES, OTHERS, k=2, dilation=2), [[0, 1], [1, 0]]
    )


def test_a_bias_is_added_to_the_squared_distance():
    # 2 - sqrt(2) = .586 is more than 4 - 3.5 and less than 4 - 3.4
    for bias, first in ((-3.5, [0, 3, 2]), (-3.4, [0, 2, 3])):
        added = jnp.zeros((2, 4)).at[0, 3].set(bias)
        found = nearest_neighbours(NODES, OTHERS, k=3, bias=added)
        np.testing.assert_array_equal(found[0], first)
        np.testing.assert_array_equal(found[1], [1, 2, 0])


@pytest.mark.parametrize(("k", "dilation"), [(1, 1), (9, 1), (4, 3), (12, 1)])
@pytest.mark.parametrize("biased", [False, True])
def test_nearest_neighbours_are_the_twins(k, dilation, biased):
    nodes, others = drawn(3, 7, 5), drawn(3, 12, 5, seed=1)
    bias = drawn(7, 12, seed=2) if biased else None
    find = jax.jit(
        jax.vmap(lambda x, y: nearest_neighbours(x, y, k=k, dilation=dilation, bias=bias))
    )
    expected = [
        reference.nearest_neighbours(x, y, k, dilation, bias)
        for x, y in zip(nodes, others, strict=True)
    ]
    np.testing.assert_array_equal(find(nodes, others), np.stack(expected))


def test_all_nodes_as_neighbours_are_each_once():
    nodes = drawn(6, 4)
    found = nearest_neighbours(nodes, nodes, k=6)
    np.testing.assert_array_equal(np.sort(found, axis=1), np.tile(np.arange(6), (6, 1)))
    np.testing.assert_array_equal(found[:, 0], np.arange(6))


def test_equal_nodes_are_taken_by_their_place():
    nodes = jnp.tile(jnp.array([[0.0, 3.0, 4.0]]), (5, 1))
    np.testing.assert_array_equal(nearest_neighbours(nodes, nodes, k=3), np.tile([0, 1, 2], (5, 1)))


def test_a_vector_of_zeros_is_near_zeros():
    others = jnp.array([[1.0, 0.0], [0.0, 0.0], [0.0, 2.0]])
    found = nearest_neighbours(jnp.array([[0.0, 0.0], [1.0, 0.0]]), others, k=3)
    # zeros to zeros 0, to unit vectors 1; a unit vector to itself 0, to zeros 1, across 2
    np.testing.assert_array_equal(found, [[1, 0, 2], [0, 1, 2]])


@pytest.mark.parametrize(("k", "dilation"), [(5, 1), (3, 2), (0, 1), (2, 0)])
def test_a_graph_that_there_are_too_few_nodes_for_is_refused(k, dilation):
    with pytest.raises(
        InputError, match=f"k={k} neighbours with dilation={dilation} among 4 nodes"
    ):
        nearest_neighbours(NODES, OTHERS, k=k, dilation=dilation)


def test_max_relative_by_hand():
    nodes = jnp.array([[1.0, 10.0], [0.0, 0.0]])
    others = jnp.array([[3.0, 4.0], [2.0, 11.0], [-5.0, -6.0]])
    found = max_relative(nodes, others, jnp.array([[0, 1], [2, 2]]))
    np.testing.assert_array_equal(found, [[2.0, 1.0], [-5.0, -6.0]])
    np.testing.assert_array_equal(
        max_relative(nodes, nodes, jnp.array([[0], [1]])), jnp.zeros((2, 2))
    )


def test_max_relative_is_the_twins():
    nodes, others = drawn(6, 3), drawn(9, 3, seed=1)
    neighbours = np.random.default_rng(2).integers(0, 9, (6, 4))
    expected = reference.max_relative(nodes, others, neighbours)
    np.testing.assert_allclose(
        jax.jit(max_relative)(nodes, others, neighbours), expected, atol=1e-6
    )


def test_max_relative_sends_the_gradient_to_who_is_highest():
    nodes, others = jnp.array([[1.0, 10.0]]), jnp.array([[3.0, 4.0], [2.0, 11.0]])

    def total(nodes, others):
        return max_relative(nodes, others, jnp.array([[0, 1]])).sum()

    for_nodes, for_others = jax.grad(total, argnums=(0, 1))(nodes, others)
    np.testing.assert_array_equal(for_nodes, [[-1.0, -1.0]])
    np.testing.assert_array_equal(for_others, [[1.0, 0.0], [0.0, 1.0]])


@pytest.mark.parametrize("nodes", [jnp.zeros((4, 3)), jnp.ones((4, 3)), jnp.eye(4)[:, :3]])
def test_degenerate_nodes_have_finite_gradients(nodes):
    def total(nodes, others, bias):
        found = nearest_neighbours(nodes, others, k=4, bias=bias)
        return jnp.square(max_relative(nodes, others, found) - 0.5).sum()

    value, grads = jax.value_and_grad(total, argnums=(0, 1, 2))(nodes, nodes, jnp.zeros((4, 4)))
    assert value > 0
    assert all(np.isfinite(leaf).all() for leaf in grads)
    np.testing.assert_array_equal(grads[2], jnp.zeros((4, 4)))  # a choice has none


@pytest.mark.parametrize("form", ["code", "pooled"])
@pytest.mark.parametrize(
    ("size", "reduction"), [((4, 6), 1), ((4, 6), 2), ((8, 4), 4), ((3, 6), 3)]
)
def test_relative_positions_are_the_twins(size, reduction, form):
    found = relative_position(size, width=12, reduction=reduction, form=form)
    expected = reference.relative_position(size, 12, reduction, form)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_relative_positions_by_hand():
    # one frequency, 1: -(cos dy + cos dx) / 2
    found = relative_position((2, 2), width=4)
    np.testing.assert_allclose(np.diag(found), -1.0, rtol=1e-6)
    np.testing.assert_allclose(
        found[0, 1:], -(np.cos([0, 1, 1]) + np.cos([1, 0, 1])) / 2, rtol=1e-6
    )


def test_pooled_positions_draw_cells_to_their_own_block_and_the_codes_to_its_row():
    size, own = (8, 8), np.arange(4).reshape(2, 2).repeat(4, axis=0).repeat(4, axis=1).reshape(-1)
    pooled, code = (
        np.asarray(relative_position(size, width=64, reduction=4, form=form)).argmin(axis=1)
        for form in ("pooled", "code")
    )
    np.testing.assert_array_equal(pooled, own)
    np.testing.assert_array_equal(code // 2, own // 2)
    assert (code != own).any()


def test_relative_positions_that_cannot_be_are_refused():
    for wrong in ({"width": 6}, {"reduction": 3}, {"size": (6, 4), "reduction": 3}):
        with pytest.raises(InputError, match="multiple of 4, and the reduction divides both"):
            relative_position(**{"size": (4, 4), "width": 8, **wrong})
    with pytest.raises(InputError, match="relative position 'figure'.*code, pooled"):
        relative_position((4, 4), width=8, form="figure")

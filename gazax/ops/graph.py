"""Graphs over the cells of a grid: who is whose neighbour, and what a node takes from them."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision
from jaxtyping import Array, ArrayLike, Float, Int

from gazax.ops.maxima import largest
from gazax.typing import InputError, Size

RELATIVE_POSITIONS = ("code", "pooled")

_PERIOD = 10_000.0
_CUBIC = -0.75  # torch's constant of bicubic interpolation
_SMALLEST_NORM = 1e-12


def nearest_neighbours(
    nodes: Float[ArrayLike, "n d"],
    others: Float[ArrayLike, "m d"],
    *,
    k: int,
    dilation: int = 1,
    bias: Float[ArrayLike, "n m"] | None = None,
) -> Int[Array, "n k"]:
    """The nearest of `others` to each node, by direction; every `dilation`-th of their order.

    D[i, j] = |x_i / |x_i| - y_j / |y_j||^2 + bias[i, j]

    Args:
      nodes: x, any scale.
      others: y; where they are the nodes themselves, each is its own nearest.
      k: neighbours of a node.
      dilation: 1 = the nearest k; 2 = the 1st, 3rd, 5th, ... nearest.
      bias: what is added to the squared distances, which lie in [0, 4].

    Returns:
      Rows of `others`, the nearest first; of equal distances the lowest first.

    Raises:
      InputError: k or dilation is below 1, or there are fewer than (k - 1) * dilation + 1 others.

    Numerics: float32, from the products of unit vectors at full precision; a vector of zeros stays
    one, at distance 1 of every unit vector. Two that should be equally far may differ by rounding.
    The result is a constant to every gradient.

    Source: Li et al. 2019 (arXiv:1904.03751), dilated neighbours; Han et al. 2022
    (arXiv:2206.00272) and its public code, unit vectors and bias.
    """
    reach = (k - 1) * dilation + 1
    nodes, others = _unit(nodes), _unit(others)
    if k < 1 or dilation < 1 or reach > len(others):
        raise InputError(
            f"a graph of k={k} neighbours with dilation={dilation} among {len(others)} nodes: both "
            "are 1 or more, and (k - 1) * dilation + 1 nodes are needed; take a smaller k"
        )
    products = jnp.einsum("nd,md->nm", nodes, others, precision=Precision.HIGHEST)
    squares = [jnp.square(x).sum(axis=1) for x in (nodes, others)]
    distances = squares[0][:, None] + squares[1][None] - 2 * products
    if bias is not None:
        distances = distances + jnp.asarray(bias, jnp.float32)
    _, order = jax.lax.top_k(-distances, reach)
    return order[:, ::dilation]


def _unit(vectors: Float[ArrayLike, "n d"]) -> Float[Array, "n d"]:
    # A choice has no gradient: no derivatives of what it is made from are computed.
    vectors = jax.lax.stop_gradient(jnp.asarray(vectors, jnp.float32))
    norm = jnp.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / jnp.maximum(norm, _SMALLEST_NORM)


def max_relative(
    nodes: Float[ArrayLike, "n d"],
    others: Float[ArrayLike, "m d"],
    neighbours: Int[ArrayLike, "n k"],
) -> Float[Array, "n d"]:
    """How far a node's neighbours rise above it: max over its neighbours j of y_j - x_i.

    Args:
      nodes: x, any scale.
      others: y, of the same scale.
      neighbours: rows of `others`, for each node.

    Returns:
      Each feature by itself; of the nodes' type. Neighbours equal to the node give 0.

    Numerics: the maximum is taken before the difference, which has the same bits. Of
    neighbours that tie the first has the gradient.

    Source: Li et al. 2019 (arXiv:1904.03751), MRGCN.
    """
    nodes, others = jnp.asarray(nodes), jnp.asarray(others)
    return largest(others[jnp.asarray(neighbours)], 1) - nodes


def relative_position(
    size: Size, *, width: int, reduction: int = 1, form: str = "code"
) -> Float[Array, "n m"]:
    """Bias that draws cells of a grid to those near them, for `nearest_neighbours`.

    bias[i, j] = -(2 / d) e_i . e_j

    e is the sine-cosine embedding of a cell: d / 4 frequencies, each as sine and cosine of the
    column and of the row. A cell to itself gives -1, the least.

    Args:
      size: (h, w) of the grid, whose cells are the nodes, row by row.
      width: d, a multiple of 4; it decides the frequencies alone.
      reduction: r; the others are the grid's r x r blocks of cells, row by row. It divides h and w.
      form: what a block's e is. "code": bicubic interpolation along the list of all cells, at
        every r^2-th place, as in ViG's public code; the list runs along rows, so that a block
        gets the row that it has but another column. "pooled": the mean over its cells.

    Raises:
      InputError: width is no multiple of 4, r does not divide the grid, or there is no such form.

    Numerics: made while tracing but for the last product. That one is large, and the compiler is
    kept from working it out itself, which takes it seconds, and from storing what comes out.

    Source: the public code of Han et al. 2022 (arXiv:2206.00272). Its text adds e_i . e_j to the
    distance without a sign; the code subtracts. "pooled" and grids that are not square are ours.
    """
    height, across = size
    if width % 4 or height % reduction or across % reduction:
        raise InputError(
            f"relative positions of {height}x{across} nodes of {width} features with reduction "
            f"{reduction}: features are a multiple of 4, and the reduction divides both sides"
        )
    if form not in RELATIVE_POSITIONS:
        raise InputError(
            f"unknown relative position {form!r}; give one of {', '.join(RELATIVE_POSITIONS)}"
        )
    cells = _sine_cosine(size, width)
    if reduction == 1:
        blocks = cells
    elif form == "code":
        blocks = _bicubic(cells, reduction**2)
    else:
        blocked = cells.reshape(height // reduction, reduction, across // reduction, reduction, -1)
        blocks = blocked.mean(axis=(1, 3)).reshape(-1, width)
    made = [jnp.asarray(x, jnp.float32) for x in (cells, blocks)]
    cells, blocks = jax.lax.optimization_barrier(made)
    return -2 / width * jnp.einsum("nd,md->nm", cells, blocks, precision=Precision.HIGHEST)


def _sine_cosine(size: Size, width: int) -> np.ndarray:
    """[h * w, d], float64."""
    frequencies = _PERIOD ** -(np.arange(width // 4) / (width / 4))
    row, column = np.indices(size).reshape(2, -1)
    phases = np.stack([row, column], axis=1)[:, :, None] * frequencies
    return np.concatenate([np.sin(phases), np.cos(phases)], axis=2).reshape(len(row), -1)


def _bicubic(rows: np.ndarray, factor: int) -> np.ndarray:
    """One row in place of `factor`, as torch interpolates without antialiasing."""
    places = (np.arange(len(rows) // factor) + 0.5) * factor - 0.5
    first = np.floor(places).astype(int)
    found = np.zeros((len(places), rows.shape[1]))
    for offset in (-1, 0, 1, 2):
        x = np.abs(places - first - offset)
        near = (_CUBIC + 2) * x**3 - (_CUBIC + 3) * x**2 + 1
        far = _CUBIC * (x**3 - 5 * x**2 + 8 * x - 4)
        weight = np.where(x <= 1, near, far)
        found += weight[:, None] * rows[np.clip(first + offset, 0, len(rows) - 1)]
    return found

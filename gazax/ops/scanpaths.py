"""How alike two scanpaths are: MultiMatch on saccades, and time warping over clusters of gaze.

Both lay one sequence along the other by the cheapest path through the table of their differences,
and then measure along it. A scanpath is padded to a fixed length; rows from `count` on may hold
anything finite. Every function takes one pair; `jax.vmap` over both sides compares many.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from gazax.ops.gaze_similarity import relative_difference
from gazax.typing import Scalar

_TIMA_WEIGHTS = (0.7, 0.3)
"""Of M00 and of Hu."""
_LARGEST = 2**31 - 1


def multimatch(
    path_a: Float[ArrayLike, "s 5"],
    count_a: Int[ArrayLike, ""],
    path_b: Float[ArrayLike, "t 5"],
    count_b: Int[ArrayLike, ""],
    *,
    diagonal: float = 1.0,
) -> Float[Array, "5"]:
    """MultiMatch of two simplified scanpaths: shape, direction, length, position and duration.

    The saccades are aligned by the shortest path, from the first pair to the last, through the
    differences |u_i - v_j| of their vectors. Each measure is 1 - the median, along the path, of::

        shape      |u - v| / 2 D             direction   angle between u and v / pi
        length     ||u| - |v|| / D           position    |start of u - start of v| / D
        duration   |d_u - d_v| / max(d_u, d_v), of the fixations from which they start

    Args:
      path_a, path_b: saccades in order of time: x and y of the start, x and y of the vector, in
        one unit of length, and the duration of the fixation at the start, s.
      count_a, count_b: rows that are saccades; 0 for a scanpath of fewer than three fixations.
      diagonal: D, of the screen, in the unit of length.

    Returns:
      Five similarities; of positions on the screen they lie in [0, 1]. A scanpath and itself have
      1, one without a saccade and any other 0.

    Numerics: of several shortest paths one is taken, a diagonal step before the others; with ties
    alone, what comes out may depend on the order of the two. Two durations of 0 do not differ.

    Source: Dewhurst et al. 2012 and Jarodzka et al. 2010, as computed by multimatch_gaze 0.1.3,
    where fewer than three fixations give NaN; zeros are McGIP's.
    """
    a, b = jnp.asarray(path_a, jnp.float32), jnp.asarray(path_b, jnp.float32)
    on, i, j = align(_distances(a[:, 2:4], b[:, 2:4]), count_a, count_b)
    a, b = a[i], b[j]
    pi = math.pi
    turn = jnp.abs(jnp.arctan2(a[:, 3], a[:, 2]) - jnp.arctan2(b[:, 3], b[:, 2]))
    differences = jnp.stack(
        [
            _norm(a[:, 2:4] - b[:, 2:4]) / (2 * diagonal),
            jnp.minimum(turn, 2 * pi - turn) / pi,
            jnp.abs(_norm(a[:, 2:4]) - _norm(b[:, 2:4])) / diagonal,
            _norm(a[:, :2] - b[:, :2]) / diagonal,
            relative_difference(a[:, 4], b[:, 4]),
        ]
    )
    return jnp.where(on.any(), 1.0 - _median(differences, on), 0.0)


def multimatch_similarity(measures: Float[ArrayLike, "5"]) -> Scalar:
    """One number of the five of `multimatch`: their mean.

    Source: ours; McGIP keeps the five and does not say how one comes of them.
    """
    return jnp.asarray(measures, jnp.float32).mean()


def tima_similarity(
    a: Float[ArrayLike, "s 2"],
    count_a: Int[ArrayLike, ""],
    b: Float[ArrayLike, "t 2"],
    count_b: Int[ArrayLike, ""],
) -> Scalar:
    """1 - the mean cost of warping one sequence of gaze clusters to another in time.

    cost = .7 d(M00) + .3 d(Hu), with d(x, y) = |x - y| / max(x, y); the mean is over the steps of
    the path of the least sum.

    Args:
      a, b: `gazax.ops.gaze_similarity.moments` of each cluster's map, in order of time.
      count_a, count_b: rows that are clusters.

    Returns:
      In [0, 1]: a sequence and itself have 1, one without clusters and any other 0.

    Source: the spatio-temporal measure of GzPT, which follows McGIP (Zhao et al. 2024), as in its
    code.
    """
    a, b = jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32)
    shape = (a.shape[0], b.shape[0], 2)
    difference = relative_difference(
        jnp.broadcast_to(a[:, None], shape), jnp.broadcast_to(b[None], shape)
    )
    cost = _TIMA_WEIGHTS[0] * difference[..., 0] + _TIMA_WEIGHTS[1] * difference[..., 1]
    on, i, j = align(cost, count_a, count_b)
    along = jnp.where(on, cost[i, j], 0.0).sum() / jnp.maximum(on.sum(), 1)
    return jnp.where(on.any(), 1.0 - along, 0.0)


def align(
    cost: Float[Array, "s t"], count_a: Int[ArrayLike, ""], count_b: Int[ArrayLike, ""]
) -> tuple[Bool[Array, "n"], Int[Array, "n"], Int[Array, "n"]]:
    """The path of the least sum of costs from (0, 0) to (count_a - 1, count_b - 1).

    It goes down, right or both at each step: dynamic time warping without a band.

    Args:
      cost: finite, >= 0; rows and columns behind the counts are not looked at.
      count_a, count_b: of the table, what counts.

    Returns:
      For each of the s + t - 1 antidiagonals: whether the path has a cell on it, and which one,
      (i, j); (0, 0) where it has none. None has, if a count is 0.

    Numerics: an antidiagonal at a time, so that s + t steps do the work of s x t. Of equal sums
    the step down and right comes first, then down, then right.
    """
    s, t = cost.shape
    diagonals = s + t - 1
    # Row i moved right by i: a row padded to s + t, all but one of the padding left in place.
    padded = jnp.pad(cost, ((0, 0), (0, s)), constant_values=jnp.inf)
    skewed = padded.reshape(-1)[: s * diagonals].reshape(s, diagonals).T

    def forward(sums, own):
        before, last = sums  # two antidiagonals back, and one
        down = jnp.pad(last, (1, 0), constant_values=jnp.inf)[:-1]
        both = jnp.pad(before, (1, 0), constant_values=jnp.inf)[:-1]
        best = jnp.minimum(jnp.minimum(both, down), last)
        move = jnp.where(both <= best, 0, jnp.where(down <= best, 1, 2)).astype(jnp.int8)
        return (last, best + own), move

    first = skewed[0]  # finite at (0, 0) alone
    _, moves = jax.lax.scan(forward, (first + jnp.inf, first), skewed[1:])

    def backward(place, diagonal_moves):
        i, at = place
        diagonal, move = diagonal_moves
        on = diagonal == at
        move = move[jnp.maximum(i, 0)]
        earlier = (jnp.where(move < 2, i - 1, i), at - jnp.where(move == 0, 2, 1))
        found = on, jnp.where(on, i, 0), jnp.where(on, at - i, 0)
        return jax.tree.map(lambda new, old: jnp.where(on, new, old), earlier, place), found

    count_a, count_b = jnp.asarray(count_a, jnp.int32), jnp.asarray(count_b, jnp.int32)
    end = jnp.where((count_a > 0) & (count_b > 0), count_a + count_b - 2, -1)
    moves = jnp.pad(moves, ((1, 0), (0, 0)))  # none leads to the first
    _, (on, i, j) = jax.lax.scan(
        backward, (count_a - 1, end), (jnp.arange(diagonals), moves), reverse=True
    )
    return on, i, j


def _norm(vectors: Float[Array, "*n 2"]) -> Float[Array, "*n"]:
    return jnp.sqrt(vectors[..., 0] ** 2 + vectors[..., 1] ** 2)


def _distances(u: Float[Array, "s 2"], v: Float[Array, "t 2"]) -> Float[Array, "s t"]:
    shape = (u.shape[0], v.shape[0], 2)
    return _norm(jnp.broadcast_to(u[:, None], shape) - jnp.broadcast_to(v[None], shape))


def _median(values: Float[Array, "m n"], on: Bool[Array, "n"]) -> Float[Array, "m"]:
    """Of each row, over the columns that count; of an even number, the mean of the middle two.

    Values are >= 0, so that their bits are ordered as they are: the lower middle one is found bit
    by bit, by counting, which on a CPU costs a sixth of sorting.
    """
    bits = jnp.where(on[None], jax.lax.bitcast_convert_type(values, jnp.int32), _LARGEST)
    number = on.sum()
    rank = jnp.maximum(number - 1, 0) // 2

    def add_bit(place, found):
        tried = found | (1 << (30 - place))
        return jnp.where((bits < tried[:, None]).sum(axis=1) <= rank, tried, found)

    lower = jax.lax.fori_loop(0, 31, add_bit, bits[:, 0] * 0)
    next_one = jnp.where(bits > lower[:, None], bits, _LARGEST).min(axis=1)
    upper = jnp.where((bits <= lower[:, None]).sum(axis=1) > number // 2, lower, next_one)
    lower, upper = (jax.lax.bitcast_convert_type(x, jnp.float32) for x in (lower, upper))
    return (lower + upper) / 2

"""The work of a program that its model asks for: its products, before any compiler."""

import math
from collections.abc import Iterator
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn


def count_flops(program: ClosedJaxpr | Jaxpr) -> float:
    """Multiplications and additions of its matrix products and convolutions, over all devices.

    A product (m, k) x (k, n) is 2 m k n; a convolution 2 times the elements of its output times
    those of the kernel that each of them meets, padding included, the zeros between the rows of a
    gradient that is spread out by a stride not. Whatever else a program does is left out, as model
    FLOPs usually leave it out; what would be computed twice to save memory counts twice. Of the
    branches of a condition the largest counts, a loop of unknown length once.

    Args:
      program: of global shapes; the body of a `shard_map` counts once a device.
    """
    jaxpr = program.jaxpr if isinstance(program, ClosedJaxpr) else program
    return float(sum(_flops_of(equation) for equation in jaxpr.eqns))


def _flops_of(equation: JaxprEqn) -> float:
    params = equation.params
    match equation.primitive.name:
        case "dot_general":
            return _of_product(equation)
        case "conv_general_dilated":
            return _of_convolution(equation)
        case "cond":
            return max(count_flops(branch) for branch in params["branches"])
        case "scan":
            return params["length"] * count_flops(params["jaxpr"])
        case "shard_map":
            parts = math.prod(params["mesh"].shape[name] for name in params["newly_manual_axes"])
            return parts * count_flops(params["jaxpr"])
    return sum(count_flops(inner) for inner in _programs_in(params))


def _of_product(equation: JaxprEqn) -> float:
    (left, _), (out,) = _shapes_of(equation)
    (contracted, _), _ = equation.params["dimension_numbers"]
    return 2 * math.prod(out) * math.prod(left[i] for i in contracted)


def _of_convolution(equation: JaxprEqn) -> float:
    (_, kernel), (out,) = _shapes_of(equation)
    out_features = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
    met = math.prod(kernel) / out_features / math.prod(equation.params["lhs_dilation"])
    return 2 * math.prod(out) * met


def _shapes_of(equation: JaxprEqn) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Of what goes in and what comes out."""
    arrays: Any = ([x.aval for x in equation.invars], [x.aval for x in equation.outvars])
    ins, outs = ([array.shape for array in side] for side in arrays)
    return ins, outs


def _programs_in(params: dict[str, Any]) -> Iterator[ClosedJaxpr | Jaxpr]:
    for leaf in jax.tree.leaves(
        list(params.values()), is_leaf=lambda x: isinstance(x, ClosedJaxpr | Jaxpr)
    ):
        if isinstance(leaf, ClosedJaxpr | Jaxpr):
            yield leaf

"""Weights of another run, or of a file, as what a run begins with.

Strict: of the scopes that are loaded, every parameter and every statistic must match in name and
shape; a scope that is not loaded must be listed as fresh. Names are those of the arrays with the
scope in the middle: ``params/backbone/pos_embed``, ``state/backbone/bn1/mean``.

Two shapes may differ, of another system's file only (`Source.foreign`): a stem for colours becomes
one for grey images and the other way round, and a ViT's positions are resampled for another image
size (`gazax.train.fit`). `describe` says so.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import empty_node, flatten_dict, unflatten_dict

from gazax.methods.backbone import SCOPE
from gazax.methods.base import Params, State
from gazax.methods.queue import QUEUE
from gazax.train.fit import COLOURS, fit_channels, resample_positions
from gazax.train.source import PARTS, Source
from gazax.typing import InputError, Size

SHOWN = 10
"""Arrays that a message names before it only counts."""
_FEW = 3
"""The same of a line on arrays that are in order."""

_Path = tuple[str, ...]


class _Plan(NamedTuple):
    """What becomes of each array."""

    target: dict[_Path, Any]
    """The run's own, by path."""
    loaded: dict[_Path, np.ndarray]
    """The source's that take their place, of the source's dtypes."""
    fitted: dict[_Path, str]
    """What was changed to fit, in words."""
    left: dict[str, list[str]]
    """Names of arrays of the source that are not loaded, by its scopes."""


def initialise(
    params: Params,
    state: State,
    source: Source,
    *,
    scopes: Mapping[str, str] | None = None,
    fresh: Sequence[str] = (),
    size: Size | None = None,
) -> tuple[Params, State]:
    """``params`` and ``state`` with what the source has in their place.

    Args:
      params, state: of the run that begins, by scope; arrays, or their shapes.
      source: see `load_source`.
      scopes: the source's scope -> the run's scope. None or empty: the same names, all of the
        source's but those that are fresh.
      fresh: the run's scopes that keep what they have.
      size: (h, w) of the run's images, px: a foreign ViT's positions are resampled for it. None:
        they must fit.

    Returns:
      New trees; host arrays of the run's dtypes where they were loaded, the leaves that were given
      elsewhere. A scope's statistics go with its parameters.

    Raises:
      InputError: a scope is unknown, neither loaded nor fresh, or both; an array has no partner,
        or one of another shape; an array that is loaded holds NaN or infinity, after its cast to
        the run's dtype, or no floating numbers where the run's does.
    """
    plan = _plan(params, state, source, scopes, fresh, size)
    loaded = {
        path: _as_dtype(path, array, plan.target[path].dtype, source)
        for path, array in plan.loaded.items()
    }
    tree = unflatten_dict(plan.target | loaded)
    return tree.get("params", {}), tree.get("state", {})


def _as_dtype(path: _Path, array: Any, dtype: Any, source: Source) -> np.ndarray:
    """A copy: what is made of it may be donated, and the source is used again."""
    named = f"'{'/'.join(path)}' of {source.name}"
    if jnp.issubdtype(dtype, jnp.floating) and not jnp.issubdtype(array.dtype, jnp.floating):
        raise InputError(
            f"{named} is of the dtype {array.dtype}, and this run's of {dtype}: save it as float32."
        )
    with np.errstate(over="ignore"):  # a number too large becomes infinity, which is named below
        cast = np.array(array, dtype)
    if not np.isfinite(cast).all():
        mend = (
            "take a file without"
            if source.foreign
            else "take an earlier checkpoint of it (checkpoints/<step>), or another source"
        )
        raise InputError(f"{named} holds NaN or infinity as {dtype}; {mend}.")
    return cast


def describe(
    params: Params,
    state: State,
    source: Source,
    *,
    scopes: Mapping[str, str] | None = None,
    fresh: Sequence[str] = (),
    size: Size | None = None,
) -> str:
    """What `initialise` does with the same arguments, in lines: a scope of each kind has one.

    Loaded, changed to fit, fresh, left behind, and entries of the file without a place.
    """
    plan = _plan(params, state, source, scopes, fresh, size)
    loaded, kept = defaultdict(list), defaultdict(list)
    for path, leaf in plan.target.items():
        if leaf is not empty_node:
            (loaded if path in plan.loaded else kept)[path[1]].append("/".join(path[2:]))
    lines = [f"weights from {source.name}" + (f", {source.foreign}" if source.foreign else "")]
    lines += [f"loaded: {scope}, {_counted(names)}" for scope, names in sorted(loaded.items())]
    lines += [f"fitted: {'/'.join(path[1:])}, {how}" for path, how in sorted(plan.fitted.items())]
    lines += [f"fresh: {scope}, {_counted(names)}" for scope, names in sorted(kept.items())]
    lines += [f"without its {scope}, {_counted(names)}" for scope, names in plan.left.items()]
    if source.ignored:
        lines.append(f"ignored: {_counted(source.ignored)}")
    return "\n  ".join(lines)


def _counted(names: Sequence[str]) -> str:
    shown = sorted(names)[:_FEW]
    more = f" and {len(names) - _FEW:,} more" if len(names) > _FEW else ""
    return f"{len(names):,} array{'s'[: len(names) != 1]} ({', '.join(shown)}{more})"


def _plan(
    params: Params,
    state: State,
    source: Source,
    scopes: Mapping[str, str] | None,
    fresh: Sequence[str],
    size: Size | None,
) -> _Plan:
    """Every check that needs no numbers, and the arrays that fit."""
    mapping = _map_scopes({*params, *state}, source, scopes, fresh)
    target = _flatten(params, state)
    found, left = {}, defaultdict(list)
    for (part, scope, *rest), array in _flatten(source.params, source.state).items():
        if array is empty_node:
            continue
        if scope in mapping:
            found[(part, mapping[scope], *rest)] = array
        else:
            left[scope].append("/".join(rest))
    wanted = {
        path: leaf
        for path, leaf in target.items()
        if path[1] in mapping.values() and leaf is not empty_node
    }
    fitted = {}
    if source.foreign and SCOPE in mapping:
        scope = mapping[SCOPE]
        fitted |= _fit_stem(found, wanted, ("params", scope, *source.stem))
        fitted |= _fit_positions(found, wanted, ("params", scope), source, size)
    _check_match(found, wanted, source)
    return _Plan(target, found, fitted, dict(sorted(left.items())))


def _fit_stem(found: dict[_Path, Any], wanted: Mapping, path: _Path) -> dict[_Path, str]:
    """Puts the first kernel for the run's channels in its place; says so, by its path."""
    if path not in found or path not in wanted:
        return {}
    have, want = found[path].shape, wanted[path].shape
    if len(have) != 4 or have[:2] + have[3:] != want[:2] + want[3:]:
        return {}
    if (have[2], want[2]) not in ((COLOURS, 1), (1, COLOURS)):
        return {}
    found[path] = fit_channels(found[path], want[2])
    if want[2] == 1:
        return {path: f"its {COLOURS} input channels added up to 1"}
    return {path: f"a third of it for each of {COLOURS} input channels"}


def _fit_positions(
    found: dict[_Path, Any], wanted: Mapping, scope: _Path, source: Source, size: Size | None
) -> dict[_Path, str]:
    """Puts positions for the run's grid in their place; says so, by their path."""
    path = (*scope, "pos_embed")
    patch = _patch(wanted, scope)
    if size is None or path not in found or path not in wanted or patch != _patch(found, scope):
        return {}
    count = found[path].shape[1] - 1
    new = _grid(size, patch)
    if math.prod(new) != wanted[path].shape[1] - 1:
        return {}
    side = math.isqrt(count)
    # a file that does not say what images it is for is for square ones
    seen = source.config.get("data", {}).get("size", (side * patch[0], side * patch[1]))
    old = _grid(seen, patch)
    if old == new or math.prod(old) != count:
        return {}
    found[path] = resample_positions(found[path], old, new)
    shown = [f"{high}x{wide}" for high, wide in (old, new)]
    return {path: f"positions of {shown[0]} patches resampled to {shown[1]}, bicubic"}


def _patch(arrays: Mapping, scope: _Path) -> Size:
    """(h, w) px of a ViT's patch: its kernel's, or that of a stem whose convolutions halve."""
    kernel = arrays.get((*scope, "patch_embed", "kernel"))
    if kernel is not None:
        return kernel.shape[:2]
    stem = (*scope, "patch_embed")
    halvings = {path[len(stem)] for path in arrays if path[: len(stem)] == stem}
    side = 2 ** sum(name.startswith("conv_") for name in halvings)
    return side, side


def _grid(size: Sequence[int], patch: Sequence[int]) -> Size:
    return size[0] // patch[0], size[1] // patch[1]


def _flatten(params: Params, state: State) -> dict[tuple[str, ...], Any]:
    return {
        (part, *path): leaf
        for part, tree in zip(PARTS, (params, state), strict=True)
        for path, leaf in flatten_dict(tree, keep_empty_nodes=True).items()
    }


def _map_scopes(
    targets: set[str], source: Source, scopes: Mapping[str, str] | None, fresh: Sequence[str]
) -> dict[str, str]:
    """The source's scope -> the run's scope, after every check that needs no array.

    A queue of keys is never loaded: its images have other numbers in another data set, and its
    keys are of a network that is about to change.
    """
    targets, known = targets - {QUEUE}, [scope for scope in source.scopes if scope != QUEUE]
    fresh = sorted({*fresh} - {QUEUE})

    def wrong(what: str) -> InputError:
        return InputError(
            f"init_from: {what}. {source.name} has {_listed(source.scopes)}; this run has "
            f"{_listed(targets)}."
        )

    if unknown := set(fresh) - targets:
        raise wrong(f"the fresh scopes {_listed(unknown)} do not exist in this run")
    mapping = dict(scopes or {scope: scope for scope in known if scope not in fresh})
    if unknown := set(mapping) - set(known):
        raise wrong(f"the source has no scopes {_listed(unknown)}")
    if unknown := set(mapping.values()) - targets:
        mend = "" if scopes else "; give a map of the scopes to load"
        raise wrong(f"this run has no scopes {_listed(unknown)}{mend}")
    if len(set(mapping.values())) < len(mapping):
        raise wrong(f"two scopes are mapped to one: {mapping}")
    if both := set(mapping.values()) & set(fresh):
        raise wrong(f"{_listed(both)} are both loaded and fresh; take one of the two")
    if silent := targets - set(mapping.values()) - set(fresh):
        raise wrong(f"{_listed(silent)} are neither loaded nor listed as fresh")
    return mapping


def _listed(scopes: Iterable[str]) -> str:
    return ", ".join(sorted(scopes)) or "none"


def _check_match(found: Mapping, wanted: Mapping, source: Source) -> None:
    """Refuses arrays without a partner of the same shape, all of them in one message."""
    faults = {}
    for path in sorted({*found, *wanted}):
        if path not in wanted:
            faults[path] = "only in the source"
        elif path not in found:
            faults[path] = "only in this run"
        elif found[path].shape != wanted[path].shape:
            faults[path] = f"{found[path].shape} in the source, {wanted[path].shape} in this run"
    if not faults:
        return
    lines = [f"{'/'.join(path)}: {fault}" for path, fault in faults.items()]
    if len(lines) > SHOWN:
        lines[SHOWN:] = [f"and {len(lines) - SHOWN} more"]
    positions = all(path[-1] == "pos_embed" for path in faults)
    patches = any(
        path[-2:] == ("patch_embed", "kernel")
        and path in found
        and path in wanted
        and found[path].shape[:2] != wanted[path].shape[:2]
        for path in faults
    )
    mend = "The architecture is another one; take the source's"
    if positions:
        mend = "The positions are those of another image size or patch size; take the source's"
    elif patches:
        mend = "The patches are of another size, and these are not resampled; take the source's"
    sections = {"data": ("size",), "model": ()} if positions else {"model": ()}
    settings = [
        f"config.{section}.{key}={value!r}"
        for section, keys in sections.items()
        for key, value in source.config.get(section, {}).items()
        if not keys or key in keys
    ]
    raise InputError(
        f"init_from: {source.name}{f', {source.foreign},' if source.foreign else ''} does not fit "
        "this run:\n  "
        + "\n  ".join(lines)
        + f"\n{mend}{': ' if settings else ''}{', '.join(settings)}."
    )

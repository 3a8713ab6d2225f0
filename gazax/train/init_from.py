"""Weights of another run, or of a file, as what a run begins with.

Strict: of the scopes that are loaded, every parameter and every statistic must match in name and
shape; a scope that is not loaded must be listed as fresh. Names are those of the arrays with the
scope in the middle: ``params/backbone/pos_embed``, ``state/backbone/bn1/mean``.

One shape may differ: a stem of another system's file that takes colours becomes one for grey
images, where the run's takes these (see `Source.colour_stem`).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from flax.traverse_util import empty_node, flatten_dict, unflatten_dict

from gazax.methods.backbone import SCOPE
from gazax.methods.base import Params, State
from gazax.train.source import PARTS, Source
from gazax.typing import InputError

SHOWN = 10
"""Arrays that a message names before it only counts."""


def left_behind(source: Source, scopes: Mapping[str, str] | None) -> tuple[str, ...]:
    """The source's scopes that a map does not name; none without a map."""
    return tuple(scope for scope in source.scopes if scopes and scope not in scopes)


def initialise(
    params: Params,
    state: State,
    source: Source,
    *,
    scopes: Mapping[str, str] | None = None,
    fresh: Sequence[str] = (),
) -> tuple[Params, State]:
    """``params`` and ``state`` with what the source has in their place.

    Args:
      params, state: of the run that begins, by scope; arrays, or their shapes.
      source: see `load_source`.
      scopes: the source's scope -> the run's scope. None or empty: the same names, all of the
        source's but those that are fresh.
      fresh: the run's scopes that keep what they have.

    Returns:
      New trees; host arrays of the run's dtypes where they were loaded, the leaves that were given
      elsewhere. A scope's statistics go with its parameters. A stem for colours becomes one for
      grey images, see `Source.colour_stem`.

    Raises:
      InputError: a scope is unknown, neither loaded nor fresh, or both; an array has no partner,
        or one of another shape; an array that is loaded holds NaN or infinity.
    """
    mapping = _map_scopes({*params, *state}, source, scopes, fresh)
    target = _flatten(params, state)
    found = {
        (part, mapping[scope], *rest): array
        for (part, scope, *rest), array in _flatten(source.params, source.state).items()
        if scope in mapping and array is not empty_node
    }
    wanted = {
        path: leaf
        for path, leaf in target.items()
        if path[1] in mapping.values() and leaf is not empty_node
    }
    if source.colour_stem and SCOPE in mapping:
        found |= _grey_stem(found, wanted, mapping[SCOPE])
    _check_match(found, wanted, source)
    for path, array in found.items():
        if not np.isfinite(array).all():
            raise InputError(
                f"'{'/'.join(path)}' of {source.name} holds NaN or infinity; take an earlier "
                "checkpoint of it (checkpoints/<step>), or another source."
            )
    # Copies: what is made of them may be donated, and the source is used again.
    loaded = {path: np.array(array, wanted[path].dtype) for path, array in found.items()}
    tree = unflatten_dict(target | loaded)
    return tree.get("params", {}), tree.get("state", {})


def _grey_stem(found: Mapping, wanted: Mapping, scope: str) -> dict[tuple[str, ...], np.ndarray]:
    """The stem's kernel with three input channels added up, by its path, if the run's has one."""
    path = ("params", scope, "conv1", "kernel")
    if path not in found or path not in wanted:
        return {}
    kernel = found[path]
    grey = (*kernel.shape[:2], 1, *kernel.shape[3:])
    if kernel.shape[2:3] != (3,) or wanted[path].shape != grey:
        return {}
    return {path: kernel.sum(axis=2, keepdims=True, dtype=np.float32)}


def _flatten(params: Params, state: State) -> dict[tuple[str, ...], Any]:
    return {
        (part, *path): leaf
        for part, tree in zip(PARTS, (params, state), strict=True)
        for path, leaf in flatten_dict(tree, keep_empty_nodes=True).items()
    }


def _map_scopes(
    targets: set[str], source: Source, scopes: Mapping[str, str] | None, fresh: Sequence[str]
) -> dict[str, str]:
    """The source's scope -> the run's scope, after every check that needs no array."""

    def wrong(what: str) -> InputError:
        return InputError(
            f"init_from: {what}. {source.name} has {_listed(source.scopes)}; this run has "
            f"{_listed(targets)}."
        )

    if unknown := set(fresh) - targets:
        raise wrong(f"the fresh scopes {_listed(unknown)} do not exist in this run")
    mapping = dict(scopes or {scope: scope for scope in source.scopes if scope not in fresh})
    if unknown := set(mapping) - set(source.scopes):
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
    mend = (
        "The positions are those of another image size or patch size; take the source's"
        if positions
        else "The architecture is another one; take the source's"
    )
    sections = {"data": ("size",), "model": ()} if positions else {"model": ()}
    settings = [
        f"config.{section}.{key}={value!r}"
        for section, keys in sections.items()
        for key, value in source.config.get(section, {}).items()
        if not keys or key in keys
    ]
    raise InputError(
        f"init_from: {source.name} does not fit this run:\n  "
        + "\n  ".join(lines)
        + f"\n{mend}{': ' if settings else ''}{', '.join(settings)}."
    )

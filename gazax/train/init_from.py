"""Weights of another run, or of a file, as what a run begins with.

Strict: of the scopes that are loaded, every parameter and every statistic must match in name and
shape; a scope that is not loaded must be listed as fresh. Names are those of the arrays with the
scope in the middle: ``params/backbone/pos_embed``, ``state/backbone/bn1/mean``.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from flax.traverse_util import empty_node, flatten_dict, unflatten_dict
from safetensors import SafetensorError
from safetensors.numpy import load

from gazax.config import choose
from gazax.methods.base import Params, State
from gazax.train.checkpoint import MANIFEST, find_damage
from gazax.train.logging import best_of, read_metrics
from gazax.train.workdir import read_config, read_summary
from gazax.typing import InputError

PARTS = ("params", "state")
SHOWN = 10
"""Arrays that a message names before it only counts."""


@dataclasses.dataclass(frozen=True)
class Source:
    """Weights on the host, and where they are from."""

    params: Params
    state: State
    name: str
    """The checkpoint's folder or the file."""
    identity: str
    """sha256 of the checkpoint's manifest, or of the file: other weights have another."""
    config: Mapping[str, Any]
    """Of the run that made them; empty for a file."""

    @property
    def scopes(self) -> tuple[str, ...]:
        """`backbone`, `projector`, ..."""
        return tuple(sorted({*self.params, *self.state}))


def load_source(path: epath.PathLike, *, which: str = "best") -> Source:
    """Reads parameters and method state, after checking every byte.

    Args:
      path: a workdir, one ``checkpoints/<step>`` of it, or a ``.safetensors`` file whose names are
        ``params/<scope>/...`` and ``state/<scope>/...``.
      which: of a workdir. ``best`` is its summary's `best_step`; where it has not ended, the best
        so far of what it monitors, among the checkpoints that are there, or the last of them where
        it monitors nothing. ``last`` is the last checkpoint.

    Raises:
      InputError: it does not exist, is none of the three, holds no checkpoint, or is damaged.
    """
    choose("init_from.which", which, ("best", "last"))
    path = epath.Path(path).expanduser()
    if not path.exists():
        raise InputError(
            f"init_from '{path}' does not exist; give a workdir, a checkpoints/<step> folder of "
            "one, or a .safetensors file."
        )
    if not path.is_dir():
        return _from_file(path)
    if (path / MANIFEST).exists() or path.parent.name == "checkpoints":
        return _from_checkpoint(path, path.parent.parent)
    return _from_checkpoint(_choose_checkpoint(path, which), path)


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
      elsewhere. A scope's statistics go with its parameters.

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


def _choose_checkpoint(workdir: epath.Path, which: str) -> epath.Path:
    folder = workdir / "checkpoints"
    if not folder.is_dir():
        below = sorted(found.parent for found in workdir.glob("*/checkpoints"))
        mend = (
            f"it holds runs of its own: give {' or '.join(map(str, below))}."
            if below
            else "give the --workdir of a run of gazax."
        )
        raise InputError(f"init_from '{workdir}' has no checkpoints/; {mend}")
    steps = sorted(
        int(found.name)
        for found in folder.iterdir()
        if found.name.isdigit() and (found / MANIFEST).exists()
    )
    if not steps:
        raise InputError(
            f"init_from '{workdir}' has no checkpoint yet; let that run go on until it has saved."
        )
    step = steps[-1]
    if which == "best":
        if summary := read_summary(workdir):
            step = summary.get("best_step")
        else:
            lines = read_metrics(workdir)
            monitor = _config_of(workdir).get("eval", {}).get("monitor", ())
            best = [found for name in monitor if (found := best_of(lines, name, among=steps))]
            step = best[0][0] if best else step
    if step not in steps:
        raise InputError(
            f"init_from '{workdir}': its best step {step} is not among its checkpoints "
            f"({', '.join(map(str, steps))}); give which=last or one checkpoints/<step>."
        )
    return folder / str(step)


def _from_checkpoint(folder: epath.Path, workdir: epath.Path) -> Source:
    if damage := find_damage(folder):
        raise InputError(
            f"init_from: the checkpoint is damaged or unfinished: {damage}. Give another "
            f"checkpoints/<step> of {workdir}, or run it again."
        )
    saved = (folder / "state").resolve()  # orbax takes absolute paths only
    reader = ocp.PyTreeCheckpointHandler()
    described = reader.metadata(saved).tree
    wanted = {name: described[name] for name in ("params", "method_state")}
    # As numpy: then it does not matter on which devices it was saved.
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
    restored = reader.restore(
        saved, args=ocp.args.PyTreeRestore(wanted, restore_args=as_numpy, partial_restore=True)
    )
    reader.close()
    return Source(
        params=restored["params"],
        state=restored["method_state"],
        name=str(folder),
        identity=hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest(),
        config=_config_of(workdir),
    )


def _from_file(path: epath.Path) -> Source:
    mend = "names in it must be params/<scope>/... and state/<scope>/..."
    if path.suffix != ".safetensors":
        raise InputError(f"init_from '{path}' is no folder and no .safetensors file.")
    content = path.read_bytes()
    try:
        arrays = load(content)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"init_from '{path}' cannot be read as safetensors: {error}.") from None
    parts: dict[str, Any] = {part: {} for part in PARTS}
    folders = {str(parent) for name in arrays for parent in pathlib.PurePosixPath(name).parents}
    for name, array in arrays.items():
        part, *rest = name.split("/")
        if part not in parts or not rest or name in folders:
            raise InputError(f"init_from '{path}': '{name}' is not a name of gazax; {mend}.")
        parts[part][tuple(rest)] = array
    if not parts["params"]:
        raise InputError(f"init_from '{path}' holds no parameters; {mend}.")
    return Source(
        params=unflatten_dict(parts["params"]),
        state=unflatten_dict(parts["state"]),
        name=str(path),
        identity=hashlib.sha256(content).hexdigest(),
        config={},
    )


def _config_of(workdir: epath.Path) -> Mapping[str, Any]:
    return read_config(workdir)["config"] if (workdir / "config.json").exists() else {}


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

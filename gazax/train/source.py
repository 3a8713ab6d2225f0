"""Weights on the host, and where they are from: a run's checkpoint, or a file of weights."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from flax.traverse_util import unflatten_dict

from gazax.config import choose
from gazax.methods.base import Params, State
from gazax.train.checkpoint import MANIFEST, find_damage
from gazax.train.files import absolute, children
from gazax.train.logging import best_of, read_metrics
from gazax.train.weight_files import PICKLES, read_pickle, read_safetensors
from gazax.train.workdir import read_config, read_summary
from gazax.typing import InputError

PARTS = ("params", "state")
EXPORTED = "model.safetensors"
"""The weights of a folder that `gazax.export_torch` or timm wrote."""
_RECIPE = (
    "ImageNet's weights are made into such a file where torchvision is installed, by "
    "safetensors.torch.save_file(torchvision.models.densenet201(weights='IMAGENET1K_V1')"
    ".state_dict(), 'densenet201.safetensors')."
)
Foreign = tuple[str, Params, State, tuple[str, ...], tuple[str, ...], dict[str, float]]
"""What is in it, in words; parameters and statistics by scope; the path of the backbone's first
kernel; entries of the file that have no place in a model; `mean` and `std` of the images that it is
for, where it says them."""
ReadForeign = Callable[[dict[str, np.ndarray], Mapping[str, Any]], Foreign]
"""Arrays by another system's keys, and the `config.json` of an export beside them or {}. An
`InputError` of it says what is wrong with the keys."""


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
    foreign: str = ""
    """What another system's file holds, in words; '' = gazax's own. Two of its arrays may differ
    from a run's, see `gazax.train.init_from`."""
    stem: tuple[str, ...] = ()
    """Path of the first kernel in a foreign file's scope `backbone`."""
    ignored: tuple[str, ...] = ()
    """Entries of a foreign file that have no place in a model."""

    @property
    def scopes(self) -> tuple[str, ...]:
        """`backbone`, `projector`, ..."""
        return tuple(sorted({*self.params, *self.state}))


def load_source(
    path: epath.PathLike,
    *,
    which: str = "best",
    read_foreign: ReadForeign | None = None,
    allow_pickle: bool = False,
    argument: str = "init_from",
) -> Source:
    """Reads parameters and method state, after checking every byte.

    Args:
      path: a workdir, one ``checkpoints/<step>`` of it, a ``.safetensors`` file, or a folder that
        has a `model.safetensors`, such as `gazax.export_torch` writes. gazax's own names in it are
        ``params/<scope>/...`` and ``state/<scope>/...``.
      which: of a workdir. ``best`` is its summary's `best_step`; where it has not ended, the best
        so far of what it monitors, among the checkpoints that are there, or the last of them where
        it monitors nothing. ``last`` is the last checkpoint.
      read_foreign: reads a file of which no name begins with ``params/`` or ``state/``. None: such
        a file is refused.
      allow_pickle: whether a file in torch's own format is read, see
        `gazax.train.weight_files.read_pickle`.
      argument: by which a checkpoint was asked for, for messages.

    Raises:
      InputError: it does not exist, is none of these, holds no checkpoint, is damaged, or is in
        torch's format without ``allow_pickle``.
    """
    choose("init_from.which", which, ("best", "last"))
    path = epath.Path(path).expanduser()
    if not path.exists():
        recipe = f" {_RECIPE}" if path.suffix in (".safetensors", *PICKLES) else ""
        raise InputError(
            f"init_from '{path}' does not exist; give a workdir, a checkpoints/<step> folder of "
            f"one, or a .safetensors file.{recipe}"
        )
    if path.is_dir() and (path / EXPORTED).exists() and not (path / "checkpoints").exists():
        path = path / EXPORTED
    if not path.is_dir():
        return _from_file(path, read_foreign, allow_pickle)
    if (path / MANIFEST).exists() or path.parent.name == "checkpoints":
        return _from_checkpoint(path, path.parent.parent, argument)
    return _from_checkpoint(_choose_checkpoint(path, which, argument), path, argument)


def _choose_checkpoint(workdir: epath.Path, which: str, argument: str) -> epath.Path:
    folder = workdir / "checkpoints"
    if not folder.is_dir():
        below = sorted(found.parent for found in workdir.glob("*/checkpoints"))
        mend = (
            f"it holds runs of its own: give {' or '.join(map(str, below))}."
            if below
            else "give the --workdir of a run of gazax."
        )
        raise InputError(f"{argument} '{workdir}' has no checkpoints/; {mend}")
    steps = sorted(
        int(found.name)
        for found in children(folder)
        if found.name.isdigit() and (found / MANIFEST).exists()
    )
    if not steps:
        raise InputError(
            f"{argument} '{workdir}' has no checkpoint yet; let that run go on until it has saved."
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
            f"{argument} '{workdir}': its best step {step} is not among its checkpoints "
            f"({', '.join(map(str, steps))}); give which=last or one checkpoints/<step>."
        )
    return folder / str(step)


def _from_checkpoint(folder: epath.Path, workdir: epath.Path, argument: str) -> Source:
    if damage := find_damage(folder):
        raise InputError(
            f"{argument}: the checkpoint is damaged or unfinished: {damage}. Give another "
            f"checkpoints/<step> of {workdir}, or run it again."
        )
    saved = absolute(folder / "state")  # orbax takes no others
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


def _from_file(path: epath.Path, read_foreign: ReadForeign | None, allow_pickle: bool) -> Source:
    mend = "names in it must be params/<scope>/... and state/<scope>/..."
    pickled = path.suffix.lower() in PICKLES
    if pickled and not allow_pickle:
        made = str(path.with_suffix(".safetensors"))
        raise InputError(
            f"init_from '{path}' is in torch's own format, a pickle, which can hold programs. Make "
            "a .safetensors file of it where torch and safetensors are installed:\n"
            "  import safetensors.torch, torch\n"
            f"  safetensors.torch.save_file(torch.load({str(path)!r}, weights_only=True), {made!r})"
            f"\n{_RECIPE} Or let torch's restricted unpickler read it (weights_only=True): "
            "config.init_from.allow_pickle=True."
        )
    if not pickled and path.suffix != ".safetensors":
        raise InputError(f"init_from '{path}' is no folder and no .safetensors file.")
    content = path.read_bytes()
    passed_over: tuple[str, ...] = ()
    if pickled:
        arrays, passed_over = read_pickle(path, content)
    else:
        arrays = read_safetensors(path, content)
    identity = hashlib.sha256(content).hexdigest()
    del content
    if read_foreign and not any(name.split("/")[0] in PARTS for name in arrays):
        source = _from_foreign(arrays, read_foreign, path, identity)
        return dataclasses.replace(source, ignored=source.ignored + passed_over)
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
        identity=identity,
        config={},
    )


def _from_foreign(
    arrays: dict[str, np.ndarray], read: ReadForeign, path: epath.Path, identity: str
) -> Source:
    described = _export_of(path)
    try:
        what, params, state, stem, ignored, images = read(arrays, described)
    except InputError as error:
        raise InputError(
            f"init_from '{path}': {error}. Names of gazax would be params/<scope>/... and "
            "state/<scope>/..."
        ) from None
    return Source(
        params=params,
        state=state,
        name=str(path),
        identity=identity,
        config=_made_with(described, images),
        foreign=what,
        stem=stem,
        ignored=ignored,
    )


def _export_of(path: epath.Path) -> Mapping[str, Any]:
    """The `config.json` that `gazax.export_torch` wrote beside a file; {} where there is none."""
    beside = path.parent / "config.json"
    if path.name != EXPORTED or not beside.exists():
        return {}
    try:
        found = json.loads(beside.read_text())
    except ValueError as error:
        raise InputError(f"'{beside}', beside the weights, is no JSON: {error}.") from None
    if not isinstance(found, dict) or "layout" not in found:
        return {}
    _check_export(beside, found)
    return found


def _is_numbers(value: Any, kinds: type | tuple[type, ...] = (int, float)) -> bool:
    """Whether it is a list of one number or more; True and False are none."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(one, kinds) and not isinstance(one, bool) for one in value)
    )


def _is_size(value: Any) -> bool:
    return _is_numbers(value, int) and len(value) == 2 and min(value) > 0


def _is_name(value: Any) -> bool:
    return value is None or isinstance(value, str)


_SHAPES: dict[str, dict[str, tuple[Callable[[Any], bool], str]]] = {
    "preprocessing": {
        "size": (_is_size, "[height, width] in px"),
        "mean": (_is_numbers, "a list of numbers, one a channel"),
        "std": (_is_numbers, "a list of numbers, one a channel"),
    },
    "training": {"data": (_is_name, "a name"), "protocol": (_is_name, "a name")},
}
"""What is read of an export's `config.json`, where it is there."""


def _check_export(path: epath.Path, found: Mapping[str, Any]) -> None:
    """Raises an `InputError` that names the first entry that is of another shape."""
    for section, keys in _SHAPES.items():
        inside = found.get(section, {})
        faults = [(section, inside, "an object")] if not isinstance(inside, dict) else []
        faults += [
            (f"{section}.{key}", inside[key], wanted)
            for key, (fits, wanted) in keys.items()
            if not faults and key in inside and not fits(inside[key])
        ]
        for name, value, wanted in faults:
            raise InputError(
                f"'{path}', beside the weights: '{name}' is {value!r}, and {wanted} is expected."
            )


def _made_with(described: Mapping[str, Any], images: Mapping[str, float]) -> Mapping[str, Any]:
    """What an export tells of the run's config."""
    training, seen = described.get("training", {}), described.get("preprocessing", {})
    data = {
        "name": training.get("data"),
        "protocol": training.get("protocol"),
        "size": seen.get("size"),
    }
    known = {key: value for key, value in data.items() if value is not None}
    sections = {"data": known, "views": dict(images)}
    return {name: section for name, section in sections.items() if section}


def _config_of(workdir: epath.Path) -> Mapping[str, Any]:
    return read_config(workdir)["config"] if (workdir / "config.json").exists() else {}

"""Weights on the host, and where they are from: a run's checkpoint, or a file of weights."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from flax.traverse_util import unflatten_dict
from safetensors import SafetensorError
from safetensors.numpy import load

from gazax.config import choose
from gazax.methods.backbone import SCOPE
from gazax.methods.base import Params, State
from gazax.train.checkpoint import MANIFEST, find_damage
from gazax.train.logging import best_of, read_metrics
from gazax.train.workdir import read_config, read_summary
from gazax.typing import InputError

PARTS = ("params", "state")
TORCHS = (".pth", ".pt", ".bin")
"""Endings of files in torch's own format."""
_RECIPE = (
    "ImageNet's weights are made into such a file where torchvision is installed, by "
    "safetensors.torch.save_file(torchvision.models.densenet201(weights='IMAGENET1K_V1')"
    ".state_dict(), 'densenet201.safetensors')."
)
ReadForeign = Callable[[dict[str, np.ndarray]], tuple[Params, Params]]
"""Arrays by another system's keys -> one model's parameters, its head under `head`, and its batch
statistics. An `InputError` of it says what is wrong with the keys."""

_HEAD = "head"


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
    colour_stem: bool = False
    """Whether they are another system's, whose images have three channels where a run's have one.
    Of ``params/backbone/conv1/kernel``, and of nothing else, `initialise` then adds up the input
    channels where the run's kernel takes one: the same numbers as from the grey image, repeated."""

    @property
    def scopes(self) -> tuple[str, ...]:
        """`backbone`, `projector`, ..."""
        return tuple(sorted({*self.params, *self.state}))


def load_source(
    path: epath.PathLike, *, which: str = "best", read_foreign: ReadForeign | None = None
) -> Source:
    """Reads parameters and method state, after checking every byte.

    Args:
      path: a workdir, one ``checkpoints/<step>`` of it, or a ``.safetensors`` file whose names are
        ``params/<scope>/...`` and ``state/<scope>/...``.
      which: of a workdir. ``best`` is its summary's `best_step`; where it has not ended, the best
        so far of what it monitors, among the checkpoints that are there, or the last of them where
        it monitors nothing. ``last`` is the last checkpoint.
      read_foreign: reads a ``.safetensors`` file of which no name begins with ``params/`` or
        ``state/``. Its model becomes the scopes `backbone` (parameters and statistics) and `head`
        (where it has one). None: such a file is refused.

    Raises:
      InputError: it does not exist, is none of the three, holds no checkpoint, or is damaged.
    """
    choose("init_from.which", which, ("best", "last"))
    path = epath.Path(path).expanduser()
    if not path.exists():
        recipe = f" {_RECIPE}" if path.suffix in (".safetensors", *TORCHS) else ""
        raise InputError(
            f"init_from '{path}' does not exist; give a workdir, a checkpoints/<step> folder of "
            f"one, or a .safetensors file.{recipe}"
        )
    if not path.is_dir():
        return _from_file(path, read_foreign)
    if (path / MANIFEST).exists() or path.parent.name == "checkpoints":
        return _from_checkpoint(path, path.parent.parent)
    return _from_checkpoint(_choose_checkpoint(path, which), path)


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


def _from_file(path: epath.Path, read_foreign: ReadForeign | None) -> Source:
    mend = "names in it must be params/<scope>/... and state/<scope>/..."
    if path.suffix.lower() in TORCHS:
        made = str(path.with_suffix(".safetensors"))
        raise InputError(
            f"init_from '{path}' is in torch's own format, which is not read here. Make a "
            ".safetensors file of it where torch and safetensors are installed:\n"
            "  import safetensors.torch, torch\n"
            f"  safetensors.torch.save_file(torch.load({str(path)!r}, weights_only=True), {made!r})"
            f"\n{_RECIPE}"
        )
    if path.suffix != ".safetensors":
        raise InputError(f"init_from '{path}' is no folder and no .safetensors file.")
    content = path.read_bytes()
    try:
        arrays = load(content)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"init_from '{path}' cannot be read as safetensors: {error}.") from None
    identity = hashlib.sha256(content).hexdigest()
    if read_foreign and not any(name.split("/")[0] in PARTS for name in arrays):
        return _from_foreign(arrays, read_foreign, name=str(path), identity=identity)
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
    arrays: dict[str, np.ndarray], read: ReadForeign, *, name: str, identity: str
) -> Source:
    try:
        params, stats = read(arrays)
    except InputError as error:
        raise InputError(
            f"init_from '{name}': {error}. Names of gazax would be params/<scope>/... and "
            "state/<scope>/..."
        ) from None
    head = {_HEAD: params[_HEAD]} if _HEAD in params else {}
    backbone = {key: value for key, value in params.items() if key != _HEAD}
    return Source(
        params={SCOPE: backbone} | head,
        state={SCOPE: stats} if stats else {},
        name=name,
        identity=identity,
        config={},
        colour_stem=True,
    )


def _config_of(workdir: epath.Path) -> Mapping[str, Any]:
    return read_config(workdir)["config"] if (workdir / "config.json").exists() else {}

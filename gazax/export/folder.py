"""A folder that is there whole or not at all."""

import contextlib
import json
import pathlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from gazax.typing import InputError, RunError


def check_free(out: pathlib.Path) -> None:
    """Raises an `InputError` where there is something already, other than an empty folder."""
    if out.is_dir() and not any(out.iterdir()):
        return
    if out.exists() or out.is_symlink():
        raise InputError(
            f"--out='{out}' is there already; give a folder that is new or empty, or take this one "
            "away."
        )


def save_weights(path: pathlib.Path, arrays: Mapping[str, Any], *, form: str) -> None:
    """A safetensors file that whoever may read the rest of the folder may read.

    Args:
      path: new.
      arrays: numpy, by name.
      form: 'pt' for torch, or 'np', which readers of the format ask for.

    Raises:
      RunError: the disk is full, or fails otherwise.
    """
    path.touch()
    mode = path.stat().st_mode
    try:
        save_file(dict(arrays), path, metadata={"format": form})  # for its owner alone
    except (SafetensorError, OSError) as error:
        raise RunError(f"'{path.name}' cannot be written: {error}.") from None
    path.chmod(mode)


def load_strictly(network: Any, folder: pathlib.Path, name: str) -> Any:
    """A torch network with a written folder's weights, all of them and no others; in eval mode.

    Raises:
      RunError: it refuses them.
    """
    import torch

    tensors = load_file(folder / "model.safetensors")
    try:
        network.load_state_dict({k: torch.from_numpy(v) for k, v in tensors.items()}, strict=True)
    except RuntimeError as error:
        raise RunError(f"{name} refuses the weights: {error}") from None
    return network.eval()


@contextlib.contextmanager
def new_folder(out: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder of its own beside ``out`` to write into, called ``out`` once the block is done.

    Where the block raises, it is taken away, and so are the folders that were made to hold it. A
    kill leaves ``.<out>.*.partial``, which is nobody else's to take: its export may still run.

    Raises:
      InputError: see `check_free`, or it cannot be made.
    """
    out = out.absolute()
    check_free(out)
    if not out.name or out == pathlib.Path.cwd():
        raise InputError(f"--out='{out}' is the folder that the command runs in; give another one.")
    made = [parent for parent in out.parents if not parent.exists()]  # the deepest first
    holder = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        holder = tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent)
        beside = pathlib.Path(holder) / out.name
        beside.mkdir()  # the holder is its owner's alone; this is for whom the umask says
    except OSError as error:
        _take_away(holder, made)
        raise InputError(f"--out='{out}' cannot be made: {error}.") from None
    try:
        yield beside
        if out.exists():
            out.rmdir()  # it is empty, or this fails
        beside.rename(out)
    except OSError as error:
        raise InputError(f"--out='{out}' cannot be written: {error}.") from error
    finally:
        _take_away(holder, made)


def _take_away(holder: str | None, made: Iterable[pathlib.Path]) -> None:
    """The holder with what it has, and of the folders those that are empty."""
    if holder is not None:
        shutil.rmtree(holder, ignore_errors=True)
    for folder in made:
        with contextlib.suppress(OSError):
            folder.rmdir()


def write_json(path: pathlib.Path, value: Mapping[str, Any]) -> None:
    """An object that is read by people too."""
    path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")

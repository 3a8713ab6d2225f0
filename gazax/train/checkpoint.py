"""Checkpoints that can be trusted: state and data position, and a manifest written last.

``<step>/state`` and ``<step>/data`` are orbax items; ``<step>/MANIFEST.sha256`` lists every file
as ``sha256sum -c`` reads it. A folder without a manifest is not a checkpoint: orbax commits
atomically, but checks no bytes when it restores.

Of several processes each writes and reads its part of the arrays. The first one alone checks,
removes and lists, and writes the manifest when all parts are on disk; the others take its word.
"""

import concurrent.futures
import contextlib
import hashlib
import sys
from collections.abc import Iterator
from typing import Any

import orbax.checkpoint as ocp
from absl import logging
from etils import epath

from gazax.train import agreement
from gazax.train.files import (
    absolute,
    below,
    children,
    move_folder,
    remove_folder,
    write_text,
)
from gazax.train.state import TrainState
from gazax.typing import InputError, RunError

MANIFEST = "MANIFEST.sha256"


def write_manifest(folder: epath.Path) -> None:
    """Hashes every file of a committed checkpoint."""
    write_text(folder / MANIFEST, _list(_hash(folder)))


def find_damage(folder: epath.Path) -> str | None:
    """What is wrong with a checkpoint, or None: each file is read and compared."""
    manifest = folder / MANIFEST
    if not manifest.exists():
        return f"{folder} has no {MANIFEST}"
    written = manifest.read_bytes()
    listed = {}
    for line in written.decode(errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        listed[name] = digest
    if not listed:
        return f"{manifest} is empty"
    found = _hash(folder)
    for name, digest in listed.items():
        if name not in found:
            return f"{folder / name} is missing"
        if found[name] != digest:
            return f"{folder / name} does not have the bytes that were written"
    if unlisted := sorted(found.keys() - listed.keys()):
        return f"{folder / unlisted[0]} is not in its {MANIFEST}"
    if written != _list(found).encode():  # a file that it names no more, a line that it has twice
        return f"{manifest} does not have the bytes that were written"
    return None


def _list(hashes: dict[str, str]) -> str:
    """As ``sha256sum`` prints them."""
    return "".join(f"{digest}  {name}\n" for name, digest in hashes.items())


def _hash(folder: epath.Path) -> dict[str, str]:
    """Name -> sha256 of every file of a checkpoint but its manifest and hidden ones."""
    files = [path for path in below(folder) if path.name != MANIFEST]
    # Hidden: a manifest that is being written, and what NFS and file managers leave behind.
    return {
        str(path.relative_to(folder)): _sha256(path)
        for path in files
        if not path.name.startswith(".")
    }


def _sha256(path: epath.Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


class Checkpoints:
    """The checkpoints of one run; every process makes the same calls.

    Args:
      folder: made if it does not exist.
      keep: how many of the latest are kept; the best is kept beside them.
    """

    def __init__(self, folder: epath.Path, *, keep: int) -> None:
        _say_errors_once()
        self._folder = absolute(folder)  # orbax takes no others
        self._keep = keep
        self._saver = ocp.AsyncCheckpointer(ocp.CompositeCheckpointHandler())
        self._thread = concurrent.futures.ThreadPoolExecutor(1)
        self._pending: concurrent.futures.Future | None = None
        self._saved: set[int] = set(agreement.from_first(self._tidy))

    def _tidy(self) -> list[int]:
        """Removes what was never finished; returns the steps that are left."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in children(self._folder):
            ours = path.name.isdigit() or ".orbax-checkpoint-tmp" in path.name
            if ours and path.is_dir() and not (path / MANIFEST).exists():
                logging.warning("%s was never finished and is removed", path)
                remove_folder(path)
        return self._listed()

    def steps(self) -> list[int]:
        """Steps that have a manifest, in order."""
        return agreement.from_first(self._listed)

    def _listed(self) -> list[int]:
        return sorted(
            int(path.name)
            for path in children(self._folder)
            if path.name.isdigit() and (path / MANIFEST).exists()
        )

    def save(self, state: TrainState, *, step: int, examples: int, best_step: int | None) -> None:
        """Saves without waiting for the disk; an error of one save surfaces at the next call.

        Args:
          state: may be donated as soon as this returns.
          step: its number of updates.
          examples: taken so far from the global stream.
          best_step: kept, whatever its age.
        """
        self.wait()
        if step in self._saved:
            return
        self._saved.add(step)
        folder = self._folder / str(step)
        with self._writing():
            self._saver.save(
                folder,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state),
                    data=ocp.args.JsonSave({"examples": examples}),
                ),
            )
        self._pending = self._thread.submit(self._finish, folder, best_step)

    def _finish(self, folder: epath.Path, best_step: int | None) -> None:
        self._saver.wait_until_finished()
        if agreement.is_first():
            write_manifest(folder)
            for step in self._listed()[: -self._keep]:
                if step != best_step:
                    # The manifest goes first: a kill in between leaves no checkpoint to believe.
                    (self._folder / str(step) / MANIFEST).unlink()
                    remove_folder(self._folder / str(step))

    def wait(self) -> None:
        """Returns when the last save is on disk with its manifest; raises what stopped it."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            with self._writing():
                pending.result()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Says of a write that failed what to do."""
        try:
            yield
        except (OSError, ValueError) as error:  # tensorstore says a full disk as a ValueError
            mend = "Make room, or mend the disk or its rights"
            if isinstance(error, TimeoutError):  # orbax measures by the clock of the wall
                mend = "The disk is away, or the machine's clock was set meanwhile"
            what = str(error).rstrip(".")
            raise RunError(
                f"a checkpoint in '{self._folder}' could not be written: {what}. {mend}; the same "
                "command goes on from the last good one."
            ) from error

    def restore_latest(self, template: TrainState) -> tuple[TrainState, int] | None:
        """The state and the count of examples of the last undamaged checkpoint.

        Damaged ones are named in a warning and set aside in ``checkpoints.damaged``, so that
        their steps can be saved again.

        Args:
          template: shapes, dtypes and shardings.

        Returns:
          None where there is no checkpoint.

        Raises:
          InputError: there are checkpoints and every one is damaged.
        """
        good = agreement.from_first(self._set_damaged_aside)
        self._saved = set(good)
        return self._read(good[-1], template) if good else None

    def _set_damaged_aside(self) -> list[int]:
        """The steps that are whole."""
        steps = self._listed()
        aside = self._folder.with_name(f"{self._folder.name}.damaged")
        for step in steps:  # the older ones too: one of them may be the best, wanted at the end
            if damage := find_damage(self._folder / str(step)):
                logging.warning("checkpoint %d is damaged and set aside: %s", step, damage)
                move_folder(self._folder / str(step), aside / str(step))
        if good := self._listed():
            return good
        if steps:
            raise InputError(
                f"all checkpoints of '{self._folder}' are damaged ({', '.join(map(str, steps))}); "
                f"they are in '{aside}'. The same command now starts from step 0."
            )
        return []

    def restore(self, step: int, template: TrainState) -> tuple[TrainState, int]:
        """The state of one checkpoint and its count of examples, after checking every byte."""

        def check() -> None:
            if damage := find_damage(self._folder / str(step)):
                raise RunError(
                    f"checkpoint {step} is damaged: {damage}. The same command sets it aside and "
                    "goes on with what is left."
                )

        agreement.from_first(check)
        return self._read(step, template)

    def _read(self, step: int, template: TrainState) -> tuple[TrainState, int]:
        folder = self._folder / str(step)
        restored = self._saver.restore(
            folder,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(template), data=ocp.args.JsonRestore()
            ),
        )
        return restored["state"], restored["data"]["examples"]

    def latest(self) -> Any:
        """Path of the last checkpoint, or None; one that is being saved is waited for."""
        self.wait()
        steps = self.steps()
        return self._folder / str(steps[-1]) if steps else None

    def close(self) -> None:
        """Waits for the last save and ends the threads."""
        self.wait()
        self._thread.shutdown()
        self._saver.close()


def _say_errors_once() -> None:
    """Keeps the threads of orbax from printing tracebacks of a write that failed.

    `Checkpoints.wait` raises the error itself. What is still under way then reports to an event
    loop that has ended.
    """
    logging.get_absl_logger().addFilter(_is_no_traceback_of_orbax)
    if sys.unraisablehook is not _show_but_of_ended_loops:
        _HOOKS[:] = [sys.unraisablehook]
        sys.unraisablehook = _show_but_of_ended_loops


_HOOKS = [sys.unraisablehook]
"""The one that was there before."""


def _is_no_traceback_of_orbax(record: Any) -> bool:
    return not (record.exc_info and "orbax" in record.pathname)


def _show_but_of_ended_loops(unraisable: Any) -> None:
    if str(unraisable.exc_value) != "Event loop is closed":
        _HOOKS[0](unraisable)

"""Where prepared data lies: a folder named by what it was made of, and whole or not there at all.

A folder is made under another name and renamed when it is finished, under a lock that the system
releases with the process: one that was killed half-way leaves nothing that would be believed, and
two that want the same folder make it once.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from gazax.data.sources.files import SourceFiles
from gazax.typing import InputError


def cache_folder(cache: str | os.PathLike | None = None) -> Path:
    """`cache` if given, else $GAZAX_DATA, else ``gazax`` in the user's cache folder.

    Raises:
      InputError: it is a bucket.
    """
    if cache:
        return local_folder("config.data.cache", cache)
    if found := os.environ.get("GAZAX_DATA"):
        return local_folder("GAZAX_DATA", found)
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return (Path(home) / "gazax").expanduser()


def local_folder(what: str, path: str | os.PathLike) -> Path:
    """A folder of this machine, where data is read.

    Raises:
      InputError: ``path`` is a bucket's, of which pathlib would make a folder called 'gs:'.
    """
    if "://" in str(path):
        raise InputError(
            f"{what} is '{path}': data is read from folders of this machine. Mount the bucket, or "
            "copy it: gcloud storage rsync --recursive --preserve-posix FROM TO."
        )
    return Path(path).expanduser()


def fingerprint(facts: dict) -> str:
    """16 hexadecimal digits that change with anything in `facts` (of json's types)."""
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe(files: SourceFiles, root: Path) -> dict[str, str]:
    """Digests of what a source is made of, without opening an image.

    Tables count by their bytes, everything else by name, size and time of change. Names are those
    within `root` where they lie in it, so that a source may be moved.

    Raises:
      InputError: a file cannot be read.
    """
    tables, others = hashlib.sha256(), hashlib.sha256()
    for path in files.tables:
        if path.is_file():
            tables.update(f"{_name(path, root)}\0".encode())
            try:
                with path.open("rb") as file:
                    tables.update(hashlib.file_digest(file, "sha256").digest())
            except OSError as error:
                raise InputError(
                    f"{path} cannot be read ({error.strerror}); mend its rights"
                ) from error
    for path in files.files:
        if path.exists():
            others.update(_describe(_name(path, root), path.stat()))
    for folder in files.folders:
        for name, stat in sorted(_walk(folder, ""), key=lambda found: found[0]):
            others.update(_describe(f"{_name(folder, root)}/{name}", stat))
    return {"tables": tables.hexdigest(), "files": others.hexdigest()}


def _name(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else path.name


def _describe(name: str, stat: os.stat_result) -> bytes:
    return f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode("utf-8", "surrogateescape")


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
    """Every file below a folder, by its path within it; hidden ones do not count."""
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                if entry.is_dir(follow_symlinks=False):
                    yield from _walk(Path(entry.path), f"{prefix}{entry.name}/")
                else:
                    yield f"{prefix}{entry.name}", entry.stat()
            except OSError as error:
                raise InputError(
                    f"{folder / entry.name} cannot be read ({error}); mend or remove it"
                ) from error


def find_or_make(folder: Path, make: Callable[[Path], None]) -> Path:
    """Returns `folder`; `make(beside)` fills a new one, renamed to it, when it is not there.

    Raises:
      InputError: the cache cannot be written or locked. What `make` raises passes through, and
        what it had written is removed.
    """
    if folder.is_dir():
        return folder
    beside = folder.with_name(f"{folder.name}.partial")
    with locked(folder):
        if folder.is_dir():  # made by whoever held the lock
            return folder
        for old in folder.parent.glob(f"{folder.name}.old.*"):
            shutil.rmtree(old, ignore_errors=True)
        if beside.exists():  # left by a process that was killed: nobody else holds the lock
            # Out of the way: what that process had started may still write into it.
            old = beside.rename(folder.with_name(f"{folder.name}.old.{uuid.uuid4().hex}"))
            shutil.rmtree(old, ignore_errors=True)
        try:
            beside.mkdir()
            make(beside)
            beside.rename(folder)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
    return folder


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the lock beside a folder; the system releases it with the process.

    Raises:
      InputError: the cache cannot be written or locked.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = folder.with_name(f"{folder.name}.lock").open("w")
    except OSError as error:
        raise InputError(
            f"cannot write to the cache {folder.parent} ({error}); set GAZAX_DATA to a folder that "
            "can be written"
        ) from error
    with lock:
        try:
            _wait_for(lock, folder)
        except OSError as error:
            raise InputError(
                f"the file system of {folder.parent} has no locks ({error}); set GAZAX_DATA to a "
                "local folder"
            ) from error
        yield


def _wait_for(lock, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"waiting for another process that prepares {folder.name}", file=sys.stderr)
        fcntl.flock(lock, fcntl.LOCK_EX)


@contextlib.contextmanager
def room(folder: Path, what: str, *, otherwise: str = "") -> Iterator[None]:
    """Says of a write that failed what to do.

    Args:
      folder: that is made.
      what: is written.
      otherwise: what one can do besides.

    Raises:
      InputError: in the place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{what} cannot be written to {folder.parent} ({error}); make room, or set "
            f"GAZAX_DATA to another folder{otherwise}."
        ) from error

"""Where prepared data lies: a folder named by what it was made of, and whole or not there at all.

A folder is made under another name and renamed when it is finished, under a lock that the system
releases with the process: one that was killed half-way leaves nothing that would be believed, and
two that want the same folder make it once.
"""

import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from gazax.typing import InputError


def cache_folder(cache: str | os.PathLike | None = None) -> Path:
    """`cache` if given, else $GAZAX_DATA, else ``gazax`` in the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache or os.environ.get("GAZAX_DATA") or Path(home) / "gazax").expanduser()


def fingerprint(facts: dict) -> str:
    """16 hexadecimal digits that change with anything in `facts` (of json's types)."""
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def describe_folder(folder: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of change of each file in a folder, without opening any."""
    if not folder.is_dir():
        return []
    stats = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                stats.append((entry.name, entry.stat()))
            except OSError as error:
                raise InputError(
                    f"{folder / entry.name} cannot be read ({error}); mend or remove it"
                ) from error
    return sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def describe_contents(files: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of each file that exists, by name."""
    found = {}
    for path in files:
        if path.is_file():
            try:
                with path.open("rb") as file:
                    found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                raise InputError(
                    f"{path} cannot be read ({error.strerror}); mend its rights"
                ) from error
    return found


def find_or_make(folder: Path, make: Callable[[Path], None]) -> Path:
    """Returns `folder`; `make(beside)` fills a new one, renamed to it, when it is not there.

    Raises:
      InputError: the cache cannot be written or locked. What `make` raises passes through, and
        what it had written is removed.
    """
    if folder.is_dir():
        return folder
    beside = folder.with_name(f"{folder.name}.partial")
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
        if folder.is_dir():  # made by whoever held the lock
            return folder
        if beside.exists():  # left by a process that was killed: nobody else holds the lock
            shutil.rmtree(beside)
        try:
            beside.mkdir()
            make(beside)
            beside.rename(folder)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
    return folder


def _wait_for(lock, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"waiting for another process that prepares {folder.name}", file=sys.stderr)
        fcntl.flock(lock, fcntl.LOCK_EX)

"""Files that are there whole or not at all."""

import contextlib
import errno
import time
import uuid
from collections.abc import Iterator
from typing import IO

from etils import epath

from gazax.typing import RunError


@contextlib.contextmanager
def whole(path: epath.Path) -> Iterator[IO[bytes]]:
    """A file to write, beside and renamed at the end: a kill leaves the old file or the new one.

    Two that write the same file at once write beside each other; the last to end has it.
    """
    # On a disk one name, so that what a kill leaves is written over by the next.
    own = f".{uuid.uuid4().hex}" if is_object_store(path) else ""
    beside = path.with_name(f".{path.name}{own}.partial")
    with naming(path):
        with beside.open("wb") as file:
            yield file
        beside.replace(path)


@contextlib.contextmanager
def naming(path: epath.Path) -> Iterator[None]:
    """Gives a system's error the file that it is about: a write that fails does not say it."""
    try:
        yield
    except OSError as error:
        if error.errno and error.filename is None:
            error.filename = str(path)
        raise


def write_text(path: epath.Path, text: str) -> None:
    """A text, UTF-8, as `whole` writes it."""
    with whole(path) as file:
        file.write(text.encode())


def is_object_store(path: epath.Path) -> bool:
    """Whether it is a bucket's: nothing can be locked or appended to there."""
    return "://" in str(path)


def absolute(path: epath.Path) -> epath.Path:
    """From the root of the disk, or in its bucket, as orbax takes paths.

    `epath.Path.resolve` would make a local folder called 'gs:' of a bucket's.
    """
    return path if is_object_store(path) else path.resolve()


def remove_folder(folder: epath.Path) -> None:
    """Removes a folder that something may still be writing to, such as a save that was given up.

    Where a file appears or goes meanwhile the system refuses; it is tried again for 4 s.

    Raises:
      RunError: it is written to for longer.
    """
    for pause in (0.1, 0.4, 1.0, 2.5, 0.0):
        try:
            if folder.exists():
                folder.rmtree()
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
                raise
        time.sleep(pause)
    raise RunError(
        f"'{folder}' cannot be removed: something still writes to it. End it, or wait; the same "
        "command goes on."
    )


def move_folder(folder: epath.Path, target: epath.Path) -> None:
    """Renames a folder, where there are such things; in a bucket, file by file.

    Args:
      folder: it is gone afterwards.
      target: what is there is replaced.
    """
    if target.exists():
        target.rmtree()
    if not is_object_store(folder):
        target.parent.mkdir(exist_ok=True)
        folder.rename(target)
        return
    for path in below(folder):
        path.copy(target / path.relative_to(folder))
    folder.rmtree()


def children(folder: epath.Path) -> list[epath.Path]:
    """What lies in a folder, in order; nothing in one that is not there.

    A bucket has no empty folders: one that was just made is not there.
    """
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


def below(folder: epath.Path) -> list[epath.Path]:
    """Every file in a folder and in those below it."""
    found = []
    for path in children(folder):
        found += below(path) if path.is_dir() else [path]
    return found

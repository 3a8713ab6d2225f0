"""Files that are there whole or not at all."""

import contextlib
from collections.abc import Iterator
from typing import IO

from etils import epath


@contextlib.contextmanager
def whole(path: epath.Path) -> Iterator[IO[bytes]]:
    """A file to write, beside and renamed at the end: a kill leaves the old file or the new one."""
    beside = path.with_name(f".{path.name}.partial")
    with beside.open("wb") as file:
        yield file
    beside.replace(path)


def write_text(path: epath.Path, text: str) -> None:
    """A text, UTF-8, as `whole` writes it."""
    with whole(path) as file:
        file.write(text.encode())


def is_object_store(path: epath.Path) -> bool:
    """Whether it is a bucket's: nothing can be locked or appended to there."""
    return "://" in str(path)

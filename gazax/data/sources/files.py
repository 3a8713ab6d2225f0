"""What a source is made of: the files that records depend on, and which of them may be read.

A source is anybody's folder. Names that stand in its tables are looked up or checked before they
become paths, and a link that leads out of it is not followed.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gazax.typing import InputError

DEPTH = 5
"""How many folders below a source the tree of a data set may begin."""
MOST_FOLDERS = 100_000
"""Of one depth: more are not looked through."""


@dataclass(frozen=True)
class SourceFiles:
    """The files of one source.

    Args:
      tables: files whose bytes count: a copy with the same ones gives the same records.
      files: files that are known by name, size and time of change; images, above all.
      folders: the same for every file below them.
      missing: what the data set needs and is not there, one line each, with where to get it.
    """

    tables: tuple[Path, ...] = ()
    files: tuple[Path, ...] = ()
    folders: tuple[Path, ...] = ()
    missing: tuple[str, ...] = ()


def is_plain(name: str) -> bool:
    """Whether a cell can be the name of one file: no separator, no dots alone, no NUL."""
    return (
        0 < len(os.fsencode(name)) <= 200  # file systems count bytes, and stop at 255
        and name not in (".", "..")
        and not any(c in name for c in ("/", "\\", "\0"))
    )


def is_inside(path: Path, roots: tuple[Path, ...]) -> bool:
    """Whether a path, with its links followed, lies in one of the folders."""
    try:
        real = path.resolve()
    except (OSError, ValueError, RuntimeError):  # RuntimeError: links in a circle
        return False
    return any(real.is_relative_to(root.resolve()) for root in roots)


def leads_out(paths: Iterable[Path], roots: tuple[Path, ...]) -> tuple[str, ...]:
    """A line for each of the files that is a link out of the folders, or to itself."""
    return tuple(
        f"{path} is a link that leads out of {roots[0]}; it is not read, put the file there"
        for path in paths
        if not is_inside(path, roots)
    )


def list_folder(folder: Path) -> list[Path]:
    """What lies in a folder, in order of name.

    Raises:
      InputError: it cannot be listed.
    """
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise InputError(
            f"{folder} cannot be listed ({error.strerror}); mend its rights"
        ) from error


def find_tree(root: Path, marker: str, *, title: str) -> Path | None:
    """The folder at or below `root` that holds `marker`, nearest first; None where there is none.

    Args:
      root: where to begin; links out of it are not followed.
      marker: a path such as ``main_data/metadata_phase_1.csv``.
      title: of the data set, for the message.

    Raises:
      InputError: two such folders are equally near.
    """
    level = [root]
    for _ in range(DEPTH + 1):
        found = [folder for folder in level if (folder / marker).exists()]
        if len(found) > 1:
            raise InputError(
                f"{root} holds {title} twice, in {found[0]} and {found[1]}; give one of them"
            )
        if found:
            return found[0]
        level = [
            entry
            for folder in level
            for entry in list_folder(folder)
            if not entry.name.startswith(".") and entry.is_dir() and is_inside(entry, (root,))
        ]
        if len(level) > MOST_FOLDERS:
            raise InputError(
                f"{root} holds too many folders to look for {title} in; give a nearer one"
            )
    return None

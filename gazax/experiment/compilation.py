"""Where compiled programs are kept, and how many."""

import contextlib
import os
from pathlib import Path

import jax
from ml_collections import ConfigDict

from gazax import data

LIMIT = 4 * 2**30
"""Bytes; a start removes what was used longest ago beyond it."""


def use_compilation_cache(config: ConfigDict) -> None:
    """Keeps compiled programs beside the records, so that a second start need not compile.

    A folder that JAX_COMPILATION_CACHE_DIR names is the user's own, and is not bounded here.
    """
    folder = data.cache_folder(config.data.cache or None) / "xla"
    own = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if not own:
        bound(folder, LIMIT)
    jax.config.update("jax_compilation_cache_dir", own or str(folder))
    # Small programs too: a step is one large one, but a start compiles dozens of small ones.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def bound(folder: Path, limit: int) -> None:
    """Removes the files that were read or written longest ago until the rest is within ``limit``.

    Once a start: `jax_compilation_cache_max_size` reads the folder again for every program that it
    keeps, and keeps nothing more once a kill has come between a program and its time of use.

    A disk that keeps no times of reading (noatime) has those of writing alone. What cannot be
    removed stays: another start may have done it, or the folder is somebody else's.

    Args:
      folder: with what is below it; may be missing.
      limit: bytes.
    """
    found = []
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            if path.is_file():
                stat = path.stat()
                found.append((max(stat.st_atime, stat.st_mtime), stat.st_size, path))
    held = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if held <= limit:
            return
        with contextlib.suppress(OSError):
            path.unlink()
        held -= size

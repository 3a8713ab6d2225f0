"""Where compiled programs are kept, and how many."""

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

    Args:
      folder: of files alone; may be missing. Another start may remove the same ones.
      limit: bytes.
    """
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue
        found.append((max(stat.st_atime, stat.st_mtime), stat.st_size, path))
    held = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if held <= limit:
            return
        path.unlink(missing_ok=True)
        held -= size

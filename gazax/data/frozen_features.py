"""What the frozen parts of a model make of each image, computed once and kept beside the records.

A folder is keyed by all that the arrays depend on, and whole or not there at all (`cache`)::

    frozen-<key>/frozen.json          what it was made of
                 <name>.npy           [n, ...], by `index` of the data set
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.lib.format import open_memmap

from gazax.data.cache import cache_folder, file_digest, find_or_make, fingerprint, room
from gazax.typing import Batch, RunError

FACTS = "frozen.json"
_OTHERWISE = ", or compute them in each step: --config.train.cache_frozen=False"


class FrozenFeatures:
    """Rows by `index`, read from disk as they are wanted.

    Args:
      folder: of `make`.

    Raises:
      RunError: they are damaged: every byte is read and compared.
    """

    def __init__(self, folder: Path) -> None:
        try:
            facts = json.loads((folder / FACTS).read_text())
            for name, digest in facts.get("sha256", {}).items():  # older ones have none
                if file_digest(folder / f"{name}.npy") != digest:
                    raise ValueError(f"{name}.npy does not have the bytes that were written")
            self._arrays = {
                name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False).view(
                    _dtype(dtype)
                )
                for name, dtype in facts["dtypes"].items()
            }
        except (OSError, ValueError, KeyError) as error:
            raise RunError(
                f"the frozen features in '{folder}' cannot be read: {error}. Remove that folder; "
                "the same command computes them again and goes on."
            ) from error

    def attach(self, batch: Batch) -> Batch:
        """An example, or a batch, with its rows as `cached`."""
        rows: Any = {
            name: np.asarray(array[batch["index"]]) for name, array in self._arrays.items()
        }
        return {**batch, "cached": rows}


def make(
    facts: Mapping[str, Any],
    computed: Iterable[tuple[np.ndarray, Mapping[str, np.ndarray]]],
    *,
    images: int,
    cache: str | None = None,
) -> FrozenFeatures:
    """The features that these facts lead to: found, or computed and kept.

    Args:
      facts: all that they depend on: weights, records, model; json types.
      computed: index [b] and arrays [b, ...] by name, batch after batch, until every image was
        there; asked only where nothing is found.
      images: n of the data set.
      cache: folder for prepared data; default $GAZAX_DATA, else the user's cache folder.

    Raises:
      InputError: there is no room for them.
    """
    folder = cache_folder(cache) / f"frozen-{fingerprint(dict(facts))}"

    def fill(beside: Path) -> None:
        arrays: dict[str, np.memmap] = {}
        dtypes: dict[str, str] = {}
        for index, found in computed:
            for name, rows in found.items():
                with room(folder, "the frozen features", otherwise=_OTHERWISE):
                    if name not in arrays:
                        dtypes[name] = rows.dtype.name
                        path, shape = beside / f"{name}.npy", (images, *rows.shape[1:])
                        arrays[name] = open_memmap(
                            path, mode="w+", dtype=_stored(rows.dtype), shape=shape
                        )
                        _take_room(path)
                    arrays[name][index] = rows.view(_stored(rows.dtype))
        with room(folder, "the frozen features", otherwise=_OTHERWISE):
            for array in arrays.values():
                array.flush()
            digests = {name: file_digest(beside / f"{name}.npy") for name in arrays}
            found_in = {**facts, "dtypes": dtypes, "sha256": digests}
            (beside / FACTS).write_text(json.dumps(found_in, indent=2))

    find_or_make(folder, fill)
    return FrozenFeatures(folder)


def _take_room(path: Path) -> None:
    """A file that is mapped into memory has its room first: a full disk would be a crash later."""
    if hasattr(os, "posix_fallocate"):  # macOS has none
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _dtype(name: str) -> np.dtype:
    return np.dtype(jnp.bfloat16) if name == "bfloat16" else np.dtype(name)


def _stored(dtype: np.dtype) -> np.dtype:
    """What a npy file can say: it does not know bfloat16."""
    return np.dtype(np.uint16) if dtype == jnp.bfloat16 else dtype

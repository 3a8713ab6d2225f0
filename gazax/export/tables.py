"""What every mapping table needs: names on both sides without a rest, arrays with axes moved.

A table is a list of rows (our path, torch's key, how axes move from ours to torch's). Paths of a
model with batch statistics begin with the collection.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from gazax.typing import InputError

AS_IS = None
DENSE = (1, 0)  # in out -> out in
CONV = (3, 2, 0, 1)  # h w in out -> out in h w

Row = tuple[str, str, tuple[int, ...] | None]
Rows = Sequence[tuple[str, str, tuple[int, ...] | None]]

# Rows of one module, for `fill`.
NORM: Rows = (
    ("params/{path}/scale", "{key}.weight", AS_IS),
    ("params/{path}/bias", "{key}.bias", AS_IS),
    ("batch_stats/{path}/mean", "{key}.running_mean", AS_IS),
    ("batch_stats/{path}/var", "{key}.running_var", AS_IS),
)
KERNEL: Rows = (("params/{path}/kernel", "{key}.weight", CONV),)
LINEAR: Rows = (
    ("params/{path}/kernel", "{key}.weight", DENSE),
    ("params/{path}/bias", "{key}.bias", AS_IS),
)

COUNTER = "num_batches_tracked"
"""Batches that torch has seen: counted, but without effect at its default momentum."""


_SHOWN = 80
"""Characters of a key that a message shows."""


def fill(rows: Rows, path: str, key: str) -> list[Row]:
    """A module's rows for the place where it stands on both sides."""
    return [(ours.format(path=path), torchs.format(key=key), axes) for ours, torchs, axes in rows]


def flatten(params: Mapping[str, Any], stats: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters and batch statistics by path."""
    return flatten_dict({"params": params, "batch_stats": stats}, sep="/")


def without_counters(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """The state dict without torch's counts of batches."""
    return {key: value for key, value in state_dict.items() if key.rpartition(".")[2] != COUNTER}


def to_torch(ours: Mapping[str, Any], table: Rows, model: str) -> dict[str, np.ndarray]:
    """The state dict of a model with batch norms, ready for `strict=True`.

    Args:
      ours: arrays by path, see `flatten`.
      table: of all of the model.
      model: its name, for messages.

    Returns:
      Contiguous arrays by torch's keys, dtype as given; every `num_batches_tracked` is 0.

    Raises:
      InputError: a path is missing or has no place in the table.
    """
    match_names("the variables", model, ours, {path for path, _, _ in table})
    state_dict = {}
    for path, key, axes in table:
        state_dict[key] = move(ours[path], axes)
        if path.startswith("batch_stats/") and path.endswith("/var"):
            state_dict[key.replace("running_var", COUNTER)] = np.array(0, np.int64)
    return state_dict


def from_torch(
    found: Mapping[str, Any], table: Rows, model: str, library: str = "torchvision"
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The "params" and "batch_stats" collections of a state dict.

    Args:
      found: arrays, or torch tensors on the CPU, by torch's keys, `without_counters`.
      table, model: see `to_torch`.
      library: whose keys they are, for messages.

    Raises:
      InputError: a key is missing, has no place in the table, or has another number of axes.
    """
    variables = move_back(f"{library}'s state dict", model, found, table)
    return variables["params"], variables["batch_stats"]


def move_back(what: str, model: str, found: Mapping[str, Any], table: Rows) -> dict[str, Any]:
    """Our tree of all of a state dict.

    Args:
      what: whose keys ``found`` are.
      model: whose table it is.
      found: arrays, or torch tensors on the CPU, by key.
      table: of all of the model.

    Raises:
      InputError: a key is missing, has no place in the table, or has another number of axes.
    """
    match_names(what, model, found, {key for _, key, _ in table})
    moved = {}
    for path, key, axes in table:
        if axes is not None and len(axes) != np.ndim(found[key]):
            raise InputError(
                f"{what}: '{key}' has the shape {np.shape(found[key])}; a "
                f"{model}'s has {len(axes)} axes"
            )
        back = None if axes is None else tuple(axes.index(i) for i in range(len(axes)))
        moved[path] = move(found[key], back)
    return unflatten_dict(moved, sep="/")


def number_of(key: str, digits: str, names: Mapping[str, Any]) -> int:
    """A block's number in a key; a table has rows for every block up to the largest.

    Raises:
      InputError: it is larger than there are keys: such a table would fill the memory.
    """
    if len(digits) > len(str(len(names))) or int(digits) > len(names):
        shown = key if len(key) <= _SHOWN else f"{key[:_SHOWN]}..."
        raise InputError(
            f"'{shown}' is of a block with a number larger than {len(names)}, which is how many "
            "keys there are: blocks are missing"
        )
    return int(digits)


def match_names(what: str, model: str, found: Mapping[str, Any], expected: set[str]) -> None:
    """Raises an `InputError` that names every key without a place and every one that is missing.

    Args:
      what: whose keys ``found`` are.
      model: whose table ``expected`` is from.
      found: by key.
      expected: the table's keys.
    """
    unknown, missing = sorted(set(found) - expected), sorted(expected - set(found))
    if unknown or missing:
        raise InputError(
            f"{what} and the {model} do not match; without a place: "
            f"{', '.join(unknown) or 'none'}; missing: {', '.join(missing) or 'none'}"
        )


def move(array: Any, axes: tuple[int, ...] | None) -> np.ndarray:
    """The array with its axes in that order, contiguous; None leaves them as they are."""
    array = np.asarray(array)
    # a copy, so that nothing shares memory with a torch tensor; safetensors wants it contiguous
    return np.array(array if axes is None else array.transpose(axes), order="C")

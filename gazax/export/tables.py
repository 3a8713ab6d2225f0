"""What every mapping table needs: names on both sides without a rest, arrays with axes moved."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gazax.typing import InputError


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

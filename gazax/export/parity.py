"""Whether the torch model that was written computes what ours does, tensor by tensor.

Both run in float32 with full products, in eval mode, on the same images.
"""

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from gazax.typing import InputError, RunError

LIMIT = 1e-4
"""Of the largest difference of a tensor, over its largest value."""
EARLY_LIMIT = 1e-5
"""The same for the stem and the first block: too little is computed to round more."""
SHOWN = 10
"""Tensors that a message names."""
STEM, BLOCK = _EARLY = "stem", "block"
"""Names of tensors, behind that of the encoder and a dot where there are two."""

Seen = Mapping[str, np.ndarray]
"""Tensors of a batch by name, channels last."""
Look = Callable[[UInt8[np.ndarray, "b h w"]], tuple[Seen, Seen]]
"""Grey images -> what torch's model and ours make of them, by the same names."""


def require(packages: Sequence[str]) -> None:
    """Imports what the torch model is made by: torch and the library that it is from.

    Raises:
      InputError: it is not installed, or does not import.
    """
    for name in packages:
        try:
            importlib.import_module(name)
        # a torchvision that was built for another torch stops with a RuntimeError
        except (ImportError, RuntimeError) as error:
            if importlib.util.find_spec(name):
                mend = (
                    "It is installed: do its version, torch's and torchvision's fit together? "
                    "Mend that"
                )
            else:
                mend = "It is not installed: pip install 'gazax[torch]'"
            raise InputError(
                f"the torch model is verified, and written as ONNX, with {name}, which cannot be "
                f"imported here ({error}). {mend}, or give --noverify and no --also=onnx."
            ) from None


def compare(
    look: Look,
    images: Mapping[str, UInt8[np.ndarray, "h w"]],
    *,
    packages: Sequence[str],
) -> dict[str, Any]:
    """What `parity.json` says of a torch model that passed.

    Args:
      look: what both models give; names that only torch's has are not looked at.
      images: by name; those of one size are run together.
      packages: whose versions are noted.

    Returns:
      `passed`, `max_relative_difference` over all tensors, `compared`: for each image and tensor
      its shape, largest absolute difference over largest absolute value, and the limit of that;
      `dtype` and `versions`.

    Raises:
      RunError: a tensor differs by more than `LIMIT`, stem and first block by `EARLY_LIMIT`.
    """
    compared = []
    for names in _by_shape(images):
        batch = np.stack([images[name] for name in names])
        with jax.default_matmul_precision("highest"):
            found, expected = look(batch)
        for tensor, values in expected.items():
            compared += [
                {
                    "image": image,
                    "tensor": tensor,
                    "shape": list(values.shape[1:]),
                    "relative_difference": relative_difference(found[tensor][row], values[row]),
                    "limit": EARLY_LIMIT if tensor.rpartition(".")[2] in _EARLY else LIMIT,
                }
                for row, image in enumerate(names)
            ]
    return judge(compared, "the torch model does not compute what ours does", packages=packages)


def judge(
    compared: Sequence[Mapping[str, Any]], fault: str, *, packages: Sequence[str]
) -> dict[str, Any]:
    """What `parity.json` says of tensors that were compared.

    Args:
      compared: `image`, `tensor`, `shape`, `relative_difference` and its `limit` of each.
      fault: what is wrong where one is above its limit.
      packages: whose versions are noted.

    Raises:
      RunError: one is.
    """
    # 'not below' and not 'above': a NaN does not pass
    wrong = [one for one in compared if not one["relative_difference"] <= one["limit"]]
    if wrong:
        wrong.sort(key=lambda one: one["limit"])  # stem and first block first: a fault begins there
        lines = [
            f"{one['tensor']} of {one['image']}: {one['relative_difference']:.1e} of its largest "
            f"value (limit {one['limit']:.0e})"
            for one in wrong[:SHOWN]
        ]
        raise RunError(
            f"{fault}: {len(wrong)} of {len(compared)} tensors differ. Nothing is written.\n  "
            + "\n  ".join(lines)
        )
    return {
        "passed": True,
        "max_relative_difference": max(one["relative_difference"] for one in compared),
        "dtype": "float32",
        "versions": {name: metadata.version(name) for name in packages},
        "compared": list(compared),
    }


def _by_shape(images: Mapping[str, np.ndarray]) -> list[list[str]]:
    groups: dict[tuple[int, ...], list[str]] = {}
    for name, image in images.items():
        groups.setdefault(image.shape, []).append(name)
    return list(groups.values())


def relative_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest absolute difference over largest absolute value; zeros equal zeros alone."""
    if found.shape != expected.shape:
        return np.inf
    largest = np.abs(expected).max()
    difference = np.abs(found - expected).max()
    return float(difference / largest) if largest else float(difference and np.inf)

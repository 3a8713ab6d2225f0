"""How fast a device multiplies at most, by the name that it gives itself."""

import re

from gazax.hardware.chips import CHIPS

_TPUS = {
    "TPU v4": "v4",
    "TPU v5 lite": "v5e",
    "TPU v5e": "v5e",
    "TPU v5": "v5p",
    "TPU v5p": "v5p",
    "TPU v6 lite": "v6e",
    "TPU v6e": "v6e",
}
_GPUS = {
    "Tesla T4": 65e12,
    "Tesla V100-SXM2": 125e12,
    "Tesla V100-PCIE": 112e12,
    "NVIDIA A100": 312e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H200": 989e12,
    "NVIDIA L4": 121e12,
    "NVIDIA L40S": 362e12,
    "NVIDIA A40": 149.7e12,
    "NVIDIA RTX A6000": 154.8e12,
    "NVIDIA GeForce RTX 3090": 71e12,
    "NVIDIA GeForce RTX 4090": 165.2e12,
}
"""Beginnings of names. Multiplications and additions of full matrices, 1/s, in half precision that
is summed in float32: NVIDIA's data sheets and architecture papers, without sparsity, November 2026.
"""


def peak_flops(device_kind: str) -> float | None:
    """Multiplications and additions in bfloat16, 1/s, by the maker's figure; None if not known.

    T4 and V100 have no bfloat16: theirs is float16's. Of a part of a card (MIG, vGPU) none is
    known.

    Args:
      device_kind: as JAX says it, such as 'TPU v5 lite' or 'NVIDIA A100-SXM4-80GB'.
    """
    if device_kind in _TPUS:
        return CHIPS[_TPUS[device_kind]].flops
    if re.search(r" MIG |-\d+[A-Z]$", device_kind):
        return None
    found = [name for name in _GPUS if _begins(device_kind, name)]
    return _GPUS[max(found, key=len)] if found else None


def _begins(device_kind: str, name: str) -> bool:
    """Whether what follows the name is its form or its memory: an L40 is no L4, nor a 3090 Ti a
    3090."""
    return re.fullmatch(rf"{re.escape(name)}(-.*| \d.*)?", device_kind) is not None

"""`gazax.models.unet` and `gazax.models.res_se_unet` to and from `modeling_gazax`, by one table.

The order of axes differs, and torch keeps running statistics beside the parameters; `encoder1` is
`encoder.1` there, and so on.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gazax.export.tables import (
    AS_IS,
    DENSE,
    KERNEL,
    NORM,
    Row,
    Rows,
    fill,
    flatten,
    from_torch,
    to_torch,
    without_counters,
)
from gazax.models.mt_unet import MTUNet
from gazax.models.res_se_unet import ResSEUNet
from gazax.models.unet import UNet
from gazax.models.unet_blocks import LEVEL_WIDTHS

BIASED: Rows = (*KERNEL, ("params/{path}/bias", "{key}.bias", AS_IS))
"""Rows of a convolution with a bias, for `fill`."""
_GATE: Rows = (
    ("params/{path}/se_reduce/kernel", "{key}.se_reduce.weight", DENSE),
    ("params/{path}/se_expand/kernel", "{key}.se_expand.weight", DENSE),
)


def to_gazax(
    model: UNet | ResSEUNet, params: Mapping[str, Any], stats: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """The variables of a U-Net as the state dict of that of `modeling_gazax`.

    Args:
      model: whose variables they are.
      params: its "params" collection.
      stats: its "batch_stats" collection.

    Returns:
      Contiguous arrays, ready for `strict=True`; every `num_batches_tracked` is 0.

    Raises:
      InputError: a parameter or statistic is missing or has no place in the other model.
    """
    return to_torch(flatten(params, stats), rows(model), type(model).__name__)


def from_gazax(
    model: UNet | ResSEUNet, state_dict: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The "params" and "batch_stats" collections of that state dict.

    Raises:
      InputError: a key is missing, has no place, or has another number of axes.
    """
    found = without_counters(state_dict)
    return from_torch(found, rows(model), type(model).__name__, "gazax")


def rows(model: UNet | ResSEUNet | MTUNet) -> list[Row]:
    """The table; of an MT-UNet, what it shares with the plain U-Net."""
    guided = isinstance(model, ResSEUNet) and model.guide_channels > 0
    steps = len(LEVEL_WIDTHS) if guided else len(LEVEL_WIDTHS) - 1
    found = []
    for i in range(1, len(LEVEL_WIDTHS) + 1):
        found += _convolutions(f"encoder{i}", f"encoder.{i}", 2)
        if isinstance(model, ResSEUNet):
            found += fill(BIASED, f"encoder{i}/shortcut", f"encoder.{i}.shortcut")
            found += fill(_GATE, f"encoder{i}", f"encoder.{i}")
    for i in range(1, steps + 1):
        found += _convolutions(f"up{i}", f"up.{i}", 1)
        found += _convolutions(f"decoder{i}", f"decoder.{i}", 2)
    found += _convolutions("head", "head", 1 if model.head == "code" else 0)
    return found + fill(BIASED, "head/logits", "head.logits")


def _convolutions(path: str, key: str, count: int) -> list[Row]:
    found = []
    for n in range(1, count + 1):
        found += fill(BIASED, f"{path}/conv{n}", f"{key}.conv{n}")
        found += fill(NORM, f"{path}/bn{n}", f"{key}.bn{n}")
    return found

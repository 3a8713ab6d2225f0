"""`gazax.models.mt_unet` to and from `modeling_gazax`: the U-Net's table, and what is beside it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gazax.export import unet
from gazax.export.tables import (
    AS_IS,
    LINEAR,
    Row,
    fill,
    flatten,
    from_torch,
    to_torch,
    without_counters,
)
from gazax.models.mt_unet import LOG_SIGMA, MTUNet

_MODEL = "MT-UNet"


def to_gazax(
    model: MTUNet, params: Mapping[str, Any], stats: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """The variables of an MT-UNet as the state dict of that of `modeling_gazax`.

    Args, Returns and Raises: see `gazax.export.unet.to_gazax`.
    """
    return to_torch(flatten(params, stats), _rows(model), _MODEL)


def from_gazax(
    model: MTUNet, state_dict: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The "params" and "batch_stats" collections of that state dict.

    Raises:
      InputError: a key is missing, has no place, or has another number of axes.
    """
    return from_torch(without_counters(state_dict), _rows(model), _MODEL, "gazax")


def _rows(model: MTUNet) -> list[Row]:
    rows = unet.rows(model)
    for i in range(2):
        rows += fill(LINEAR, f"classifier/layers_{i}", f"classifier.layers.{i}")
    for task in model.learned_sigmas:
        rows.append((f"params/{LOG_SIGMA}{task}", f"log_sigma.{task}", AS_IS))
    return rows

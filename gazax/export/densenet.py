"""`gazax.models.densenet` to and from torchvision's `DenseNet`, by one table.

    net = torchvision.models.densenet121()
    tensors = {k: torch.from_numpy(v) for k, v in to_torchvision(params, stats).items()}
    net.load_state_dict(tensors, strict=True)

What differs is the order of axes, and that torch keeps running statistics beside the parameters.
The stem has three channels on both sides.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from gazax.export.tables import (
    KERNEL,
    LINEAR,
    NORM,
    Row,
    fill,
    flatten,
    from_torch,
    number_of,
    to_torch,
    without_counters,
)


def to_torchvision(params: Mapping[str, Any], stats: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The variables of a DenseNet as the state dict of torchvision's, ready for `strict=True`.

    Args:
      params: the "params" collection of a `gazax.models.densenet.DenseNet`.
      stats: its "batch_stats" collection.

    Returns:
      Contiguous arrays by torchvision's keys, dtype as given; every `num_batches_tracked` is 0.
      Without `head` there are no `classifier` keys, which is torchvision's model with
      `classifier` an identity.

    Raises:
      InputError: a parameter or statistic is missing or has no place in torchvision's model.
    """
    ours = flatten(params, stats)
    table = _table(ours, r"\w+/denseblock(\d)_denselayer(\d+)/", "params/head/")
    return to_torch(ours, table, "DenseNet")


def from_torchvision(state_dict: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The state dict of torchvision's `DenseNet` as the parameters and statistics of ours.

    Args:
      state_dict: arrays, or torch tensors on the CPU, by torchvision's keys, or by those of the
        files that it downloads, which write `norm.1` for `norm1`. Each `num_batches_tracked` is
        left out: nothing depends on it.

    Returns:
      The "params" and "batch_stats" collections; the head comes along if there is one.

    Raises:
      InputError: a key is missing or belongs to another architecture.
    """
    found = {
        re.sub(r"(\.denselayer\d+\.(?:norm|conv))\.(\d)\.", r"\1\2.", key): value
        for key, value in without_counters(state_dict).items()
    }
    table = _table(found, r"features\.denseblock(\d)\.denselayer(\d+)\.", "classifier.")
    return from_torch(found, table, "DenseNet")


def _table(names: Mapping[str, Any], layer: str, head: str) -> list[Row]:
    """The table's rows for as many layers as `names` speak of, with the head if they do."""
    sizes: dict[int, int] = {}
    for name in names:
        if match := re.match(layer, name):
            block = int(match[1])
            sizes[block] = max(sizes.get(block, 1), number_of(name, match[2], names))

    rows = fill(KERNEL, "conv0", "features.conv0") + fill(NORM, "norm0", "features.norm0")
    for block in range(1, max(sizes, default=1) + 1):
        if block > 1:
            path = f"transition{block - 1}"
            rows += fill(NORM, f"{path}/norm", f"features.{path}.norm")
            rows += fill(KERNEL, f"{path}/conv", f"features.{path}.conv")
        for i in range(1, sizes.get(block, 1) + 1):
            path = f"denseblock{block}_denselayer{i}/"
            key = f"features.denseblock{block}.denselayer{i}."
            for n in (1, 2):
                rows += fill(NORM, f"{path}norm{n}", f"{key}norm{n}")
                rows += fill(KERNEL, f"{path}conv{n}", f"{key}conv{n}")
    rows += fill(NORM, "norm5", "features.norm5")
    if any(name.startswith(head) for name in names):
        rows += fill(LINEAR, "head", "classifier")
    return rows

"""`gazax.models.resnet` to and from torchvision's `ResNet`, by one table.

    net = torchvision.models.resnet50()
    tensors = {k: torch.from_numpy(v) for k, v in to_torchvision(params, stats).items()}
    net.load_state_dict(tensors, strict=True)

What differs is the order of axes, and that torch keeps running statistics beside the parameters.
The stem keeps its number of channels: a grey model goes to a net whose `conv1` takes one.
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
    """The variables of a ResNet as the state dict of torchvision's, ready for `strict=True`.

    Args:
      params: the "params" collection of a `gazax.models.resnet.ResNet`.
      stats: its "batch_stats" collection.

    Returns:
      Contiguous arrays by torchvision's keys, dtype as given; every `num_batches_tracked` is 0.
      Without `head` there are no `fc` keys, which is torchvision's model with `fc` an identity.

    Raises:
      InputError: a parameter or statistic is missing or has no place in torchvision's model.
    """
    ours = flatten(params, stats)
    return to_torch(ours, _table(ours, r"\w+/layer(\d)_(\d+)/", "params/head/"), "ResNet")


def from_torchvision(state_dict: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The state dict of torchvision's `ResNet` as the parameters and statistics of ours.

    Args:
      state_dict: arrays, or torch tensors on the CPU, by torchvision's keys. Each
        `num_batches_tracked` is left out: nothing depends on it.

    Returns:
      The "params" and "batch_stats" collections; the head comes along if there is one.

    Raises:
      InputError: a key is missing or belongs to another architecture.
    """
    found = without_counters(state_dict)
    return from_torch(found, _table(found, r"layer(\d)\.(\d+)\.", "fc."), "ResNet")


def _table(names: Mapping[str, Any], block: str, head: str) -> list[Row]:
    """The table's rows for as many blocks as `names` speak of, with the head if they do."""
    sizes = [1, 1, 1, 1]
    for name in names:
        match = re.match(block, name)
        if match and 1 <= int(match[1]) <= 4:
            stage = int(match[1]) - 1
            sizes[stage] = max(sizes[stage], number_of(name, match[2], names) + 1)
    bottleneck = any(re.search(r"[./]conv3[./]", name) for name in names)

    rows = fill(KERNEL, "conv1", "conv1") + fill(NORM, "bn1", "bn1")
    for stage, blocks in enumerate(sizes, start=1):
        for i in range(blocks):
            path, key = f"layer{stage}_{i}/", f"layer{stage}.{i}."
            for n in range(1, 4 if bottleneck else 3):
                rows += fill(KERNEL, f"{path}conv{n}", f"{key}conv{n}")
                rows += fill(NORM, f"{path}bn{n}", f"{key}bn{n}")
            if i == 0 and (stage > 1 or bottleneck):  # the number of channels changes here
                rows += fill(KERNEL, f"{path}downsample_0", f"{key}downsample.0")
                rows += fill(NORM, f"{path}downsample_1", f"{key}downsample.1")
    if any(name.startswith(head) for name in names):
        rows += fill(LINEAR, "head", "fc")
    return rows

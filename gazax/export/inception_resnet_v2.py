"""`gazax.models.inception_resnet_v2` to and from timm's `InceptionResnetV2`, by one table.

    net = timm.create_model("inception_resnet_v2")
    tensors = {k: torch.from_numpy(v) for k, v in to_timm(params, stats).items()}
    net.load_state_dict(tensors, strict=True)

What differs is the order of axes, and that torch keeps running statistics beside the parameters.
timm's weights take images in [-1, 1], of three channels; neither side maps them to that inside.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from gazax.export.tables import (
    AS_IS,
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

_STEM = ("conv2d_1a", "conv2d_2a", "conv2d_2b", "conv2d_3b", "conv2d_4a")
# Convolutions with a norm inside of each module, by timm's names; a pooling has a number, but
# nothing to map.
_INSIDE = {
    "mixed_5b": "branch0 branch1.0 branch1.1 branch2.0 branch2.1 branch2.2 branch3.1",
    "repeat": "branch0 branch1.0 branch1.1 branch2.0 branch2.1 branch2.2",
    "mixed_6a": "branch0 branch1.0 branch1.1 branch1.2",
    "repeat_1": "branch0 branch1.0 branch1.1 branch1.2",
    "mixed_7a": "branch0.0 branch0.1 branch1.0 branch1.1 branch2.0 branch2.1 branch2.2",
    "repeat_2": "branch0 branch1.0 branch1.1 branch1.2",
    "block8": "branch0 branch1.0 branch1.1 branch1.2",
}
_REPEATED = ("repeat", "repeat_1", "repeat_2")


def to_timm(params: Mapping[str, Any], stats: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The variables of an Inception-ResNet-v2 as timm's state dict, ready for `strict=True`.

    Args:
      params: the "params" collection of a `gazax.models.inception_resnet_v2.InceptionResNetV2`.
      stats: its "batch_stats" collection.

    Returns:
      Contiguous arrays by timm's keys, dtype as given; every `num_batches_tracked` is 0. Without
      `head` there are no `classif` keys, which is timm's num_classes=0.

    Raises:
      InputError: a parameter or statistic is missing or has no place in timm's model.
    """
    ours = flatten(params, stats)
    table = _table(ours, r"\w+/(repeat(?:_[12])?)_(\d+)/", "params/head/")
    return to_torch(ours, table, "Inception-ResNet-v2")


def from_timm(state_dict: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The state dict of timm's `InceptionResnetV2` as the parameters and statistics of ours.

    Args:
      state_dict: arrays, or torch tensors on the CPU, by timm's keys. Each `num_batches_tracked`
        is left out: nothing depends on it.

    Returns:
      The "params" and "batch_stats" collections; the head comes along if there is one.

    Raises:
      InputError: a key is missing or belongs to another architecture.
    """
    found = without_counters(state_dict)
    table = _table(found, r"(repeat(?:_[12])?)\.(\d+)\.", "classif.")
    return from_torch(found, table, "Inception-ResNet-v2", "timm")


def _table(names: Mapping[str, Any], block: str, head: str) -> list[Row]:
    """The table's rows for as many blocks as `names` speak of, with the head if they do."""
    sizes = dict.fromkeys(_REPEATED, 1)
    for name in names:
        if match := re.match(block, name):
            sizes[match[1]] = max(sizes[match[1]], number_of(name, match[2], names) + 1)

    rows = [row for name in _STEM for row in _conv_norm(name, name)]
    for module, inside in _INSIDE.items():
        if module in sizes:
            places = [(f"{module}_{i}", f"{module}.{i}") for i in range(sizes[module])]
        else:
            places = [(module, module)]
        for path, key in places:
            for name in inside.split():
                rows += _conv_norm(f"{path}/{name.replace('.', '_')}", f"{key}.{name}")
            if not module.startswith("mixed"):
                rows += fill(KERNEL, f"{path}/conv2d", f"{key}.conv2d")
                rows += [(f"params/{path}/conv2d/bias", f"{key}.conv2d.bias", AS_IS)]
    rows += _conv_norm("conv2d_7b", "conv2d_7b")
    if any(name.startswith(head) for name in names):
        rows += fill(LINEAR, "head", "classif")
    return rows


def _conv_norm(path: str, key: str) -> list[Row]:
    return fill(KERNEL, f"{path}/conv", f"{key}.conv") + fill(NORM, f"{path}/bn", f"{key}.bn")

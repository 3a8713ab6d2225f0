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
from flax.traverse_util import flatten_dict, unflatten_dict

from gazax.export.tables import match_names, move

_AS_IS = None
_DENSE = (1, 0)  # in out -> out in
_CONV = (3, 2, 0, 1)  # h w in out -> out in h w

# Paths begin with the collection. (our path, torchvision's key, how axes move from ours to its)
_NORM = (
    ("params/{path}/scale", "{key}.weight", _AS_IS),
    ("params/{path}/bias", "{key}.bias", _AS_IS),
    ("batch_stats/{path}/mean", "{key}.running_mean", _AS_IS),
    ("batch_stats/{path}/var", "{key}.running_var", _AS_IS),
)
_KERNEL = (("params/{path}/kernel", "{key}.weight", _CONV),)
_HEAD = (
    ("params/head/kernel", "fc.weight", _DENSE),
    ("params/head/bias", "fc.bias", _AS_IS),
)
# Batches that torch has seen: counted, but without effect at its default momentum.
_COUNTER = "num_batches_tracked"


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
    ours = flatten_dict({"params": params, "batch_stats": stats}, sep="/")
    table = _table(ours, r"\w+/layer(\d)_(\d+)/", "params/head/")
    match_names("the variables", "ResNet", ours, {path for path, _, _ in table})
    state_dict = {}
    for path, key, axes in table:
        state_dict[key] = move(ours[path], axes)
        if path.startswith("batch_stats/") and path.endswith("/var"):
            state_dict[key.replace("running_var", _COUNTER)] = np.array(0, np.int64)
    return state_dict


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
    found = {k: v for k, v in state_dict.items() if k.rpartition(".")[2] != _COUNTER}
    table = _table(found, r"layer(\d)\.(\d+)\.", "fc.")
    match_names("torchvision's state dict", "ResNet", found, {key for _, key, _ in table})
    moved = {}
    for path, key, axes in table:
        back = None if axes is None else tuple(axes.index(i) for i in range(len(axes)))
        moved[path] = move(found[key], back)
    variables = unflatten_dict(moved, sep="/")
    return variables["params"], variables["batch_stats"]


def _table(names: Mapping[str, Any], block: str, head: str) -> list[tuple]:
    """The table's rows for as many blocks as `names` speak of, with the head if they do."""
    sizes = [1, 1, 1, 1]
    for match in (re.match(block, name) for name in names):
        if match and 1 <= int(match[1]) <= 4:
            stage = int(match[1]) - 1
            sizes[stage] = max(sizes[stage], int(match[2]) + 1)
    bottleneck = any(re.search(r"[./]conv3[./]", name) for name in names)

    rows = _fill(_KERNEL, "conv1", "conv1") + _fill(_NORM, "bn1", "bn1")
    for stage, blocks in enumerate(sizes, start=1):
        for i in range(blocks):
            path, key = f"layer{stage}_{i}/", f"layer{stage}.{i}."
            for n in range(1, 4 if bottleneck else 3):
                rows += _fill(_KERNEL, f"{path}conv{n}", f"{key}conv{n}")
                rows += _fill(_NORM, f"{path}bn{n}", f"{key}bn{n}")
            if i == 0 and (stage > 1 or bottleneck):  # the number of channels changes here
                rows += _fill(_KERNEL, f"{path}downsample_0", f"{key}downsample.0")
                rows += _fill(_NORM, f"{path}downsample_1", f"{key}downsample.1")
    if any(name.startswith(head) for name in names):
        rows += _HEAD
    return rows


def _fill(rows: tuple[tuple, ...], path: str, key: str) -> list[tuple]:
    return [(ours.format(path=path), torchs.format(key=key), axes) for ours, torchs, axes in rows]

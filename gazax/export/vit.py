"""`gazax.models.vit` to and from timm's `VisionTransformer`, by one table.

    net = timm.create_model("vit_small_patch16_224", in_chans=1, num_classes=0)
    net.load_state_dict({k: torch.from_numpy(v) for k, v in to_timm(params).items()}, strict=True)

The fused `qkv` holds q, k, v one after the other, each head by head, on both sides; `pos_embed`
has the class token first on both. What differs is the order of axes. A model with pool="avg"
is timm's with `global_pool="avg", fc_norm=False`.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict

from gazax.export.tables import match_names, move, move_back, number_of

_AS_IS = None
_DENSE = (1, 0)  # in out -> out in
_CONV = (3, 2, 0, 1)  # h w in out -> out in h w

# (our path, timm's key, how axes move from ours to timm's); {i} is the number of the block.
_STEM = (
    ("patch_embed/kernel", "patch_embed.proj.weight", _CONV),
    ("patch_embed/bias", "patch_embed.proj.bias", _AS_IS),
    ("cls_token", "cls_token", _AS_IS),
    ("pos_embed", "pos_embed", _AS_IS),
    ("norm/scale", "norm.weight", _AS_IS),
    ("norm/bias", "norm.bias", _AS_IS),
)
_BLOCK = (
    ("blocks_{i}/norm1/scale", "blocks.{i}.norm1.weight", _AS_IS),
    ("blocks_{i}/norm1/bias", "blocks.{i}.norm1.bias", _AS_IS),
    ("blocks_{i}/attn/qkv/kernel", "blocks.{i}.attn.qkv.weight", _DENSE),
    ("blocks_{i}/attn/qkv/bias", "blocks.{i}.attn.qkv.bias", _AS_IS),
    ("blocks_{i}/attn/proj/kernel", "blocks.{i}.attn.proj.weight", _DENSE),
    ("blocks_{i}/attn/proj/bias", "blocks.{i}.attn.proj.bias", _AS_IS),
    ("blocks_{i}/norm2/scale", "blocks.{i}.norm2.weight", _AS_IS),
    ("blocks_{i}/norm2/bias", "blocks.{i}.norm2.bias", _AS_IS),
    ("blocks_{i}/mlp/fc1/kernel", "blocks.{i}.mlp.fc1.weight", _DENSE),
    ("blocks_{i}/mlp/fc1/bias", "blocks.{i}.mlp.fc1.bias", _AS_IS),
    ("blocks_{i}/mlp/fc2/kernel", "blocks.{i}.mlp.fc2.weight", _DENSE),
    ("blocks_{i}/mlp/fc2/bias", "blocks.{i}.mlp.fc2.bias", _AS_IS),
)
_HEAD = (
    ("head/kernel", "head.weight", _DENSE),
    ("head/bias", "head.bias", _AS_IS),
)


def to_timm(params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The parameters of a ViT as the state dict of timm's, ready for `strict=True`.

    Args:
      params: the "params" collection of a `gazax.models.vit.ViT`.

    Returns:
      Contiguous arrays by timm's keys, dtype as given. Without `head` there are no head keys,
      which is timm's num_classes=0.

    Raises:
      InputError: a parameter is missing or has no place in timm's model.
    """
    ours = flatten_dict(params, sep="/")
    table = _table(ours, r"blocks_(\d+)/", "head/")
    match_names("the parameters", "ViT", ours, {path for path, _, _ in table})
    return {key: move(ours[path], axes) for path, key, axes in table}


def from_timm(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """The state dict of timm's `VisionTransformer` as the parameters of a ViT.

    Args:
      state_dict: arrays, or torch tensors on the CPU, by timm's keys.

    Returns:
      The "params" collection; `to_timm` of it is `state_dict`. The head comes along if there is
      one.

    Raises:
      InputError: a key is missing or belongs to a variant of the model that is not ours, such as
        layer scale, register tokens or a norm behind the pooling (`fc_norm`).
    """
    table = _table(state_dict, r"blocks\.(\d+)\.", "head.")
    return move_back("timm's state dict", "ViT", state_dict, table)


def _table(names: Mapping[str, Any], block: str, head: str) -> list[tuple]:
    """The table's rows for as many blocks as `names` speak of, with the head if they do."""
    found = {name: match[1] for name in names if (match := re.match(block, name))}
    numbers = [number_of(name, digits, names) for name, digits in found.items()]
    rows: list[tuple] = list(_STEM)
    for i in range(max(numbers, default=-1) + 1):
        rows += [(path.format(i=i), key.format(i=i), axes) for path, key, axes in _BLOCK]
    if any(name.startswith(head) for name in names):
        rows += _HEAD
    return rows

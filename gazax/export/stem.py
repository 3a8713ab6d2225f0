"""A ViT of either stem to and from `modeling_gazax`: timm's table, and one of the ConvStem.

The stem's last convolution is what timm calls `patch_embed.proj`, so that only those before it need
rows of their own.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gazax.export import heads, vit
from gazax.export.tables import KERNEL, Row, fill
from gazax.models.vit import ViT

_INSIDE = ("patch_embed.conv.", "patch_embed.norm.")


def to_gazax(model: ViT, params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The parameters of a ViT without a head as the state dict of that of `modeling_gazax`.

    Args, Returns and Raises: see `gazax.export.unet.to_gazax`.
    """
    if model.stem == "patch":
        return vit.to_timm(params)
    stem = dict(params["patch_embed"])
    rest = {**params, "patch_embed": stem.pop("proj", {})}
    inside = heads.to_gazax({"patch_embed": stem}, {}, _rows(model), "ConvStem")
    return {**vit.to_timm(rest), **inside}


def from_gazax(model: ViT, state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """The "params" collection of that state dict.

    Raises:
      InputError: a key is missing or has no place.
    """
    if model.stem == "patch":
        return vit.from_timm(state_dict)
    inside = {key: value for key, value in state_dict.items() if key.startswith(_INSIDE)}
    rest = {key: value for key, value in state_dict.items() if key not in inside}
    params = vit.from_timm(rest)
    stem, _ = heads.from_gazax(inside, _rows(model), "ConvStem")
    return {**params, "patch_embed": {**stem["patch_embed"], "proj": params["patch_embed"]}}


def _rows(model: ViT) -> list[Row]:
    rows: list[Row] = []
    for i in range(model.patch_size[0].bit_length() - 1):  # one a halving
        rows += fill(KERNEL, f"patch_embed/conv_{i}", f"patch_embed.conv.{i}")
        rows += fill(heads.AFFINE, f"patch_embed/norm_{i}", f"patch_embed.norm.{i}")
    return rows

"""What a backbone makes on its way, ours and that of `modeling_gazax`, by the same names.

stem               of its first layers; of a ViT what enters the first block, of a U-Net what
                   its first convolution gives
block              of the first block, or of a U-Net's first level
level_0, ...       `feature_maps`
attention_0, ...   `attention`
feature_map        the same
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict

from gazax.export.parity import BLOCK, STEM
from gazax.models.densenet import DenseNet
from gazax.models.gaze_gnn import GazeGNN
from gazax.models.inception_resnet_v2 import InceptionResNetV2
from gazax.models.mt_unet import MTUNet
from gazax.models.res_se_unet import ResSEUNet
from gazax.models.resnet import ResNet
from gazax.models.unet import UNet
from gazax.models.vit import ViT


class _Places(NamedTuple):
    """Modules whose outputs are looked at: our path, torch's name."""

    block: tuple[str, str]
    stem: tuple[str, str] | None = None
    """None: the backbone gives it out."""


_OF_UNETS = _Places(("encoder1", "encoder.1"), ("encoder1/conv1", "encoder.1.conv1"))
_PLACES: dict[type[nn.Module], _Places] = {
    ViT: _Places(("blocks_0", "blocks.0")),
    ResNet: _Places(("layer1_0", "layer1.0")),
    # torch's layer puts what it makes behind what it gets
    DenseNet: _Places(("denseblock1_denselayer1", "features.denseblock1.denselayer1.conv2")),
    InceptionResNetV2: _Places(("mixed_5b", "mixed_5b")),
    UNet: _OF_UNETS,
    ResSEUNet: _OF_UNETS,
    MTUNet: _OF_UNETS,
    GazeGNN: _Places(("stage1_block1", "stages.0.0"), ("stem", "stem.2")),
}


def ours(
    model: nn.Module, variables: Mapping[str, Any], *inputs: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What our model makes on its way, and what it gives out.

    Args:
      model: a backbone of `gazax.export.architectures`, without remat.
      variables: its parameters and statistics.
      inputs: normalised images, and what it takes besides.
    """
    places = _PLACES[type(model)]
    paths = [one[0] for one in (places.block, places.stem) if one]
    applied: Any = model.apply(
        variables,
        *inputs,
        train=False,
        mutable=["intermediates"],
        capture_intermediates=lambda module, _: "/".join(module.path) in paths,
    )
    (_, out), captured = applied
    made: Any = flatten_dict(captured["intermediates"], sep="/")
    return _named(out, {path: made[f"{path}/__call__"][0] for path in paths}, places, 0), out


def watch(network: Any, model: nn.Module) -> Callable[[], dict[str, np.ndarray]]:
    """Looks into torch's backbone of a network, from now on.

    Args:
      network: a backbone of `modeling_gazax`.
      model: ours that it is.

    Returns:
      What gives the arrays of the last run, channels last.
    """
    places = _PLACES[type(model)]
    seen: dict[str, Any] = {}
    for name in ("", *(one[1] for one in (places.block, places.stem) if one)):

        def keep(_: Any, inputs: tuple, output: Any, name: str = name) -> None:
            seen[name] = output

        network.get_submodule(name).register_forward_hook(keep)

    def found() -> dict[str, np.ndarray]:
        named = _named(seen[""], seen, places, 1)
        return {name: channels_last(value.numpy()) for name, value in named.items()}

    return found


def channels_last(array: np.ndarray) -> np.ndarray:
    """[b, c, h, w] with its channels at the end; others as they are."""
    return np.moveaxis(array, 1, -1) if array.ndim == 4 else array


def _named(
    out: Mapping[str, Any], made: Mapping[str, Any], places: _Places, side: int
) -> dict[str, Any]:
    block = made[places.block[side]]
    stem = made[places.stem[side]] if places.stem else out.get("stem", out["feature_maps"][0])
    named = {STEM: stem, BLOCK: block[0] if isinstance(block, tuple) else block}
    for name, key in (("level", "feature_maps"), ("attention", "attention")):
        named |= {f"{name}_{i}": one for i, one in enumerate(out[key])}
    return named | {"feature_map": out["feature_map"]}

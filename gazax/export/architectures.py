"""Which class of `modeling_gazax` holds each backbone, what it is made with, and by which table."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from flax import linen as nn

from gazax.export import densenet, gaze_gnn, inception_resnet_v2, mt_unet, resnet, stem, unet
from gazax.models.densenet import DenseNet
from gazax.models.gaze_gnn import GazeGNN
from gazax.models.inception_resnet_v2 import InceptionResNetV2
from gazax.models.mt_unet import MTUNet
from gazax.models.res_se_unet import ResSEUNet
from gazax.models.resnet import ResNet
from gazax.models.unet import UNet
from gazax.models.vit import ViT
from gazax.typing import InputError

Arrays = dict[str, np.ndarray]
Tree = Mapping[str, Any]


class Architecture(NamedTuple):
    """A backbone in `modeling_gazax`, whose class has the same name."""

    fields: tuple[str, ...]
    """Of the model, that the class is made with under the same names."""
    sizes: Callable[[Tree], dict[str, Any]]
    """From the parameters, what else it is made with: what the first image decided."""
    to: Callable[[Any, Tree, Tree], Arrays]
    """(model, parameters, statistics) -> state dict."""
    back: Callable[[Any, Mapping[str, Any]], tuple[Tree, Tree]]
    """(model, state dict) -> parameters and statistics."""


def _channels_of(first: str) -> Callable[[Tree], dict[str, Any]]:
    """The channels that the convolution of this path takes."""

    def sizes(params: Tree) -> dict[str, Any]:
        return {"in_channels": _at(params, first)["kernel"].shape[2]}

    return sizes


def _at(params: Tree, path: str) -> Any:
    found: Any = params
    for name in path.split("/"):
        if name not in found:
            raise InputError(f"the parameters have no '{path}': they are of another model")
        found = found[name]
    return found


def _of_vit(params: Tree) -> dict[str, Any]:
    first = _at(params, "patch_embed")
    first = first if "kernel" in first else _at(first, "conv_0")
    return {
        "num_patches": _at(params, "pos_embed").shape[1] - 1,
        "in_channels": _at(first, "kernel").shape[2],
    }


def _of_gaze_gnn(params: Tree) -> dict[str, Any]:
    return {"grid": list(_at(params, "position").shape[:2])}


def _nothing(params: Tree) -> dict[str, Any]:
    return {}


ARCHITECTURES: dict[type[nn.Module], Architecture] = {
    ViT: Architecture(
        ("patch_size", "width", "depth", "num_heads", "mlp_dim", "pool", "stem"),
        _of_vit,
        lambda model, params, stats: stem.to_gazax(model, params),
        lambda model, found: (stem.from_gazax(model, found), {}),
    ),
    ResNet: Architecture(
        ("stage_sizes", "bottleneck"),
        _channels_of("conv1"),
        lambda model, params, stats: resnet.to_torchvision(params, stats),
        lambda model, found: resnet.from_torchvision(found),
    ),
    DenseNet: Architecture(
        ("blocks", "growth_rate", "init_features", "tap"),
        _nothing,
        lambda model, params, stats: densenet.to_torchvision(params, stats),
        lambda model, found: densenet.from_torchvision(found),
    ),
    InceptionResNetV2: Architecture(
        ("width_multiplier", "blocks", "padding"),
        _nothing,
        lambda model, params, stats: inception_resnet_v2.to_timm(params, stats),
        lambda model, found: inception_resnet_v2.from_timm(found),
    ),
    UNet: Architecture(
        ("width", "head"), _channels_of("encoder1/conv1"), unet.to_gazax, unet.from_gazax
    ),
    ResSEUNet: Architecture(
        ("guide_channels", "width", "reduction", "shortcut", "head"),
        _channels_of("encoder1/conv1"),
        unet.to_gazax,
        unet.from_gazax,
    ),
    MTUNet: Architecture(
        ("num_classes", "width", "hidden", "dropout", "head", "learned_sigmas"),
        _channels_of("encoder1/conv1"),
        mt_unet.to_gazax,
        mt_unet.from_gazax,
    ),
    GazeGNN: Architecture(
        ("channels", "blocks", "k", "reduce_ratios", "hidden", "relative_position"),
        _of_gaze_gnn,
        gaze_gnn.to_gazax,
        gaze_gnn.from_gazax,
    ),
}
WITHOUT_HEAD = (ViT, ResNet, DenseNet, InceptionResNetV2, GazeGNN)
"""Those of which a method puts its own head on the features."""


def architecture_of(model: nn.Module) -> Architecture:
    """How a model is held in `modeling_gazax`.

    Raises:
      InputError: it is not held there, or has a head of its own.
    """
    name = type(model).__name__
    if type(model) not in ARCHITECTURES:
        known = ", ".join(one.__name__ for one in ARCHITECTURES)
        raise InputError(f"the PyTorch file has no {name} as a backbone; it has {known}")
    if isinstance(model, WITHOUT_HEAD) and model.num_classes:
        raise InputError(
            f"the backbone {name} has a head of its own, num_classes={model.num_classes}, which no "
            "method uses; export one built with num_classes=0"
        )
    return ARCHITECTURES[type(model)]


def settings_of(model: nn.Module, params: Tree) -> dict[str, Any]:
    """What `modeling_gazax` builds a backbone from: JSON, `name` among it.

    Args:
      model: one that `architecture_of` knows.
      params: its parameters.
    """
    known = architecture_of(model)
    fields = {name: _plain(vars(model)[name]) for name in known.fields}
    return {"name": type(model).__name__, **fields, **known.sizes(params)}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (tuple, list)) else value

"""Which of timm's or torchvision's models a backbone is, and with which arguments.

A layout holds a backbone exactly or not at all: what it has no argument for is an `InputError` that
names the layout that has.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import linen as nn

from gazax.config import choose
from gazax.export import densenet, inception_resnet_v2, resnet, vit
from gazax.models.densenet import DEPTHS as DENSENETS
from gazax.models.densenet import DenseNet
from gazax.models.inception_resnet_v2 import InceptionResNetV2
from gazax.models.resnet import DEPTHS as RESNETS
from gazax.models.resnet import ResNet
from gazax.models.vit import VARIANTS, ViT
from gazax.typing import InputError, Size

LIBRARIES = ("timm", "torchvision")

KNOWN = (ViT, ResNet, DenseNet, InceptionResNetV2)

_COLOURS = 3
_IMAGENET_SIDE = 224

# What timm's Inception-ResNet-v2 has no argument for.
_INCEPTION = InceptionResNetV2()

# variant of ours: (timm's name for it, sides of patches that timm has it with)
_VITS = {
    "Ti": ("tiny", (16,)),
    "S": ("small", (32, 16, 8)),
    "B": ("base", (32, 16, 8)),
    "L": ("large", (32, 16)),
}


@dataclasses.dataclass(frozen=True)
class TorchModel:
    """A model of a library, so that ``timm.create_model`` makes it.

    Attributes:
      library: one of `LIBRARIES`.
      architecture: the library's name.
      model_args: arguments besides `num_classes`, in json's types.
      num_classes: columns of the output; 0 = no head.
      num_features: d of the pooled features.
      channels: of its images; where these are 3, a grey image is repeated.
      first_conv, classifier: its first convolution and its head, by name.
      fixed_size: whether it takes images of one size only.
    """

    library: str
    architecture: str
    model_args: dict[str, Any]
    num_classes: int
    num_features: int
    channels: int
    first_conv: str
    classifier: str
    fixed_size: bool = False


def torch_model(
    model: nn.Module, library: str, *, size: Size, channels: int, num_classes: int
) -> TorchModel:
    """The library's model that computes what ours does, on normalised images.

    Args:
      model: a backbone; its own `num_classes` is not looked at.
      library: one of `LIBRARIES`.
      size: (h, w) of the images, px.
      channels: of its stem's kernel.
      num_classes: columns of the head that is exported with it; 0 = none.

    Raises:
      InputError: the library has no such model.
    """
    choose("--layout", library, LIBRARIES)
    if isinstance(model, ViT):
        return _vit(model, library, size=size, channels=channels, num_classes=num_classes)
    if isinstance(model, ResNet):
        return _resnet(model, library, channels=channels, num_classes=num_classes)
    if isinstance(model, DenseNet):
        return _densenet(model, library, num_classes=num_classes)
    if isinstance(model, InceptionResNetV2):
        return _inception(model, library, num_classes=num_classes)
    raise _no_place(library, f"has no {type(model).__name__}", "gazax")


def state_dict(
    model: nn.Module, params: Mapping[str, Any], stats: Mapping[str, Any], described: TorchModel
) -> dict[str, np.ndarray]:
    """The weights by the library's keys, ready for ``load_state_dict(strict=True)``.

    Args:
      model, params, stats: a backbone, its parameters, `head` among them where there is one, and
        its batch statistics; {} without any.
      described: what `torch_model` says of it. A stem for grey images goes to a model for colours
        as a third of it for each channel: of a grey image, repeated, they make the same.

    Raises:
      InputError: a parameter or statistic is missing or has no place.
    """
    if isinstance(model, ViT):
        tensors = vit.to_timm(params)
    elif isinstance(model, ResNet):
        tensors = resnet.to_torchvision(params, stats)
    elif isinstance(model, DenseNet):
        tensors = densenet.to_torchvision(params, stats)
    else:
        tensors = inception_resnet_v2.to_timm(params, stats)
    stem = f"{described.first_conv}.weight"
    if tensors[stem].shape[1] == 1 and described.channels == _COLOURS:
        kernel = tensors[stem]
        third = kernel / np.asarray(_COLOURS, kernel.dtype)
        # a third but for rounding, and so added up to the last bit what they were
        tensors[stem] = np.concatenate([third, third, kernel - 2 * third], axis=1)
    return tensors


def stem_channels(model: nn.Module, params: Mapping[str, Any]) -> int:
    """Input channels of the first kernel; 1 of a stem of several layers, which sees grey images."""
    if isinstance(model, InceptionResNetV2):
        params = params["conv2d_1a"]
    names = {"patch_embed", "conv1", "conv0", "conv"}  # of a ViT, ResNet, DenseNet, Inception
    kernels = [params[name]["kernel"] for name in names & set(params) if "kernel" in params[name]]
    return kernels[0].shape[2] if kernels else 1


def _vit(model: ViT, library: str, *, size: Size, channels: int, num_classes: int) -> TorchModel:
    if library != "timm":
        raise _no_place(library, "names the weights of its ViT otherwise", "timm")
    if model.stem != "patch":
        raise _no_place(library, f"has no ViT with model.stem='{model.stem}'", "gazax")
    sizes = dict(
        width=model.width, depth=model.depth, num_heads=model.num_heads, mlp_dim=model.mlp_dim
    )
    variant = next((name for name, known in VARIANTS.items() if known == sizes), "Ti")
    known, patch_size = VARIANTS[variant], model.patch_size
    name, patches = _VITS[variant]
    patch = patch_size[0] if patch_size in {(side, side) for side in patches} else 16
    args: dict[str, Any] = {}
    if size != (_IMAGENET_SIDE, _IMAGENET_SIDE):
        args["img_size"] = list(size)
    if patch_size != (patch, patch):
        args["patch_size"] = list(patch_size)
    if channels != _COLOURS:
        args["in_chans"] = channels
    for ours, timms in (("width", "embed_dim"), ("depth", "depth"), ("num_heads", "num_heads")):
        if sizes[ours] != known[ours]:
            args[timms] = sizes[ours]
    if model.mlp_dim != 4 * model.width:
        # timm takes the whole part of the product; half a unit more keeps that off the rounding
        args["mlp_ratio"] = (model.mlp_dim + 0.5) / model.width
    if model.pool == "avg":
        args |= {"global_pool": "avg", "fc_norm": False}
    return TorchModel(
        library=library,
        architecture=f"vit_{name}_patch{patch}_224",
        model_args=args,
        num_classes=num_classes,
        num_features=model.width,
        channels=channels,
        first_conv="patch_embed.proj",
        classifier="head",
        fixed_size=True,
    )


def _resnet(model: ResNet, library: str, *, channels: int, num_classes: int) -> TorchModel:
    names: dict[tuple[tuple[int, ...], bool], str] = {
        sizes: f"resnet{depth}" for depth, sizes in RESNETS.items() if depth != 10
    }  # neither library has ten layers by name
    name = names.get((model.stage_sizes, model.bottleneck))
    args: dict[str, Any] = {}
    if library == "torchvision":
        channels = _COLOURS
        if name is None:
            raise _no_place(library, f"has no ResNet of blocks {model.stage_sizes}", "timm")
    elif channels != _COLOURS:
        args["in_chans"] = channels
    if name is None:
        if len(model.stage_sizes) != 4:
            raise _no_place(library, f"has no ResNet of {len(model.stage_sizes)} stages", "gazax")
        name = "resnet50" if model.bottleneck else "resnet18"
        args["layers"] = list(model.stage_sizes)
    return TorchModel(
        library=library,
        architecture=name,
        model_args=args,
        num_classes=num_classes,
        num_features=2048 if model.bottleneck else 512,
        channels=channels,
        first_conv="conv1",
        classifier="fc",
    )


def _densenet(model: DenseNet, library: str, *, num_classes: int) -> TorchModel:
    sizes = (model.blocks, model.growth_rate, model.init_features)
    depth = next((depth for depth, known in DENSENETS.items() if known == sizes), None)
    args: dict[str, Any] = {}
    if depth is None:
        twice = model.init_features == 2 * model.growth_rate
        what = (
            f"has no DenseNet of blocks {model.blocks}, growth_rate={model.growth_rate} and "
            f"init_features={model.init_features}"
        )
        if library == "torchvision":
            raise _no_place(library, f"{what} by name", "timm" if twice else "gazax")
        if not twice:
            raise _no_place(library, f"{what}: its stem has twice the growth rate", "gazax")
        depth = min(DENSENETS)
        args = {"growth_rate": model.growth_rate, "block_config": list(model.blocks)}
    features = model.init_features
    for number, layers in enumerate(model.blocks):
        features = (features if number == 0 else features // 2) + layers * model.growth_rate
    return TorchModel(
        library=library,
        architecture=f"densenet{depth}",
        model_args=args,
        num_classes=num_classes,
        num_features=features,
        channels=_COLOURS,
        first_conv="features.conv0",
        classifier="classifier",
    )


def _inception(model: InceptionResNetV2, library: str, *, num_classes: int) -> TorchModel:
    if library != "timm":
        raise _no_place(library, "has no Inception-ResNet-v2", "timm")
    for key in ("width_multiplier", "blocks", "padding"):
        found, has = getattr(model, key), getattr(_INCEPTION, key)
        if found != has:
            what = f"has its Inception-ResNet-v2 with {key}={has} only, and this one's is {found}"
            raise _no_place(library, what, "gazax")
    return TorchModel(
        library=library,
        architecture="inception_resnet_v2",
        model_args={},
        num_classes=num_classes,
        num_features=1536,
        channels=_COLOURS,
        first_conv="conv2d_1a.conv",
        classifier="classif",
    )


def _no_place(library: str, what: str, layout: str) -> InputError:
    more = " --part=full" if layout == "gazax" else ""
    return InputError(f"{library} {what}: take --layout={layout}{more}.")

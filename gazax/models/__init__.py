"""Architectures by name: `build("vit", variant="S/16").apply(variables, image, train=False)`.

Every model maps `image[b, h, w, c]` to `(output, out)`: `output` is what a head or a loss takes,
`out` a dict that names every intermediate that anyone aligns or exports. `layer_of(name)` gives the
place of a top-level parameter or module, from the input (0) to the head (`num_layers` - 1), for
learning rates that fall from layer to layer. A model with batch statistics has a field `axis_name`.
"""

import functools
from collections.abc import Callable

import flax.linen as nn

from gazax.models import densenet, fusion, res_se_unet, resnet, unet, vit
from gazax.models.gaze_gnn import GazeGNN
from gazax.models.inception_resnet_v2 import InceptionResNetV2
from gazax.models.mt_unet import MTUNet
from gazax.typing import InputError

MODELS: dict[str, Callable[..., nn.Module]] = {
    "vit": vit.make_vit,
    "resnet": resnet.make_resnet,
    **{
        f"resnet{depth}": functools.partial(resnet.make_resnet, depth=depth)
        for depth in resnet.DEPTHS
    },
    "densenet": densenet.make_densenet,
    **{
        f"densenet{depth}": functools.partial(densenet.make_densenet, depth=depth)
        for depth in densenet.DEPTHS
    },
    "unet": unet.UNet,
    # guided by DenseNet-201
    "res_se_unet": functools.partial(res_se_unet.ResSEUNet, guide_channels=1920),
    "fusion": fusion.make_fusion,
    "mt_unet": MTUNet,
    "inception_resnet_v2": InceptionResNetV2,
    "gaze_gnn": GazeGNN,
}


def build(name: str, **kwargs) -> nn.Module:
    """The model called `name`.

    Args:
      name: a key of `MODELS`.
      **kwargs: what that model's entry in `MODELS` takes.

    Raises:
      InputError: no model has this name.
    """
    if name not in MODELS:
        raise InputError(f"unknown model {name!r}; the known ones are {', '.join(sorted(MODELS))}")
    return MODELS[name](**kwargs)

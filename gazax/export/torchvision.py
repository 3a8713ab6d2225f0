"""Weights of any convolutional network that has a table here, told apart by their keys.

They are torchvision's; of Inception-ResNet-v2, which it does not have, timm's.
"""

from collections.abc import Callable, Mapping
from typing import Any

from gazax.export import densenet, inception_resnet_v2, resnet
from gazax.typing import InputError

_SHOWN = 3
"""Keys that a message names."""

# architecture: (how some of its keys begin and no other's do, its reader)
_KNOWN: dict[str, tuple[str, Callable[[Mapping[str, Any]], tuple[dict, dict]]]] = {
    "densenet": ("features.denseblock", densenet.from_torchvision),
    "resnet": ("layer1.0.", resnet.from_torchvision),
    "inception_resnet_v2": ("mixed_5b.", inception_resnet_v2.from_timm),
}


def from_torchvision(state_dict: Mapping[str, Any]) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The state dict of one of torchvision's models, or of timm's Inception-ResNet-v2, as ours.

    Args:
      state_dict: arrays, or torch tensors on the CPU, by the library's keys.

    Returns:
      The architecture, 'densenet', 'resnet' or 'inception_resnet_v2', a name of
      `gazax.models.MODELS`; the "params" and the "batch_stats" collections, the head in them if
      there is one. The stem has the library's channels.

    Raises:
      InputError: the keys are of no architecture that is known, or do not fit the one that they
        begin like.
    """
    for architecture, (beginning, read) in _KNOWN.items():
        if any(key.startswith(beginning) for key in state_dict):
            return architecture, *read(state_dict)
    found = sorted(state_dict)
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    raise InputError(
        f"the keys are those of no architecture that is known: found "
        f"{', '.join(found[:_SHOWN]) or 'none'}{more}; known are {', '.join(_KNOWN)}, with "
        "torchvision's or timm's keys without a prefix"
    )

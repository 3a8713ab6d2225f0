"""Weights by torchvision's, timm's or `modeling_gazax`'s keys as a run's scopes.

The tables are those by which weights go out. Which of them a file is read by, its keys say:
torchvision and timm name the weights of a ResNet and of a DenseNet alike, so that of each there is
one layout; a ViT they name differently; Inception-ResNet-v2 is timm's alone. What
`gazax.export_torch --layout=gazax` wrote says in its `config.json` what it is of.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from gazax.export import densenet, inception_resnet_v2, resnet, vit
from gazax.export.full import from_full_state, has_these_keys
from gazax.export.scopes import IMAGES
from gazax.export.tables import COUNTER
from gazax.typing import InputError

_SHOWN = 3
"""Keys that a message names."""
_BACKBONE, _HEAD = "backbone", "head"
_OWN = "gazax"
"""Layout, as `config.json` has it."""


class Weights(NamedTuple):
    """A file of another system, as a run has its weights."""

    what: str
    """In words."""
    params: dict[str, Any]
    """By scope."""
    state: dict[str, Any]
    """Batch statistics, by scope; of backbones without any there is none."""
    stem: tuple[str, ...]
    """Path of the first kernel in the scope `backbone`: its input channels are the file's."""
    ignored: tuple[str, ...]
    """Keys that no model depends on."""
    images: dict[str, float]
    """`mean` and `std` that they are for, as far as it is said; of grey values in [0, 1]."""


class Layout(NamedTuple):
    """An architecture by the keys of one library or of two."""

    what: str
    begins: str
    """How some of its keys begin and no other's do."""
    read: Callable[[Mapping[str, Any]], tuple[dict[str, Any], dict[str, Any]]]
    """State dict -> parameters, the head among them under `head`, and batch statistics."""
    stem: tuple[str, ...]


# torchvision's ViT is timm's with other names: each pattern and what it becomes, one after another.
_TORCHVISIONS_VIT = (
    (r"^class_token$", "cls_token"),
    (r"^conv_proj\.", "patch_embed.proj."),
    (r"^encoder\.pos_embedding$", "pos_embed"),
    (r"^encoder\.ln\.", "norm."),
    (r"^heads\.head\.", "head."),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.", r"blocks.\1."),
    (r"^(blocks\.\d+)\.ln_([12])\.", r"\1.norm\2."),
    (r"^(blocks\.\d+)\.self_attention\.in_proj_", r"\1.attn.qkv."),
    (r"^(blocks\.\d+)\.self_attention\.out_proj\.", r"\1.attn.proj."),
    # the files that it downloads number its linear layers
    (r"^(blocks\.\d+)\.mlp\.(?:0|linear_1)\.", r"\1.mlp.fc1."),
    (r"^(blocks\.\d+)\.mlp\.(?:3|linear_2)\.", r"\1.mlp.fc2."),
)


def _timms_vit(state_dict: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    return vit.from_timm(state_dict), {}


def _torchvisions_vit(state_dict: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    renamed = {}
    for key, value in state_dict.items():
        for pattern, replacement in _TORCHVISIONS_VIT:
            key = re.sub(pattern, replacement, key)
        renamed[key] = value
    try:
        return _timms_vit(renamed)
    except InputError as error:
        raise InputError(f"{error} (torchvision's keys, by timm's names for them)") from None


LAYOUTS: tuple[Layout, ...] = (
    Layout(
        "a DenseNet by the keys of torchvision and timm",
        "features.denseblock",
        densenet.from_torchvision,
        ("conv0", "kernel"),
    ),
    Layout(
        "a ResNet by the keys of torchvision and timm",
        "layer1.0.",
        resnet.from_torchvision,
        ("conv1", "kernel"),
    ),
    Layout("a ViT by timm's keys", "blocks.0.attn.qkv.", _timms_vit, ("patch_embed", "kernel")),
    Layout(
        "a ViT by torchvision's keys",
        "encoder.layers.encoder_layer_0.",
        _torchvisions_vit,
        ("patch_embed", "kernel"),
    ),
    Layout(
        "an Inception-ResNet-v2 by timm's keys",
        "mixed_5b.",
        inception_resnet_v2.from_timm,
        ("conv2d_1a", "conv", "kernel"),
    ),
)
"""What can be told by its keys."""


def read(state_dict: Mapping[str, Any], described: Mapping[str, Any]) -> Weights:
    """A state dict as scopes: `backbone` and, where it has a classifier, `head`.

    Args:
      state_dict: arrays, or torch tensors on the CPU, by the library's keys.
      described: the `config.json` of the folder that `gazax.export_torch` wrote it to; {} of a file
        from elsewhere. Of its layout `gazax`, the scopes are those of the method it is of.

    Raises:
      InputError: the keys are of no layout that is known, or do not fit the one that they begin
        like.
    """
    counters = tuple(sorted(key for key in state_dict if key.rpartition(".")[2] == COUNTER))
    if described.get("layout") == _OWN:
        name, settings = described.get("architecture"), described.get("model_args")
        params, state, images = from_full_state(state_dict, name, settings)
        return Weights(f"gazax's {name}", params, state, (), (*images, *counters), images)
    if has_these_keys(state_dict):
        raise InputError(
            "the keys are those of gazax's own layout, and what they are of, only the config.json "
            "says that was written with them: give the whole folder"
        )
    for layout in LAYOUTS:
        if any(key.startswith(layout.begins) for key in state_dict):
            params, stats = layout.read(state_dict)
            head = {_HEAD: params.pop(_HEAD)} if _HEAD in params else {}
            state = {_BACKBONE: stats} if stats else {}
            scopes = {_BACKBONE: params, **head}
            seen = described.get("preprocessing", {})
            images = {key: float(seen[key][0]) for key in IMAGES if key in seen}
            return Weights(layout.what, scopes, state, layout.stem, counters, images)
    found = sorted(state_dict)
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    raise InputError(
        f"the keys are those of no architecture that is known: found "
        f"{', '.join(found[:_SHOWN]) or 'none'}{more}; known are, without a prefix, "
        f"{', '.join(layout.what for layout in LAYOUTS)}"
    )

"""Which network of `modeling_gazax` each method's model is, and what makes it."""

from collections.abc import Callable
from typing import Any, NamedTuple

from flax import linen as nn

from gazax.export import heads
from gazax.export.architectures import Tree, settings_of
from gazax.methods import (
    BYOL,
    GGCAM,
    AttentionConsistency,
    Fusion,
    GazAT,
    MoCo,
    MoCoV3,
    MTUNet,
    Saliency,
    Segmentation,
    SimCLR,
    SimSiam,
    Supervised,
    Triplet,
)
from gazax.methods.siamese import Predictive, Siamese
from gazax.models.decoders import LinearDecoder, UNetDecoder
from gazax.models.fusion import FusionClassifier
from gazax.models.heads import AttentionModule, Classifier, Projector
from gazax.typing import InputError

_LAYERS_OF_CLASSIFIER = 2  # of a FusionClassifier


class Form(NamedTuple):
    """How one kind of method is held in `modeling_gazax`."""

    class_name: str
    kwargs: Callable[[Any, Tree], dict[str, Any]]
    """(method, parameters) -> what the class is made with."""
    scopes: Callable[[Any], tuple[str, ...]]
    """Of the method's parameters, that become those of the network."""
    left_out: tuple[str, ...] = ()
    """Scopes of parameters and state on which nothing depends that the model gives out."""


def _known(module: Any, kind: type, what: str) -> Any:
    if not isinstance(module, kind):
        raise InputError(
            f"the {what} is a {type(module).__name__}; the PyTorch file has a {kind.__name__}"
        )
    return module


# Classifiers --------------------------------------------------------------------------------------


def _classifier_kwargs(method: Any, params: Tree) -> dict[str, Any]:
    _known(method.head, Classifier, "head")
    backbone = settings_of(method.backbone, params["backbone"])
    features, classes = params["head"]["kernel"].shape
    return {
        "backbone": backbone,
        "num_features": features,
        "num_classes": classes,
        "task": method.task,
        "attention": method.attention,
        "levels": list(method.levels),
    }


# Dense prediction and two encoders ----------------------------------------------------------------


def _linear_decoder(params: Tree) -> dict[str, Any]:
    channels, classes = params["linear"]["kernel"].shape[2:]
    return {"name": "LinearDecoder", "in_channels": channels, "num_classes": classes}


def _unet_decoder(params: Tree) -> dict[str, Any]:
    stages = sum(name.startswith("skip_") for name in params)
    skips = [params[f"skip_{stage}"]["kernel"].shape[2:] for stage in range(stages)]
    return {
        "name": "UNetDecoder",
        "in_channels": params["conv_0_0"]["kernel"].shape[2] - skips[0][1],
        "skip_channels": [skipped for skipped, _ in skips],
        "widths": [width for _, width in skips],
        "num_classes": params["logits"]["kernel"].shape[3],
    }


DECODERS: dict[type[nn.Module], Callable[[Tree], dict[str, Any]]] = {
    LinearDecoder: _linear_decoder,
    UNetDecoder: _unet_decoder,
}


def _segmentation_kwargs(method: Segmentation, params: Tree) -> dict[str, Any]:
    kind = type(method.decoder)
    if kind not in DECODERS:
        raise InputError(
            f"the PyTorch file has no decoder {kind.__name__}; it has "
            f"{', '.join(one.__name__ for one in DECODERS)}"
        )
    return {
        "backbone": settings_of(method.backbone, params["backbone"]),
        "decoder": DECODERS[kind](params["head"]),
    }


def _encoders_kwargs(method: Any, params: Tree) -> dict[str, Any]:
    guide = None
    if method.guide is not None:
        guide = settings_of(method.guide, params["densenet"])
    return {"unet": settings_of(method.backbone, params["unet"]), "densenet": guide}


def _encoders_scopes(method: Any) -> tuple[str, ...]:
    return ("unet",) if method.guide is None else ("densenet", "unet")


def _fusion_kwargs(method: Fusion, params: Tree) -> dict[str, Any]:
    classifier = _known(method.classifier, FusionClassifier, "classifier")
    return {
        **_encoders_kwargs(method, params),
        "widths": heads.layer_widths(params["classifier"], _LAYERS_OF_CLASSIFIER),
        "dropout": classifier.dropout,
        "task": method.task,
    }


def _multi_task_kwargs(method: MTUNet, params: Tree) -> dict[str, Any]:
    return {"backbone": settings_of(method.backbone, params["backbone"]), "task": method.task}


# Pretraining --------------------------------------------------------------------------------------


def _encoder_kwargs(method: Any, params: Tree) -> dict[str, Any]:
    projectors = {
        scope: heads.projector_settings(one, params[scope])
        for scope, one in _projectors(method).items()
    }
    return {
        "backbone": settings_of(method.backbone, params["backbone"]),
        "levels": list(method.levels),
        **projectors,
    }


def _encoder_scopes(method: Any) -> tuple[str, ...]:
    return ("backbone", *_projectors(method))


def _projectors(method: Any) -> dict[str, Projector]:
    """By scope."""
    found = {} if method.projector is None else {"projector": method.projector}
    if isinstance(method, Predictive):
        found["predictor"] = method.predictor
    return {scope: _known(one, Projector, scope) for scope, one in found.items()}


def _attending_kwargs(method: GazAT | Siamese, params: Tree) -> dict[str, Any]:
    made = {
        **_encoder_kwargs(method, params),
        "attention": method.attention,
        "pooling": method.pooling,
    }
    if isinstance(method, GazAT) and method.attention == "module":
        module = _known(method.attention_module, AttentionModule, "attention module")
        made["attention_module"] = heads.attention_settings(
            module, params["attention_module"], len(method.levels)
        )
    return made


def _gazat_scopes(method: GazAT) -> tuple[str, ...]:
    learned = ("attention_module",) if method.attention == "module" else ()
    return (*_encoder_scopes(method), *learned)


def _triplet_kwargs(method: Triplet, params: Tree) -> dict[str, Any]:
    return {**_encoder_kwargs(method, params), "attention": "energy"}


_FOLLOWERS = ("target", "queue", "arrivals")
"""What is learned from, and not what is learned."""
_CLASSIFIER = Form("ImageClassifier", _classifier_kwargs, lambda method: ("backbone", "head"))
FORMS: dict[type, Form] = {
    Supervised: _CLASSIFIER,
    AttentionConsistency: _CLASSIFIER,
    GGCAM: Form("GGCAM", _classifier_kwargs, lambda method: ("backbone", "head", "balance")),
    Segmentation: Form("Segmenter", _segmentation_kwargs, lambda method: ("backbone", "head")),
    Saliency: Form("SaliencyNet", _encoders_kwargs, _encoders_scopes),
    Fusion: Form(
        "FusionNet", _fusion_kwargs, lambda method: (*_encoders_scopes(method), "classifier")
    ),
    MTUNet: Form(
        "MultiTaskNet", _multi_task_kwargs, lambda method: ("backbone",), left_out=("balance",)
    ),
    GazAT: Form("Encoder", _attending_kwargs, _gazat_scopes),
    SimCLR: Form("Encoder", _attending_kwargs, _encoder_scopes),
    SimSiam: Form("Encoder", _attending_kwargs, _encoder_scopes),
    BYOL: Form("Encoder", _attending_kwargs, _encoder_scopes, _FOLLOWERS),
    MoCo: Form("Encoder", _attending_kwargs, _encoder_scopes, _FOLLOWERS),
    MoCoV3: Form("Encoder", _attending_kwargs, _encoder_scopes, _FOLLOWERS),
    Triplet: Form("Encoder", _triplet_kwargs, _encoder_scopes),
}

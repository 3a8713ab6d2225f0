"""Which network of `modeling_gazax` each method's model is, what makes it, and its scopes."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from flax import linen as nn

from gazax.export import heads
from gazax.export.architectures import Arrays, Tree, architecture_of, settings_of
from gazax.export.tables import Rows
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


class Part(NamedTuple):
    """One scope of a method; its name is the prefix of its keys."""

    to: Callable[[Tree, Tree], Arrays]
    """(parameters, statistics) -> state dict."""
    back: Callable[[Mapping[str, Any]], tuple[Tree, Tree]]


class Form(NamedTuple):
    """How one kind of method is held in `modeling_gazax`."""

    class_name: str
    kwargs: Callable[[Any, Tree], dict[str, Any]]
    """(method, parameters) -> what the class is made with."""
    parts: Callable[[Any], dict[str, Part]]
    """By scope."""
    left_out: tuple[str, ...] = ()
    """Scopes of parameters and state on which nothing depends that the model gives out."""


# Parts --------------------------------------------------------------------------------------------


def _backbone(model: nn.Module) -> Part:
    known = architecture_of(model)
    return Part(
        lambda params, stats: known.to(model, params, stats),
        lambda found: known.back(model, found),
    )


def _of_rows(table: Rows, name: str) -> Part:
    return Part(
        lambda params, stats: heads.to_gazax(params, stats, table, name),
        lambda found: heads.from_gazax(found, table, name),
    )


def _known(module: Any, kind: type, what: str) -> Any:
    if not isinstance(module, kind):
        raise InputError(
            f"the {what} is a {type(module).__name__}; the PyTorch file has a {kind.__name__}"
        )
    return module


# Classifiers --------------------------------------------------------------------------------------


def _classifier_kwargs(method: Any, params: Tree) -> dict[str, Any]:
    features, classes = params["head"]["kernel"].shape
    return {
        "backbone": settings_of(method.backbone, params["backbone"]),
        "num_features": features,
        "num_classes": classes,
        "task": method.task,
        "attention": method.attention,
        "levels": list(method.levels),
    }


def _classifier_parts(method: Any) -> dict[str, Part]:
    _known(method.head, Classifier, "head")
    return {
        "backbone": _backbone(method.backbone),
        "head": _of_rows(heads.CLASSIFIER, "Classifier"),
    }


def _gg_cam_parts(method: GGCAM) -> dict[str, Part]:
    return {**_classifier_parts(method), "balance": _of_rows(heads.BALANCE, "balance")}


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


DECODERS: dict[type[nn.Module], tuple[Callable[[Tree], dict], Callable[[Any], Rows]]] = {
    LinearDecoder: (_linear_decoder, lambda decoder: heads.LINEAR_DECODER),
    UNetDecoder: (_unet_decoder, heads.unet_decoder),
}


def _decoder(method: Segmentation) -> tuple[Callable[[Tree], dict], Rows]:
    kind = type(method.decoder)
    if kind not in DECODERS:
        raise InputError(
            f"the PyTorch file has no decoder {kind.__name__}; it has "
            f"{', '.join(one.__name__ for one in DECODERS)}"
        )
    kwargs, table = DECODERS[kind]
    return kwargs, table(method.decoder)


def _segmentation_kwargs(method: Segmentation, params: Tree) -> dict[str, Any]:
    return {
        "backbone": settings_of(method.backbone, params["backbone"]),
        "decoder": _decoder(method)[0](params["head"]),
    }


def _segmentation_parts(method: Segmentation) -> dict[str, Part]:
    return {
        "backbone": _backbone(method.backbone),
        "head": _of_rows(_decoder(method)[1], type(method.decoder).__name__),
    }


def _encoders_kwargs(method: Any, params: Tree) -> dict[str, Any]:
    guide = None
    if method.guide is not None:
        guide = settings_of(method.guide, params["densenet"])
    return {"unet": settings_of(method.backbone, params["unet"]), "densenet": guide}


def _encoders_parts(method: Any) -> dict[str, Part]:
    parts = {} if method.guide is None else {"densenet": _backbone(method.guide)}
    return {**parts, "unet": _backbone(method.backbone)}


def _fusion_kwargs(method: Fusion, params: Tree) -> dict[str, Any]:
    classifier = _known(method.classifier, FusionClassifier, "classifier")
    return {
        **_encoders_kwargs(method, params),
        "widths": heads.layer_widths(params["classifier"], _LAYERS_OF_CLASSIFIER),
        "dropout": classifier.dropout,
        "task": method.task,
    }


def _fusion_parts(method: Fusion) -> dict[str, Part]:
    table = heads.layers(_LAYERS_OF_CLASSIFIER)
    return {**_encoders_parts(method), "classifier": _of_rows(table, "FusionClassifier")}


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


def _encoder_parts(method: Any) -> dict[str, Part]:
    projectors = {
        scope: _of_rows(heads.projector(one), "Projector")
        for scope, one in _projectors(method).items()
    }
    return {"backbone": _backbone(method.backbone), **projectors}


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


def _gazat_parts(method: GazAT) -> dict[str, Part]:
    parts = _encoder_parts(method)
    if method.attention == "module":
        _known(method.attention_module, AttentionModule, "attention module")
        table = heads.attention_module(len(method.levels))
        parts["attention_module"] = _of_rows(table, "AttentionModule")
    return parts


def _triplet_kwargs(method: Triplet, params: Tree) -> dict[str, Any]:
    return {**_encoder_kwargs(method, params), "attention": "energy"}


_FOLLOWERS = ("target", "queue", "arrivals")
"""What is learned from, and not what is learned."""
_CLASSIFIER = Form("ImageClassifier", _classifier_kwargs, _classifier_parts)
FORMS: dict[type, Form] = {
    Supervised: _CLASSIFIER,
    AttentionConsistency: _CLASSIFIER,
    GGCAM: Form("GGCAM", _classifier_kwargs, _gg_cam_parts),
    Segmentation: Form("Segmenter", _segmentation_kwargs, _segmentation_parts),
    Saliency: Form("SaliencyNet", _encoders_kwargs, _encoders_parts),
    Fusion: Form("FusionNet", _fusion_kwargs, _fusion_parts),
    MTUNet: Form(
        "MultiTaskNet",
        _multi_task_kwargs,
        lambda method: {"backbone": _backbone(method.backbone)},
        left_out=("balance",),
    ),
    GazAT: Form("Encoder", _attending_kwargs, _gazat_parts),
    SimCLR: Form("Encoder", _attending_kwargs, _encoder_parts),
    SimSiam: Form("Encoder", _attending_kwargs, _encoder_parts),
    BYOL: Form("Encoder", _attending_kwargs, _encoder_parts, _FOLLOWERS),
    MoCo: Form("Encoder", _attending_kwargs, _encoder_parts, _FOLLOWERS),
    MoCoV3: Form("Encoder", _attending_kwargs, _encoder_parts, _FOLLOWERS),
    Triplet: Form("Encoder", _triplet_kwargs, _encoder_parts),
}

"""The config's method, put together from what its blocks name."""

import inspect
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from gazax import config as config_lib
from gazax import methods, models
from gazax.methods import Method
from gazax.methods.focus_contrast import FocusViews
from gazax.methods.mcgip import GazePartners
from gazax.methods.published_views import PublishedViews
from gazax.methods.views import AugmentedViews, ViewMaker
from gazax.models.decoders import LinearDecoder, UNetDecoder
from gazax.models.fusion import FusionClassifier
from gazax.models.heads import AttentionModule, Classifier, Projector
from gazax.typing import InputError

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
DECODERS = {"linear": LinearDecoder, "unet": UNetDecoder}
NOT_IN_CONFIGS = ("parent", "name", "axis_name")


def build_method(config: ConfigDict) -> Method:
    """The config's method over its backbone and what stands on it."""
    settings = config.method.to_dict()
    name = settings.pop("name")
    settings.pop("balance_classes", None)  # `resolve` has made weights of it
    parts = config_lib.choose("method.name", name, PARTS)(settings, config)
    inputs = {}
    if config.model.name == "res_se_unet":
        guide = parts.get("guide")
        inputs["guide_channels"] = 0 if guide is None else guide.tapped_channels
    if config.model.name == "mt_unet":
        inputs["num_classes"] = len(config.data.labels)
    views = config.views.to_dict()
    if "maker" in views:
        views = {key: views[key] for key in ("mean", "std")}
    return methods.build(
        name,
        backbone=_build_model("model", config.model, **inputs),
        freeze=tuple(config.freeze),
        **views,
        **parts,
        **settings,
    )


def _build_model(key: str, settings: ConfigDict, **inputs: Any) -> nn.Module:
    """The model of one block of the config; ``inputs`` are what another block decides."""
    dtype = config_lib.choose(f"{key}.dtype", settings.dtype, DTYPES)
    model = settings.to_dict() | {"dtype": dtype} | inputs
    name = model.pop("name")
    known = inspect.signature(config_lib.choose(f"{key}.name", name, models.MODELS)).parameters
    if unknown := [one for one in model if one not in known]:
        raise InputError(
            f"config.{key}.{unknown[0]} is no setting of the model '{name}', which has "
            f"{', '.join(one for one in known if one not in NOT_IN_CONFIGS)}: take a config of "
            "that model."
        )
    return models.build(name, **model)


def _of_gazat(settings: dict[str, Any], config: ConfigDict) -> dict[str, Any]:
    hidden = settings.pop("module_dim")
    return {
        "projector": _head(settings.pop("projector"), config),
        "attention_module": (
            AttentionModule(hidden_dim=hidden) if settings["attention"] == "module" else None
        ),
        "total_steps": config.train.steps,
    }


def _of_siamese(settings: dict[str, Any], config: ConfigDict) -> dict[str, Any]:
    partners = settings.pop("partners")
    del partners["length"]  # of what the stream of examples holds
    return {
        "projector": _head(settings.pop("projector"), config),
        "views": _view_maker(config.views.to_dict()),
        "partners": GazePartners(**partners) if partners["measure"] else None,
    }


def _of_predictive(settings: dict[str, Any], config: ConfigDict) -> dict[str, Any]:
    predictor = _head(settings.pop("predictor"), config)
    return {**_of_siamese(settings, config), "predictor": predictor}


def _of_bootstrap(settings: dict[str, Any], config: ConfigDict) -> dict[str, Any]:
    return {**_of_predictive(settings, config), "total_steps": config.train.steps}


def _head(settings: dict[str, Any], config: ConfigDict) -> nn.Module:
    return Projector(**settings, dtype=DTYPES[config.model.dtype])


def _view_maker(settings: dict[str, Any]) -> ViewMaker:
    """What ``config.views`` describes; `mean` and `std` are the backbone's."""
    name = settings.pop("maker")
    maker = config_lib.choose("config.views.maker", name, VIEW_MAKERS)
    known = inspect.signature(maker).parameters
    given = {key: value for key, value in settings.items() if key not in ("mean", "std")}
    if wrong := sorted(set(given) ^ set(known)):
        raise InputError(
            f"config.views.{wrong[0]} is {'missing for' if wrong[0] in known else 'no setting of'} "
            f"maker='{name}', which takes {', '.join(known)}: take "
            "configs/baselines/focus_contrast.py for focus, and the argument views=published of a "
            "baseline for published."
        )
    return maker(**given)


def _of_triplet(settings: dict[str, Any], config: ConfigDict) -> dict[str, nn.Module | None]:
    width = settings.pop("projector_dim")
    return {"projector": _head({"out_dim": width}, config) if width else None}


def _of_supervised(settings: dict[str, Any], config: ConfigDict) -> dict[str, nn.Module | None]:
    return {"head": Classifier(len(config.data.labels))}


def _of_segmentation(settings: dict[str, Any], config: ConfigDict) -> dict[str, nn.Module | None]:
    decoder = config_lib.choose("method.decoder", settings.pop("decoder"), DECODERS)
    return {"decoder": decoder(len(config.data.labels))}


def _of_saliency(settings: dict[str, Any], config: ConfigDict) -> dict[str, nn.Module | None]:
    return {"guide": _build_model("guide", config.guide) if config.guide.name else None}


def _of_fusion(settings: dict[str, Any], config: ConfigDict) -> dict[str, nn.Module | None]:
    if not config.guide.name:
        raise InputError(
            "method 'fusion' fuses two encoders and config.guide.name is ''; name the other one, "
            "such as densenet."
        )
    dropout, hidden = settings.pop("dropout"), settings.pop("hidden_dim")
    classifier = FusionClassifier(len(config.data.labels), hidden=hidden, dropout=dropout)
    return {**_of_saliency(settings, config), "classifier": classifier}


PARTS = {
    "gazat": _of_gazat,
    "simclr": _of_siamese,
    "byol": _of_bootstrap,
    "moco": _of_siamese,
    "moco_v3": _of_bootstrap,
    "simsiam": _of_predictive,
    "triplet": _of_triplet,
    "supervised": _of_supervised,
    "segmentation": _of_segmentation,
    "saliency": _of_saliency,
    "fusion": _of_fusion,
    "mt_unet": lambda settings, config: {},
    "gg_cam": _of_supervised,
    "attention_consistency": _of_supervised,
}
"""What each method takes besides the backbone; takes from its settings what it builds from."""


VIEW_MAKERS: dict[str, Callable[..., ViewMaker]] = {
    "augmented": AugmentedViews,
    "published": PublishedViews,
    "focus": FocusViews,
}

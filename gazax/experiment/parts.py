"""From a config to what it names: the records, the method, the weights to begin with."""

import dataclasses
import inspect
import math
import sys
from typing import Any

import jax.numpy as jnp
import optax
from flax import linen as nn
from ml_collections import ConfigDict

from gazax import config as config_lib
from gazax import data, methods, models
from gazax.data.gaze_settings import OWN, GazeSettings
from gazax.data.protocols import under_protocol
from gazax.data.records import Records
from gazax.eval.finetune import check_counts
from gazax.methods import Method
from gazax.models.decoders import LinearDecoder, UNetDecoder
from gazax.models.fusion import FusionClassifier
from gazax.models.heads import AttentionModule, Classifier, Projector
from gazax.train import optim
from gazax.typing import InputError

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
DECODERS = {"linear": LinearDecoder, "unet": UNetDecoder}
NEEDS_GAZE = {
    "saliency": ("train", "validation", "test"),
    "mt_unet": ("train", "validation", "test"),
    "gg_cam": ("train",),
    "attention_consistency": ("train",),
}
"""Methods of which gaze is the whole point -> the splits that must have some."""
GAZE_KEYS = (
    "gaze",
    "gaze_fraction",
    "gaze_rate",
    "readers",
    "reader_weights",
    "normalize_readers",
    "weight_by",
    "part",
    "sigma",
    "window",
)


def prepare(config: ConfigDict) -> Records:
    """The config's data as records, made where they are not there yet, split by its protocol."""
    settings = config.data
    records = data.prepare(
        settings.name,
        root=settings.root or None,
        size=tuple(settings.size),
        cache=settings.cache or None,
        max_bad_fraction=settings.max_bad_fraction,
        keep_ids=settings.keep_ids,
        progress=sys.stderr.isatty(),
        **settings.source.to_dict(),
    )
    return under_protocol(records, settings.protocol)


def resolve(config: ConfigDict, records: Records) -> None:
    """Fills in what only the data knows: label columns, the kind of task, steps from epochs.

    Raises:
      InputError: an empty split; labels that the data lacks, or that cannot be learned.
    """
    for split in ("train", "validation", "test"):
        records.source(split)  # an empty one is an error now, and not after training
    if missing := set(config.data.labels) - set(records.label_names):
        name = min(missing)
        raise InputError(
            f"config.data.labels names '{name}', a column that the data does not have"
            f"{config_lib.did_you_mean(name, records.label_names)}; it has "
            f"{', '.join(records.label_names) or 'none'}."
        )
    config.data.labels = tuple(config.data.labels) or records.label_names
    if "task" in config.method:
        _resolve_classes(config, records)
    _require_gaze(config, records)
    if config.method.name == "triplet" and not exclusive(config, records):
        raise InputError(
            "method 'triplet' contrasts classes that exclude each other, one an image, and "
            f"{', '.join(config.data.labels) or 'no label'} are not so; name those that are in "
            "config.data.labels."
        )
    if config.train.epochs:
        images = records.num_examples("train")
        config.train.steps = math.ceil(config.train.epochs * images / config.train.batch_size)
    epoch = max(1, records.num_examples("train") // config.train.batch_size)
    for key in ("eval_every", "checkpoint_every"):
        config.train[key] = config.train[key] or epoch
    if config.train.steps < 1:
        raise InputError("config.train.steps is 0 and so is config.train.epochs; set one.")


def _require_gaze(config: ConfigDict, records: Records) -> None:
    """Refuses data, and settings of it, of which a method would learn, or be told, nothing."""
    what, needs = f"method '{config.method.name}'", NEEDS_GAZE.get(config.method.name, ())
    if config.method.get("gaze_input", False):
        what, needs = "config.method.gaze_input=True", ("train", "validation", "test")
        _require_own_gaze(config)
    for split in needs:
        if not records.summary["splits"][split]["fixations"]:
            raise InputError(
                f"{what} needs gaze, and no image of the split {split} has any; take data with "
                "gaze."
            )
    for key, without in (("gaze", "none"), ("gaze_fraction", 0.0)):
        if needs and config.data[key] == without:
            raise InputError(
                f"{what} needs gaze, and config.data.{key}={without} leaves none in training."
            )


def _require_own_gaze(config: ConfigDict) -> None:
    """Refuses to train on another input than what is measured with, which is people's own gaze."""
    for key, own in dataclasses.asdict(OWN).items():
        if config.data[key] != own:
            raise InputError(
                f"config.data.{key}={config.data[key]} changes the gaze of training alone, and "
                "with config.method.gaze_input=True the model is given gaze when it is measured, "
                f"too: take {key}={own}."
            )


def _resolve_classes(config: ConfigDict, records: Records) -> None:
    """The kind of task and the weights of the classes, from the labels of the training images."""
    counts = records.summary["splits"]["train"]["labels"]
    counts = {name: counts[name] for name in config.data.labels}
    check_counts(counts)
    settings = config.method
    if not settings.task:
        settings.task = "multiclass" if exclusive(config, records) else "multilabel"
    if settings.get("balance_classes", False) and not settings.class_weight:
        if settings.task != "multiclass":
            raise InputError(
                "config.method.balance_classes=True is for one label an image "
                "(task='multiclass'), and these labels are not so: take False, and weigh them, if "
                "you want to, with config.method.positive_weight."
            )
        # As scikit-learn's 'balanced': the mean weight of a training image is 1.
        images = sum(count["present"] for count in counts.values())
        settings.class_weight = tuple(
            images / (len(counts) * count["present"]) for count in counts.values()
        )


def exclusive(config: ConfigDict, records: Records) -> bool:
    """Whether the config's labels are the classes of one question: one an image, and no more."""
    return records.exclusive(config.data.labels)


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
    return methods.build(
        name,
        backbone=_build_model("model", config.model, **inputs),
        freeze=tuple(config.freeze),
        **config.views.to_dict(),
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


def _of_gazat(settings: dict[str, Any], config: ConfigDict) -> dict[str, nn.Module | None]:
    hidden = settings.pop("module_dim")
    return _of_simclr(settings, config) | {
        "attention_module": (
            AttentionModule(hidden_dim=hidden) if settings["attention"] == "module" else None
        ),
    }


def _of_simclr(settings: dict[str, Any], config: ConfigDict) -> dict[str, nn.Module | None]:
    return {"projector": Projector(**settings.pop("projector"), dtype=DTYPES[config.model.dtype])}


def _of_triplet(settings: dict[str, Any], config: ConfigDict) -> dict[str, nn.Module | None]:
    width = settings.pop("projector_dim")
    dtype = DTYPES[config.model.dtype]
    return {"projector": Projector(out_dim=width, dtype=dtype) if width else None}


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
    "simclr": _of_simclr,
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


NOT_IN_CONFIGS = ("parent", "name", "axis_name")
TWO_ENCODERS = ("saliency", "fusion")


def build_optimizer(
    config: ConfigDict, backbone: Any
) -> tuple[optax.Schedule, optax.GradientTransformation]:
    """The learning rate by step, and what makes updates of gradients with it."""
    settings, steps = config.optim, config.train.steps
    schedule = config_lib.choose("optim.schedule", settings.schedule, optim.SCHEDULES)(
        learning_rate=settings.learning_rate,
        warmup_steps=round(settings.warmup_fraction * steps),
        total_steps=steps,
    )
    if settings.layer_decay < 1 and config.method.name in TWO_ENCODERS:
        raise InputError(
            f"config.optim.layer_decay is {settings.layer_decay} and the method "
            f"'{config.method.name}' has two encoders, whose layers are not in one row; take 1."
        )
    tx = optim.adamw(
        schedule,
        weight_decay=settings.weight_decay,
        clip_norm=settings.clip_norm,
        layer_decay=settings.layer_decay,
        layer_of=backbone.layer_of,
        num_layers=backbone.num_layers,
    )
    return schedule, tx


def gaze_settings(config: ConfigDict) -> GazeSettings:
    """How gaze is used in training."""
    return GazeSettings(**{key: config.data[key] for key in GAZE_KEYS})


def sizes(config: ConfigDict) -> dict[str, Any]:
    """What turns a record into the arrays of an example, in training and in evaluation."""
    keys = ("max_fixations", "max_readers", "max_boxes", "masks", "labels")
    return {key: config.data[key] for key in keys}


def init_scopes(config: ConfigDict) -> dict[str, str] | None:
    """Source scope -> target scope, from ``source:target`` or a name for both; None = all."""
    pairs = [text.split(":") for text in config.init_from.scopes]
    if wrong := [":".join(pair) for pair in pairs if len(pair) > 2 or not all(pair)]:
        raise InputError(
            f"config.init_from.scopes has '{wrong[0]}'; write source:target, or a name for both."
        )
    return {pair[0]: pair[-1] for pair in pairs} or None

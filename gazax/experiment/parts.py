"""From a config to what it names: the records, the method, the weights to begin with."""

import math
import sys
from typing import Any

import jax.numpy as jnp
import optax
from flax import linen as nn
from ml_collections import ConfigDict

from gazax import config as config_lib
from gazax import data, methods, models
from gazax.data.gaze_settings import GazeSettings
from gazax.data.records import Records
from gazax.eval.finetune import check_counts
from gazax.methods import Method
from gazax.models.decoders import LinearDecoder, UNetDecoder
from gazax.models.heads import AttentionModule, Classifier, Projector
from gazax.train import optim
from gazax.typing import InputError

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
DECODERS = {"linear": LinearDecoder, "unet": UNetDecoder}
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
    """The config's data as records, made where they are not there yet."""
    settings = config.data
    return data.prepare(
        settings.name,
        root=settings.root or None,
        size=tuple(settings.size),
        cache=settings.cache or None,
        max_bad_fraction=settings.max_bad_fraction,
        keep_ids=settings.keep_ids,
        progress=sys.stderr.isatty(),
        **settings.source.to_dict(),
    )


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
    if config.method.name == "supervised":
        counts = records.summary["splits"]["train"]["labels"]
        check_counts({name: counts[name] for name in config.data.labels})
    if config.method.get("task") == "":
        config.method.task = "multiclass" if exclusive(config, records) else "multilabel"
    if config.train.epochs:
        images = records.num_examples("train")
        config.train.steps = math.ceil(config.train.epochs * images / config.train.batch_size)
    epoch = max(1, records.num_examples("train") // config.train.batch_size)
    for key in ("eval_every", "checkpoint_every"):
        config.train[key] = config.train[key] or epoch
    if config.train.steps < 1:
        raise InputError("config.train.steps is 0 and so is config.train.epochs; set one.")


def exclusive(config: ConfigDict, records: Records) -> bool:
    """Whether the config's labels are the classes of one question: one an image, and no more."""
    return records.exclusive(config.data.labels)


def build_method(config: ConfigDict) -> Method:
    """The config's method over its backbone and what stands on it."""
    dtype = config_lib.choose("model.dtype", config.model.dtype, DTYPES)
    model = config.model.to_dict() | {"dtype": dtype}
    backbone = models.build(model.pop("name"), **model)
    settings = config.method.to_dict()
    name = settings.pop("name")
    parts = config_lib.choose("method.name", name, PARTS)(settings, len(config.data.labels), dtype)
    return methods.build(
        name,
        backbone=backbone,
        freeze=tuple(config.freeze),
        **config.views.to_dict(),
        **parts,
        **settings,
    )


def _of_gazat(settings: dict[str, Any], num_labels: int, dtype: Any) -> dict[str, nn.Module | None]:
    hidden = settings.pop("module_dim")
    return {
        "projector": Projector(**settings.pop("projector"), dtype=dtype),
        "attention_module": (
            AttentionModule(hidden_dim=hidden) if settings["attention"] == "module" else None
        ),
    }


def _of_simclr(settings: dict[str, Any], num_labels: int, dtype: Any) -> dict[str, nn.Module]:
    return {"projector": Projector(**settings.pop("projector"), dtype=dtype)}


def _of_supervised(settings: dict[str, Any], num_labels: int, dtype: Any) -> dict[str, nn.Module]:
    return {"head": Classifier(num_labels)}


def _of_segmentation(settings: dict[str, Any], num_labels: int, dtype: Any) -> dict[str, nn.Module]:
    decoder = config_lib.choose("method.decoder", settings.pop("decoder"), DECODERS)
    return {"decoder": decoder(num_labels)}


PARTS = {
    "gazat": _of_gazat,
    "simclr": _of_simclr,
    "supervised": _of_supervised,
    "segmentation": _of_segmentation,
}
"""What each method takes besides the backbone; takes from its settings what it builds from."""


def build_optimizer(
    config: ConfigDict, backbone: Any
) -> tuple[optax.Schedule, optax.GradientTransformation]:
    """The learning rate by step, and what makes updates of gradients with it."""
    settings, steps = config.optim, config.train.steps
    schedule = optim.cosine_schedule(
        learning_rate=settings.learning_rate,
        warmup_steps=round(settings.warmup_fraction * steps),
        total_steps=steps,
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

"""From a config to what it names: the records, the optimizer, the weights to begin with."""

import dataclasses
import functools
import math
import sys
from typing import Any

import optax
from ml_collections import ConfigDict

from gazax import config as config_lib
from gazax import data
from gazax.data.gaze_settings import OWN, GazeSettings
from gazax.data.protocols import under_protocol
from gazax.data.records import Records
from gazax.eval.finetune import check_counts
from gazax.train import agreement, optim
from gazax.typing import InputError

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
    cache = settings.cache or None
    prepare = functools.partial(
        data.prepare,
        settings.name,
        root=settings.root or None,
        size=tuple(settings.size),
        cache=cache,
        max_bad_fraction=settings.max_bad_fraction,
        keep_ids=settings.keep_ids,
        progress=sys.stderr.isatty(),
        **settings.source.to_dict(),
    )
    records = agreement.in_turn(data.cache_folder(cache), prepare)
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
    set_steps(config, records.num_examples("train"))
    epoch = max(1, records.num_examples("train") // config.train.batch_size)
    for key in ("eval_every", "checkpoint_every"):
        config.train[key] = config.train[key] or epoch


def set_steps(config: ConfigDict, images: int) -> None:
    """Fills in how many steps the config's epochs of that many training images are.

    Raises:
      InputError: the config has neither steps nor epochs.
    """
    if config.train.epochs:
        config.train.steps = math.ceil(config.train.epochs * images / config.train.batch_size)
    if config.train.steps < 1:
        raise InputError("config.train.steps is 0 and so is config.train.epochs; set one.")


def _require_gaze(config: ConfigDict, records: Records) -> None:
    """Refuses data, and settings of it, of which a method would learn, or be told, nothing."""
    what, needs = f"method '{config.method.name}'", NEEDS_GAZE.get(config.method.name, ())
    if config.method.get("gaze_input", False):
        what, needs = "config.method.gaze_input=True", ("train", "validation", "test")
        _require_own_gaze(config)
    partners = config.method.get("partners")
    if partners and partners.measure:
        what, needs = "config.method.partners.measure", ("train",)
    if config.views.get("maker", "") == "focus":
        what, needs = "config.views.maker='focus'", ("train",)
    predicted = bool(gaze_settings(config).predictor)  # of training images, for those without
    for split in needs:
        if predicted and split == "train":
            continue
        if not records.summary["splits"][split]["fixations"]:
            raise InputError(
                f"{what} needs gaze, and no image of the split {split} has any; take data with "
                "gaze."
            )
    for key, without in (("gaze", "none"), ("gaze_fraction", 0.0)):
        if needs and config.data[key] == without and not predicted:
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
    common = dict(weight_decay=settings.weight_decay, clip_norm=settings.clip_norm)
    if config_lib.choose("optim.name", settings.name, ("adamw", "lars")) == "lars":
        if settings.layer_decay < 1:
            raise InputError(
                f"config.optim.layer_decay is {settings.layer_decay}, and optim.name='lars' gives "
                "each layer a rate of its own: take layer_decay=1, or optim.name=adamw."
            )
        return schedule, optim.lars(schedule, **common)
    tx = optim.adamw(
        schedule,
        **common,
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

"""Scopes of a network of `modeling_gazax` and the table of each, which serves both ways.

What the network is made with says all of them, so that what was written is read by the same rows.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from gazax.export import heads
from gazax.export.architectures import ARCHITECTURES, Arrays, Tree
from gazax.export.tables import Rows
from gazax.models.decoders import UNetDecoder
from gazax.models.heads import Projector

BACKBONES = ("backbone", "unet", "densenet")
IMAGES = ("mean", "std")
"""Keys of a network besides its scopes: it normalises images itself."""
_CLASSIFIERS = ("ImageClassifier", "GGCAM")
_KINDS = {kind.__name__: kind for kind in ARCHITECTURES}


class Part(NamedTuple):
    """One scope; its name is the prefix of its keys."""

    to: Callable[[Tree, Tree], Arrays]
    """(parameters, statistics) -> state dict."""
    back: Callable[[Mapping[str, Any]], tuple[Tree, Tree]]


def scopes_of(architecture: str, settings: Mapping[str, Any]) -> dict[str, Part]:
    """Every scope of a network.

    Args:
      architecture: a network of `modeling_gazax`, by name.
      settings: what it is made with, as of json.

    Raises:
      KeyError, TypeError, AttributeError: these are no settings of one.
    """
    found = {name: _backbone(settings[name]) for name in BACKBONES if settings.get(name)}
    if architecture in _CLASSIFIERS:
        found["head"] = _of_rows(heads.CLASSIFIER, "Classifier")
    if architecture == "GGCAM":
        found["balance"] = _of_rows(heads.BALANCE, "balance")
    if "decoder" in settings:
        found["head"] = _decoder(settings["decoder"])
    if "widths" in settings:
        table = heads.layers(len(settings["widths"]) - 1)
        found["classifier"] = _of_rows(table, "FusionClassifier")
    for name in ("projector", "predictor"):
        if name in settings:
            made = settings[name]
            projector = Projector(num_layers=len(made["widths"]) - 1, norm=made["norm"])
            found[name] = _of_rows(heads.projector(projector), "Projector")
    if "attention_module" in settings:
        table = heads.attention_module(len(settings["attention_module"]["channels"]))
        found["attention_module"] = _of_rows(table, "AttentionModule")
    return found


def _backbone(settings: Mapping[str, Any]) -> Part:
    kind = _KINDS[settings["name"]]
    known = ARCHITECTURES[kind]
    model = kind(**{name: _as_field(settings[name]) for name in known.fields})
    return Part(
        lambda params, stats: known.to(model, params, stats),
        lambda found: known.back(model, found),
    )


def _decoder(settings: Mapping[str, Any]) -> Part:
    if settings["name"] != "UNetDecoder":
        return _of_rows(heads.LINEAR_DECODER, settings["name"])
    decoder = UNetDecoder(settings["num_classes"], tuple(settings["widths"]))
    return _of_rows(heads.unet_decoder(decoder), settings["name"])


def _of_rows(table: Rows, name: str) -> Part:
    return Part(
        lambda params, stats: heads.to_gazax(params, stats, table, name),
        lambda found: heads.from_gazax(found, table, name),
    )


def _as_field(value: Any) -> Any:
    """json has lists where a model's fields are tuples."""
    return tuple(value) if isinstance(value, list) else value

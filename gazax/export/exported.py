"""What `gazax.export_torch --layout=gazax` wrote, back as a method's scopes: `forms` reversed.

The folder's `config.json` has all that its network is made with, which says what each scope is.
"""

from collections.abc import Callable, Mapping
from typing import Any

from gazax.export import heads
from gazax.export.architectures import ARCHITECTURES, Tree
from gazax.export.tables import Rows, by_scope
from gazax.models.decoders import UNetDecoder
from gazax.models.heads import Projector
from gazax.typing import InputError

LAYOUT = "gazax"
_IMAGES = ("mean", "std")
"""Of the images, which the network normalises itself."""
_BACKBONES = ("backbone", "unet", "densenet")
_CLASSIFIERS = ("ImageClassifier", "GGCAM")
_KINDS = {kind.__name__: kind for kind in ARCHITECTURES}

Read = Callable[[Mapping[str, Any]], tuple[Tree, Tree]]


def has_these_keys(state_dict: Mapping[str, Any]) -> bool:
    """Whether the keys are of this layout."""
    scopes = {key.partition(".")[0] for key in state_dict}
    return scopes >= {*_IMAGES} and bool(scopes & {*_BACKBONES})


def read(
    state_dict: Mapping[str, Any], described: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]:
    """Parameters and state by scope, bit for bit those that were exported.

    Args:
      state_dict: arrays, or torch tensors on the CPU.
      described: `config.json`.

    Returns:
      Both, and the keys that belong to no scope.

    Raises:
      InputError: `config.json` is not that of an export, or a key is missing or has no place.
    """
    try:
        readers = _readers(described["architecture"], described["model_args"])
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"the config.json beside it is not that of an export of gazax ({error!r})"
        ) from None
    scopes, unknown = by_scope(state_dict, readers, _IMAGES)
    if unknown:
        raise InputError(
            f"gazax's state dict and the {described['architecture']} of its config.json do not "
            f"match; without a place: {', '.join(sorted(unknown))}"
        )
    params, state = {}, {}
    for scope, back in readers.items():
        params[scope], statistics = back(scopes[scope])
        if statistics:
            state[scope] = statistics
    return params, state, tuple(name for name in _IMAGES if name in state_dict)


def _readers(architecture: str, settings: Mapping[str, Any]) -> dict[str, Read]:
    """How each scope of a network is read, from what the network is made with."""
    found = {name: _backbone(settings[name]) for name in _BACKBONES if settings.get(name)}
    if architecture in _CLASSIFIERS:
        found["head"] = _of_rows(heads.CLASSIFIER, "Classifier")
    if architecture == "GGCAM":
        found["balance"] = _of_rows(heads.BALANCE, "balance")
    if "decoder" in settings:
        found["head"] = _decoder(settings["decoder"])
    if "widths" in settings:
        found["classifier"] = _of_rows(heads.layers(len(settings["widths"]) - 1), "classifier")
    for name in ("projector", "predictor"):
        if name in settings:
            made = settings[name]
            projector = Projector(num_layers=len(made["widths"]) - 1, norm=made["norm"])
            found[name] = _of_rows(heads.projector(projector), "Projector")
    if "attention_module" in settings:
        table = heads.attention_module(len(settings["attention_module"]["channels"]))
        found["attention_module"] = _of_rows(table, "AttentionModule")
    return found


def _backbone(settings: Mapping[str, Any]) -> Read:
    kind = _KINDS[settings["name"]]
    known = ARCHITECTURES[kind]
    model = kind(**{name: _as_field(settings[name]) for name in known.fields})
    return lambda found: known.back(model, found)


def _decoder(settings: Mapping[str, Any]) -> Read:
    if settings["name"] != "UNetDecoder":
        return _of_rows(heads.LINEAR_DECODER, settings["name"])
    decoder = UNetDecoder(settings["num_classes"], tuple(settings["widths"]))
    return _of_rows(heads.unet_decoder(decoder), settings["name"])


def _of_rows(table: Rows, name: str) -> Read:
    return lambda found: heads.from_gazax(found, table, name)


def _as_field(value: Any) -> Any:
    """json has lists where a model's fields are tuples."""
    return tuple(value) if isinstance(value, list) else value

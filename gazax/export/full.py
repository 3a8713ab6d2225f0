"""A whole method's model as one of the networks of `modeling_gazax`, and back.

    class_name, kwargs, arrays = full_state(method, params, state)
    net = modeling_gazax.<class_name>(**kwargs)
    net.load_state_dict({key: torch.from_numpy(array) for key, array in arrays.items()})
    params, state, images = from_full_state(arrays, class_name, kwargs)

For images [b, 1, h, w] in [0, 1] (a GazeGNN: and gaze [b, h, w]), what the network gives out is
what the method says of the same images, undisturbed::

    features            Method.encode, the first
    attention_density   Method.encode, the second, where it is no gradient of anything
    probabilities       Classifies.predict; of a Segmentation, predict with the labels last
    log_density         the logarithm of PredictsSaliency.saliency

Keys are a scope, then the backbone's keys of timm or torchvision where it has any. Whatever dtype a
model computes in, its weights are float32 and so is the network.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from gazax.export.architectures import Arrays, Tree
from gazax.export.forms import FORMS, Form
from gazax.export.scopes import BACKBONES, IMAGES, scopes_of
from gazax.methods import Method
from gazax.typing import InputError


def full_state(method: Method, params: Tree, state: Tree) -> tuple[str, dict[str, Any], Arrays]:
    """The network of `modeling_gazax` that gives out what a method's model does, and its weights.

    Args:
      method: one of `gazax.methods`.
      params, state: of all of its scopes.

    Returns:
      The name of the class; what it is made with, which JSON can hold; and its state dict for
      `strict=True`: contiguous arrays, `mean` and `std` of the images among them. The balance that
      an MT-UNet was trained with is left out: nothing that it gives out depends on it.

    Raises:
      InputError: the method, or a part of it, has no counterpart; a scope, a parameter or a
        statistic is missing or has no place. Each is named.
    """
    form = _form_of(method)
    expected = set(form.scopes(method))
    _match_scopes("parameters", set(params) - set(form.left_out), expected, form.class_name)
    _match_scopes("state", set(state) - set(form.left_out), expected & set(state), form.class_name)
    try:
        settings = form.kwargs(method, params)
    except KeyError as error:
        raise InputError(
            f"the parameters of the {form.class_name} have no {error}: they are of another model"
        ) from None
    arrays = {key: np.array(vars(method)[key], np.float32) for key in IMAGES}
    for scope, part in scopes_of(form.class_name, settings).items():
        for key, value in part.to(params[scope], state.get(scope, {})).items():
            arrays[f"{scope}.{key}"] = value
    return form.class_name, settings, arrays


def has_these_keys(state_dict: Mapping[str, Any]) -> bool:
    """Whether the keys are those of such a network."""
    scopes = {key.partition(".")[0] for key in state_dict}
    return scopes >= {*IMAGES} and bool(scopes & {*BACKBONES})


def from_full_state(
    state_dict: Mapping[str, Any], class_name: Any, settings: Any
) -> tuple[dict[str, Any], dict[str, Any], dict[str, float]]:
    """Parameters and state by scope, bit for bit what went in but for what was left out.

    Args:
      state_dict: arrays, or torch tensors on the CPU.
      class_name, settings: see `full_state`; of a `config.json`, whatever it has.

    Returns:
      Both, and the `mean` and `std` by which the network normalises images.

    Raises:
      InputError: these are no settings of such a network, or a key is missing or has no place.
    """
    with _told_from_others():
        parts = scopes_of(class_name, settings)
    scopes: dict[str, dict[str, Any]] = {scope: {} for scope in parts}
    unknown = []
    for key, value in state_dict.items():
        scope, _, rest = key.partition(".")
        if rest and scope in scopes:
            scopes[scope][rest] = value
        elif key not in IMAGES:
            unknown.append(key)
    missing = [key for key in IMAGES if key not in state_dict or np.ndim(state_dict[key])]
    if unknown or missing:
        raise InputError(
            f"gazax's state dict and the {class_name} do not match; without a place: "
            f"{', '.join(sorted(unknown)) or 'none'}; missing: {', '.join(missing) or 'none'}"
        )
    params, state = {}, {}
    for scope, part in parts.items():
        try:
            with _told_from_others():
                params[scope], statistics = part.back(scopes[scope])
        except InputError as error:
            raise InputError(f"{error} (keys behind '{scope}.')") from None
        if statistics:
            state[scope] = statistics
    return params, state, {key: float(state_dict[key]) for key in IMAGES}


@contextlib.contextmanager
def _told_from_others() -> Iterator[None]:
    """Settings that nothing can be made of become an `InputError`."""
    try:
        yield
    except InputError:
        raise
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"the config.json beside it is not that of an export of gazax ({error!r})"
        ) from None


def _form_of(method: Method) -> Form:
    if type(method) not in FORMS:
        raise InputError(
            f"the method {type(method).__name__} has no PyTorch form; those that have one are "
            f"{', '.join(one.__name__ for one in FORMS)}"
        )
    return FORMS[type(method)]


def _match_scopes(what: str, found: set[str], expected: set[str], name: str) -> None:
    if found != expected:
        raise InputError(
            f"the scopes of the {what} and the {name} do not match; without a place: "
            f"{', '.join(sorted(found - expected)) or 'none'}; missing: "
            f"{', '.join(sorted(expected - found)) or 'none'}"
        )

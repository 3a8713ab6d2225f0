"""A whole method's model as one of the networks of `modeling_gazax`, and back.

    class_name, kwargs, arrays = full_state(method, params, state)
    net = modeling_gazax.<class_name>(**kwargs)
    net.load_state_dict({key: torch.from_numpy(array) for key, array in arrays.items()})

For images [b, 1, h, w] in [0, 1] (a GazeGNN: and gaze [b, h, w]), what the network gives out is
what the method says of the same images, undisturbed::

    features            Method.encode, the first
    attention_density   Method.encode, the second, where it is no gradient of anything
    probabilities       Classifies.predict; of a Segmentation, predict with the labels last
    log_density         the logarithm of PredictsSaliency.saliency

Keys are a scope, then the backbone's keys of timm or torchvision where it has any. Whatever dtype a
model computes in, its weights are float32 and so is the network.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gazax.export.architectures import Arrays, Tree
from gazax.export.forms import FORMS, Form
from gazax.export.tables import by_scope
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
    parts = form.parts(method)
    for what, found, expected in (
        ("parameters", params, set(parts)),
        ("state", state, set(parts) & set(state)),
    ):
        _match_scopes(what, set(found) - set(form.left_out), expected, form.class_name)
    arrays = {key: np.array(value, np.float32) for key, value in _images(method).items()}
    for scope, part in parts.items():
        for key, value in part.to(params[scope], state.get(scope, {})).items():
            arrays[f"{scope}.{key}"] = value
    return form.class_name, form.kwargs(method, params), arrays


def from_full_state(
    method: Method, state_dict: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters and state of a method from the state dict of its network.

    Args:
      method: as it was given to `full_state`.
      state_dict: arrays, or torch tensors on the CPU.

    Returns:
      The same as went in, bit for bit, without what was left out.

    Raises:
      InputError: a key is missing or has no place, or the images were normalised in another way.
    """
    form = _form_of(method)
    parts = form.parts(method)
    own = _images(method)
    scopes, unknown = by_scope(state_dict, parts, own)
    missing = [key for key in own if key not in state_dict]
    if unknown or missing:
        raise InputError(
            f"gazax's state dict and the {form.class_name} do not match; without a place: "
            f"{', '.join(sorted(unknown)) or 'none'}; missing: {', '.join(missing) or 'none'}"
        )
    for key, value in own.items():
        if np.float32(value) != np.asarray(state_dict[key]):
            raise InputError(
                f"the weights are for images of {key} {float(state_dict[key])}, and the method's "
                f"{key} is {value}; set config.views.{key}"
            )
    params, state = {}, {}
    for scope, part in parts.items():
        params[scope], statistics = part.back(scopes[scope])
        if statistics:
            state[scope] = statistics
    return params, state


def _images(method: Any) -> dict[str, float]:
    return {"mean": method.mean, "std": method.std}


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

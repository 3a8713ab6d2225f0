"""Parameters that stay as they are: split off before the gradient is taken, put back after."""

import difflib
import re
from collections.abc import Sequence

from flax.traverse_util import flatten_dict, unflatten_dict

from gazax.methods.base import Params
from gazax.methods.scoped import is_frozen
from gazax.typing import InputError


def split(params: Params, freeze: Sequence[str]) -> tuple[Params, Params]:
    """(trainable, frozen): each a nested dict that lacks what is in the other.

    Args:
      params: by scope.
      freeze: regexes; a parameter whose whole path, joined by '/', matches one is frozen.

    Raises:
      InputError: a regex is none, matches no parameter, or nothing is left to train.
    """
    if not freeze:
        return params, {}
    flat = flatten_dict(params, keep_empty_nodes=True)
    names = ["/".join(path) for path in flat]
    for pattern in freeze:
        _check_pattern(pattern, names)
    frozen = {path: leaf for path, leaf in flat.items() if is_frozen(path, freeze)}
    trainable = {path: leaf for path, leaf in flat.items() if path not in frozen}
    if not trainable:
        raise InputError(
            f"config.freeze={tuple(freeze)} freezes all {len(names)} parameters; leave one to "
            "train, such as those of a head."
        )
    return unflatten_dict(trainable), unflatten_dict(frozen)


def merge(trainable: Params, frozen: Params) -> Params:
    """What `split` took apart."""
    if not frozen:
        return trainable
    return unflatten_dict(
        flatten_dict(trainable, keep_empty_nodes=True) | flatten_dict(frozen, keep_empty_nodes=True)
    )


def _check_pattern(pattern: str, names: Sequence[str]) -> None:
    try:
        matches = any(re.fullmatch(pattern, name) for name in names)
    except re.error as error:
        raise InputError(f"config.freeze: '{pattern}' is no regular expression: {error}.") from None
    if not matches:
        near = ", ".join(difflib.get_close_matches(pattern, names, n=3, cutoff=0.0))
        raise InputError(
            f"config.freeze: '{pattern}' matches none of the {len(names)} parameters, such as "
            f"{near}; a regex must match the whole path."
        )

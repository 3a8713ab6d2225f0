"""The tables and questions that a sweep's config asks for, beside the table of all its variants."""

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from gazax import config as config_lib
from gazax.eval.contrasts import Contrast
from gazax.eval.paper_table import Layout
from gazax.typing import InputError


def read_tables(found: Any, variants: Collection[str]) -> tuple[Layout, ...]:
    """``config.tables``: name -> the fields of a `Layout`, its mappings as tuples of pairs.

    Args:
      found: the block; pairs, as a config's keys hold no slash and no order.
      variants: those that are evaluated.

    Raises:
      InputError: a field that there is not, or is of another kind; a system that is none of them.
    """
    layouts = []
    for name, settings in _blocks("config.tables", found):
        where = f"config.tables.{name}"
        _check(where, settings, Layout)
        fields = dict(settings.items())
        for key in ("systems", "metrics", "beside", "published"):
            if key in fields:
                fields[key] = _pairs(f"{where}.{key}", fields[key])
        for system in fields.get("systems", ()):
            config_lib.choose(f"{where}.systems", system, list(variants))
        for metric in fields.get("metrics", ()):
            check_metric(f"{where}.metrics", metric)
        for metric, numbers in fields.get("published", {}).items():
            if not isinstance(numbers, Mapping):
                raise InputError(f"{where}.published has no numbers by system for {metric}.")
            _check_texts(f"{where}.published", numbers.values())
        for key in ("systems", "metrics", "beside"):
            _check_texts(f"{where}.{key}", fields.get(key, {}).values())
        fields["notes"] = texts(f"{where}.notes", fields.get("notes", ()))
        layouts.append(Layout(**fields))
    return tuple(layouts)


def read_contrasts(found: Any, variants: Collection[str]) -> tuple[Contrast, ...]:
    """``config.contrasts``: question -> variant, reference and metrics.

    Raises:
      InputError: a field that there is not; a variant that is not among those evaluated.
    """
    contrasts = []
    for question, settings in _blocks("config.contrasts", found):
        where = f"config.contrasts.{question}"
        _check(where, settings, Contrast, given=("question",))
        for key in ("variant", "reference"):
            config_lib.choose(f"{where}.{key}", settings[key], list(variants))
        if settings.variant == settings.reference:
            raise InputError(f"{where} compares '{settings.variant}' with itself.")
        metrics = texts(f"{where}.metrics", settings.metrics)
        for metric in metrics:
            check_metric(f"{where}.metrics", metric)
        contrasts.append(Contrast(question, settings.variant, settings.reference, metrics))
    return tuple(contrasts)


def check_metric(where: str, metric: str) -> None:
    """Raises an `InputError` where it is not ``row/column`` or ``row/column/LABEL``."""
    row, slash, column = metric.partition("/")
    if not (row and slash and column):
        raise InputError(f"{where} has '{metric}'; write row/column: probe/accuracy.")


def texts(where: str, found: Any) -> tuple[str, ...]:
    """A tuple of texts, or an `InputError`: one text is not taken for its letters."""
    if not isinstance(found, tuple | list):
        raise InputError(f"{where} is {found!r}; write a tuple of texts, ('...',).")
    _check_texts(where, found)
    return tuple(found)


def _check_texts(where: str, found: Iterable[Any]) -> None:
    for one in found:
        if not isinstance(one, str):
            raise InputError(f"{where} has {one!r}, which is no text.")


def _blocks(where: str, found: Any) -> Iterable[tuple[str, ConfigDict]]:
    """(name, settings) of each block in a block."""
    blocks = found.items() if isinstance(found, ConfigDict) else [(where, found)]
    for name, settings in blocks:
        if not isinstance(settings, ConfigDict):
            raise InputError(f"{where}: '{name}' is {settings!r}; it must be a ConfigDict.")
    return blocks


def _check(where: str, found: ConfigDict, kind: type, *, given: Sequence[str] = ()) -> None:
    fields = [field for field in dataclasses.fields(kind) if field.name not in given]
    for key in found:
        if key not in [field.name for field in fields]:
            config_lib.choose(where, key, [field.name for field in fields])
    for field in fields:
        if (
            field.default is field.default_factory is dataclasses.MISSING
            and field.name not in found
        ):
            raise InputError(f"{where} has no '{field.name}'.")


def _pairs(where: str, found: Any) -> dict[str, Any]:
    if not isinstance(found, tuple | list) or not all(
        isinstance(pair, tuple | list) and len(pair) == 2 for pair in found
    ):
        raise InputError(f"{where} is {found!r}; write a tuple of pairs: (('ours', 'Ours'),).")
    return {name: dict(value) if isinstance(value, ConfigDict) else value for name, value in found}

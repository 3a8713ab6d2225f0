"""Reading configs: their file, their arguments, their leaves."""

import difflib
import json
import pathlib
import runpy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from gazax.typing import SCANPATH_COLUMNS, Batch, InputError
from gazax.typing import batch_spec as _batch_spec


def parse_arg(arg: str, **defaults: bool | int | float | str) -> ConfigDict:
    """The arguments behind a config file's colon, typed by their defaults.

    ``parse_arg('data=gaze_folder,smoke', data='phantom', smoke=False)`` gives
    ``data='gaze_folder', smoke=True``: a bare key means True.

    Raises:
      InputError: an unknown key (the known ones are listed), a key given twice, a value that is
        not of its default's type.
    """
    values = dict(defaults)
    seen = set()
    for item in filter(None, (part.strip() for part in arg.split(","))):
        key, has_value, text = item.partition("=")
        if key not in defaults:
            raise InputError(
                f"config argument '{key}' is unknown{did_you_mean(key, defaults)}; "
                f"known: {', '.join(f'{k} ({v!r})' for k, v in defaults.items())}."
            )
        if key in seen:
            raise InputError(f"config argument '{key}' is given twice in '{arg}'.")
        seen.add(key)
        values[key] = _typed(key, text if has_value else "true", defaults[key], bool(has_value))
    return ConfigDict(values)


def _typed(key: str, text: str, default: Any, has_value: bool) -> Any:
    kind = type(default)
    if not has_value and kind is not bool:
        raise InputError(f"config argument '{key}' needs a value, such as {key}={default}.")
    if kind is bool:
        if text.lower() in ("true", "1", "yes"):
            return True
        if text.lower() in ("false", "0", "no"):
            return False
        raise InputError(f"config argument '{key}={text}': write {key} or {key}=false.")
    try:
        return kind(text)
    except ValueError:
        raise InputError(
            f"config argument '{key}={text}': expected {kind.__name__}, such as {default!r}."
        ) from None


def choose(key: str, value: str, choices: Mapping[str, Any] | Sequence[str]) -> Any:
    """``choices[value]``, or an `InputError` that lists what ``key`` may be."""
    if value not in choices:
        raise InputError(
            f"{key}='{value}' is unknown{did_you_mean(value, choices)}; "
            f"known: {', '.join(sorted(choices))}."
        )
    return choices[value] if isinstance(choices, Mapping) else value


def batch_spec(config: ConfigDict) -> Batch:
    """Every shape and dtype of the config's training batch, with no data present."""
    data = config.data
    return _batch_spec(
        batch_size=config.train.batch_size,
        size=tuple(data.size),
        num_labels=len(data.labels),
        max_fixations=data.max_fixations,
        max_readers=data.max_readers,
        max_boxes=data.max_boxes,
        masks=data.masks,
        scanpath=_scanpath(config),
    )


def _scanpath(config: ConfigDict) -> tuple[int, int] | None:
    """Steps and columns of a scanpath, where some are compared; 0 steps until the data is read."""
    partners = config.method.get("partners") or {}
    columns = SCANPATH_COLUMNS.get(partners.get("measure", ""))
    return None if columns is None else (partners["length"], columns)


def flatten(tree: Mapping[str, Any] | ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(``a.b.c``, value) of every leaf of a nested mapping."""
    for key, value in tree.items():
        if isinstance(value, Mapping | ConfigDict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def load(spec: str) -> ConfigDict:
    """The config of ``FILE[:arguments]``, its keys locked.

    Raises:
      InputError: no such file, a file without `get_config`, arguments that it refuses.
    """
    name, _, arg = spec.partition(":")
    path = pathlib.Path(name)
    if not path.is_file():
        near = sorted(
            str(p) for p in (path.parent if path.parent.is_dir() else pathlib.Path()).glob("*.py")
        )
        raise InputError(
            f"config file '{name}' does not exist{did_you_mean(name, near)}; "
            f"write --config=FILE[:key=value,...], such as --config=configs/gazat_vit.py:smoke."
        )
    module = runpy.run_path(str(path))
    if "get_config" not in module:
        raise InputError(f"config file '{name}' has no function get_config(arg='').")
    return module["get_config"](arg).lock()


def did_you_mean(word: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    """`` (did you mean '...'?)``, or nothing where no known word is close."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""


def load_beside(file: str, spec: str) -> ConfigDict:
    """`load` of a config that lies in the folder of ``file``: how configs build on each other."""
    return load(str(pathlib.Path(file).parent / spec))


def of_run(folder: str) -> ConfigDict:
    """The config of a run, from the ``config.json`` of its workdir or above its checkpoint.

    Raises:
      InputError: no run lies there, or one of several stages.
    """
    workdir = epath.Path(folder).expanduser()
    if workdir.suffix == ".safetensors" or (workdir / "model.safetensors").exists():
        raise InputError(
            f"'{folder}' has weights and no model: leave the argument init_from out, say which "
            f"model, and give --config.init_from.path={folder}."
        )
    if workdir.parent.name == "checkpoints":
        workdir = workdir.parent.parent
    path = workdir / "config.json"
    try:
        found = json.loads(path.read_bytes())["config"]
    except FileNotFoundError:
        raise InputError(
            f"'{folder}' is no workdir: it has no config.json. Give the folder of a run of "
            "gazax.main, such as runs/gazat_vit."
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"'{path}' is not the config of a run ({error!r}).") from None
    if "stages" in found:
        stages = ", ".join(f"{folder}/{name}" for name in found["stages"])
        raise InputError(f"'{folder}' is a run of several stages; give one of them: {stages}.")
    return ConfigDict(_with_tuples(with_later_keys(found)))


LATER_KEYS: dict[str, Any] = {
    "data": {"protocol": "strict", "balanced": False},
    "init_from": {"allow_pickle": False},
    "optim": {"name": "adamw", "schedule": "cosine"},
    "train": {"cache_frozen": False, "profile": ()},
}
"""Keys that configs of earlier versions lack, and what those did."""
_PROJECTOR: dict[str, Any] = {"method": {"projector": {"norm": "none"}}}
LATER_KEYS_OF: dict[str, dict[str, Any]] = {
    "gazat": {"method": {**_PROJECTOR["method"], "look_first": 0.0}},
    "simclr": {
        "views": {"maker": "augmented"},
        "method": {
            **_PROJECTOR["method"],
            "partners": {"measure": "", "threshold": 0.9, "keep": 1.0, "length": 0},
        },
    },
}
"""Likewise of one method."""


def with_later_keys(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """A run's config as this version writes it; that of a run of several stages as it is."""
    if "stages" in config:
        return config
    method = config.get("method", {}).get("name", "")
    return _filled(_filled(config, LATER_KEYS), LATER_KEYS_OF.get(method, {}))


def _filled(config: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """The config, and what it lacks of ``later``, block by block."""
    found = dict(config)
    for key, value in later.items():
        if isinstance(value, Mapping):
            found[key] = _filled(found.get(key, {}), value)
        else:
            found.setdefault(key, value)
    return found


def _with_tuples(tree: Any) -> Any:
    """json has lists where a config has tuples."""
    if isinstance(tree, dict):
        return {key: _with_tuples(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return tuple(_with_tuples(item) for item in tree)
    return tree

"""Which run of a sweep is which: its folders are called by a hash, and people by a variant."""

import pathlib
from collections.abc import Mapping
from typing import Any

from etils import epath

from gazax.config import did_you_mean
from gazax.train.workdir import read_json
from gazax.typing import InputError

STATE = "sweep.json"
RUNS = "runs"


def sweep_name(folder: pathlib.Path) -> str:
    """What a sweep calls the run in this folder, as its log 'ours-0'; '' = it is no sweep's."""
    state = folder.parent.parent / STATE
    if folder.parent.name != RUNS or not state.exists():
        return ""
    uses = _runs(epath.Path(state)).get(folder.name, {}).get("uses", ())
    return "=".join(use.replace(", seed ", "-") for use in uses)


def folder_of(sweep: str, variant: str) -> str:
    """The folder of a variant's first seed that is finished.

    Raises:
      InputError: the sweep has no such variant, or none of its seeds is finished.
    """
    root = epath.Path(sweep).expanduser()
    if not (root / STATE).exists():
        raise InputError(f"--sweep={sweep} has no {STATE}: it is no sweep's folder.")
    names, begun = {}, set()
    for key, run in _runs(root / STATE).items():
        for use in run["uses"]:
            name = use.rpartition(", seed ")[0]
            begun.add(name)
            if run["status"] == "finished":
                names.setdefault(name, key)
    if variant not in begun:
        raise InputError(
            f"--workdirs={variant}: there is no such folder, and no such variant of the sweep "
            f"{sweep}{did_you_mean(variant, sorted(begun))}; it has {', '.join(sorted(begun))}."
        )
    if variant not in names:
        raise InputError(f"--workdirs={variant}: no run of this variant of {sweep} is finished.")
    return str(root / RUNS / names[variant])


def _runs(path: epath.Path) -> Mapping[str, Any]:
    runs = read_json(path).get("runs")
    whole = isinstance(runs, dict) and all(
        isinstance(run, dict)
        and "status" in run
        and isinstance(run.get("uses"), list)
        and all(isinstance(use, str) for use in run["uses"])
        for run in runs.values()
    )
    if not isinstance(runs, dict) or not whole:
        raise InputError(
            f"'{path}' is damaged; run python -m gazax.sweep --config=FILE --out={path.parent} "
            "again, which trains nothing that is finished."
        )
    return runs

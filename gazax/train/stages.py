"""Runs one after the other in one workdir, each in a folder of its name."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from etils import epath

from gazax.train import agreement
from gazax.train.workdir import read_summary, write_json
from gazax.typing import InputError, RunError

PREFIX = "stage:"
TAKEN = ("checkpoints", "checkpoints.damaged", "images", "tensorboard")
"""Folders that a run makes in its workdir."""


def check_names(names: Sequence[str]) -> None:
    """Raises an `InputError` where a stage's name is no folder's, is taken, or stands twice."""
    for i, name in enumerate(names):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name) or name.endswith(".json"):
            raise InputError(
                f"config.stages: '{name}' names a folder; write letters, digits, '_' and '-'."
            )
        if name in TAKEN:
            raise InputError(
                f"config.stages: a workdir has a folder '{name}' already; take another name."
            )
        if name in names[:i]:
            raise InputError(f"config.stages: two stages are called '{name}'; give each its own.")


def stage_folder(workdir: epath.Path, name: str) -> epath.Path:
    """The workdir of one stage."""
    return workdir / name


def resolve_path(path: str, workdir: epath.Path, before: Sequence[str]) -> str | epath.Path:
    """Where a stage reads its first weights: ``stage:NAME`` as the folder of an earlier stage.

    Args:
      path: ``stage:NAME``, or anything else, which comes back as it is.
      workdir: of the whole run.
      before: the stages that come before the one that asks, in order.

    Raises:
      InputError: none of them has that name.
    """
    if not path.startswith(PREFIX):
        return path
    name = path.removeprefix(PREFIX)
    if name not in before:
        raise InputError(
            f"config.init_from.path='{path}': no stage '{name}' comes before this one; "
            + (f"before it come {', '.join(before)}." if before else "it is the first.")
        )
    return stage_folder(workdir, name)


def run_stages(
    names: Sequence[str], run: Callable[[str, epath.Path], int], workdir: epath.Path
) -> int:
    """Every stage in its folder, then `summary.json` of all; the same call goes on.

    Args:
      names: in order, see `check_names`.
      run: (name, folder) -> exit code. It goes on from what the folder holds, and returns at once
        where that stage is finished: it alone knows whether its config is still the same.
      workdir: of the whole run.

    Returns:
      0, or the exit code of the first stage that was interrupted; those after it are not begun.

    Raises:
      InputError: see `check_names`.
    """
    check_names(names)
    for name in names:
        if code := run(name, stage_folder(workdir, name)):
            return code
    agreement.from_first(lambda: write_json(workdir / "summary.json", _combine(names, workdir)))
    return 0


def _combine(names: Sequence[str], workdir: epath.Path) -> dict[str, Any]:
    """Each stage's summary under its name, all numbers as ``<stage>/<name>``, and the tables."""
    stages = {}
    for name in names:
        summary = read_summary(stage_folder(workdir, name))
        if summary is None:
            raise RunError(f"stage '{name}' of '{workdir}' ended without a summary.json.")
        stages[name] = summary
    return {
        "stages": stages,
        "phantom_numbers": any(summary["phantom_numbers"] for summary in stages.values()),
        "protocol": ", ".join(
            dict.fromkeys(summary.get("protocol", "strict") for summary in stages.values())
        ),
        "numbers": {
            f"{name}/{key}": value
            for name, summary in stages.items()
            for key, value in summary["numbers"].items()
        },
        "table": "\n\n".join(f"{name}: {summary['table']}" for name, summary in stages.items()),
    }

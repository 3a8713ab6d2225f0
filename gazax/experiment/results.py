"""What an evaluation leaves in a workdir: numbers, values of single images and pictures."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from etils import epath

from gazax.eval import embedding
from gazax.eval.record import Part, Record
from gazax.eval.report import caveats
from gazax.train import workdir
from gazax.typing import InputError

FOLDERS = {"test": "evaluation", "validation": "evaluation-validation"}
"""Where the numbers of a split lie in a workdir; those of validation are there to choose by."""
NUMBERS = "numbers.json"
"""Written last: where it is, what lies beside it is of the same weights."""
KEYS = ("split", "step", "weights", "label_names")
"""Of numbers.json: where these are the same, the numbers of other suites can stay."""


def make_folder(workdir_folder: epath.Path, split: str) -> epath.Path:
    """The folder of a split's numbers.

    Raises:
      InputError: it cannot be made.
    """
    folder = workdir_folder / FOLDERS[split]
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"'{folder}' cannot be made: {error}.") from None
    return folder


def title(summary: Mapping[str, Any]) -> str:
    """What the tables are of, from what stands in numbers.json beside the suites."""
    before = caveats(phantom=summary["phantom_numbers"], protocol=summary["protocol"])
    return (
        f"{before}{summary['split']} split: {summary['images']} images of {summary['patients']} "
        f"patients, step {summary['step']}, 95 % intervals over patients and few-shot draws"
    )


def read_numbers(folder: epath.Path) -> dict[str, Any] | None:
    """What `write` left in a folder, or None."""
    path = folder / NUMBERS
    return workdir.read_json(path) if path.exists() else None


def write(
    folder: epath.Path,
    suites: Mapping[str, Part],
    *,
    summary: Mapping[str, Any],
    record: Record,
    save_gallery: Callable[[epath.Path], None],
) -> None:
    """Leaves everything in the folder; a kill leaves no numbers beside values of other weights.

    Suites that were measured before stay as they are, if it was for the same weights.

    Args:
      folder: of `make_folder`.
      suites: what was measured now.
      summary: what stands in numbers.json beside the suites; `KEYS` are in it.
      record: of the split, without values and scores of suites.
      save_gallery: fills a folder with single images.
    """
    written, kept = _before(folder, summary, record.index)
    if kept is None:
        (folder / NUMBERS).unlink(missing_ok=True)
    record = _joined(record, suites, kept)
    if "embedding" in suites:
        embedding.save_figure(
            folder / "tsne.png",
            record.embedding,
            record.label,
            tuple(summary["label_names"]),
            exclusive=summary["exclusive"],
            phantom_numbers=summary["phantom_numbers"],
        )
    save_gallery(folder / "gallery")
    record.save(folder)
    written |= {name: {"numbers": p.numbers, "table": p.table} for name, p in suites.items()}
    workdir.write_json(folder / NUMBERS, {**summary, "suites": written})


def _before(
    folder: epath.Path, summary: Mapping[str, Any], index: np.ndarray
) -> tuple[dict[str, Any], Record | None]:
    """Suites and values that an earlier evaluation of the same weights left, or nothing."""
    try:
        before = read_numbers(folder)
        if before is None or any(before.get(key) != summary[key] for key in KEYS):
            return {}, None
        kept = Record.load(folder)
        if not isinstance(before.get("suites"), dict) or not np.array_equal(kept.index, index):
            raise InputError(f"'{folder}' is damaged: it lacks suites, or has other images.")
        return before["suites"], kept
    except InputError as error:  # what it held is lost, and what was measured now is not
        print(f"replaced, with whatever it held of other suites: {error}", flush=True)
        return {}, None


def _joined(record: Record, suites: Mapping[str, Part], kept: Record | None) -> Record:
    """The record with the values of the suites, and with those that stay."""
    known = record if kept is None else kept
    if "embedding" in suites:
        known = dataclasses.replace(known, embedding=record.embedding)
    for part in suites.values():
        known = dataclasses.replace(
            known,
            values=known.values | dict(part.values),
            scores=known.scores | dict(part.scores),
            targets=known.targets | dict(part.targets),
        )
    return known

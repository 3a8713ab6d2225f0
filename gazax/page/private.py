"""Runs and sweeps without what would say whose images, gaze and folders they are of."""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from gazax.page.names import reader_of, split_name
from gazax.page.runs import Run
from gazax.page.sweep import SweepTable

_KEYS = ("root", "cache", "path", "readers")
"""Last parts of the config's keys that hold paths or names of readers."""
_IN_TEXT = re.compile(
    r"'[^'\n]*[\\/][^'\n]*'"
    r"|(?P<key>(?:--out|--json|--workdirs?)[ =]"
    r"|\b(?:root|cache|path|source|init_from)=|\bpredicted:)[^\s,]+"
    r"|(?<![\w.\\/:<])(?:~[\w.-]*|\.{1,2}|[A-Za-z]:|\w+:/)?[\\/][^\s,]+"
)
"""A path in a line of text: in quotes, behind a key that holds one, or by its own beginning."""
_PATH = re.compile(r"^~|^\.{0,2}[/\\]|^[A-Za-z]:[/\\]|://|^predicted:")


def without_names(runs: Sequence[Run]) -> list[Run]:
    """The runs with numbered readers, the same number in each run, and without paths.

    Nothing is done about the records and the images of the runs: the page has to leave them out.
    """
    names = sorted({name for run in runs for row in _rows(run) if (name := _single_reader(row))})
    numbered = {name: f"reader {place}" for place, name in enumerate(names, start=1)}
    return [_without_names(run, numbered) for run in runs]


def without_folders(names: Sequence[str]) -> list[str]:
    """The runs' names, of which none is the end of a path: such ones are numbered."""
    return [
        f"run {place}" if re.search(r"[\\/]", name) else name
        for place, name in enumerate(names, start=1)
    ]


def without_paths(sweep: SweepTable) -> SweepTable:
    """The sweep with a dash for every path in its command, its notes and what is missing."""

    def told(text: str) -> str:
        return _IN_TEXT.sub(lambda path: f"{path['key'] or ''}-", text)

    found = sweep.found
    return dataclasses.replace(
        sweep,
        found=found
        | {
            "made": told(found["made"]),
            "notes": list(map(told, found["notes"])),
            "missing": {
                name: told(text.partition(", see ")[0]) for name, text in found["missing"].items()
            },
        },
    )


def _rows(run: Run) -> list[str]:
    suites = run.evaluation["suites"].values()
    return [split_name(name)[0] for suite in suites for name in suite["numbers"]]


def _single_reader(row: str) -> str:
    """The name of the reader whom a row is held against; 'readers' is nobody's name."""
    reader = reader_of(row)
    return "" if reader == "readers" else reader


def _without_names(run: Run, numbered: dict[str, str]) -> Run:
    suites = {
        title: suite | {"numbers": {_renamed(k, numbered): v for k, v in suite["numbers"].items()}}
        for title, suite in run.evaluation["suites"].items()
    }
    settings = {key: value for key, value in run.settings.items() if not _is_private(key, value)}
    return dataclasses.replace(
        run, settings=settings, evaluation=run.evaluation | {"suites": suites}
    )


def _renamed(name: str, numbered: dict[str, str]) -> str:
    row, column = split_name(name)
    reader = _single_reader(row)
    return f"{row.removesuffix(reader)}{numbered[reader]}/{column}" if reader else name


def _is_private(key: str, value: Any) -> bool:
    """Whether a key of the config names readers or holds a path, also among several values."""
    values = value if isinstance(value, list | tuple) else [value]
    texts = [one for one in values if isinstance(one, str)]
    of_source = key.startswith("data.source.") and any(re.search(r"[/\\]", one) for one in texts)
    return key.rpartition(".")[2] in _KEYS or of_source or any(map(_PATH.search, texts))

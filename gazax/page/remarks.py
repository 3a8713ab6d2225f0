"""What an evaluation says in words beside its numbers: what was left out, skipped, and why."""

import re
from collections.abc import Sequence
from html import escape

from gazax.page import html
from gazax.page.runs import Run

_NUMBER = r"(?:-?\d+\.\d{3}|-?inf|nan)"
_OF_NUMBERS = re.compile(rf"{_NUMBER} \[{_NUMBER}, {_NUMBER}\]$")


def sentences(table: str) -> list[str]:
    """The lines of a suite's table that are words.

    A line of numbers ends with an interval; a line of headings begins with the empty place above
    the rows' titles (`gazax.eval.report.block`).
    """
    lines = (line.rstrip() for line in table.splitlines())
    return [line for line in lines if line and line[0] != " " and not _OF_NUMBERS.search(line)]


def suite_remarks(suite: str, runs: Sequence[Run]) -> list[str]:
    """A paragraph for all runs, or one for those that say the same; none where nothing is said."""
    own = [run for run in runs if suite in run.evaluation["suites"]]
    said: dict[str, list[str]] = {}
    for run in own:
        lines = sentences(run.evaluation["suites"][suite].get("table", ""))
        if lines:
            text = "<br>".join(escape(line) for line in lines)
            said.setdefault(text, []).append(html.breakable(run.name))
    parts = []
    for text, names in said.items():
        whose = "" if len(names) == len(runs) else f"<b>{', '.join(names)}</b><br>"
        parts.append(f'<p class="remarks">{whose}{text}</p>')
    return parts

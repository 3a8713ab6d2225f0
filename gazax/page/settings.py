"""What is not the same in the runs' configs."""

from collections.abc import Sequence
from html import escape
from typing import Any

from gazax.page import html
from gazax.page.runs import Run

_ABSENT = object()


def settings_table(runs: Sequence[Run]) -> str:
    """What differs between the runs' configs, a key a line; '' where nothing does."""
    keys = list(dict.fromkeys(key for run in runs for key in run.settings))
    differing = [
        key for key in keys if len({_setting(run.settings.get(key, _ABSENT)) for run in runs}) > 1
    ]
    if not differing:
        return ""
    lines = [
        html.Row(
            f"<code>{html.breakable(key)}</code>",
            [f"<code>{escape(_setting(run.settings.get(key, _ABSENT)))}</code>" for run in runs],
        )
        for key in differing
    ]
    return html.table(
        caption="Keys of the config that are not the same in every run",
        columns=("Key", *(run.name for run in runs)),
        groups=[("", lines)],
        kind="settings",
    )


def _setting(value: Any) -> str:
    if value is _ABSENT:
        return html.DASH
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "()"
    return "''" if value == "" else str(value)

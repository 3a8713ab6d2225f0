"""What an evaluation has to say, during a run and at its end."""

import dataclasses
from typing import Protocol, runtime_checkable

from gazax.config import choose
from gazax.data.protocols import PROTOCOLS
from gazax.eval.encode import OfBatch, Split
from gazax.methods.base import Params, State
from gazax.metrics.statistics import Interval

Numbers = dict[str, Interval]
"""name -> (estimate, low, high), 95 % intervals over patients, and draws where there are some."""


@dataclasses.dataclass(frozen=True)
class TestReport:
    """The numbers of the test split, as numbers, as text and as pictures."""

    numbers: Numbers
    table: str
    """The numbers for people, and what is left out and why."""
    pictures: dict[str, OfBatch] = dataclasses.field(default_factory=dict)
    """What makes maps [b, h, w] to lay over the images of a batch, by title; may be empty."""


@runtime_checkable
class Evaluation(Protocol):
    """Made of a method and the splits train and validation; `test` comes once, at the end."""

    def on_validation(self, params: Params, state: State) -> dict[str, float]:
        """Numbers to follow and to choose a step by, named ``validation/...``."""
        ...

    def on_test(
        self, trained: tuple[Params, State], first: tuple[Params, State], test: Split
    ) -> TestReport:
        """The numbers to report, of the chosen weights and, where it means something, of step 0."""
        ...


def protocol_words(protocol: str) -> str:
    """What has to be said of the numbers of a protocol; '' for 'strict'.

    Raises:
      InputError: there is no such protocol in `gazax.data.protocols`.
    """
    words = choose("config.data.protocol", protocol, PROTOCOLS)
    return f"protocol '{protocol}': {words}" if words else ""


def caveats(*, phantom: bool, protocol: str) -> str:
    """What stands before the title of any table of a run, ending in a space; '' for most.

    Args:
      phantom: whether images and gaze are simulated.
      protocol: as `protocol_words` takes it.
    """
    words = protocol_words(protocol)
    return (
        f"{'phantom numbers (simulated images and gaze), ' if phantom else ''}"
        f"{f'{words}; ' if words else ''}"
    )


def cell(interval: Interval) -> str:
    """An interval as a table shows it."""
    estimate, low, high = interval
    return f"{estimate:.3f} [{low:.3f}, {high:.3f}]"


def block(
    numbers: Numbers, *, rows: dict[str, str], columns: dict[str, str], width: int = 28
) -> list[str]:
    """Lines of a table: one a row that has any number, under one of headings.

    Args:
      numbers: those called ``row/column`` are shown.
      rows, columns: name -> what the table calls it.
      width: of the first column.
    """
    shown = {
        name: title
        for name, title in columns.items()
        if any(f"{row}/{name}" in numbers for row in rows)
    }
    lines = [" " * width + "".join(f"{title:>24}" for title in shown.values())]
    for row, title in rows.items():
        names = [f"{row}/{name}" for name in shown]
        if not any(name in numbers for name in names):
            continue
        cells = (cell(numbers[name]) if name in numbers else "" for name in names)
        lines.append(f"{title:{width}}" + "".join(f"{one:>24}" for one in cells).rstrip())
    return lines if len(lines) > 1 else []


def p_value(value: float) -> str:
    """A p value as tables show it."""
    return "p < .001" if value < 0.001 else f"p = {value:.3f}".replace("0.", ".", 1)

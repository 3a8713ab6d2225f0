"""Numbers of several runs as tables: intervals, and differences from one of them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from gazax.eval import comparison
from gazax.eval.measured import STATISTICS
from gazax.eval.record import Record
from gazax.eval.report import p_value
from gazax.page import html
from gazax.page.names import (
    BASELINES,
    COLUMNS,
    OF_MAPS,
    OF_ONE_LABEL,
    column_title,
    difference_of,
    is_baseline,
    lower_is_better,
    reader_of,
    row_title,
    split_column,
    split_name,
)
from gazax.page.remarks import sentences
from gazax.page.runs import Run, same_images

SUITES = {
    "representation": "Representation: frozen features",
    "alignment": "Maps against gaze",
    "downstream": "Downstream tasks",
    "interpretability": "Interpretability",
    "embedding": "Embedding",
}

Compared = Mapping[tuple[str, str, str], comparison.Row]
"""(suite, run, ``row/column``) -> its difference from the reference."""


def suite_title(suite: str, runs: Sequence[Run]) -> str:
    """What the page calls a suite, by what its runs have in it."""
    found = [row for row in OF_MAPS if row in _rows(suite, runs)]
    if suite != "alignment" or not found:
        return SUITES.get(suite, suite)
    title = " and ".join(map(row_title, found))
    return f"{title[:1]}{title[1:].lower()} against gaze"


def suite_tables(suite: str, runs: Sequence[Run], reference: str, compared: Compared) -> list[str]:
    """A table for each row of a suite, a line a run.

    Rows against one reader and those that no model has a part in stand in the table that they
    belong to, and so do numbers of one label alone, each under the column of the mean over labels.

    Args:
      suite: as `numbers.json` calls it.
      runs: those without the suite are left out of its tables.
      reference: the run that the others are compared with.
      compared: of `compare_suites`.
    """
    own = [run for run in runs if suite in run.evaluation["suites"]]
    rows = _rows(suite, own)
    heads = [row for row in rows if not is_baseline(row) and not reader_of(row)]
    heads += [row for row in rows if is_baseline(row) and not {*BASELINES[_base(row)]} & {*heads}]
    tables: list[str] = []
    within: list[str] = []
    for head in heads:
        of_reader = [row for row in rows if reader_of(row) and row.startswith(f"{head}@")]
        beside = [row for row in rows if is_baseline(row) and head in BASELINES[_base(row)]]
        members = (head, *of_reader, *beside)
        found = list(dict.fromkeys(c for row in members for c in _columns(suite, row, own)))
        columns = _known_first(map(_shown_in, found))
        groups = [("", _lines(suite, head, own, columns, compared, marked=reference))]
        alike = {reader_of(row) for row in of_reader}
        beneath = [row for row in beside if reader_of(row) not in alike]
        groups.append(("Beside it", _baselines(beneath, suite, own, columns)))
        for row in of_reader:
            lines = _lines(suite, row, own, columns, compared)
            beneath = [one for one in beside if reader_of(one) == reader_of(row)]
            groups.append((row_title(row), lines + _baselines(beneath, suite, own, columns)))
        for label in dict.fromkeys(split_column(column)[1] for column in found):
            if label:
                names = [f"{OF_ONE_LABEL.get(name, name)}/{label}" for name in columns]
                beneath = [row for row in beside if {*names} & {*_columns(suite, row, own)}]
                lines = _lines(suite, head, own, names, compared)
                lines += _baselines(beneath, suite, own, names)
                groups.append((f"{label} alone", lines))
        (within if difference_of(head) else tables).append(
            html.table(
                caption=row_title(head),
                columns=("Run", *map(column_title, columns)),
                groups=[(title, lines) for title, lines in groups if lines],
                kind="numbers",
            )
        )
    return [*tables, html.details("Differences within each run", within)]


def compare_suites(runs: Sequence[Run], reference: str) -> tuple[Compared, list[str]]:
    """Every run against the reference, corrected table by table, and what people should know.

    Compared are the main lines of the tables: not those against single readers, not differences
    within a run, and not those that no training has a part in.

    Args:
      runs: each stands for itself, as one seed; those of other images are not compared.
      reference: a run's name.
    """
    compared, notes = {}, {}
    home = next(run.record for run in runs if run.name == reference)
    for suite in suites_of(runs):
        own = [
            run
            for run in runs
            if suite in run.evaluation["suites"] and same_images(run.record, home)
        ]
        if reference not in [run.name for run in own]:
            continue
        for row in _rows(suite, own):
            if is_baseline(row) or difference_of(row) or reader_of(row):
                continue
            found = comparison.compare(
                {run.name: {0: run.record} for run in own},
                {run.name: "" if run.name == reference else reference for run in own},
                [one for c in _columns(suite, row, own) if _comparable(one := f"{row}/{c}", home)],
            )
            notes |= dict.fromkeys(found.notes)
            for one in found.rows:
                if not math.isnan(one.difference):
                    compared[suite, one.variant, one.metric] = one
    return compared, list(notes)


def _comparable(name: str, record: Record) -> bool:
    """Whether it takes no more than a record to compute the number."""
    row, column = split_name(name)
    kind, _, average = column.partition("_")
    is_area = kind in STATISTICS and average in ("macro", "micro")
    return name in record.values or (is_area and row in record.scores)


def suites_of(runs: Sequence[Run]) -> list[str]:
    """The suites of which any run has numbers or something to say, in the order of the page."""
    present = {
        name
        for run in runs
        for name, suite in run.evaluation["suites"].items()
        if suite["numbers"] or sentences(suite.get("table", ""))
    }
    known = [name for name in SUITES if name in present]
    return known + sorted(present - set(known))


def number(value: float | None) -> str:
    """A number as the tables show it."""
    if value is None or not math.isfinite(value):
        return html.DASH
    return f"{value:.3f}".replace("-", html.MINUS)


def _numbers(run: Run, suite: str) -> dict[str, Sequence[float | None]]:
    return run.evaluation["suites"].get(suite, {}).get("numbers", {})


def _rows(suite: str, runs: Sequence[Run]) -> list[str]:
    """Rows of a suite; differences within a run come last, all readers before each of them."""
    names = (split_name(name)[0] for run in runs for name in _numbers(run, suite))

    def order(name: str) -> tuple[bool, bool, str]:
        reader = reader_of(name)
        return difference_of(name) is not None, reader != "readers", reader

    return sorted(dict.fromkeys(names), key=order)


def _base(row: str) -> str:
    """The row without the reader whom it is held against."""
    return row.partition("@")[0]


def _columns(suite: str, row: str, runs: Sequence[Run]) -> list[str]:
    """Columns of a row, those of one label behind the others."""
    names = (split_name(name) for run in runs for name in _numbers(run, suite))
    own = _known_first(column for of, column in names if of == row)
    return sorted(own, key=lambda column: bool(split_column(column)[1]))


def _known_first(columns: Iterable[str]) -> list[str]:
    """Each once, in the order of the page."""
    own = dict.fromkeys(columns)
    known = [name for name in COLUMNS if name in own]
    return known + [name for name in own if name not in known]


def _shown_in(column: str) -> str:
    """The column under which one of a single label stands, or itself."""
    metric, label = split_column(column)
    over_labels = {of_label: name for name, of_label in OF_ONE_LABEL.items()}
    return over_labels.get(metric, metric) if label else column


def _lines(
    suite: str,
    row: str,
    runs: Sequence[Run],
    columns: Sequence[str],
    compared: Compared,
    *,
    marked: str = "",
) -> list[html.Row]:
    """A line a run; the marked one is said to be the reference.

    Where one is marked, runs without any of the numbers have a line too, so that it is seen.
    """
    lines = []
    for run in runs:
        if not marked and not any(f"{row}/{name}" in _numbers(run, suite) for name in columns):
            continue
        heading = html.breakable(run.name)
        if run.name == marked:
            heading += ' <span class="tag">reference</span>'
        if run.caveat:
            heading += f' <span class="tag">protocol {escape(run.protocol)}</span>'
        numbers = _numbers(run, suite)
        names = {name: f"{row}/{name}" for name in columns}
        cells = [
            cell(numbers.get(full), compared.get((suite, run.name, full)), name)
            for name, full in names.items()
        ]
        lines.append(html.Row(heading, cells))
    return lines


def _baselines(
    rows: Sequence[str], suite: str, runs: Sequence[Run], columns: Sequence[str]
) -> list[html.Row]:
    return [line for row in rows for line in _baseline(row, suite, runs, columns)]


def _baseline(row: str, suite: str, runs: Sequence[Run], columns: Sequence[str]) -> list[html.Row]:
    """One line where the numbers are the same for every run, else one for those that share them.

    Runs without any of the numbers have none.
    """
    lines: dict[tuple[str, ...], list[str]] = {}
    for run in runs:
        numbers = _numbers(run, suite)
        if not any(f"{row}/{name}" in numbers for name in columns):
            continue
        cells = tuple(cell(numbers.get(f"{row}/{name}"), None, name) for name in columns)
        lines.setdefault(cells, []).append(html.breakable(run.name))
    title = escape(row_title(row))
    of = (f' <span class="of">of {", ".join(names)}</span>' for names in lines.values())
    of_all = [len(names) for names in lines.values()] == [len(runs)]
    headings = [title] if of_all else [title + names for names in of]
    return [html.Row(*pair) for pair in zip(headings, lines, strict=True)]


def cell(
    interval: Sequence[float | None] | None,
    found: comparison.Row | None,
    column: str,
    *,
    sd: float = math.nan,
) -> str:
    """A number with its interval and, below, its difference from the reference.

    Args:
      interval: (estimate, low, high); None = there is no number.
      found: with the difference; None = not compared.
      column: says whether lower is better.
      sd: of the seeds; NaN = not shown.
    """
    if interval is None:
        return f'<span class="none">{html.DASH}</span>'
    estimate, low, high = interval
    text = f'<b>{number(estimate)}</b> <span class="interval">{_range(low, high)}</span>'
    if not math.isnan(sd):
        text += f' <span class="interval">sd {number(sd)}</span>'
    if found is None:
        return text
    kind, mark = "", ""
    if found.p_holm < 0.05:
        better = (found.difference > 0) != lower_is_better(column)
        kind, mark = ("better", "▲ ") if better else ("worse", "▼ ")
    sign = "+" if found.difference > 0 else ""
    return (
        f'{text}<span class="difference {kind}">'
        f'<span class="whole">{mark}{sign}{number(found.difference)}</span> '
        f'<span class="interval">{_range(found.difference_low, found.difference_high)}</span> '
        f'<span class="whole">{escape(p_value(found.p_holm))}</span></span>'
    )


def _range(low: float | None, high: float | None) -> str:
    return f"[{number(low)}, {number(high)}]"

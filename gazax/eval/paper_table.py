"""A table as a paper has it: systems are columns, metrics lines; its numbers stand below ours."""

import dataclasses
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gazax.eval.comparison import Row, compare_each, row_as_dict, row_of_dict
from gazax.eval.measured import lower_is_better
from gazax.eval.record import Record
from gazax.eval.report import p_value
from gazax.typing import InputError

WIDTH = 150  # of a line of text
DASH = "-"
BEST, BY_T, BY_HOLM = "◆", "*", "†"
ELSEWHERE = "paper, other data"
LEGEND = (
    "↑ more is better, ↓ less; ±: standard deviation over images, on lines where the paper has one "
    "or has no number; [ ]: 95 % interval over seeds, draws and patients.",
    f"{BEST} best mean of the systems; p: paired two-sided t test of the difference to the first "
    "column, over patients (each the mean of its images) where an image has a value, over seeds "
    "for areas under curves; not corrected.",
    f"{BY_T} p < .05 by it; {BY_HOLM} p < .05 by the bootstrap over seeds, draws and patients, "
    "after Holm's correction for all differences of the table.",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """What a table shows, and how it calls it.

    Attributes:
      title: above it.
      systems: variant -> heading, in the order of the columns; the first is what the others are
        compared with.
      metrics: ``row/column`` -> heading, in the order of the lines.
      beside: row of a record, such as ``mean_map``, ``centre``, ``readers`` -> heading: further
        columns, measured in the first system's runs with the metric's column.
      published: metric -> variant -> the number as the paper prints it: "0.706 ± 0.183".
      source: of the published numbers, and that they are of other data.
      notes: what has to be known of the systems.

    Raises:
      InputError: no system, a heading twice, or a published number without a place.
    """

    title: str
    systems: Mapping[str, str]
    metrics: Mapping[str, str]
    beside: Mapping[str, str] = dataclasses.field(default_factory=dict)
    published: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    source: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self):
        where = f"the table '{self.title}'"
        if not self.systems or not self.metrics:
            raise InputError(f"{where} has no systems or no metrics; give one of each or more.")
        names = [*self.systems.values(), *self.beside.values()]
        if twice := [name for name in names if names.count(name) > 1]:
            raise InputError(f"{where} has two columns called '{twice[0]}'; call one otherwise.")
        for metric, numbers in self.published.items():
            if metric not in self.metrics:
                raise InputError(f"{where} has published numbers of '{metric}', no metric of it.")
            if wrong := [variant for variant in numbers if variant not in self.systems]:
                raise InputError(
                    f"{where} has a published number of '{wrong[0]}', no system of it."
                )

    @property
    def columns(self) -> tuple[str, ...]:
        """Headings."""
        return (*self.systems.values(), *self.beside.values())

    @property
    def first(self) -> str:
        """The heading of what the others are compared with."""
        return self.columns[0]

    def printed(self, metric: str, column: str) -> str:
        """The paper's number; '' = it has none."""
        numbers = self.published.get(metric, {})
        return next((text for name, text in numbers.items() if self.systems[name] == column), "")

    def line_title(self, metric: str) -> str:
        """The heading of a line, with the arrow of what is better."""
        arrow = "↓" if lower_is_better(metric.partition("/")[2]) else "↑"
        return f"{self.metrics[metric]} {arrow}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PaperTable:
    """A layout with numbers.

    Attributes:
      rows: metric -> heading of a column -> its numbers, whose `variant` and `reference` are
        headings too; what was not measured is not there.
      remarks: what people have to know of the numbers.
    """

    layout: Layout
    rows: Mapping[str, Mapping[str, Row]]
    remarks: tuple[str, ...]

    def best(self, metric: str) -> tuple[str, ...]:
        """Headings of the systems with the best mean, where two or more have one."""
        sign = -1 if lower_is_better(metric.partition("/")[2]) else 1
        found = self.rows[metric]
        means = {
            name: sign * found[name].mean for name in self.layout.systems.values() if name in found
        }
        if len(means) < 2:
            return ()
        return tuple(name for name, mean in means.items() if mean == max(means.values()))

    def with_deviation(self, metric: str) -> bool:
        """Whether the line shows deviations over images: not where the paper has none."""
        printed = self.layout.published.get(metric, {}).values()
        return not printed or any("±" in text for text in printed)


def lay_out(layout: Layout, records: Mapping[str, Mapping[int, Record]]) -> PaperTable:
    """Measures and compares everything that a layout shows.

    Every column is compared with the first system, those beside it too, seed by seed and image by
    image as in `gazax.eval.comparison.compare`. Where gaze of all readers together stands beside
    that of single readers (``readers``, ``attention@readers``) there is nothing to compare: the two
    are held against other gaze.

    Args:
      records: variant -> seed -> record; a system without any has an empty column, and a remark
        says so.
    """
    runs = {heading: records.get(name, {}) for name, heading in layout.systems.items()}
    own = runs[layout.first]
    for row, heading in layout.beside.items():
        runs[heading] = {seed: _seen_as(one, row, layout.metrics) for seed, one in own.items()}
    rows_of = {heading: row for row, heading in layout.beside.items()}
    wanted = []
    for metric in layout.metrics:
        row = metric.partition("/")[0]
        for heading in layout.columns:
            if not runs[heading]:
                continue
            like = _of_single_readers(rows_of.get(heading, row)) == _of_single_readers(row)
            compared = heading != layout.first and like
            wanted.append((metric, heading, layout.first if compared else ""))
    found = compare_each(runs, wanted)
    rows: dict[str, dict[str, Row]] = {metric: {} for metric in layout.metrics}
    for one in found.rows:
        rows[one.metric][one.variant] = one
    missing = [
        f"{heading} (variant {name}) has no finished run: its column is empty."
        for name, heading in layout.systems.items()
        if not runs[heading]
    ]
    return PaperTable(layout=layout, rows=rows, remarks=(*missing, *found.notes))


def _of_single_readers(row: str) -> bool:
    return row == "readers" or "@" in row


def _seen_as(record: Record, row: str, metrics: Mapping[str, str]) -> Record:
    """The record with a row's numbers where the metrics are looked for."""
    values, scores, targets = {}, {}, {}
    for metric in metrics:
        shown, _, column = metric.partition("/")
        if f"{row}/{column}" in record.values:
            values[metric] = record.values[f"{row}/{column}"]
        if row in record.scores:
            scores[shown] = record.scores[row]
        if row in record.targets:
            targets[shown] = record.targets[row]
    return dataclasses.replace(record, values=values, scores=scores, targets=targets)


def as_text(table: PaperTable) -> str:
    """The table, in parts one below the other where the columns do not fit into `WIDTH`."""
    layout = table.layout
    blocks = {metric: _lines(table, metric, bold=False) for metric in layout.metrics}
    heads = [head for lines in blocks.values() for head, _ in lines]
    cells = [one for lines in blocks.values() for _, line in lines for one in line.values()]
    first = max(map(len, heads)) + 2
    width = max(len(one) for one in [*cells, *layout.columns]) + 2
    step = max(1, (WIDTH - first) // width)
    text = [layout.title]
    for start in range(0, len(layout.columns), step):
        part = layout.columns[start : start + step]
        text += ["", " " * first + "".join(f"{name:<{width}}" for name in part).rstrip()]
        for lines in blocks.values():
            for place, (head, line) in enumerate(lines):
                if not place or any(name in line for name in part):
                    shown = (line.get(name, "" if place else DASH) for name in part)
                    text.append(
                        (f"{head:<{first}}" + "".join(f"{one:<{width}}" for one in shown)).rstrip()
                    )
            text.append("")
        text.pop()
    return "\n".join([*text, "", *(textwrap.fill(line, WIDTH) for line in _below(table))])


def as_markdown(table: PaperTable) -> str:
    """The table for a README: a line a metric, and one below it of the paper's numbers."""
    layout = table.layout
    lines = [
        "| " + " | ".join(["", *layout.columns]) + " |",
        "|---" * (1 + len(layout.columns)) + "|",
    ]
    for metric in layout.metrics:
        (head, own), *below = _lines(table, metric, bold=True)
        published = [line for name, line in below if name.strip() == ELSEWHERE]
        inside = [(name.strip(), line) for name, line in below if name.strip() != ELSEWHERE]
        cells = []
        for column in layout.columns:
            parts = [own.get(column, DASH)]
            for name, line in inside:
                if column in line:
                    named = "" if line[column].startswith("[") else f"{name}: "
                    parts.append(f"{named}{line[column]}")
            cells.append("<br>".join(parts))
        lines.append("| " + " | ".join([head, *cells]) + " |")
        for line in published:
            texts = (line.get(name, "").replace("*", "\\*") for name in layout.columns)
            shown = (f"*{text}*" if text else "" for text in texts)
            lines.append("| " + " | ".join([f"*{ELSEWHERE}*", *shown]) + " |")
    notes = ("- " + line.replace(BY_T, f"\\{BY_T}") for line in _below(table))
    return "\n".join([f"**{layout.title}**", "", *lines, "", *notes])


def _lines(table: PaperTable, metric: str, *, bold: bool) -> list[tuple[str, dict[str, str]]]:
    """The lines of a metric: heading, and text by column where there is any."""
    layout, rows, best = table.layout, table.rows[metric], table.best(metric)

    def own(name: str, row: Row) -> str:
        mean = f"{row.mean:.3f}"
        text = f"**{mean}**" if bold and name in best else mean
        if table.with_deviation(metric) and not np.isnan(row.sd_images):
            text += f" ± {row.sd_images:.3f}"
        by_t = f"\\{BY_T}" if bold else BY_T
        signs = (BEST, name in best), (by_t, row.p_t < 0.05), (BY_HOLM, row.p_holm < 0.05)
        marks = "".join(sign for sign, there in signs if there)
        return f"{text} {marks}".rstrip()

    def of_rows(shown: Callable[[Row], str], needed: str) -> dict[str, str]:
        return {n: shown(row) for n, row in rows.items() if not np.isnan(vars(row)[needed])}

    def difference(row: Row) -> str:
        p = "" if np.isnan(row.p_t) else f" {p_value(row.p_t)}"
        return f"{row.difference:+.3f}{p}"

    def interval(row: Row) -> str:
        return f"[{row.difference_low:+.3f}, {row.difference_high:+.3f}]"

    published = {name: layout.printed(metric, name) for name in layout.columns}
    lines = [
        (layout.line_title(metric), {name: own(name, row) for name, row in rows.items()}),
        ("  95 %", of_rows(lambda row: f"[{row.low:.3f}, {row.high:.3f}]", "low")),
        ("  sd of seeds", of_rows(lambda row: f"{row.sd:.3f}", "sd")),
        (f"  minus {layout.first}", of_rows(difference, "difference")),
        ("  its 95 %", of_rows(interval, "difference_low")),
        (f"  {ELSEWHERE}", {name: text for name, text in published.items() if text}),
    ]
    return [lines[0], *(line for line in lines[1:] if line[1])]


def _below(table: PaperTable) -> list[str]:
    """Legend, source and notes."""
    layout = table.layout
    source = [f"{ELSEWHERE}: {layout.source}"] if layout.source and layout.published else []
    return [*LEGEND, *source, *layout.notes, *table.remarks]


def as_dict(table: PaperTable) -> dict[str, Any]:
    """Layout, remarks and every number, as JSON takes it; what has no number is None."""
    cells = {
        metric: {
            name: row_as_dict(row) | {"best": name in table.best(metric)}
            for name, row in rows.items()
        }
        for metric, rows in table.rows.items()
    }
    return {**dataclasses.asdict(table.layout), "cells": cells, "remarks": list(table.remarks)}


def from_dict(found: Any) -> PaperTable:
    """What `as_dict` was given.

    Raises:
      AttributeError, KeyError, TypeError, ValueError, InputError: a key is missing, or one is of
        another kind.
    """
    layout = Layout(
        title=str(found["title"]),
        systems=_texts(found["systems"]),
        metrics=_texts(found["metrics"]),
        beside=_texts(found["beside"]),
        published={str(key): _texts(one) for key, one in found["published"].items()},
        source=str(found["source"]),
        notes=_lines_of(found["notes"]),
    )
    rows = {
        metric: {
            name: row_of_dict(name, metric, one) for name, one in found["cells"][metric].items()
        }
        for metric in layout.metrics
    }
    return PaperTable(layout=layout, rows=rows, remarks=_lines_of(found["remarks"]))


def _texts(found: Any) -> dict[str, str]:
    return {str(key): str(value) for key, value in found.items()}


def _lines_of(found: Sequence[Any]) -> tuple[str, ...]:
    if not isinstance(found, list):
        raise TypeError("notes are no list")
    return tuple(map(str, found))

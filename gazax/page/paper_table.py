"""Tables of a sweep in a paper's layout, and its questions with their answers."""

import math
from html import escape

from gazax.eval import contrasts
from gazax.eval.comparison import Row
from gazax.eval.contrasts import Contrasts
from gazax.eval.paper_table import ELSEWHERE, PaperTable
from gazax.eval.report import p_value
from gazax.page import html
from gazax.page.names import lower_is_better, metric_title, split_name
from gazax.page.tables import number

_DASH = f'<span class="none">{html.DASH}</span>'


def paper_table_parts(table: PaperTable) -> list[str]:
    """A table with systems as columns, how to read it, and its notes."""
    layout = table.layout
    groups = []
    for metric in layout.metrics:
        rows = table.rows[metric]
        cells = [_own(table, metric, rows.get(name)) for name in layout.columns]
        lines = [html.Row(escape(layout.line_title(metric)), cells)]
        printed = [layout.printed(metric, name) for name in layout.columns]
        if any(printed):
            shown = [f'<span class="of">{escape(text)}</span>' for text in printed]
            lines.append(html.Row(f'<span class="of">{ELSEWHERE}</span>', shown))
        groups.append(("", lines))
    source = [f"{ELSEWHERE}: {layout.source}"] if layout.source and layout.published else []
    notes = [*source, *layout.notes, *table.remarks]
    return [
        f"<h3>{escape(layout.title)}</h3>",
        html.details("How to read this table", [html.paragraph(_legend(table))]),
        html.table(
            caption=layout.title,
            columns=("Metric", *layout.columns),
            groups=groups,
            kind="numbers",
        ),
        html.items(notes) if notes else "",
    ]


def _legend(table: PaperTable) -> str:
    beside = list(table.layout.beside.values())
    text = (
        "↑ more is better, ↓ less is better. ±: standard deviation over images, on lines where the "
        "paper has one or has no number; sd: of the seeds; brackets: 95 % intervals over seeds, "
        f"draws and patients. Last line of a cell: the difference from {table.layout.first}, its "
        "95 % interval, and p by a paired two-sided t test, over patients where an image has a "
        "value and over seeds for areas under curves, not corrected; ▲ better and ▼ worse at "
        "p\N{NO-BREAK SPACE}<\N{NO-BREAK SPACE}.05, and † if the bootstrap over seeds, draws and "
        "patients finds it too after Holm's correction for all differences of this table."
    )
    return f"{text} No systems: {', '.join(beside)}." if beside else text


def _own(table: PaperTable, metric: str, row: Row | None) -> str:
    """A number, its deviations and interval, and below the difference from the first system."""
    if row is None:
        return _DASH
    best = row.variant in table.best(metric)
    mean = f"<b>{number(row.mean)}</b>" if best else number(row.mean)
    text = mean
    if table.with_deviation(metric) and not math.isnan(row.sd_images):
        text += f" ± {number(row.sd_images)}"
    if best:
        text += ' <span class="tag">best</span>'
    spread = "" if math.isnan(row.sd) else f" sd {number(row.sd)}"
    text += f'<span class="difference interval">{_range(row.low, row.high)}{spread}</span>'
    return text if math.isnan(row.difference) else text + _difference(row)


def _difference(row: Row) -> str:
    """With its interval and tests; in colour where the t test finds it."""
    kind, mark = "", ""
    if row.p_t < 0.05:
        better = (row.difference > 0) != lower_is_better(split_name(row.metric)[1])
        kind, mark = ("better", "▲ ") if better else ("worse", "▼ ")
    interval = _range(row.difference_low, row.difference_high)
    tested = "" if math.isnan(row.p_t) else escape(p_value(row.p_t))
    return (
        f'<span class="difference {kind}">{mark}{_signed(row.difference)} '
        f'<span class="interval">{interval}</span> {tested}'
        f"{'†' if row.p_holm < 0.05 else ''}</span>"
    )


def contrast_parts(found: Contrasts) -> list[str]:
    """The questions, a line a metric, and how they are answered."""
    groups = [
        (
            f"{one.question} {one.variant} {html.MINUS} {one.reference}",
            [
                html.Row(escape(metric_title(metric)), _answer(row, words))
                for metric, row, words in lines
            ],
        )
        for one, lines in found.lines()
    ]
    return [
        "<h3>Contrasts</h3>",
        html.paragraph(contrasts.RULE),
        html.table(
            caption="Contrasts: differences, tests and what they show",
            columns=(
                "Metric",
                "Shown",
                "Difference, 95 % interval",
                "t test",
                "Bootstrap, Holm",
                "t over seeds, 95 %",
            ),
            groups=groups,
            kind="numbers",
        ),
        html.items(found.notes) if found.notes else "",
    ]


def _answer(row: Row | None, words: str) -> list[str]:
    if row is None or math.isnan(row.difference):
        return [escape(words), *[_DASH] * 4]
    kind = {contrasts.FIRST: "better", contrasts.SECOND: "worse"}.get(words, "")
    interval = _range(row.difference_low, row.difference_high)
    tests = (_DASH if math.isnan(p) else escape(p_value(p)) for p in (row.p_t, row.p_holm))
    by_seeds = _DASH if math.isnan(row.t_low) else _range(row.t_low, row.t_high)
    return [
        f'<span class="{kind}">{escape(words)}</span>',
        f'{_signed(row.difference)} <span class="interval">{interval}</span>',
        *tests,
        f'<span class="interval">{by_seeds}</span>',
    ]


def _signed(value: float) -> str:
    return f"{'+' if value > 0 else ''}{number(value)}"


def _range(low: float, high: float) -> str:
    return f"[{number(low)}, {number(high)}]"

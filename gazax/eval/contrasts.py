"""Questions to a sweep: does one variant do better than another, by these metrics?"""

import dataclasses
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gazax.eval.comparison import WIDTH, Row, compare_each, row_as_dict, row_of_dict
from gazax.eval.measured import lower_is_better
from gazax.eval.record import Record

FIRST, SECOND, NEITHER = "variant better", "reference better", "no difference shown"
MISSING = "not compared"
RULE = (
    "Better: the 95 % interval of the difference (bootstrap over seeds, draws and patients) leaves "
    "out 0, and p < .05 by the paired t test (over patients where an image has a value, over seeds "
    "for areas under curves: with one seed none can be shown); neither is corrected for the number "
    "of questions. Holm's correction of the bootstrap's p is over all lines here."
)


@dataclasses.dataclass(frozen=True)
class Contrast:
    """A question, such as an ablation.

    Attributes:
      question: in words.
      variant, reference: whose difference answers it.
      metrics: ``row/column``.
    """

    question: str
    variant: str
    reference: str
    metrics: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Contrasts:
    """Questions with their numbers.

    Attributes:
      rows: a question's, by metric; what was not measured is not there.
      notes: what people have to know of the numbers.
    """

    contrasts: tuple[Contrast, ...]
    rows: tuple[Mapping[str, Row], ...]
    notes: tuple[str, ...]

    def lines(self) -> list[tuple[Contrast, list[tuple[str, Row | None, str]]]]:
        """Each question with (metric, its numbers, `verdict`)."""
        return [
            (one, [(metric, rows.get(metric), verdict(rows.get(metric))) for metric in one.metrics])
            for one, rows in zip(self.contrasts, self.rows, strict=True)
        ]


def contrast_rows(
    contrasts: Sequence[Contrast], records: Mapping[str, Mapping[int, Record]]
) -> Contrasts:
    """Measures the differences, as `gazax.eval.comparison.compare` does, corrected over all.

    Args:
      records: variant -> seed -> record; one without any is not compared, which a note says.
    """
    wanted = [
        (metric, one.variant, one.reference)
        for one in contrasts
        for metric in one.metrics
        if records.get(one.variant)
    ]
    found = compare_each(records, list(dict.fromkeys(wanted)))
    by_name = {(row.metric, row.variant, row.reference): row for row in found.rows}
    rows = tuple(
        {
            metric: by_name[name]
            for metric in one.metrics
            if (name := (metric, one.variant, one.reference)) in by_name
        }
        for one in contrasts
    )
    named = dict.fromkeys(name for one in contrasts for name in (one.variant, one.reference))
    missing = [f"{name} has no finished run." for name in named if not records.get(name)]
    return Contrasts(tuple(contrasts), rows, (*missing, *found.notes))


def verdict(row: Row | None) -> str:
    """What the numbers show, by `RULE`."""
    if row is None or np.isnan(row.difference):
        return MISSING
    apart = row.difference_low > 0 or row.difference_high < 0
    if not (apart and row.p_t < 0.05):
        return NEITHER
    lower = lower_is_better(row.metric.partition("/")[2])
    return FIRST if (row.difference > 0) != lower else SECOND


def as_text(found: Contrasts) -> str:
    """A block a question, and how it is decided."""
    metrics = [metric for one in found.contrasts for metric in one.metrics]
    width = max([len(metric) for metric in metrics] + [6]) + 4
    titles = (
        f"{'':{width}}{'difference [95 %]':>25}{'t over seeds':>18}{'t test':>8}{'p':>8}"
        f"{'p, Holm':>9}  shown"
    )
    lines = []
    for one, answers in found.lines():
        lines += [one.question, f"  {one.variant} minus {one.reference}", titles]
        lines += [_line(metric, row, words, width) for metric, row, words in answers]
        lines.append("")
    return "\n".join([*lines, *(textwrap.fill(text, WIDTH) for text in (RULE, *found.notes))])


def _line(metric: str, row: Row | None, words: str, width: int) -> str:
    line = f"{'  ' + metric:{width}}"
    if row is None or np.isnan(row.difference):
        return f"{line}{'-':>25}{'':43}  {words}"
    by_seeds = "-" if np.isnan(row.t_low) else f"[{row.t_low:+.3f}, {row.t_high:+.3f}]"
    interval = f"{row.difference:+.3f} [{row.difference_low:+.3f}, {row.difference_high:+.3f}]"
    tests = "".join(
        f"{'-':>{wide}}" if np.isnan(p) else f"{p:>{wide}.4f}"
        for p, wide in ((row.p_t, 8), (row.p, 8), (row.p_holm, 9))
    )
    return f"{line}{interval:>25}{by_seeds:>18}{tests}  {words}"


def as_dict(found: Contrasts) -> dict[str, Any]:
    """Questions, verdicts and every number, as JSON takes it; what has no number is None."""
    return {
        "rule": RULE,
        "contrasts": [
            {
                "question": one.question,
                "variant": one.variant,
                "reference": one.reference,
                "metrics": list(one.metrics),
                "found": {metric: row_as_dict(row) for metric, row, _ in answers if row},
                "shown": {metric: words for metric, _, words in answers},
            }
            for one, answers in found.lines()
        ],
        "notes": list(found.notes),
    }


def from_dict(found: Any) -> Contrasts:
    """What `as_dict` was given.

    Raises:
      AttributeError, KeyError, TypeError, ValueError: a key is missing, or one is of another kind.
    """
    contrasts, rows = [], []
    for one in found["contrasts"]:
        question, variant, reference = (
            str(one[key]) for key in ("question", "variant", "reference")
        )
        metrics = tuple(map(str, one["metrics"]))
        contrasts.append(Contrast(question, variant, reference, metrics))
        rows.append(
            {
                metric: row_of_dict(variant, metric, numbers)
                for metric, numbers in one["found"].items()
            }
        )
    return Contrasts(tuple(contrasts), tuple(rows), tuple(map(str, found["notes"])))

"""Records of several variants' runs, a seed each, as one table of means and paired differences."""

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence

import numpy as np

from gazax.eval.measured import IncomparableError, check_images, measure, minus
from gazax.eval.record import Record
from gazax.eval.report import cell
from gazax.metrics.hierarchical import holm


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One metric of one variant; NaN where there is no number.

    Attributes:
      mean: over seeds, draws and images.
      sd: over seeds, of their means; NaN for one seed.
      low, high: 95 % interval of the mean, over seeds, draws and patients.
      num_seeds: with a finished run.
      reference: what it is compared against; '' = nothing.
      difference: the variant minus the reference, paired by seed, draw and image.
      difference_low, difference_high: its 95 % interval.
      p: of the difference, two-sided; p_holm: adjusted for all differences of the table.
    """

    variant: str
    metric: str
    mean: float
    sd: float
    low: float
    high: float
    num_seeds: int
    reference: str = ""
    difference: float = np.nan
    difference_low: float = np.nan
    difference_high: float = np.nan
    p: float = np.nan
    p_holm: float = np.nan


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The rows, metric by metric, and what people have to know beside them."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...]


def compare(
    records: Mapping[str, Mapping[int, Record]],
    references: Mapping[str, str],
    metrics: Sequence[str],
) -> Comparison:
    """Means over seeds, and paired differences to the references.

    Seeds and draws are crossed with patients: all of a variant's runs see the same test images, and
    two variants are compared image by image, seed i with seed i. Runs of which that is not so are
    not compared, which a note says.

    Args:
      records: variant -> seed -> record; a variant without any gets no row.
      references: variant -> what it is compared against; '' = nothing.
      metrics: ``row/column``, or ``row-other/column``, the difference of two rows of a run.
    """
    notes: dict[str, None] = {}
    pairs = [(metric, variant) for metric in metrics for variant in records if records[variant]]
    num_differences = sum(bool(references[variant]) for _, variant in pairs)
    rows: list[Row] = []
    for metric, variant in pairs:
        row = _row(metric, variant, records[variant], notes)
        if row is None:
            continue
        if reference := references[variant]:
            row = dataclasses.replace(row, reference=reference)
            both = records[variant], records[reference]
            row = _against(row, *both, num_differences, notes)
        rows.append(row)
    known = [i for i, row in enumerate(rows) if not np.isnan(row.p)]
    adjusted = holm(np.array([rows[i].p for i in known]))
    for i, p in zip(known, adjusted, strict=True):
        rows[i] = dataclasses.replace(rows[i], p_holm=float(p))
    for count in sorted({row.num_seeds for row in rows}):
        notes[_of_seeds(count)] = None
    return Comparison(tuple(rows), tuple(notes))


def _of_seeds(count: int) -> str:
    """What so few seeds cannot tell; see `gazax.metrics.hierarchical`."""
    if count == 1:
        return "One seed: intervals and p are over patients and draws only, and know no other seed."
    share = np.sqrt((count - 1) / count)
    return (
        f"{count} seeds: the part of an interval that is due to seeds is too narrow, about "
        f"{share:.2f} of what it should be, and p too small."
    )


def _row(
    metric: str, variant: str, runs: Mapping[int, Record], notes: dict[str, None]
) -> Row | None:
    """The variant's own numbers; without an interval where its seeds are of other images."""
    try:
        per_seed = np.array([measure([one], metric).per_seed()[0] for one in runs.values()])
        if np.isnan(per_seed).all():
            raise IncomparableError("no image has a value")
    except IncomparableError as error:
        notes[f"{variant} has no {metric}: {error}."] = None
        return None
    row = Row(
        variant=variant,
        metric=metric,
        mean=float(per_seed.mean()),
        sd=float(per_seed.std(ddof=1)) if len(runs) > 1 else np.nan,
        low=np.nan,
        high=np.nan,
        num_seeds=len(runs),
    )
    try:
        found = measure(list(runs.values()), metric).estimate(_patients(runs))
    except IncomparableError as error:
        notes[f"The seeds of {variant} give no interval: {error}."] = None
        return row
    return dataclasses.replace(row, mean=found.estimate, low=found.low, high=found.high)


def _against(
    row: Row,
    ours: Mapping[int, Record],
    theirs: Mapping[int, Record],
    num_differences: int,
    notes: dict[str, None],
) -> Row:
    """The row with its difference to the reference, where there is one."""
    title = f"{row.variant} minus {row.reference}"
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        notes[f"{title}: not compared, they have no seed in common."] = None
        return row
    if len(seeds) < max(len(ours), len(theirs)):
        named = ", ".join(map(str, seeds))
        notes[f"{title}: of the seeds that both have, {named}."] = None
    both = [[runs[seed] for seed in seeds] for runs in (ours, theirs)]
    try:
        check_images([*both[0], *both[1]])
    except IncomparableError as error:
        notes[f"{title}: not compared, {error}."] = None
        return row
    try:
        difference = minus(*(measure(records, row.metric) for records in both))
    except IncomparableError as error:
        notes[f"{title}, {row.metric}: not compared, {error}."] = None
        return row
    found = difference.estimate(_patients(ours), num_differences=num_differences)
    return dataclasses.replace(
        row,
        difference=found.estimate,
        difference_low=found.low,
        difference_high=found.high,
        p=found.p_value,
    )


def _patients(runs: Mapping[int, Record]) -> np.ndarray:
    return next(iter(runs.values())).patient


def as_text(comparison: Comparison) -> str:
    """A block a metric, a line a variant, and the notes."""
    rows = comparison.rows
    width = max([len(row.variant) for row in rows] + [7]) + 2
    beside = max([len(row.reference) for row in rows] + [5]) + 2
    lines = []
    for metric in dict.fromkeys(row.metric for row in rows):
        lines += [
            metric,
            f"{'':{width}}{'mean [95 %]':>24}{'sd':>8}{'seeds':>7}"
            f"  {'minus':{beside}}{'difference [95 %]':>25}{'p':>8}{'p, Holm':>9}",
        ]
        lines += [_line(row, width, beside) for row in rows if row.metric == metric]
        lines.append("")
    return "\n".join([*lines, *comparison.notes]).rstrip()


def _line(row: Row, width: int, beside: int) -> str:
    sd = "-" if np.isnan(row.sd) else f"{row.sd:.3f}"
    own = cell((row.mean, row.low, row.high))
    line = f"{row.variant:{width}}{own:>24}{sd:>8}{row.num_seeds:>7}"
    if row.reference:
        line += f"  {row.reference:{beside}}"
        if np.isnan(row.difference):
            return f"{line}{'-':>25}"
        numbers = (row.difference, row.difference_low, row.difference_high)
        estimate, low, high = (f"{number:+.3f}" for number in numbers)
        line += f"{f'{estimate} [{low}, {high}]':>25}{row.p:>8.4f}{row.p_holm:>9.4f}"
    return line


def as_csv(comparison: Comparison) -> str:
    """A line a row, with every digit; what has no number is empty."""
    names = [field.name for field in dataclasses.fields(Row)]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    for row in comparison.rows:
        cells = dataclasses.asdict(row).values()
        writer.writerow("" if isinstance(one, float) and np.isnan(one) else one for one in cells)
    return buffer.getvalue()


def as_dict(comparison: Comparison) -> dict[str, dict[str, dict[str, object]]]:
    """variant -> metric -> the row's numbers."""
    found: dict[str, dict[str, dict[str, object]]] = {}
    for row in comparison.rows:
        numbers: dict[str, object] = dict(vars(row))
        del numbers["variant"], numbers["metric"]
        found.setdefault(row.variant, {})[row.metric] = numbers
    return found

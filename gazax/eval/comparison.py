"""Records of several variants' runs, a seed each, as one table of means and paired differences."""

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gazax.eval.measured import IncomparableError, check_images, measure, minus, t_interval
from gazax.eval.record import Record
from gazax.eval.report import cell
from gazax.metrics.hierarchical import holm

WIDTH = 130  # of a line of text
_T_OVER_SEEDS = f"{'t over seeds':>18}"


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
      p: of the difference, two-sided, by the bootstrap of its interval, which knows seeds, draws
        and patients; p_holm: adjusted for all differences of the table.
      p_t: of the difference, by a paired two-sided t test: of a mean of values an image over
        patients, which knows no other seed; of an area under a curve over seeds, which knows no
        other patient, NaN for one seed. Not adjusted. 1 where two runs are identical.
      sd_images: deviation over images (divided by n), the mean over seeds; NaN for an area.
      t_low, t_high: 95 % interval of the difference by Student's t over seeds, as wide as so few
        seeds make it; it knows no other patient. NaN for one seed.
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
    p_t: float = np.nan
    sd_images: float = np.nan
    t_low: float = np.nan
    t_high: float = np.nan


ADDED = ("p_t", "sd_images", "t_low", "t_high")
"""What tables of before do not have."""


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
    return compare_each(
        records,
        [
            (metric, variant, references[variant])
            for metric in metrics
            for variant in records
            if records[variant]
        ],
    )


def compare_each(
    records: Mapping[str, Mapping[int, Record]], wanted: Sequence[tuple[str, str, str]]
) -> Comparison:
    """As `compare`, of any (metric, variant, reference), '' = none; Holm's over all of them.

    A reference without a run gives no difference, which a note says.
    """
    notes: dict[str, None] = {}
    absent: dict[tuple[str, str], list[str]] = {}
    num_differences = sum(bool(reference) for _, _, reference in wanted)
    rows: list[Row] = []
    for metric, variant, reference in wanted:
        try:
            row = _row(metric, variant, records[variant], notes)
        except IncomparableError as error:
            absent.setdefault((metric, str(error)), []).append(variant)
            continue
        if reference:
            row = dataclasses.replace(row, reference=reference)
            both = records[variant], records.get(reference, {})
            row = _against(row, *both, num_differences, notes)
        rows.append(row)
    known = [i for i, row in enumerate(rows) if not np.isnan(row.p)]
    adjusted = holm(np.array([rows[i].p for i in known]))
    for i, p in zip(known, adjusted, strict=True):
        rows[i] = dataclasses.replace(rows[i], p_holm=float(p))
    notes |= dict.fromkeys(_of_absent(absent))
    for count in sorted({row.num_seeds for row in rows}):
        notes[_of_seeds(count)] = None
    return Comparison(tuple(rows), tuple(notes))


def _of_absent(absent: Mapping[tuple[str, str], Sequence[str]]) -> list[str]:
    """Which variants have no number, a line for those that lack the same for the same reason."""
    metrics: dict[tuple[tuple[str, ...], str], list[str]] = {}
    for (metric, why), variants in absent.items():
        metrics.setdefault((tuple(variants), why), []).append(metric)
    return [
        f"{', '.join(variants)} {'has' if len(variants) == 1 else 'have'} no {', '.join(names)}: "
        f"{why}."
        for (variants, why), names in metrics.items()
    ]


def _of_seeds(count: int) -> str:
    """What so few seeds cannot tell; see `gazax.metrics.hierarchical`."""
    if count == 1:
        return "One seed: intervals and p are over patients and draws only, and know no other seed."
    share = np.sqrt((count - 1) / count)
    return (
        f"{count} seeds: the part of an interval that is due to seeds is too narrow, about "
        f"{share:.2f} of what it should be, and p too small; "
        "Student's t over seeds (t_low and t_high in table.csv) has that allowance."
    )


def _row(metric: str, variant: str, runs: Mapping[int, Record], notes: dict[str, None]) -> Row:
    """The variant's own numbers; without an interval where its seeds are of other images.

    Raises:
      IncomparableError: it has none.
    """
    each = [measure([one], metric) for one in runs.values()]
    per_seed = np.array([one.per_seed()[0] for one in each])
    if np.isnan(per_seed).all():
        raise IncomparableError("no image has a value")
    row = Row(
        variant=variant,
        metric=metric,
        mean=float(per_seed.mean()),
        sd=float(per_seed.std(ddof=1)) if len(runs) > 1 else np.nan,
        low=np.nan,
        high=np.nan,
        num_seeds=len(runs),
        sd_images=float(np.mean([one.sd_images() for one in each])),
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
    patients = _patients(ours)
    found = difference.estimate(patients, num_differences=num_differences)
    t_low, t_high = t_interval(difference.per_seed())
    return dataclasses.replace(
        row,
        difference=found.estimate,
        difference_low=found.low,
        difference_high=found.high,
        p=found.p_value,
        p_t=difference.t_test(patients),
        t_low=t_low,
        t_high=t_high,
    )


def _patients(runs: Mapping[int, Record]) -> np.ndarray:
    return next(iter(runs.values())).patient


def as_text(comparison: Comparison) -> str:
    """A block a metric, a line a variant, and the notes.

    The t interval over seeds is there where it fits into `WIDTH`; csv and json always have it.
    """
    rows = comparison.rows
    width = max([len(row.variant) for row in rows] + [7]) + 2
    beside = max([len(row.reference) for row in rows] + [5]) + 2
    titles = (
        f"{'':{width}}{'mean [95 %]':>24}{'sd':>8}{'seeds':>7}"
        f"  {'minus':{beside}}{'difference [95 %]':>25}{'p':>8}{'p, Holm':>9}{'t test':>8}"
    )
    known = any(not np.isnan(row.t_low) for row in rows)
    with_t = known and len(titles) + len(_T_OVER_SEEDS) <= WIDTH
    titles += _T_OVER_SEEDS if with_t else ""
    lines = []
    for metric in dict.fromkeys(row.metric for row in rows):
        lines += [metric, titles]
        lines += [_line(row, width, beside, with_t) for row in rows if row.metric == metric]
        lines.append("")
    return "\n".join([*lines, *comparison.notes]).rstrip()


def _line(row: Row, width: int, beside: int, with_t: bool) -> str:
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
        line += f"{'-':>8}" if np.isnan(row.p_t) else f"{row.p_t:>8.4f}"
        if with_t:
            shown = "-" if np.isnan(row.t_low) else f"[{row.t_low:+.3f}, {row.t_high:+.3f}]"
            line += f"{shown:>{len(_T_OVER_SEEDS)}}"
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


def as_dict(comparison: Comparison) -> dict[str, dict[str, dict[str, Any]]]:
    """variant -> metric -> the row's numbers."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in comparison.rows:
        found.setdefault(row.variant, {})[row.metric] = row_as_dict(row)
    return found


def row_as_dict(row: Row) -> dict[str, Any]:
    """What the row holds besides its variant and its metric; NaN is None, as in JSON."""
    return {
        name: None if isinstance(value, float) and np.isnan(value) else value
        for name, value in vars(row).items()
        if name not in ("variant", "metric")
    }


def row_of_dict(variant: str, metric: str, found: Any) -> Row:
    """The row of what `row_as_dict` gave; without `ADDED` too.

    Raises:
      KeyError, TypeError, ValueError: another key is missing, or one is of another kind.
    """
    numbers = {}
    for field in dataclasses.fields(Row):
        if field.type is float:
            number = found.get(field.name) if field.name in ADDED else found[field.name]
            numbers[field.name] = np.nan if number is None else float(number)
    return Row(
        variant=variant,
        metric=metric,
        num_seeds=int(found["num_seeds"]),
        reference=str(found["reference"]),
        **numbers,
    )

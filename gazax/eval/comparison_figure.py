"""A comparison as a figure: lines against what was varied, or a row of points a variant."""

import dataclasses
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from etils import epath
from matplotlib.axes import Axes

from gazax.eval.comparison import Row
from gazax.train.files import whole

matplotlib.use("Agg")
from matplotlib import pyplot as plt

# Okabe and Ito 2008: told apart by the colour-blind; the markers by everybody on paper.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
MARKERS = "osD^vPX"
GREY = "#8a8a8a"


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a variant is in a figure of lines: its x, None = the same everywhere, and its line."""

    x: float | None
    line: str


def save_figure(
    out: epath.Path, rows: Sequence[Row], *, places: Mapping[str, Place], x_label: str, title: str
) -> None:
    """Writes ``out/figure.png`` and ``out/figure.svg``: one row of panels a metric.

    Left the means, right the differences to the references, with their 95 % intervals.

    Args:
      out: exists.
      rows: at least one.
      places: of every variant.
      x_label: what x is; '' = a line a variant, without x.
      title: above all.
    """
    metrics = list(dict.fromkeys(row.metric for row in rows))
    draw, side = (_draw_lines, 2.6) if x_label else (_draw_points, 0.7 + 0.27 * len(places))
    figure, axes = plt.subplots(
        len(metrics),
        2,
        figsize=(10.0, side * len(metrics) + 0.8),
        squeeze=False,
        layout="constrained",
    )
    figure.suptitle(title, fontsize=9, parse_math=False)
    for (left, right), metric in zip(axes, metrics, strict=True):
        of_metric = [row for row in rows if row.metric == metric]
        draw(left, right, of_metric, places)
        left.set_title(metric, fontsize=9, loc="left")
        lines = {places[row.reference].line for row in of_metric if row.reference}
        named = lines.pop() if len(lines) == 1 else "its reference"
        right.set_title(f"{metric}, minus {named}", fontsize=9, loc="left")
        for axis in (left, right):
            axis.spines[["top", "right"]].set_visible(False)
            axis.tick_params(labelsize=8)
    if x_label:
        for axis in axes[-1]:
            axis.set_xlabel(x_label, fontsize=9)
        handles, labels = _every_label([left for left, _ in axes])
        figure.legend(
            handles, labels, loc="outside lower center", ncols=min(len(labels), 5), fontsize=8
        )
    for suffix in ("png", "svg"):
        with whole(out / f"figure.{suffix}") as file:
            figure.savefig(file, format=suffix, dpi=130)
    plt.close(figure)


def _draw_points(left: Axes, right: Axes, rows: Sequence[Row], places: Mapping[str, Place]) -> None:
    """Every variant at its height, the first one on top."""
    names = list(places)
    for row in rows:
        height = names.index(row.variant)
        colour = COLOURS[height % len(COLOURS)]
        for axis, mean, low, high in _panels(left, right, row):
            axis.plot([low, high], [height, height], color=colour, linewidth=1.6)
            axis.plot(mean, height, "o", color=colour, markersize=5)
    by_name = {row.variant: row for row in rows}
    for reference in {row.reference for row in rows} & by_name.keys():
        left.axvline(by_name[reference].mean, color=GREY, linewidth=0.8, linestyle=":", zorder=0)
    right.axvline(0, color=GREY, linewidth=0.8, zorder=0)
    for axis in (left, right):
        axis.set_ylim(len(names) - 0.5, -0.5)
        axis.set_yticks(range(len(names)), names if axis is left else [])
        axis.grid(axis="x", color="#e6e6e6", linewidth=0.6)
        axis.set_axisbelow(True)


def _draw_lines(left: Axes, right: Axes, rows: Sequence[Row], places: Mapping[str, Place]) -> None:
    """Lines through the variants of a line, by x; one without x is a level line."""
    lines = list(dict.fromkeys(place.line for place in places.values()))
    ticks = sorted({place.x for place in places.values() if place.x is not None})
    for number, line in enumerate(lines):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        of_line = [row for row in rows if places[row.variant].line == line]
        for axis in (left, right):
            points = []
            for row in of_line:
                x = places[row.variant].x
                for panel, *numbers in _panels(left, right, row):
                    if panel is not axis:
                        continue
                    if x is None:
                        axis.axhline(numbers[0], color=colour, linestyle="--", label=line)
                        axis.axhspan(*numbers[1:], color=colour, alpha=0.10, linewidth=0)
                    else:
                        points.append((x, *numbers))
            if points:
                x, mean, low, high = np.array(sorted(points)).T
                axis.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
                axis.plot(x, mean, color=colour, marker=marker, markersize=5, label=line)
    right.axhline(0, color=GREY, linewidth=1.0)
    for axis in (left, right):
        if len(ticks) > 1 and ticks[0] > 0 and ticks[-1] / ticks[0] > 10:
            axis.set_xscale("log")
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.set_xticks([], minor=True)
        axis.grid(color="#e6e6e6", linewidth=0.6)
        axis.set_axisbelow(True)


def _panels(left: Axes, right: Axes, row: Row) -> list[tuple[Axes, float, float, float]]:
    """The panels that the row has a number for."""
    panels = [
        (left, row.mean, row.low, row.high),
        (right, row.difference, row.difference_low, row.difference_high),
    ]
    return [panel for panel in panels if not np.isnan(panel[1])]


def _every_label(axes: Sequence[Axes]) -> tuple[list, list[str]]:
    """One handle a label, whichever panel has it."""
    found = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    return list(found.values()), list(found)

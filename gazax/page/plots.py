"""Plots as SVG inside the page: text stays text and takes the colour of the page's own text."""

import contextlib
import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Far enough from white and from black for both themes.
COLOURS = ("#2f7fd0", "#dd7324", "#2a9d6f", "#c2559a", "#8672d8", "#a88a12", "#3fa3b5", "#d25450")
DASHES = ("solid", "dashed", "dotted", "dashdot")
_INK = "#010203"  # stands for currentColor, which matplotlib does not know
_PX = 1 / 72  # inches: the SVG backend draws 72 px an inch
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "gazax",
    "font.size": 11,
    "axes.labelsize": 11,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _INK,
    "grid.alpha": 0.14,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.limits": (-3, 4),
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "lines.linewidth": 1.6,
}


class Line(NamedTuple):
    """One run's curve: the run's place among all decides colour and dash."""

    x: np.ndarray
    y: np.ndarray
    place: int


def colour_and_dash(place: int) -> tuple[str, str]:
    """How the run at that place is drawn; colours repeat with another dash."""
    return COLOURS[place % len(COLOURS)], DASHES[place // len(COLOURS) % len(DASHES)]


def swatch(place: int) -> str:
    """The mark of a run in a legend."""
    colour, dash = colour_and_dash(place)
    css = {"solid": "solid", "dashed": "dashed", "dotted": "dotted", "dashdot": "double"}[dash]
    return f'<i class="line" style="border-top:3px {css} {colour}"></i>'


def dot(colour: str) -> str:
    """The mark of a class or of a reader in a legend."""
    return f'<i class="dot" style="background:{colour}"></i>'


def line_plot(lines: Sequence[Line], *, x_label: str, description: str) -> str:
    """Curves over a common axis; gaps where a value is NaN.

    Args:
      lines: a single point is drawn as a dot.
      x_label: of the axis.
      description: what somebody hears who does not see the plot.
    """
    with _axes(description) as (axes, result):
        for line in lines:
            colour, dash = colour_and_dash(line.place)
            marker = "o" if np.isfinite(line.y).sum() == 1 else None
            axes.plot(line.x, line.y, color=colour, linestyle=dash, marker=marker, markersize=4)
        axes.set_xlabel(x_label)
    return result[0]


def unit_plot(
    lines: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    chance: Sequence[tuple[float, float]],
    description: str,
) -> str:
    """Curves from 0 to 1 on both axes, such as ROC and PR.

    Args:
      lines, description: as in `line_plot`.
      x_label, y_label: of the axes.
      chance: (x, y) at both ends of the thin line of a score that knows nothing.
    """
    with _axes(description, height=250) as (axes, result):
        axes.plot(*zip(*chance, strict=True), color=_INK, alpha=0.45, linewidth=1, dashes=(2, 3))
        for line in lines:
            colour, dash = colour_and_dash(line.place)
            axes.plot(line.x, line.y, color=colour, linestyle=dash)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=x_label, ylabel=y_label)
        axes.set_xticks((0, 0.5, 1), ("0", ".5", "1"))
        axes.set_yticks((0, 0.5, 1), ("0", ".5", "1"))
    return result[0]


def scatter_plot(
    points: np.ndarray, groups: np.ndarray, colours: Sequence[str], *, description: str
) -> str:
    """Points without axes, for an embedding whose units say nothing.

    Args:
      points: [n, 2].
      groups: [n] places in ``colours``.
      colours: of the groups.
      description: as in `line_plot`.
    """
    with _axes(description, height=280) as (axes, result):
        for place, colour in enumerate(colours):
            own = points[groups == place]
            axes.scatter(own[:, 0], own[:, 1], s=11, color=colour, alpha=0.8, linewidths=0)
        axes.set_xticks(())
        axes.set_yticks(())
        axes.spines[:].set_visible(False)
        axes.set_aspect("equal", adjustable="datalim")
    return result[0]


@contextlib.contextmanager
def _axes(
    description: str, *, width: int = 320, height: int = 200
) -> Iterator[tuple[Axes, list[str]]]:
    """Axes to draw on; the list holds the SVG once the block has ended."""
    result: list[str] = []
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width * _PX, height * _PX), layout="constrained")
        yield figure.add_subplot(), result
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    result.append(_inline(buffer.getvalue(), description))


def _inline(drawn: str, description: str) -> str:
    """A file of matplotlib as an element of the page."""
    inside = drawn[drawn.index("<svg") :]
    inside = re.sub(r"<metadata>.*?</metadata>\s*", "", inside, flags=re.DOTALL)
    inside = re.sub(r"<!--.*?-->\s*", "", inside, flags=re.DOTALL)
    inside = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", inside, flags=re.DOTALL)
    inside = re.sub(r"font-family: [^;\"]*; ", "", inside)
    inside = inside.replace(_INK, "currentColor")
    # Names are the page's, not the picture's: two pictures must not share one.
    own = "g" + hashlib.sha256((description + inside).encode()).hexdigest()[:10]
    used = set(re.findall(r"#([\w.-]+)", inside))
    inside = re.sub(
        r' id="([^"]+)"',
        lambda found: f' id="{own}-{found[1]}"' if found[1] in used else "",
        inside,
    )
    inside = re.sub(r"url\(#([^)]+)\)", rf"url(#{own}-\1)", inside)
    inside = re.sub(r'href="#([^"]+)"', rf'href="#{own}-\1"', inside)
    view = re.search(r'viewBox="([^"]+)"', inside)
    body = inside[inside.index(">") + 1 :].strip()
    box = view[1] if view else "0 0 320 200"
    return (
        f'<svg viewBox="{box}" role="img" aria-label="{escape(description)}" '
        f'xmlns:xlink="http://www.w3.org/1999/xlink">{body}\n'
    )

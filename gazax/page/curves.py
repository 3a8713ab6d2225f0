"""Figures of runs: how training went, ROC and precision-recall, embeddings."""

from collections.abc import Sequence
from html import escape

import numpy as np

from gazax.metrics.curves import precision_recall_curve, roc_curve
from gazax.page import html, plots
from gazax.page.names import row_title
from gazax.page.runs import Run

POINTS = 300
"""Most points of a training curve; more are averaged."""

MOST_LABELS = 6
"""More labels than that are drawn together, as if they were one."""

MOST_DOTS = 2000
"""Of an embedding."""

CURVED = ("probe", "classifier", "anomaly_mahalanobis", "anomaly_knn")
"""Rows whose scores get curves."""

OTHER = "#8a8f98"


def training(runs: Sequence[Run]) -> list[str]:
    """A panel for each term of the loss and each validation number, a line a run."""
    groups = {"Loss": "loss", "Validation": "validation"}
    parts = []
    constant = []
    for title, beginning in groups.items():
        panels = []
        for name in _names(runs, beginning):
            lines = [
                plots.Line(*_points(run.metrics, name), place) for place, run in enumerate(runs)
            ]
            lines = [line for line in lines if np.isfinite(line.y).any()]
            if not lines:
                continue
            if _is_constant(lines) and beginning == "validation":
                constant.append(f"{_short(name)} ({_values(lines)})")
                continue
            drawn = plots.line_plot(
                lines, x_label="step", description=f"{_short(name)} against the step"
            )
            panels.append(html.figure(drawn, escape(_short(name))))
        if panels:
            parts += [f"<h3>{title}</h3>", html.grid(panels)]
    if constant:
        parts.append(html.paragraph("The same at every step: " + "; ".join(constant) + "."))
    return parts


def _names(runs: Sequence[Run], beginning: str) -> list[str]:
    """Logged numbers called ``beginning`` or ``beginning/...``, in the order of the log."""
    names = dict.fromkeys(name for run in runs for line in run.metrics for name in line)
    return [name for name in names if name.split("/")[0] == beginning]


def _points(lines: Sequence[dict[str, float]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """(steps, values) of a logged number, averaged to at most `POINTS`."""
    found = [
        (line["step"], line[name]) for line in lines if isinstance(line.get(name), int | float)
    ]
    points = np.array(found, np.float64).reshape(-1, 2)
    if len(points) > POINTS:
        parts = np.array_split(points, POINTS)
        points = np.stack([part.mean(axis=0) for part in parts])
    return points[:, 0], points[:, 1]


def _is_constant(lines: Sequence[plots.Line]) -> bool:
    return all(line.y.size > 1 and np.ptp(line.y) == 0 for line in lines)


def _values(lines: Sequence[plots.Line]) -> str:
    return ", ".join(dict.fromkeys(f"{line.y[0]:.3f}" for line in lines))


def _short(name: str) -> str:
    return name.removeprefix("validation/").replace("_", " ")


def thresholds(runs: Sequence[Run]) -> list[str]:
    """ROC and precision-recall curves of each row, a panel a label, a line a run."""
    parts = []
    for row in CURVED:
        own = [(place, run) for place, run in enumerate(runs) if row in run.record.scores]
        panels = []
        for name in dict.fromkeys(name for _, run in own for name in _targets(run, row)):
            of_label = [
                (place, *_targets(run, row)[name])
                for place, run in own
                if name in _targets(run, row)
            ]
            panels.append(_curves(of_label, name))
        kinds = [figure for kind in zip(*filter(None, panels), strict=True) for figure in kind]
        if kinds:  # all ROC curves, then all of precision
            parts += [f"<h3>{escape(row_title(row))}</h3>", html.grid(kinds)]
    return parts


def _targets(run: Run, row: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What a row's scores are held against: name -> (scores [n], target [n])."""
    scores, target = run.record.scores[row].mean(axis=0), run.record.target(row)
    width = target.shape[1]
    if width > MOST_LABELS:
        return {f"all {width} labels together": (scores.ravel(), target.ravel())}
    if row in run.record.targets:
        names = ["abnormal"] if width == 1 else [f"target {k}" for k in range(width)]
    else:
        names = [str(name) for name in run.record.label_names]
    return {name: (scores[:, k], target[:, k]) for k, name in enumerate(names)}


def _curves(of_label: Sequence[tuple[int, np.ndarray, np.ndarray]], name: str) -> list[str]:
    roc, precision, shares = [], [], []
    for place, scores, target in of_label:
        known = np.isfinite(scores)
        x, y = roc_curve(scores[known], target[known])
        if np.isnan(x).any():
            continue
        roc.append(plots.Line(x, y, place))
        recall, found = precision_recall_curve(scores[known], target[known])
        precision.append(plots.Line(*_steps(recall, found), place))
        shares.append(float(np.nanmean(target[known])))
    if not roc:
        return []
    share = float(np.mean(shares))
    left = plots.unit_plot(
        roc,
        x_label="false positive rate",
        y_label="true positive rate",
        chance=((0, 0), (1, 1)),
        description=f"ROC curves, {name}",
    )
    right = plots.unit_plot(
        precision,
        x_label="recall",
        y_label="precision",
        chance=((0, share), (1, share)),
        description=f"precision-recall curves, {name}",
    )
    return [
        html.figure(left, f"{escape(name)}: ROC"),
        html.figure(right, f"{escape(name)}: precision-recall"),
    ]


def _steps(recall: np.ndarray, precision: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the steps: a point's precision holds from the recall before it to its own."""
    before = np.concatenate([[0.0], recall[:-1]])
    return np.stack([before, recall], axis=1).ravel(), np.repeat(precision, 2)


def embeddings(runs: Sequence[Run]) -> list[str]:
    """A panel a run that has an embedding, coloured by label."""
    parts = []
    names: dict[str, str] = {}
    panels = []
    for run in runs:
        points = run.record.embedding
        if points.shape[1] != 2:
            continue
        groups, titles = _label_groups(run)
        for title in titles:
            names.setdefault(title, plots.COLOURS[len(names) % len(plots.COLOURS)])
        names |= {title: OTHER for title in ("none", "unknown") if title in names}
        rows = np.linspace(0, len(points) - 1, min(len(points), MOST_DOTS)).round().astype(int)
        drawn = plots.scatter_plot(
            points[rows],
            groups[rows],
            [names[title] for title in titles],
            description=f"t-SNE of {run.name}, coloured by label",
        )
        panels.append(html.figure(drawn, html.breakable(run.name)))
    if panels:
        parts.append(html.legend([(plots.dot(colour), name) for name, colour in names.items()]))
        parts.append(html.grid(panels))
    return parts


def _label_groups(run: Run) -> tuple[np.ndarray, list[str]]:
    """[n] places in the titles: a label alone, several, none, or unknown."""
    label = run.record.label
    titles = [str(name) for name in run.record.label_names]
    k = len(titles)
    present = np.nan_to_num(label) == 1
    count = present.sum(axis=1)
    first = present.argmax(axis=1) if k else np.zeros(len(label), int)
    groups = np.where(count == 1, first, np.where(count > 1, k, k + 1))
    groups = np.where((count == 0) & np.isnan(label).any(axis=1), k + 2, groups)
    titles += ["several", "none", "unknown"]
    used = np.unique(groups)
    return np.searchsorted(used, groups), [titles[place] for place in used]

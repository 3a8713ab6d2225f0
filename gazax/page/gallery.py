"""Single images: what people looked at, the maps of each model, and what it says."""

import math
from collections.abc import Sequence
from html import escape

import numpy as np

from gazax.page import html, pictures, plots
from gazax.page.names import attention_title, row_title
from gazax.page.runs import Case, Run


def gallery(runs: Sequence[Run], groups: Sequence[int]) -> list[str]:
    """A block an image: the image, gaze if any, and the maps and prediction of each run.

    Args:
      runs: those of the same images stand side by side.
      groups: one a run; runs of one number have the same test images.
    """
    cases: dict[tuple[int, str], list[tuple[Run, Case]]] = {}
    for run, group in zip(runs, groups, strict=True):
        for case in run.cases():
            cases.setdefault((group, case.image_id), []).append((run, case))
    if not cases:
        return []
    colours = reader_colours([case for shown in cases.values() for _, case in shown])
    blocks = [
        _case(image_id, shown, colours, number)
        for number, ((_, image_id), shown) in enumerate(cases.items(), start=1)
    ]
    scale = (
        '<p class="scale"><span>lowest</span><i role="img" aria-label="colours of the heat maps, '
        f'from black over red to yellow" style="background:{pictures.scale()}'
        '"></i><span>highest value of each map</span></p>'
    )
    readers = [(plots.dot(colour), name) for name, colour in colours.items()]
    return [scale, *([html.legend(readers)] if readers else []), *blocks]


def reader_colours(cases: Sequence[Case]) -> dict[str, str]:
    """A colour for each reader of any of the images; they repeat if there are many."""
    names = sorted({str(name) for case in cases for name in case.reader_names})
    return {
        name: pictures.READER_COLOURS[place % len(pictures.READER_COLOURS)]
        for place, name in enumerate(names)
    }


def _case(
    image_id: str, shown: Sequence[tuple[Run, Case]], colours: dict[str, str], number: int
) -> str:
    case = next((case for _, case in shown if case.has_gaze), shown[0][1])
    what = f"image {image_id}"
    address = pictures.grey(case.image)
    panels = [_panel(pictures.layer(address, what), case, "image")]
    for row, name in enumerate(map(str, case.reader_names)):
        own = case.xy[case.reader == row]
        layers = _map(case, case.reader_gaze[row], f"{len(own)} fixations of {name} on {what}")
        layers += pictures.circles(own, colours[name], size=case.size)
        panels.append(_panel(layers, case, f"gaze of {name}"))
    if case.has_gaze:
        everyone = _map(case, case.gaze, f"gaze map of all readers on {what}")
        panels.append(_panel(everyone, case, _named("gaze of all", case, case.gaze)))
    marked = next((own.maps["marked"] for _, own in shown if "marked" in own.maps), None)
    if marked is not None:
        layers = _map(case, marked, f"{row_title('marked')} on {what}")
        panels.append(_panel(layers, case, _named(row_title("marked"), case, marked)))
    for run, own in shown:
        other = "" if np.array_equal(own.image, case.image) else pictures.grey(own.image)
        for row, one in own.maps.items():
            if row == "marked":
                continue
            title = row_title(row).lower()
            if row == "attention":
                title = attention_title(run.settings)
            layers = _map(own, one, f"{title} of {run.name} on {what}")
            caption = _named(f"{title}: {run.name}", own, one)
            panels.append(_panel(layers, own, caption, image=other))
    heading = f'<h3 id="case-{number}">{escape(image_id)}</h3>'
    return (
        f'<article class="case" aria-labelledby="case-{number}" style="{pictures.over(address)}">\n'
        f"{heading}\n"
        + ("" if case.has_gaze else html.paragraph("No gaze is known on this image.") + "\n")
        + html.grid(panels, kind="panels")
        + _predictions(image_id, shown)
        + "</article>"
    )


def _map(case: Case, one: np.ndarray, alt: str) -> str:
    return pictures.layer(pictures.heat(one, content=case.content), alt)


def _named(caption: str, case: Case, one: np.ndarray) -> str:
    return caption if pictures.scaled(one, case.content).any() else f"{caption} (constant)"


def _panel(layers_html: str, case: Case, caption: str, *, image: str = "") -> str:
    stack = pictures.stack(layers_html, size=case.size, image=image)
    return (
        f'<figure class="panel">{stack}<figcaption>{html.breakable(caption)}</figcaption></figure>'
    )


def _predictions(image_id: str, shown: Sequence[tuple[Run, Case]]) -> str:
    """Truth beside each run's probability; '' where no run has any label."""
    names = list(dict.fromkeys(str(name) for _, case in shown for name in case.label_names))
    if not names:
        return ""
    rows = []
    for name in names:
        cells = [_truth(name, [case for _, case in shown])]
        cells += [_probability(name, case) for _, case in shown]
        rows.append(html.Row(escape(name), cells))
    return html.table(
        caption=f"Probabilities beside the truth, {image_id}",
        columns=("Label", "Truth", *(run.name for run, _ in shown)),
        groups=[("", rows)],
        kind="predictions",
    )


def _value(name: str, values: np.ndarray, case: Case) -> float:
    places = np.flatnonzero(case.label_names == name)
    return float(values[places[0]]) if places.size else math.nan


def _truth(name: str, cases: Sequence[Case]) -> str:
    known = [value for case in cases if not math.isnan(value := _value(name, case.label, case))]
    if not known:
        return "unknown"
    return '<b class="present">● present</b>' if known[0] == 1 else "○ absent"


def _probability(name: str, case: Case) -> str:
    value = _value(name, case.probability, case)
    if math.isnan(value):
        return html.DASH
    share = f"{100 * min(max(value, 0), 1):.0f}%"
    return f'<span class="bar" style="--share:{share}">{value:.2f}</span>'

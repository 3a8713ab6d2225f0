"""The report: a sweep's table, and runs side by side, from what differs to single images."""

from collections.abc import Sequence
from html import escape

import gazax
from gazax.page import curves, html, plots
from gazax.page.gallery import gallery
from gazax.page.private import without_names, without_paths
from gazax.page.remarks import suite_remarks
from gazax.page.runs import Run, image_groups
from gazax.page.settings import settings_table
from gazax.page.sweep import SweepTable, sweep_parts
from gazax.page.tables import Compared, suite_tables, suite_title, suites_of


def report_page(
    runs: Sequence[Run],
    reference: str,
    compared: Compared,
    notes: Sequence[str],
    *,
    images: bool,
    sweep: SweepTable | None = None,
) -> str:
    """The page, as the text of one HTML file.

    Args:
      runs: in the order of the page; none: the page is of the sweep alone.
      reference: the name of the run that the others are compared with.
      compared, notes: of `gazax.page.tables.compare_suites`.
      images: whether to show single images. Without, no pixel, name or prediction of any image is
        in the page, no reader's name and no path of the runs' configs or of the sweep's commands.
      sweep: stands before the runs.
    """
    parts: list[tuple[str, str, list[str]]] = []
    if sweep and not images:
        sweep = without_paths(sweep)
    if sweep:
        parts.append(("sweep", "Table of the sweep", sweep_parts(sweep)))
    groups = image_groups([run.record for run in runs])
    if not images:
        runs = without_names(runs)
    if runs:
        parts += _of_runs(runs, reference, groups, compared, notes, images)
    title = _title(runs, sweep)
    links = "".join(f'<li><a href="#{anchor}">{escape(name)}</a></li>' for anchor, name, _ in parts)
    top = [f"<h1>{escape(title)}</h1>", *_phantoms(runs, sweep), *_caveats(runs, sweep)]
    if runs:
        top.append(html.paragraph(_summary(runs, reference, groups), kind="lead"))
    if len(parts) > 1:
        top.append(f'<nav aria-label="Contents"><ul>{links}</ul></nav>')
    sections = [html.section(name, *found, anchor=anchor) for anchor, name, found in parts]
    return html.document(
        title=f"gazax: {title}",
        style=html.asset("base.css") + html.asset("report.css"),
        body_html=(
            f'<a class="skip" href="#{"sweep" if sweep else "numbers"}">Skip to the numbers</a>\n'
            "<main>\n<header>\n"
            + "\n".join(top)
            + "\n</header>\n"
            + "\n".join(sections)
            + f"\n</main>\n<footer><p>gazax {escape(gazax.__version__)}</p></footer>"
        ),
    )


def _title(runs: Sequence[Run], sweep: SweepTable | None) -> str:
    if not sweep:
        return runs[0].name if len(runs) == 1 else f"{len(runs)} runs compared"
    if not runs:
        return f"Sweep {sweep.name}"
    beside = f"the run {runs[0].name}" if len(runs) == 1 else f"{len(runs)} runs compared"
    return f"Sweep {sweep.name}, and {beside}"


def _phantoms(runs: Sequence[Run], sweep: SweepTable | None) -> list[str]:
    """The banner, where any number of the page was made with simulated images."""
    phantoms = [f"sweep {sweep.name}"] if sweep and sweep.phantom else []
    phantoms += [run.name for run in runs if run.phantom]
    if not phantoms:
        return []
    which = "" if len(phantoms) == len(runs) + bool(sweep) else f" ({', '.join(phantoms)})"
    return [
        html.banner(
            f"Phantom numbers{which}: images and gaze are simulated. They say nothing about "
            "patients."
        )
    ]


def _caveats(runs: Sequence[Run], sweep: SweepTable | None) -> list[str]:
    """A banner for what each protocol makes of the numbers of some runs, and of which."""
    said = [(words, f"sweep {sweep.name}") for words in sweep.caveats] if sweep else []
    said += [(run.caveat, run.name) for run in runs if run.caveat]
    found: dict[str, list[str]] = {}
    for words, name in said:
        found.setdefault(words, []).append(name)
    return [
        html.banner(f"{text[:1].upper()}{text[1:]} ({', '.join(names)}).")
        for text, names in found.items()
    ]


def _of_runs(
    runs: Sequence[Run],
    reference: str,
    groups: Sequence[int],
    compared: Compared,
    notes: Sequence[str],
    images: bool,
) -> list[tuple[str, str, list[str]]]:
    """The sections of single runs: (anchor, title, what is in it)."""
    parts: list[tuple[str, str, list[str]]] = [("differs", "What differs", _differs(runs, images))]
    parts.append(("numbers", "Numbers", _numbers(runs, reference, groups, compared, notes)))
    key = html.legend([(plots.swatch(place), run.name) for place, run in enumerate(runs)])
    for anchor, title, found, lead in (
        ("training", "Training", curves.training(runs), ""),
        (
            "thresholds",
            "ROC and precision-recall curves",
            curves.thresholds(runs),
            "Test split. Thin dotted lines: scores that know nothing.",
        ),
    ):
        if found:
            parts.append((anchor, title, [*([html.paragraph(lead)] if lead else []), key, *found]))
    if found := curves.embeddings(runs):
        lead = "t-SNE of the features of the test split; axes and distances have no unit."
        parts.append(("embedding", "Embeddings", [html.paragraph(lead), *found]))
    parts.append(("gallery", "Single images", _gallery(runs, groups, images)))
    return parts


def _summary(runs: Sequence[Run], reference: str, groups: Sequence[int]) -> str:
    first = next(run for run in runs if run.name == reference)
    found = first.evaluation
    same = len(set(groups)) == 1
    apart = "" if first.caveat else " that took no part in training"
    text = (
        f"{'The run' if len(runs) == 1 else f'{len(runs)} runs'} on the test split"
        f"{'' if same else f' (of {reference})'}: {found['images']} images of "
        f"{found['patients']} patients{apart}. Brackets hold 95 % intervals over patients, "
        "and over draws where a probe has few labels."
    )
    if len(runs) > 1:
        text += f" Every run is compared with {reference}, image by image."
        text += " " + _note(runs, reference)
    if not same:
        text += " Not all runs have its test images and labels: those are shown, and not compared."
    return text


def _note(runs: Sequence[Run], reference: str) -> str:
    steps = list(dict.fromkeys(run.evaluation["step"] for run in runs))
    if len(steps) == 1:
        return f"All were evaluated at step {steps[0]}."
    return (
        "Evaluated at steps " + ", ".join(f"{r.evaluation['step']} ({r.name})" for r in runs) + "."
    )


def _differs(runs: Sequence[Run], images: bool) -> list[str]:
    if len(runs) == 1:
        return [html.paragraph("One run is shown; there is nothing to hold it against.")]
    table = settings_table(runs)
    same = "All other keys are the same in every run."
    if not table:
        same = "The configs of all runs are the same."
    if not images:
        same = f"{same[:-1]}, but for paths and readers' names, which are left out on request."
    return [*([table] if table else []), html.paragraph(same)]


def _numbers(
    runs: Sequence[Run],
    reference: str,
    groups: Sequence[int],
    compared: Compared,
    notes: Sequence[str],
) -> list[str]:
    parts = []
    if len(runs) > 1:
        parts.append(
            html.paragraph(
                f"Below a number: the difference from {reference} on the same images, its "
                "95 % interval, and its p value after Holm's correction for all comparisons of "
                "that table; ▲ better and ▼ worse at p < .05. Both are bootstrapped like the "
                "intervals: each run is one seed, and nothing here says what another seed would "
                "give. Numbers that are neither a mean over images nor an area under a curve are "
                "not compared."
            )
        )
        parts.append(
            html.details("Notes on the comparisons", [html.paragraph(note) for note in notes])
        )
    home = groups[[run.name for run in runs].index(reference)]
    unpaired = [run.name for run, group in zip(runs, groups, strict=True) if group != home]
    if unpaired:
        parts.append(
            html.banner(
                f"Not paired with {reference}: {', '.join(unpaired)}. The test images, their "
                "patients or labels are others."
            )
        )
    first = next(run for run in runs if run.name == reference)
    others = [
        run.name
        for run, group in zip(runs, groups, strict=True)
        if group == home and run.data != first.data
    ]
    if others:
        parts.append(
            html.banner(
                f"Of other records than {reference}: {', '.join(others)}. The test images have the "
                "same names, patients and labels, and their pixels or gaze may differ: another "
                "size, another data set of these names, other settings of the same. A difference "
                "may come from that."
            )
        )
    for suite in suites_of(runs):
        parts.append(f"<h3>{escape(suite_title(suite, runs))}</h3>")
        parts += suite_tables(suite, runs, reference, compared)
        parts += suite_remarks(suite, runs)
    return parts


def _gallery(runs: Sequence[Run], groups: Sequence[int], images: bool) -> list[str]:
    if not images:
        return [html.paragraph("Left out on request: this page holds no pixel of any image.")]
    found = gallery(runs, groups)
    if not found:
        text = "No image was set aside; python -m gazax.evaluate --gallery=NUMBER sets some aside."
        return [html.paragraph(text)]
    return found

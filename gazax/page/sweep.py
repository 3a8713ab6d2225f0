"""The table of a sweep: variants against metrics, with its figure and what is missing."""

import base64
import dataclasses
import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any
from xml.etree import ElementTree

from etils import epath

from gazax.eval import contrasts, paper_table
from gazax.eval.comparison import Row, row_of_dict
from gazax.eval.report import PROTOCOLS, protocol_words
from gazax.page import html
from gazax.page.names import metric_title, split_name
from gazax.page.paper_table import contrast_parts, paper_table_parts
from gazax.page.tables import cell
from gazax.train.workdir import read_json
from gazax.typing import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepTable:
    """What a sweep found.

    Attributes:
      name: of its folder.
      found: `table.json` as it is.
      rows: variant -> metric -> its numbers, in the order of the page.
      tables: in a paper's layout.
      contrasts: the questions; None = there are none.
      figure: the text of `figure.svg`; '' = there is none.
    """

    name: str
    found: dict[str, Any]
    rows: Mapping[str, Mapping[str, Row]]
    tables: tuple[paper_table.PaperTable, ...]
    contrasts: contrasts.Contrasts | None
    figure: str

    @property
    def phantom(self) -> bool:
        """Whether any of its images are simulated."""
        said = "phantom numbers" in self.found["title"]  # all that tables of before have
        return said or bool(self.found.get("phantom_numbers"))

    @property
    def caveats(self) -> list[str]:
        """What the protocols of its runs make of its numbers, as its title says it."""
        known = filter(None, map(protocol_words, PROTOCOLS))
        return [words for words in known if words in self.found["title"]]


def load_sweep(given: str) -> SweepTable:
    """The table and the figure in the folder of a sweep.

    Raises:
      InputError: there is no such folder, no table in it, or one of the files is damaged.
    """
    folder = epath.Path(given).expanduser()
    if not folder.is_dir():
        raise InputError(f"--sweep={given}: there is no such folder.")
    path = folder / "table.json"
    command = f"python -m gazax.sweep --config=FILE --out={given}"
    if not path.exists():
        what = "its sweep has not ended" if (folder / "sweep.json").exists() else "it is no sweep's"
        raise InputError(f"--sweep={given} has no table.json: {what}; run {command} first.")
    found = read_json(path)
    try:
        rows = _check(found)
        tables = tuple(map(paper_table.from_dict, found.get("tables", [])))
        asked = contrasts.from_dict(found["contrasts"]) if found.get("contrasts") else None
    except (AttributeError, KeyError, TypeError, ValueError, InputError) as error:
        raise InputError(
            f"'{path}' is damaged ({type(error).__name__}: {error}); run {command} again, which "
            "trains nothing that is finished."
        ) from None
    return SweepTable(
        name=folder.resolve().name,
        found=found,
        rows=rows,
        tables=tables,
        contrasts=asked,
        figure=_read_figure(folder / "figure.svg", command) if rows else "",
    )


def _check(found: dict[str, Any]) -> dict[str, dict[str, Row]]:
    """The rows; raises wherever a key is missing or of another kind."""
    for key, kind in {"title": str, "made": str, "notes": list, "missing": dict}.items():
        if not isinstance(found[key], kind):
            raise TypeError(f"'{key}' is no {kind.__name__}")
    texts = [*found["notes"], *found["missing"].values()]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("'notes' and 'missing' hold other things than text")
    return {
        variant: {metric: row_of_dict(variant, metric, one) for metric, one in metrics.items()}
        for variant, metrics in found["variants"].items()
    }


def _read_figure(path: epath.Path, command: str) -> str:
    if not path.exists():
        return ""
    try:
        text = path.read_text()
        ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise InputError(f"'{path}' is damaged ({error}); run {command} again.") from None
    return text


def sweep_parts(sweep: SweepTable) -> list[str]:
    """The section of a sweep: tables, figure, contrasts, notes, and the runs that are missing."""
    found = sweep.found
    parts = [html.paragraph(f"{found['title'][:1].upper()}{found['title'][1:]}.")]
    if found["missing"]:
        parts += _missing(found["missing"])
    if not sweep.rows:
        parts.append(html.paragraph("No run is finished: there are no numbers yet."))
    else:
        references = _references(sweep)
        parts += [html.paragraph(_legend(sweep, references)), _table(sweep, references)]
        parts += _figure(sweep)
    for table in sweep.tables:
        parts += paper_table_parts(table)
    if sweep.contrasts:
        parts += contrast_parts(sweep.contrasts)
    if found["notes"]:
        parts += ["<h3>Notes</h3>", html.items(found["notes"])]
    parts += ["<h3>How it was made</h3>", f'<p class="made">{html.breakable(found["made"])}</p>']
    return parts


def _references(sweep: SweepTable) -> list[str]:
    """What variants are compared with, each once."""
    rows = (row for metrics in sweep.rows.values() for row in metrics.values())
    return list(dict.fromkeys(row.reference for row in rows if row.reference))


def _legend(sweep: SweepTable, references: Sequence[str]) -> str:
    text = (
        "A cell holds the mean over seeds, draws and images, and its 95 % interval over seeds, "
        "draws and patients"
    )
    spreads = [row.sd for own in sweep.rows.values() for row in own.values()]
    text += "." if all(map(math.isnan, spreads)) else "; sd: standard deviation of the seeds."
    if references:
        whom = references[0] if len(references) == 1 else "the variant named at the left"
        text += (
            f" Below: the difference from {whom}, paired by seed, draw and image, its "
            "95 % interval, and its two-sided p value after Holm's correction for all differences "
            "of the table; ▲ better and ▼ worse at p\N{NO-BREAK SPACE}<\N{NO-BREAK SPACE}.05."
        )
    return text


def _table(sweep: SweepTable, references: Sequence[str]) -> str:
    metrics = list(dict.fromkeys(metric for own in sweep.rows.values() for metric in own))
    lines = []
    for variant, own in sweep.rows.items():
        cells = [_cell(own.get(metric)) for metric in metrics]
        lines.append(html.Row(_heading(variant, own, references), cells))
    return html.table(
        caption=f"Variants of the sweep {sweep.name}",
        columns=("Variant", *map(metric_title, metrics)),
        groups=[("", lines)],
        kind="numbers",
    )


def _heading(variant: str, own: Mapping[str, Row], references: Sequence[str]) -> str:
    """The name, whether others are compared with it, over how many seeds, and against what."""
    heading = html.breakable(variant)
    if variant in references:
        heading += ' <span class="tag">reference</span>'
    counts = sorted({row.num_seeds for row in own.values()})
    about = f"{' or '.join(map(str, counts))} {'seed' if counts == [1] else 'seeds'}"
    against = dict.fromkeys(row.reference for row in own.values() if row.reference)
    if len(references) > 1 and against:
        about += f", against {' or '.join(map(html.breakable, against))}"
    return f'{heading} <span class="of seeds">{about}</span>'


def _cell(row: Row | None) -> str:
    if row is None:
        return cell(None, None, "")
    compared = None if math.isnan(row.difference) else row
    _, column = split_name(row.metric)
    return cell((row.mean, row.low, row.high), compared, column, sd=row.sd)


def _figure(sweep: SweepTable) -> list[str]:
    """The figure as an image of its own: its ids and styles stay out of the page's."""
    title = "Left the means, right the differences, with their 95 % intervals"
    if not sweep.figure:
        return [html.paragraph("There is no figure: the sweep's folder has no figure.svg.")]
    address = base64.b64encode(sweep.figure.encode()).decode()
    alt = f"{title}. All of its numbers are in the table of the sweep."
    box = (
        f'<div class="scroll paper" role="region" tabindex="0" aria-label="{escape(title)}">\n'
        f'<img src="data:image/svg+xml;base64,{address}" alt="{escape(alt)}">\n</div>'
    )
    return [html.figure(box, escape(title))]


def _missing(missing: Mapping[str, str]) -> list[str]:
    """Which runs have no numbers, by reason."""
    reasons: dict[str, list[str]] = {}
    for run, reason in missing.items():
        reasons.setdefault(reason, []).append(run)
    count = "1 run is" if len(missing) == 1 else f"{len(missing)} runs are"
    return [
        html.banner(f"{count} missing, and not in these numbers:"),
        html.items([f"{'; '.join(runs)}: {reason}" for reason, runs in reasons.items()]),
    ]

"""Building blocks of a page that stands alone: no network, no script or font from elsewhere.

What a parameter called ``*_html`` holds goes into the page as it is; any other text is escaped.
"""

import importlib.resources
import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"

MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"
"""A value that is not there."""


class Row(NamedTuple):
    """A line of a table: its heading and its cells."""

    heading_html: str
    cells_html: Sequence[str]


def asset(name: str) -> str:
    """A style sheet or script that lies beside this file."""
    return (importlib.resources.files("gazax.page") / name).read_text(encoding="utf-8")


def document(*, title: str, body_html: str, style: str, script: str = "") -> str:
    """A whole page. Its policy has the browser refuse any request that it would make.

    Args:
      title: of the window.
      body_html: what is between the body's tags.
      style, script: put into the page.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n{body_html}\n"
        + (f"<script>\n{script}</script>\n" if script else "")
        + "</body>\n</html>\n"
    )


def breakable(name: str) -> str:
    """A long name, which may go on in the next line behind any of its signs."""
    return re.sub(r"([_\-./=])", r"\1<wbr>", escape(name))


def section(title: str, *parts_html: str, anchor: str) -> str:
    """A part of the page under a heading that the contents can point to."""
    return (
        f'<section id="{anchor}" aria-labelledby="{anchor}-title">\n'
        f'<h2 id="{anchor}-title">{escape(title)}</h2>\n' + "\n".join(parts_html) + "\n</section>"
    )


def paragraph(text: str, *, kind: str = "") -> str:
    """A paragraph of plain text; ``kind`` is a class of the style sheet."""
    return f"<p{_class(kind)}>{escape(text)}</p>"


def items(texts: Iterable[str]) -> str:
    """A list of plain texts, which may hold long paths."""
    inside = "".join(f"<li>{breakable(text)}</li>" for text in texts)
    return f'<ul class="items">{inside}</ul>'


def banner(text: str) -> str:
    """A sentence that must not be overlooked."""
    return f'<p class="banner" role="note"><strong>{escape(text)}</strong></p>'


def table(
    *,
    caption: str,
    columns: Sequence[str],
    groups: Iterable[tuple[str, Sequence[Row]]],
    kind: str = "",
) -> str:
    """A table in a box that scrolls by itself where the window is narrow.

    Args:
      caption: what it shows; it names the box too.
      columns: headings; the first is that of the rows' headings.
      groups: a title ('' = none) and the rows under it.
      kind: a class of the style sheet.
    """
    head = "".join(f'<th scope="col">{breakable(name)}</th>' for name in columns)
    bodies = []
    for title, rows in groups:
        lines = []
        if title:
            lines.append(
                f'<tr><th scope="rowgroup" colspan="{len(columns)}">'
                f"<span>{escape(title)}</span></th></tr>"
            )
        for row in rows:
            cells = "".join(f"<td>{cell}</td>" for cell in row.cells_html)
            lines.append(f'<tr><th scope="row">{row.heading_html}</th>{cells}</tr>')
        bodies.append("<tbody>\n" + "\n".join(lines) + "\n</tbody>")
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}">\n'
        f"<table{_class(kind)}>\n<caption><span>{escape(caption)}</span></caption>\n"
        f"<thead><tr>{head}</tr></thead>\n" + "\n".join(bodies) + "\n</table>\n</div>"
    )


def details(summary: str, parts_html: Sequence[str]) -> str:
    """Text that is shown on demand; nothing where there is none."""
    if not parts_html:
        return ""
    inside = "\n".join(parts_html)
    return f"<details><summary>{escape(summary)}</summary>\n{inside}\n</details>"


def figure(content_html: str, caption_html: str) -> str:
    """A picture or plot with what it shows above it."""
    return f"<figure><figcaption>{caption_html}</figcaption>\n{content_html}</figure>"


def grid(parts_html: Iterable[str], *, kind: str = "plots") -> str:
    """Figures side by side, as many as the window is wide."""
    return f'<div class="{kind}">\n' + "\n".join(parts_html) + "\n</div>"


def legend(entries: Sequence[tuple[str, str]]) -> str:
    """What each colour stands for.

    Args:
      entries: (a mark as html, what it stands for).
    """
    items = "".join(
        f"<li>{mark_html}<span>{breakable(name)}</span></li>" for mark_html, name in entries
    )
    return f'<ul class="legend">{items}</ul>'


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""

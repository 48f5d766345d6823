"""The report as one HTML page that fetches nothing: the same Markdown, and the charts between."""

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ollamake.report.document import Document, Section
from ollamake.scoring.blocks import LABEL_WIDTH

# Whatever might have slipped through the escaping below: a browser loads and runs nothing for this page.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
LABELS = {"prompt", "reference", "base", "tuned", "release"}
CONTINUED = "↪ "


def page(document: Document, draw: Callable[[str], str]) -> str:
    """Return the page; `draw` gives the SVG of a plot, empty for none."""
    to_html = _markdown()
    sections = [_section(number, section, to_html, draw) for number, section in enumerate(document.sections, start=1)]
    links = (f'<a href="#{number}">{escape(section.title)}</a>' for number, section in enumerate(document.sections, 1))
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(document.title)}</title>
<style>
{style}</style>
</head>
<body>
<header>
{to_html(document.head)}</header>
<nav>{" ".join(links)}</nav>
<main>
{"".join(sections)}</main>
</body>
</html>
"""


def _section(number: int, section: Section, to_html: Callable[[str], str], draw: Callable[[str], str]) -> str:
    drawn = [svg for svg in map(draw, section.plots) if svg]
    figures = "\n".join(f"<figure>{svg}</figure>" for svg in drawn)
    charts = f'<div class="charts">\n{figures}\n</div>\n' if drawn else ""
    return f'<section id="{number}">\n{to_html(section.markdown)}{charts}</section>\n'


def _markdown() -> Callable[[str], str]:
    """Return what makes HTML of Markdown: tables, but neither HTML nor links nor images of the texts inside."""
    from markdown_it import MarkdownIt

    parser = (
        MarkdownIt("commonmark", {"html": False}).enable("table").disable(["link", "image", "autolink", "reference"])
    )
    parser.add_render_rule("fence", _fence)
    parser.add_render_rule("table_open", lambda *_: '<div class="table"><table>\n')
    parser.add_render_rule("table_close", lambda *_: "</table></div>\n")
    return parser.render


def _fence(_: Any, tokens: Sequence[Any], index: int, *__: Any) -> str:
    """Return a fence: answers beside each other, anything else as it is."""
    text = tokens[index].content
    if answers := _answers(text):
        cells = (_cell(label, "\n".join(lines)) for label, lines in answers)
        return f'<div class="answers">\n{"".join(cells)}</div>\n'
    return f"<pre>{escape(text)}</pre>\n"


def _cell(label: str, text: str) -> str:
    return f'<div class="{label.split(maxsplit=1)[0]}"><b>{escape(label)}</b><pre>{escape(text)}</pre></div>\n'


def _answers(text: str) -> list[tuple[str, list[str]]]:
    """Return label and lines of each block in a fence of `scoring.blocks`; nothing for another one."""
    found: list[tuple[str, list[str]]] = []
    for line in text.removesuffix("\n").split("\n"):
        label, rest = line[:LABEL_WIDTH].strip(), line[LABEL_WIDTH:]
        if label:
            found.append((label, [rest]))
        elif not found:
            return []
        elif rest.startswith(CONTINUED):  # a browser folds long lines by itself
            found[-1][1][-1] += f" {rest.removeprefix(CONTINUED)}"
        else:
            found[-1][1].append(rest)
    return found if all(label.split()[0] in LABELS for label, _ in found) else []

"""A comparison as one HTML page that fetches nothing and runs nothing."""

from base64 import b64encode
from pathlib import Path

from ollamake import report
from ollamake.compare.curves import colours
from ollamake.compare.document import Document
from ollamake.files import atomic_write
from ollamake.look.visible import visible

HERE = Path(__file__).parent
OPEN_ANSWERS, ANSWERS = 8, 100


def write_page(document: Document, path: Path) -> None:
    """Write the page whole."""
    with atomic_write(path) as partial:
        partial.write_text(page(document), encoding="utf-8")


def page(document: Document) -> str:
    """Return the page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["picture"] = _picture
    style = (Path(report.__file__).with_name("page.css"), HERE / "page.css")
    builds = [line.name for line in document.sections[0].tables[0].lines]
    return environment.get_template("page.html.jinja").render(
        document=document,
        style="".join(file.read_text(encoding="utf-8") for file in style),
        colours=list(colours(builds)),
        opened=OPEN_ANSWERS,
        shown=ANSWERS,
    )


def _shown(value: object) -> object:
    """Return a text with a sign for each character that would act or hide; what is HTML already stays as it is."""
    return visible(value) if type(value) is str else value


def _picture(svg: str) -> str:
    """Return the SVG as the address of a picture: inside one page, charts would share the ids of their parts."""
    return f"data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}"

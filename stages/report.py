"""Write what was trained on what, how good it is and how to run it: as Markdown, and as one HTML page with charts."""

from functools import partial
from pathlib import Path

from ollamake.files import atomic_write, read_json
from ollamake.report.build import build
from ollamake.report.charts import draw
from ollamake.report.document import Facts
from ollamake.report.page import page
from ollamake.report.settings import Settings
from ollamake.stage import run

METRICS, BASE, TEMPLATES = Path("metrics"), Path("models/base.json"), Path(".dvc/plots")
SAMPLES, FLIPS = Path("models/samples.md"), Path("models/flips.md")
MARKDOWN, HTML = Path("models/report.md"), Path("models/report.html")


class Params(Settings):
    """What the report names, of what the build was made with."""


def facts(params: Params) -> Facts:
    """Read all that the report is made of."""
    names = ("prepare", "distill", "tokenize", "train", "gate", "judge", "convert")
    return Facts(
        **{name: read_json(METRICS / f"{name}.json") for name in names},
        base=read_json(BASE),
        samples=SAMPLES.read_text(encoding="utf-8"),
        flips=FLIPS.read_text(encoding="utf-8"),
        settings=params,
    )


def main(params: Params) -> None:
    document = build(facts(params))
    write(MARKDOWN, document.markdown)
    write(HTML, page(document, partial(draw, templates=TEMPLATES)))
    print(f"the report: {MARKDOWN}, and with charts {HTML}")


def write(path: Path, text: str) -> None:
    """Write the text."""
    with atomic_write(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    run(Params, main)

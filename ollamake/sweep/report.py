"""`sweep report`: a study as one HTML page that fetches nothing, and its charts as pictures."""

from pathlib import Path

from ollamake.files import atomic_folder
from ollamake.report.page import page
from ollamake.sweep.report_charts import charts, png, svg
from ollamake.sweep.report_data import Results, importance
from ollamake.sweep.report_sections import build

FOLDER = Path("logs/sweeps")


def write_report(results: Results, folder: Path) -> Path:
    """Write report.html and a PNG of each chart into `folder`, in place of what is there; return the page."""
    shares = importance(results)
    specs = charts(results, shares)
    text = page(build(results, shares, list(specs)), lambda name: svg(specs[name]))
    with atomic_folder(folder) as partial_folder:
        (partial_folder / "report.html").write_text(text, encoding="utf-8")
        for name, spec in specs.items():
            (partial_folder / f"{name}.png").write_bytes(png(spec))
    return folder / "report.html"

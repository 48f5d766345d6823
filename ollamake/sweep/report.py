"""`sweep report`: a study as one HTML page that fetches nothing, and its charts as pictures."""

from pathlib import Path

from ollamake.files import atomic_folder
from ollamake.report.page import page
from ollamake.sweep.errors import SweepError
from ollamake.sweep.report_charts import charts, png, svg
from ollamake.sweep.report_data import Results, importance
from ollamake.sweep.report_sections import build

PAGE = "report.html"


def write_report(results: Results, folder: Path) -> Path:
    """Write report.html and a PNG of each chart into `folder`, in place of an older report; return the page.

    Raises SweepError where something else stands there, since all of the folder is replaced.
    """
    _refuse_other(folder)
    shares = importance(results)
    specs = charts(results, shares)
    text = page(build(results, shares, list(specs)), lambda name: svg(specs[name]))
    with atomic_folder(folder) as partial_folder:
        (partial_folder / PAGE).write_text(text, encoding="utf-8")
        for name, spec in specs.items():
            (partial_folder / f"{name}.png").write_bytes(png(spec))
    return folder / PAGE


def _refuse_other(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    is_report = PAGE in names and all(name == PAGE or name.endswith(".png") for name in names)
    if (names and not is_report) or (folder.exists() and not folder.is_dir()):
        raise SweepError(
            "something else than a sweep's report is there, and would be lost",
            where=str(folder),
            hint="another folder: `python -m ollamake sweep report --out FOLDER`",
        )

"""The tables of docs/parity.md that tests hold true.

`OLLAMAKE_RENEW_SNAPSHOTS=1 pytest -m "nightly or not nightly" tests/unit/test_gguf_{planted,architectures}.py` writes
their rows anew; look at `git diff docs/parity.md` before it is kept.
"""

import os

from filelock import FileLock

from tests.contract.graph import ROOT

PAGE = ROOT / "docs/parity.md"


def kept(table: str, *cells: str) -> str:
    """Return the row of `table` that begins with the first cell as the page has it, after writing it when renewing."""
    row = row_of(*cells)
    if os.environ.get("OLLAMAKE_RENEW_SNAPSHOTS"):
        with FileLock(ROOT / ".ollamake/parity-page.lock"):  # workers of pytest-xdist write one row each
            _renew(table, row)
    beginning = row[: row.index("|", 2) + 1]
    return next((line for line in _table(table) if line.startswith(beginning)), f"no row {beginning} in {PAGE.name}")


def row_of(*cells: str) -> str:
    """Return how a row with these cells is written."""
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _table(table: str) -> list[str]:
    """Return the lines of a table, which begins after its marker and ends with an empty line."""
    _, _, after = PAGE.read_text(encoding="utf-8").partition(f"<!-- {table} -->\n")
    assert after, f"no table {table} in {PAGE}"
    return after.partition("\n\n")[0].splitlines()


def _renew(table: str, row: str) -> None:
    lines = _table(table)
    beginning = row[: row.index("|", 2) + 1]
    places = [place for place, line in enumerate(lines) if line.startswith(beginning)]
    changed = [*lines[: places[0]], row, *lines[places[0] + 1 :]] if places else [*lines, row]
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(text.replace("\n".join(lines), "\n".join(changed)), encoding="utf-8")

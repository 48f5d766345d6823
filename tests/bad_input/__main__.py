"""python -m tests.bad_input: the bad inputs of R5 with their verdicts and the tests that hold them, as Markdown."""

import contextlib
import io
from collections import Counter
from pathlib import Path

import pytest

from tests.bad_input.verdicts import VERDICTS

TESTS = Path(__file__).parents[1]


class Collected:
    """Notes the tests that carry the mark r5, by its numbers."""

    def __init__(self) -> None:
        self.found: dict[int, Counter[str]] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Count the cases of every test function for each number."""
        for item in session.items:
            name = f"{item.path.relative_to(TESTS)}::{getattr(item, 'originalname', item.name)}"
            for number in {mark.args[0] for mark in item.iter_markers("r5")}:
                self.found.setdefault(number, Counter())[name] += 1


def table() -> str:
    """Return the table, a line for each of the inputs."""
    collected = Collected()
    files = [str(path) for path in TESTS.rglob("test_*.py") if "r5(" in path.read_text(encoding="utf-8")]
    with contextlib.redirect_stdout(io.StringIO()):
        pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", "-m", "r5", *files], plugins=[collected])
    lines = ["| # | bad input | verdict | cases | tests |", "| --- | --- | --- | --- | --- |"]
    for number, (what, verdict) in VERDICTS.items():
        tests = collected.found.get(number, Counter())
        named = "<br>".join(f"`{name}`" for name in tests)
        lines.append(f"| {number} | {what} | {verdict} | {tests.total()} | {named} |".replace("; tab |)", "; tab \\|)"))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table(), end="")

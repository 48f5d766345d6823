"""python -m tests.bad_input: the bad inputs of R5 with their verdicts and the tests that hold them, as Markdown."""

import contextlib
import io
from collections import Counter
from pathlib import Path

import pytest

from tests.bad_input.verdicts import VERDICTS

TESTS = Path(__file__).parents[1]


class Collected:
    """Notes the tests that carry the mark r5, by its numbers, and the verdicts that the marks name."""

    def __init__(self) -> None:
        self.found: dict[int, Counter[str]] = {}
        self.verdicts: dict[int, set[str]] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Count the cases of every test function for each number."""
        for item in session.items:
            name = f"{item.path.relative_to(TESTS)}::{getattr(item, 'originalname', item.name)}"
            for number, *verdicts in (mark.args for mark in item.iter_markers("r5")):
                assert verdicts, f"{name}: r5({number}) names no verdict"
                self.found.setdefault(number, Counter())[name] += 1
                self.verdicts.setdefault(number, set()).update(verdicts)


def collect() -> Collected:
    """Let pytest find the tests that carry the mark r5, those of the night too."""
    collected = Collected()
    files = [str(path) for path in TESTS.rglob("test_*.py") if "r5(" in path.read_text(encoding="utf-8")]
    with contextlib.redirect_stdout(io.StringIO()):
        command = ["--collect-only", "-q", "-p", "no:cacheprovider", "-m", "r5", *files]
        code = pytest.main(command, plugins=[collected])
    assert code == pytest.ExitCode.OK, f"`python -m pytest {' '.join(command)}` says what is wrong"
    return collected


def table(collected: Collected) -> str:
    """Return the table, a line for each of the inputs."""
    lines = ["| # | bad input | verdict | cases | tests |", "| --- | --- | --- | --- | --- |"]
    for number, (what, verdict) in VERDICTS.items():
        tests = collected.found.get(number, Counter())
        named = "<br>".join(f"`{name}`" for name in tests)
        lines.append(f"| {number} | {what} | {verdict} | {tests.total()} | {named} |".replace("; tab |)", "; tab \\|)"))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table(collect()), end="")

"""Measure the budgets of this project in a fresh clone, and print each as a ratio of what it may cost.

    python -m benchmarks.budgets                  # everything: install, build, nothing to do, tests (about 20 minutes)
    python -m benchmarks.budgets noop            # only some of: install build noop test

A ratio below 1 is within the budget. The clone shares nothing with this checkout but pip's own cache ("warm index").
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.launch import launch, telling_failures

ROOT = Path(__file__).parents[1]
MEASURES = ("install", "build", "noop", "test")
ROUNDS = 7
EMPTY_STAGES = 7


@dataclass(frozen=True)
class Result:
    """What was measured, beside what it may be, in the same unit."""

    name: str
    measured: float
    budget: float
    unit: str


def empty_graph(folder: Path, dvc: str) -> Path:
    """Make a DVC project of seven stages that do nothing, each after the one before, and run it once."""
    folder.mkdir()
    for command in (["git", "init", "--quiet"], [dvc, "init", "--quiet"]):
        subprocess.run(command, cwd=folder, check=True)
    stages = ["stages:"]
    for number in range(EMPTY_STAGES):
        stages += [f"  s{number}:", f"    cmd: echo {number} > f{number}", f"    outs: [f{number}]"]
        stages += [f"    deps: [f{number - 1}]"] if number else []
    (folder / "dvc.yaml").write_text("\n".join(stages) + "\n")
    subprocess.run([dvc, "repro", "--quiet"], cwd=folder, check=True)
    return folder


def nothing_to_do(clone: Path, scratch: Path) -> Result:
    """Time `dvc repro` with nothing to do beside the empty graph, in turns, and compare the medians."""
    dvc = str(clone / ".venv/bin/dvc")
    empty = empty_graph(scratch / "empty", dvc)
    repro = ["env", f"PATH={clone}/.venv/bin:/usr/local/bin:/usr/bin:/bin", dvc, "repro"]
    ours, theirs = [], []
    for _ in range(ROUNDS):
        theirs.append(launch(repro, empty).seconds)
        ours.append(launch(repro, clone).seconds)
    factor = statistics.median(ours) / statistics.median(theirs)
    return Result("nothing-to-do `dvc repro`, against an empty seven-stage graph", factor, 1.5, "×")


def measure(names: list[str], clone: Path, scratch: Path) -> list[Result]:
    """Run what was asked for, in the order in which a new user would."""
    results = []
    install = launch(["make", "setup"], clone)
    if "install" in names:
        results.append(Result("install (`make setup`)", install.seconds / 60, 5, "min"))
    if {"build", "noop"} & set(names):
        build = launch(["make", "build"], clone)
        again = launch(["make", "build"], clone)
        if "build" in names:
            results.append(Result("`make build` after install", build.seconds / 60, 12, "min"))
            results.append(Result("peak memory of `make build`", build.peak_bytes / 1e9, 6, "GB"))
            results.append(Result("`make build` with nothing to do", again.seconds, 5, "s"))
    if "noop" in names:
        results.append(nothing_to_do(clone, scratch))
    if "test" in names:
        results.append(Result("`make test` after install", launch(["make", "test"], clone).seconds / 60, 12, "min"))
    return results


def show(results: list[Result]) -> None:
    """Print the table of ratios."""
    table = Table(title="Budgets (ratio below 1 = within)", title_justify="left")
    for heading in ("what", "measured", "budget", "ratio"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    for result in results:
        ratio = result.measured / result.budget
        style = "" if ratio <= 1 else "bold red"
        values = (f"{result.measured:.2f} {result.unit}", f"{result.budget:g} {result.unit}", f"{ratio:.2f}")
        table.add_row(result.name, *values, style=style)
    Console().print(table)


def parse(arguments: list[str]) -> list[str]:
    """Return what to measure: everything unless some are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="{" + ",".join(MEASURES) + "}")
    names = parser.parse_args(arguments).names or list(MEASURES)
    if unknown := set(names) - set(MEASURES):
        # Not `choices`: with nargs="*" argparse would hold the empty list against them.
        parser.error(f"cannot measure {', '.join(sorted(unknown))}")
    return names


def main() -> None:
    """Measure in a clone of the last commit, which is removed at the end."""
    names = parse(sys.argv[1:])
    scratch = Path(tempfile.mkdtemp(prefix="ollamake-bench-"))
    try:
        clone = scratch / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        with telling_failures():
            show(measure(names, clone, scratch))
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()

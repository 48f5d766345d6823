"""Measure the budgets of this project in a fresh clone, and print each as a ratio of what it may cost.

    python benchmarks/budgets.py                 # everything: install, build, nothing to do, tests (about 20 minutes)
    python benchmarks/budgets.py noop            # only some of: install build noop test

A ratio below 1 is within the budget. The clone shares nothing with this checkout but pip's own cache ("warm index").
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

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


class Watch:
    """Runs a command; keeps its wall time and the peak memory of its process tree, sampled five times a second."""

    def __init__(self, command: list[str], folder: Path, *, check: bool = True) -> None:
        self.peak_bytes = 0
        started = time.monotonic()
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
            sampler = threading.Thread(target=self._sample, args=(process,))
            sampler.start()
            code = process.wait()
            self.seconds = time.monotonic() - started
            sampler.join()
            output.seek(0)
            self.output = output.read().decode(errors="replace")
        if check and code != 0:
            sys.exit(f"{' '.join(command)} failed:\n{self.output[-3000:]}")

    def _sample(self, process: subprocess.Popen[bytes]) -> None:
        while process.poll() is None:
            self.peak_bytes = max(self.peak_bytes, tree_bytes(process.pid))
            time.sleep(0.2)


def tree_bytes(pid: int) -> int:
    """Return the resident memory of a process and all its descendants; one that has just ended counts nothing."""
    try:
        root = psutil.Process(pid)
        members = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    total = 0
    for member in members:
        try:
            total += member.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


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
        theirs.append(Watch(repro, empty).seconds)
        ours.append(Watch(repro, clone).seconds)
    factor = statistics.median(ours) / statistics.median(theirs)
    return Result("nothing-to-do `dvc repro`, against an empty seven-stage graph", factor, 1.5, "×")


def measure(names: list[str], clone: Path, scratch: Path) -> list[Result]:
    """Run what was asked for, in the order in which a new user would."""
    results = []
    install = Watch(["make", "setup"], clone)
    if "install" in names:
        results.append(Result("install (`make setup`)", install.seconds / 60, 5, "min"))
    if {"build", "noop"} & set(names):
        build = Watch(["make", "build"], clone)
        again = Watch(["make", "build"], clone)
        if "build" in names:
            results.append(Result("`make build` after install", build.seconds / 60, 12, "min"))
            results.append(Result("peak memory of `make build`", build.peak_bytes / 1e9, 6, "GB"))
            results.append(Result("`make build` with nothing to do", again.seconds, 5, "s"))
    if "noop" in names:
        results.append(nothing_to_do(clone, scratch))
    if "test" in names:
        results.append(Result("`make test` after install", Watch(["make", "test"], clone).seconds / 60, 12, "min"))
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
        show(measure(names, clone, scratch))
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()

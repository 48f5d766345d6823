"""What a trial costs beside the work of its stages: `sweep run` against `dvc exp run` by hand and against DVC's queue.

    python -m benchmarks.trials [--trials 6] [--rounds 3]

On a graph whose stages take milliseconds, so that nearly all of the time is bookkeeping. Each way runs the same number
of new points, one after the other, in rounds that take turns; the stages say how long they took themselves.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests.sweeping import WORK, build

CLOCK = """\
import atexit, os, time
from pathlib import Path
BEGAN = time.perf_counter()
SECONDS = Path(os.environ["SWEEP_CONTROL"]) / "seconds"
atexit.register(lambda: SECONDS.open("a").write(f"{time.perf_counter() - BEGAN}\\n"))
"""
QUEUE_POLL_SECONDS, QUEUE_PATIENCE_SECONDS = 0.1, 600


class Bench:
    """The repository, and the rates that no trial had yet: a point that was run before would cost next to nothing."""

    def __init__(self, folder: Path) -> None:
        self.repository = build(folder / "repository", folder / "control")
        (self.repository.path / "work.py").write_text(CLOCK + WORK, encoding="utf-8")
        self.repository.do("dvc", "repro", "--quiet")
        self.repository.do("git", "commit", "--quiet", "--all", "--message", "a clock")
        self._rates: Iterator[float] = (round(0.001 + 0.00001 * number, 6) for number in range(1, 10_000))
        self._sweeps = 0

    def rates(self, count: int) -> list[float]:
        """Return learning rates that were not used before."""
        return [next(self._rates) for _ in range(count)]

    def measure(self, way: Callable[["Bench", int], None], count: int) -> float:
        """Return the seconds of a trial that no stage accounts for."""
        seconds = self.repository.control / "seconds"
        seconds.unlink(missing_ok=True)
        before, began = len(self.repository.experiments()), time.perf_counter()
        way(self, count)
        took = time.perf_counter() - began
        found = len(self.repository.experiments()) - before
        if found != count:
            raise RuntimeError(f"{way.__name__}: {found} experiments, not {count}")
        return (took - sum(map(float, seconds.read_text().split()))) / count

    def sweep(self, count: int) -> None:
        """Run a grid with `sweep run`, from the start of Python to its end."""
        self._sweeps += 1
        space = {"learning_rate": {"choices": self.rates(count)}}
        self.repository.write_sweep(name=f"bench{self._sweeps}", space=space, trials=count)
        self.repository.sweep("run")

    def by_hand(self, count: int) -> None:
        """Run `dvc exp run --temp` again and again."""
        for rate in self.rates(count):
            self.repository.do("dvc", "exp", "run", "--quiet", "--temp", "-S", f"learning_rate={rate}", "evaluate")

    def queue(self, count: int) -> None:
        """Queue all, start one worker, and wait until it has made the last experiment."""
        rates = ",".join(map(str, self.rates(count)))
        wanted = len(self.repository.experiments()) + count
        self.repository.do("dvc", "exp", "run", "--quiet", "--queue", "-S", f"learning_rate={rates}", "evaluate")
        self.repository.do("dvc", "queue", "start", "--quiet", "--jobs", "1")
        until = time.monotonic() + QUEUE_PATIENCE_SECONDS
        while len(self.repository.experiments()) < wanted and time.monotonic() < until:
            time.sleep(QUEUE_POLL_SECONDS)


WAYS: Mapping[str, Callable[[Bench, int], None]] = {
    "sweep run": Bench.sweep,
    "dvc exp run --temp, by hand": Bench.by_hand,
    "dvc exp run --queue, dvc queue start": Bench.queue,
}


def table(found: Mapping[str, list[float]]) -> str:
    """Return the medians, their ranges, and how they stand to that of `sweep run`."""
    base = median(found["sweep run"])
    lines = ["| way | seconds a trial, median | range | to sweep run |", "|---|---|---|---|"]
    for name, seconds in found.items():
        spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
        lines.append(f"| {name} | {median(seconds):.2f} | {spread} | {median(seconds) / base:.2f} × |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=6, help="of each way in each round")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    found: dict[str, list[float]] = {name: [] for name in WAYS}
    with TemporaryDirectory(prefix="ollamake-trials-") as scratch:
        bench = Bench(Path(scratch))
        for number in range(options.rounds):
            names = list(WAYS)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                found[name].append(bench.measure(WAYS[name], options.trials))
                load = os.getloadavg()[0]
                print(f"round {number + 1}: {name}: {found[name][-1]:.2f} s a trial, load {load:.1f}", flush=True)
        bench.repository.do("dvc", "queue", "stop", "--kill")
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())

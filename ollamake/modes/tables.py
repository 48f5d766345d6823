"""What a mode came to, in the tables that end a build."""

import subprocess
import sys

from rich.console import Console, Group

from ollamake import summary
from ollamake.modes.experiment import DVC, metrics

SCORES = (summary.METRICS / "evaluate.json", summary.METRICS / "train.json")


def show_experiment(name: str, *, parity: bool) -> None:
    """Print training and scores of an experiment, and its GGUF files where it made some."""
    tables = [summary.training(metrics(name, "train")), summary.scores(metrics(name, "gate"))]
    if parity:
        tables.append(summary.parity(metrics(name, "convert")))
    Console().print(Group(*tables))


def show_build() -> None:
    """Print the summary of the build in the workspace."""
    summary.show()


def show_changes() -> None:
    """Print which parameters and scores differ from the last commit."""
    sys.stdout.flush()
    for what in (["params", "diff"], ["metrics", "diff", "--targets", *map(str, SCORES)]):
        subprocess.run([*DVC, *what], check=False)

"""The best trial, put into the workspace."""

import subprocess
import sys

from ollamake.sweep.errors import SweepError
from ollamake.sweep.report_data import Results
from ollamake.sweep.show import run_line


def apply_trial(results: Results, number: int | None) -> str:
    """Let DVC put a trial's parameters, results and code into the workspace; return what comes next.

    Without a number it is the best one. Raises SweepError when there is none, there are several, or DVC refuses.
    """
    experiment, rev = _experiment(results, number)
    if not _is_here(rev):
        raise SweepError(
            f"{experiment} is not in this repository",
            where=results.study.study_name,
            hint="`dvc exp pull REMOTE` brings it from the machine that ran it, after `dvc exp push REMOTE` there",
        )
    ran = subprocess.run(
        [sys.executable, "-m", "dvc", "exp", "apply", experiment], capture_output=True, text=True, check=False
    )
    if ran.returncode:
        said = (ran.stderr or ran.stdout).strip().removeprefix("ERROR: ")
        raise SweepError(f"`dvc exp apply {experiment}` failed: {said}", hint="`git status` shows what is in its way")
    if fixed := results.study.user_attrs["default"].get("fixed"):
        full = run_line(fixed)
        return f"{experiment} is in the workspace, with what the sweep fixed; in full, with your own values: {full}"
    return f"{experiment} is in the workspace: look at `git diff`, then `dvc repro` builds and serves it"


def _experiment(results: Results, number: int | None) -> tuple[str, str]:
    name, finished = results.study.study_name, {trial.number: trial for trial in results.complete}
    if number is None:
        if len(results.best) != 1:
            numbers = ", ".join(str(trial.number) for trial in results.best)
            problem = f"several trials are best, each in another way: {numbers}" if numbers else "no trial has finished"
            raise SweepError(
                problem, where=name, hint=f"`python -m ollamake sweep best {name}`, then `apply {name} --trial NUMBER`"
            )
        number = results.best[0].number
    if number not in finished:
        raise SweepError(
            f"trial {number} has no result",
            where=name,
            hint=f"`python -m ollamake sweep status {name}` lists those that have",
        )
    attributes = finished[number].user_attrs
    return attributes["experiment"], attributes["rev"]


def _is_here(rev: str) -> bool:
    return subprocess.run(["git", "cat-file", "-e", rev], capture_output=True, check=False).returncode == 0

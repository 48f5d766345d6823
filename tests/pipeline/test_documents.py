"""Every command that README.md and docs/ tell people to type is run in a built project, or named here with a reason."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documented import commands, program
from tests.pipeline.conftest import Project, records

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pipeline")]  # one worker builds once
STORE = "/mnt/store"  # in the documents
# What is not run here; whether its program would take it is asked in tests/contract/test_documents.py, which asks that
# of the commands in running text, too. The tests that are named run a command of the same name, with other values.
REASONS = {
    r"make ": "sets up .venv first; what it runs then are commands like those here",
    r"source \.venv/bin/activate": "changes the shell of whoever types it; here .venv stands first on PATH",
    r"ollama run ": "needs the client of Ollama",
    r"0 4 \* \* \*": "a line of cron",
    r"dvc exp run |dvc queue start": "trains: test_graph.py runs experiments and the queue",
    r"dvc exp apply |dvc exp remove |dvc get .* --rev testing": "needs an experiment: test_modes.py has some",
    r"python -m ollamake mode design": "trains: test_modes.py runs it",
    r"python -m ollamake mode maintenance": "needs a server: tests/unit/test_maintenance.py has one",
    r"python -m ollamake release ": "needs a server and builds: tests/unit/test_release_commands.py has both",
    r"dvc exp push |dvc exp pull ": "needs experiments and a remote: test_sweep_machines.py has both",
    r"python -m ollamake sweep (run|best|status|apply)": "trains, or needs trials: test_sweep.py has them",
    r"python -m ollamake sweep report": "needs trials: test_sweep_machines.py has them",
    r"python -m ollamake sweep dashboard": "runs until it is ended: tests/unit/test_sweep_dashboard.py ends it",
}
# Their exit code 1 is a verdict on the machine, which may be smaller than that of the author.
JUDGES = ("python -m ollamake doctor", "python -m ollamake plan")
UNIQUE = list(dict.fromkeys(command.text for command in commands()))
RUN = [text for text in UNIQUE if not any(re.match(pattern, text) for pattern in REASONS)]


@pytest.fixture(scope="module")
def reader(built: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A copy of the built project for somebody who types what the documents say, with an upstream to push to."""
    folder = tmp_path_factory.mktemp("reader")
    project = Project(Path(shutil.copytree(built.folder, folder / "project", symlinks=True)))
    rows = "".join(json.dumps(row) + "\n" for row in records())
    (project.folder / "data/mine.jsonl").write_text(rows)
    project.run("git", "init", "--quiet", "--bare", str(folder / "upstream"))
    project.run("git", "remote", "add", "origin", str(folder / "upstream"))
    project.run("git", "push", "--quiet", "--set-upstream", "origin", "HEAD")
    return project


def test_every_reason_is_needed_and_every_command_is_run_or_has_one():
    assert len(RUN) > 15
    assert [pattern for pattern in REASONS if not any(re.match(pattern, text) for text in UNIQUE)] == []
    assert [text for text in RUN if not program(text)] == []


def test_every_other_command_ends_well(reader):
    failed = {}
    for number, text in enumerate(RUN):
        if text.startswith("git commit"):  # nothing to commit would be an error
            (reader.folder / f"change-{number}.txt").write_text("")
            reader.run("git", "add", "--all")
        line = text.replace(STORE, str(reader.folder.parent / "store"))
        done = reader.run("bash", "-c", line, ok=False)
        judged = text.startswith(JUDGES) and done.returncode == 1 and "Traceback" not in done.stderr
        if done.returncode and not judged:
            failed[text] = done.stdout[-500:] + done.stderr[-1000:]
    assert failed == {}

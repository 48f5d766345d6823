"""A stage whose `dvc` is killed ends too; one that has a `dvc`, or never had one, does not."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from ollamake import orphan
from tests.contract.graph import ROOT

pytestmark = pytest.mark.row("R2.2")
# Writes how many threads it has each time before it looks, so from then on when it knows the processes up to dvc.
STAGE = """
import signal, threading, time
from ollamake import orphan
orphan.CHECK_SECONDS = 0.1
look = orphan.unbroken
def unbroken(links):
    print(threading.active_count(), flush=True)
    return look(links)
orphan.unbroken = unbroken
orphan.end_with_dvc()
time.sleep(600)
"""
# What dvc is to a stage: the last process up whose environment does not name it.
DVC = """
import os, subprocess, sys, time
command = [sys.executable, "-c", sys.argv[1]]
if sys.argv[2] == "shell":
    command = ["sh", "-c", '"$@"; true', "sh", *command]
child = subprocess.Popen(command, env={**os.environ, "DVC_STAGE": "train", "DVC_PROCESS": str(os.getpid())})
time.sleep(float(sys.argv[3]))
print("dvc has ended", flush=True)
"""


def start(between: str, seconds: float = 600) -> tuple[subprocess.Popen[str], psutil.Process]:
    environment = {key: value for key, value in os.environ.items() if key != "DVC_STAGE"}
    process = subprocess.Popen(
        [sys.executable, "-c", DVC, STAGE, between, str(seconds)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env={**environment, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout.readline() == "2\n"
    stage = psutil.Process(process.pid).children(recursive=True)[-1]
    return process, stage


def has_ended(stage: psutil.Process) -> bool:
    """Wait for the end of a stage, which would sleep ten times as long."""
    psutil.wait_procs([stage], timeout=60)
    return not stage.is_running()


@pytest.mark.parametrize("between", ["nothing", "shell"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_stage_ends_within_moments_of_its_dvc(between, number):
    process, stage = start(between)
    with process:
        assert stage.environ()["DVC_STAGE"] == "train"
        process.send_signal(number)  # and not waited for: a dead dvc may stay in the list of processes
        assert has_ended(stage)
        assert process.stderr.read().startswith("error: dvc has ended, and so does this stage\n")


@pytest.mark.parametrize("between", ["nothing", "shell"])
def test_a_stage_stays_while_its_dvc_does(between):
    process, stage = start(between)
    with process:
        for _ in range(9):  # it looks, and looks again
            assert process.stdout.readline() == "2\n"
        assert stage.is_running()
        process.kill()
        assert has_ended(stage)


def test_a_stage_ends_when_the_shell_between_is_killed():
    process, stage = start("shell")
    with process:
        stage.parent().kill()
        assert has_ended(stage)
        process.kill()


def test_a_stage_whose_dvc_ended_before_it_looked_for_it_ends():
    waiting = "import os, psutil\nwhile psutil.Process().parent().ppid() == int(os.environ['DVC_PROCESS']): pass"
    with subprocess.Popen(
        [sys.executable, "-c", DVC, waiting + STAGE, "shell", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True,
    ) as process:  # fmt: skip
        said = process.communicate(timeout=60)[1]  # all that could write there has ended
    assert said.startswith("error: dvc has ended, and so does this stage\n")


def test_a_stage_that_does_not_end_is_ended(monkeypatch):
    deaf = STAGE.replace("orphan.end", "orphan.PATIENCE_SECONDS = 0.3; signal.signal(15, signal.SIG_IGN); orphan.end")
    monkeypatch.setitem(globals(), "STAGE", deaf)
    process, stage = start("nothing")
    with process:
        process.kill()
        assert has_ended(stage)


def test_outside_of_dvc_nothing_is_started(monkeypatch):
    monkeypatch.delenv("DVC_STAGE", raising=False)
    monkeypatch.setattr(orphan.threading, "Thread", None)
    orphan.end_with_dvc()


def test_a_stage_without_a_dvc_above_it_watches_its_parent_alone(monkeypatch):
    monkeypatch.setenv("DVC_STAGE", "train")
    above = {"DVC_STAGE": "train"}
    monkeypatch.setattr(psutil.Process, "environ", lambda self: above)
    assert orphan.links_to_dvc() == []
    above = {}
    assert orphan.links_to_dvc() == [(os.getpid(), os.getppid())]
    assert orphan.unbroken(orphan.links_to_dvc())
    assert not orphan.unbroken([(os.getpid(), os.getpid())])


def test_the_watch_costs_a_stage_next_to_nothing_to_start():
    code = (
        "import sys; from ollamake import orphan; orphan.CHECK_SECONDS = 600; before = set(sys.modules);"
        "orphan.end_with_dvc(); print(sorted(set(sys.modules) - before), 'psutil' in sys.modules)"
    )
    environment = {**os.environ, "DVC_STAGE": "train", "PYTHONPATH": str(ROOT)}
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert output.stdout == "[] False\n"

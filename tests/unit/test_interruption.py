"""Signals while a model trains: the first is noted, its echo not minded, a later one obeyed at once."""

import os
import signal
import subprocess
import sys

import pytest

from ollamake.training import interruption
from ollamake.training.interruption import Interruption
from tests.contract.graph import ROOT


@pytest.mark.parametrize(("number", "name", "code"), [(signal.SIGTERM, "SIGTERM", 143), (signal.SIGINT, "SIGINT", 130)])
def test_the_first_signal_is_noted_and_its_echo_changes_nothing(number, name, code):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGCHLD)
    try:
        with Interruption() as noted:
            assert noted.number == 0
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), signal.SIGTERM)
            assert (noted.number, noted.name, noted.exit_code) == (number, name, code)
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before[:2]
    finally:
        signal.signal(signal.SIGCHLD, before[2])


def run(code: str) -> int:
    beginning = "import os, signal, time\nfrom ollamake.training import interruption\n"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", beginning + code], env=environment, timeout=60).returncode


def test_a_second_signal_ends_the_process_at_once():
    code = """
interruption.ECHO_SECONDS = 0.01
with interruption.Interruption():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
"""
    assert run(code) == 130
    assert interruption.ECHO_SECONDS > 1  # torchrun tells its processes what the terminal has told them already


@pytest.mark.parametrize(("number", "status"), [("SIGINT", 7), ("SIGTERM", 143)])
def test_a_process_that_reads_batches_leaves_ctrl_c_to_the_one_that_trains(number, status):
    code = f"""
with interruption.Interruption() as noted:
    child = os.fork()
    if not child:
        os.kill(os.getpid(), signal.{number})
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == {status}
    assert noted.number == 0
"""
    assert run(code) == 0


def test_when_the_result_is_in_place_no_signal_throws_it_away():
    code = """
interruption.ignore_signals()
os.kill(os.getpid(), signal.SIGTERM)
os.kill(os.getpid(), signal.SIGINT)
"""
    assert run(code) == 0


def test_a_process_that_reads_batches_outlives_a_signal_to_all_until_the_one_that_trains_has_heard_of_it():
    code = """
read, write = os.pipe()
wait = time.sleep
with interruption.Interruption() as noted:
    child = os.fork()
    if not child:
        os.close(read)
        interruption.time.sleep = lambda seconds: (os.write(write, b"waits"), wait(600))
        os.kill(os.getpid(), signal.SIGTERM)
        os._exit(7)
    os.close(write)
    assert os.read(read, 5) == b"waits"
    os.kill(os.getpid(), signal.SIGTERM)
    assert noted.number == signal.SIGTERM
    os.kill(child, signal.SIGKILL)
"""
    assert run(code) == 0

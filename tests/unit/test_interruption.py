"""Signals while a model trains: the first is noted, its echo not minded, a later one obeyed at once."""

import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from ollamake.training import interruption
from ollamake.training.interruption import Interruption
from ollamake.training.resumable import CheckpointCallback
from tests.contract.graph import ROOT


@pytest.mark.parametrize(("number", "name", "code"), [(signal.SIGTERM, "SIGTERM", 143), (signal.SIGINT, "SIGINT", 130)])
def test_the_first_signal_is_noted_and_its_echo_changes_nothing(number, name, code):
    before = [signal.getsignal(each) for each in interruption.SIGNALS]
    with Interruption() as noted:
        assert noted.number == 0
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGTERM)
        assert (noted.number, noted.name, noted.exit_code) == (number, name, code)
    assert [signal.getsignal(each) for each in interruption.SIGNALS] == before


def test_the_echo_of_a_signal_that_another_process_got_changes_nothing():
    with Interruption() as noted:
        noted.hear(signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)  # would end this process if it were taken for a second request
        assert noted.number == signal.SIGINT


@pytest.mark.row("R2.6")
def test_a_signal_that_comes_while_the_processes_agree_is_not_lost(monkeypatch):
    trainer = SimpleNamespace(state=SimpleNamespace(num_input_tokens_seen=0), positions=0)

    def agree(number):
        os.kill(os.getpid(), signal.SIGTERM)
        return number

    with Interruption() as noted:
        callback = CheckpointCallback(trainer, noted)
        monkeypatch.setattr(callback, "agree", agree)
        assert not callback.told_to_stop()
        assert callback.told_to_stop()
        assert noted.number == signal.SIGTERM


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


@pytest.mark.parametrize("signalled", [True, False])
def test_readers_of_batches_that_follow_a_signal_first_are_no_error_and_those_that_go_without_one_are(signalled):
    code = f"""
from multiprocessing import active_children
from threading import Timer
from torch.utils.data import DataLoader

with interruption.Interruption() as noted:
    batches = iter(DataLoader(list(range(100)), num_workers=2))
    next(batches)
    if {signalled}:
        Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
    try:
        for reader in active_children():
            os.kill(reader.pid, signal.SIGTERM)
        time.sleep(3)
    except RuntimeError as error:
        assert "killed by signal" in str(error)
        os._exit(1)
    assert noted.number == signal.SIGTERM
    os._exit(0)
"""
    assert run(code) == (0 if signalled else 1)

import io

import pytest

from ollamake import progress


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_away_from_a_terminal_a_line_comes_every_ten_seconds_at_most(clock, capsys):
    with progress.progress("base model, answers", 100) as advance:
        for _ in range(25):
            clock[0] += 1
            advance(4)
    assert capsys.readouterr().err.splitlines() == [
        "base model, answers: 40 of 100 after 10 s, about 15 s left",
        "base model, answers: 80 of 100 after 20 s, about 5 s left",
    ]


def test_what_is_quick_says_nothing(clock, capsys):
    with progress.progress("base model, loss", 2) as advance:
        clock[0] += 9
        advance(2)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress.progress("base model, answers", 2) as advance:
        advance(2)
    assert "base model, answers" in terminal.getvalue()
    assert "2/2" in terminal.getvalue()

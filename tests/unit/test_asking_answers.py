import json
import subprocess
import sys
from pathlib import Path

import pytest

from ollamake.asking.answers import Answer, Answers
from tests.contract.graph import ROOT

KEYS = [bytes([number]) * 32 for number in range(5)]
ABOUT = {"name": "teacher"}


def answer(number: int) -> Answer:
    return Answer(f"answer {number} – ü\u2028\ud800", "stop", number, "0.33.0")


def fill(folder: Path, count: int = 3) -> bytes:
    """Keep some answers; return the file's content."""
    with Answers(folder, ABOUT, "teacher") as answers:
        for number in range(count):
            answers.add(KEYS[number], answer(number))
    return (folder / "answers.jsonl").read_bytes()


def test_what_was_kept_is_there_the_next_time(tmp_path):
    fill(tmp_path)
    with Answers(tmp_path, ABOUT, "teacher") as answers:
        assert len(answers) == 3
        assert [answers[key] for key in KEYS[:3]] == [answer(0), answer(1), answer(2)]
        assert KEYS[3] not in answers
        answers.add(KEYS[3], answer(3))
    with Answers(tmp_path, ABOUT, "teacher") as answers:
        assert answers[KEYS[3]] == answer(3)
    assert json.loads((tmp_path / "teacher.json").read_text()) == ABOUT


def test_a_line_torn_at_any_byte_costs_that_answer_only(tmp_path):
    whole = fill(tmp_path)
    last = whole.splitlines(keepends=True)[-1]
    for length in range(len(whole) - len(last), len(whole)):
        (tmp_path / "answers.jsonl").write_bytes(whole[:length])
        with Answers(tmp_path, ABOUT, "teacher") as answers:
            assert len(answers) == 2
            answers.add(KEYS[2], answer(2))
        assert (tmp_path / "answers.jsonl").read_bytes() == whole


@pytest.mark.parametrize("damage", [b"\0" * 50, b"{}", b"5", b"[]", b'{"prompt": "zz"}', b'{"prompt": 3}', b"\xff\xfe"])
def test_a_damaged_line_costs_its_own_answer_only(tmp_path, damage):
    first, _, third = fill(tmp_path).splitlines(keepends=True)
    (tmp_path / "answers.jsonl").write_bytes(first + damage + b"\n" + third)
    with Answers(tmp_path, ABOUT, "teacher") as answers:
        assert [key in answers for key in KEYS[:3]] == [True, False, True]
        answers.add(KEYS[1], answer(1))
        assert [answers[key] for key in KEYS[:3]] == [answer(0), answer(1), answer(2)]


def test_answers_of_a_sitting_can_be_forgotten(tmp_path):
    fill(tmp_path, 2)
    with Answers(tmp_path, ABOUT, "teacher") as answers:
        before = answers.end()
        answers.add(KEYS[2], answer(2))
        answers.forget_from(before)
        assert len(answers) == 2
        answers.add(KEYS[3], answer(3))
    with Answers(tmp_path, ABOUT, "teacher") as answers:
        assert [key in answers for key in KEYS] == [True, True, False, True, False]
        assert answers[KEYS[3]] == answer(3)


def test_a_second_process_waits_for_the_first(tmp_path, capsys):
    code = (
        "import sys; from pathlib import Path; from ollamake.asking.answers import Answer, Answers\n"
        "with Answers(Path(sys.argv[1]), {}, 'teacher') as answers:\n"
        "    print('held', flush=True); sys.stdin.readline(); answers.add(bytes(32), Answer('a', 'stop', 1, 'v'))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        waiter = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert waiter.stderr.readline() == f"waiting for another run that asks the same teacher ({tmp_path})\n"
        other.communicate("go on\n")
    waiter.communicate("go on\n")
    assert (other.returncode, waiter.returncode) == (0, 0)

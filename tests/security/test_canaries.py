"""The search for what is planted finds it wherever it stands."""

import subprocess
import sys
import time

import pytest

from tests.security.canaries import BLOCK, MARK, command_lines, found_in


@pytest.mark.parametrize("before", [0, BLOCK - 5, BLOCK, 2 * BLOCK - len(MARK)])
def test_a_word_is_found_in_a_file_across_what_is_read_at_once(tmp_path, before):
    (tmp_path / "a").write_bytes(b"x" * before + MARK.encode() + b"x" * 10)
    assert found_in(tmp_path, MARK) == ([f"a: {MARK}"], 1)


def test_a_word_is_found_in_a_name_and_below_a_folder_but_not_in_the_file_left_out(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / f"below/{MARK}.txt").write_text("")
    (tmp_path / ".env").write_text(MARK)
    assert found_in(tmp_path, MARK, but=(tmp_path / ".env",)) == ([f"below/{MARK}.txt: {MARK}"], 1)


def test_the_command_line_of_a_process_is_seen():
    with command_lines(0.01) as seen:
        process = subprocess.Popen([sys.executable, "-c", "input()", MARK], stdin=subprocess.PIPE)
        while not any(MARK in line for line in list(seen)):
            assert process.poll() is None
            time.sleep(0.01)
        process.communicate(b"\n")

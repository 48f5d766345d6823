import pytest

from ollamake.look.visible import on_one_line, visible


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("plain naïve 日本 😀", "plain naïve 日本 😀"),
        ("two\nlines\tand a tab", "two⏎\nlines⇥\tand a tab"),
        ("\x1b[2J\r\x07", "␛[2J␍␇"),
        ("safe\u202etxt.exe", "safe<U+202E>txt.exe"),
        ("\x7f\x85\u2028", "<U+007F><U+0085><U+2028>"),
        ("a\u00a0b\u3000c", "a\u00a0b\u3000c"),
        ("👩\u200d👧 می\u200cخواهم", "👩\u200d👧 می\u200cخواهم"),
        ("a mark ⏎ in the text\n", "a mark ⏎ in the text⏎\n"),
        ("half \udc80", "half <U+DC80>"),
    ],
)
def test_what_does_not_print_is_spelt_out_and_what_prints_is_left(text, seen):
    assert visible(text) == seen


def test_on_one_line_there_are_marks_alone():
    assert on_one_line("two\nlines\tand\r") == "two⏎lines⇥and␍"

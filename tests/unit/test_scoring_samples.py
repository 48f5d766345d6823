import pytest

from ollamake.scoring.samples import Reply, Sample, page

PLAIN = Sample(
    id="0539fbe672bc2bf7",
    prompt="Report whether the files differ",
    reference="diff -q one two",
    base=Reply("You can use `diff`:\n\n```bash\ndiff one", stopped=False),
    tuned=Reply(" diff -q  one two\n", stopped=True),
)
GOLDEN = """\
# Answers side by side

1 of the 100 scored test conversations, by id. Ids are hashes of the content, so nobody picked them.
`base` is smollm2:135m as it comes, `tuned` the same model after training.

- ✓ equals the reference but for white space (here: base 0, tuned 1 of 1)
- ✂ was cut off at `eval_max_new_tokens`
- ↪ goes on from the line above, which is too long for this page
- ⋮ stands for more lines

## 1. ✓ `0539fbe672bc2bf7`

````text
prompt     Report whether the files differ
reference  diff -q one two
base       You can use `diff`:

           ```bash
           diff one ✂
tuned ✓    diff -q  one two
````
"""


def section(**changes):
    return page([Sample(**{**vars(PLAIN), **changes})], "tiny", 1).split("\n\n## 1.")[1]


def test_the_page_is_as_it_was_reviewed():
    assert page([PLAIN], "smollm2:135m", 100) == GOLDEN


@pytest.mark.parametrize(
    "answer", ["cat a | sort", "echo `date`", "```\n````\n`````", "<b>|</b> # * _ \\| ~~~", "| | |"]
)
def test_no_answer_breaks_out_of_its_block(answer):
    heading, fence, *body, end, last = (
        section(base=Reply(answer, stopped=True)).split("\n")[0:1]
        + section(base=Reply(answer, stopped=True)).split("\n")[2:]
    )
    assert "✓" in heading
    assert fence == end + "text"
    assert last == ""
    assert not any(line.strip().startswith(end) for line in body)
    for line in answer.split("\n"):
        assert any(line in shown for shown in body)


def test_a_long_line_goes_on_below_and_is_marked():
    words = " ".join(["word"] * 50)
    rows = [line for line in section(base=Reply(words, stopped=True)).split("\n") if "word" in line]
    assert len(rows) == 3
    assert [row[11:13] for row in rows] == ["wo", "↪ ", "↪ "]
    assert max(map(len, rows)) <= 111
    assert sum(row.count("word") for row in rows) == 50


def test_a_long_answer_is_cut_to_its_first_lines_and_still_says_that_it_was_cut_off():
    long = section(base=Reply("\n".join(f"line {number}" for number in range(40)), stopped=False))
    assert "line 10\n" in long
    assert "line 11" not in long
    assert "           ⋮ ✂\ntuned" in long


def test_twelve_lines_are_shown_whole():
    lines = "\n".join(f"line {number}" for number in range(12))
    assert "line 11\ntuned" in section(base=Reply(lines, stopped=True))


def test_an_empty_answer_has_its_row():
    assert "\nbase\ntuned ✓" in section(base=Reply("", stopped=True))
    assert "\nbase       ✂\ntuned ✓" in section(base=Reply("  \n", stopped=False))


def test_a_terminal_that_shows_the_page_obeys_no_control_character():
    shown = section(tuned=Reply("\x1b[2Jcls\x07\rx\ty", stopped=True))
    assert "␛[2Jcls␇␍x" in shown
    assert not set(shown) & {"\x1b", "\x07", "\r"}


def test_the_page_says_which_conversations_it_shows():
    assert "All 1 scored test conversations" in page([PLAIN], "tiny", 1)
    assert "2 of the 3 scored" in page([PLAIN, PLAIN], "tiny", 3)
    assert "tuned 2 of 2" in page([PLAIN, PLAIN], "tiny", 3)

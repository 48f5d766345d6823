import io

import pytest
from rich.console import Console

from ollamake.errors import OllamakeError
from ollamake.look.numbers import fewer_bins
from ollamake.look.stats import BAR_WIDTH, bar, stats
from tests.unit.looked_at import COUNTS, PREPARED, lay_out, write_json


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch, smollm2_tokenizer):
    lay_out(tmp_path, smollm2_tokenizer)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shown(width=80, **console):
    stream = io.StringIO()
    stats(Console(file=stream, width=width, highlight=False, **console))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def test_what_became_of_every_row_is_told():
    text = shown()
    assert text.startswith(
        "1,263,012 rows read\nkept: 600 train, 50 val, 50 test, 37 probe (with 14 copies, by weight)\n"
    )
    assert "not usable: 1.23%" in text
    assert "near duplicates: 112 rows in 40 groups of up to 9, each in one split" in text
    for line in (
        "rejected            not valid JSON                          12",
        "repaired            line ends                               77",
        "field not read      score                                  800",
        "left out            beyond max_examples                    500",
        "duplicate           same prompt and answer               1,200",
        "duplicate           nearly the same prompt, same answer      3",
        "dropped from train  longer than max_length                   2",
    ):
        assert line in text.splitlines()


def test_sources_and_tasks_have_their_counts():
    text = shown()
    assert "chats   1,263,000   700\ndocs           12     2\n" in text
    assert "shell    600\n(none)   102\n" in text


def test_rows_without_any_task_make_no_table_of_tasks(workspace):
    write_json(workspace / "metrics/prepare.json", PREPARED | {"tasks": {"": 702}})
    assert "Tasks" not in shown()


def test_every_split_has_a_column_with_its_tokens_and_lengths():
    text = shown()
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "train val test" in lines
    assert "tokens 1,234,567 1,234,567 1,234,567" in lines
    assert "of them trained 24.3% 24.3% 24.3%" in lines
    assert "longest 97 97 97" in lines
    assert "truncated 5 5 5" in lines
    assert "dropped 2 0 0" in lines
    assert "Packed: 2 training rows, 97.3% full" in text


def test_the_lengths_are_bars():
    text = shown()
    assert f"         32   261  {'█' * BAR_WIDTH}\n" in text
    assert "         24     9  █▍\n         32" in text
    assert "         40     0\n         48     1  ▏" in text


@pytest.mark.parametrize("width", [60, 80, 200])
def test_it_fits_into_the_terminal(width):
    text = shown(width, force_terminal=True, color_system=None)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text


def test_a_whole_build_has_no_gaps_and_says_where_to_read_more():
    text = shown()
    assert "!" not in text
    assert text.endswith("data/prepared/report.md: every reason with its first rows")


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("metrics/prepare.json", "! metrics/prepare.json is missing: `dvc repro prepare`"),
        ("metrics/tokenize.json", "! metrics/tokenize.json is missing: `dvc repro tokenize`"),
        ("plots/tokenize/lengths.csv", "! plots/tokenize/lengths.csv is missing: `dvc repro tokenize`"),
        ("data/tokenized/val.arrow", "! data/tokenized/val.arrow is missing: `dvc checkout`, or `dvc repro tokenize`"),
        ("data/prepared/report.md", "data/prepared/report.md: not there yet, `dvc repro prepare` writes it"),
    ],
)
def test_what_is_missing_is_said_and_the_rest_is_shown(workspace, missing, said):
    (workspace / missing).unlink()
    text = shown(200)
    assert said in text
    assert "longest" in text or "rows read" in text


def test_what_is_damaged_is_not_called_missing(workspace):
    (workspace / "data/tokenized/val.arrow").write_bytes(b"")
    damaged = [line for line in shown(200).splitlines() if line.startswith("! data/tokenized/val.arrow cannot be read")]
    assert "`dvc repro --force --single-item tokenize`" in damaged[0]


@pytest.mark.parametrize("name", ["prepare", "tokenize"])
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"rows": 3,\n<<<<<<< HEAD', "is not valid JSON: "),
        ("", "is not valid JSON: "),
        ("\xff", "is not valid JSON: "),
        ("[]", "does not hold what the stage writes"),
        ('{"train": {"rows": 3}}', "does not hold what the stage writes"),
    ],
)
def test_damaged_metrics_are_told_with_the_command_that_makes_them_anew(workspace, name, content, problem):
    (workspace / f"metrics/{name}.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(OllamakeError, match=f"^error: metrics/{name}.json: {problem}") as raised:
        stats(Console())
    assert raised.value.hint == f"`dvc repro --force --single-item {name}` writes it anew"


def test_judged_answers_are_counted_where_there_are_some(workspace):
    assert "judged" not in shown()
    assert "rejected answers" not in shown()
    write_json(workspace / "metrics/prepare.json", PREPARED | {"judged": {"chosen and rejected": 4, "thumb up": 1200}})
    write_json(workspace / "metrics/tokenize.json", {"train": COUNTS | {"rejected_tokens": 77}, "val": COUNTS})
    text = shown()
    assert "judged answers: 1,200 thumb up, 4 chosen and rejected\n" in text
    assert ["in", "rejected", "answers", "77", "-"] in [line.split() for line in text.splitlines()]


def test_tokens_of_another_build_than_the_metrics_are_told(workspace):
    write_json(workspace / "metrics/tokenize.json", {"val": COUNTS | {"rows": 1_000}})
    said = "! data/tokenized/val.arrow has 3 rows, metrics/tokenize.json says 1,000: `dvc repro tokenize`"
    assert said in shown(200)


def test_without_a_build_the_command_for_one_is_given(workspace):
    for name in ("prepare", "tokenize"):
        (workspace / f"metrics/{name}.json").unlink()
    with pytest.raises(OllamakeError, match="no data is prepared yet\nhint: `dvc repro tokenize`"):
        stats(Console())


def test_more_lines_than_a_screen_has_are_summed_up(workspace):
    tasks = {f"task-{number}": 1000 - number for number in range(300)}
    write_json(workspace / "metrics/prepare.json", PREPARED | {"tasks": tasks})
    text = shown()
    assert "task-19 " in text
    assert "task-20 " not in text
    assert "and 280 more" in text


def test_fewer_bins_hold_the_same_rows():
    lengths = [(8 * number, number) for number in range(100)]
    found = fewer_bins(lengths, 12)
    assert len(found) == 12
    assert [start for start, _ in found[:3]] == [0, 72, 144]
    assert sum(count for _, count in found) == sum(count for _, count in lengths)


def test_a_bar_is_empty_only_for_nothing():
    assert bar(0) == ""
    assert bar(1e-9) == "▏"
    assert bar(1) == "█" * BAR_WIDTH

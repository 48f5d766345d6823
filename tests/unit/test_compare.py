"""`python -m ollamake compare` in a project with a real history: what differs is told, and what is missing is said."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ollamake.cli import app
from ollamake.compare.answers import words
from ollamake.compare.build import Build
from ollamake.compare.comparison import compare
from ollamake.compare.outputs import cache_of
from ollamake.compare.revision import resolve
from ollamake.compare.table import Cell, Line, Mark, numbers, of_builds
from ollamake.files import write_jsonl
from ollamake.gate.comparison import Contest
from ollamake.gate.comparison import compare as gate_compare
from tests.compared import ITEMS, compared_project, project, prompt, set_params, write_evaluated, write_prepared
from tests.conftest import REPOSITORY
from tests.released import commit, dvc, run
from tests.unit.scored import scored

__all__ = ["compared_project", "project"]
RUNNER = CliRunner()
SCORES = "Scores of the tuned model, ± half the 95 % interval"
BARE = {"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"}
ANSWERS = "Answers that changed, by ROUGE-L"


@pytest.fixture
def here(compared_project, monkeypatch):
    """The shared project as the current folder, for tests that only read."""
    monkeypatch.chdir(compared_project)
    return compared_project


def document(*names):
    locate = cache_of(Path.cwd())
    return compare([Build(revision, locate) for revision in resolve(names)])


def sections(*names):
    return {section.title: section for section in document(*names).sections}


def lines(table):
    return {line.name: [cell.text for cell in line.cells] for line in table.differing.lines}


def printed(tmp_path, *arguments):
    result = RUNNER.invoke(app, ["compare", "--html", str(tmp_path / "page.html"), *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_only_parameters_that_differ_are_printed_unless_all_are_asked_for(here, tmp_path):
    brief, whole = printed(tmp_path, "HEAD", "bolder"), printed(tmp_path, "HEAD", "bolder", "--all")
    assert "lora_rank" in brief
    assert "learning_rate" not in brief
    assert "learning_rate" in whole
    assert "No stage depends on code that differs" not in brief  # the recipe does


def test_the_difference_of_a_score_is_that_of_the_gate(here):
    rows = [{row["id"]: row for row in scored(ITEMS, right, seed)} for right, seed in ((0.7, 1), (0.3, 2))]
    gain = gate_compare(Contest(*rows)).gain
    (table,) = sections("HEAD", "bolder")[SCORES].tables
    found = lines(table)
    assert found["ROUGE-L, %"][2:] == [
        f"{100 * gain['rouge_l'].value:+.1f}",
        f"{100 * gain['rouge_l'].low:+.1f} to {100 * gain['rouge_l'].high:+.1f}",
        f"{gain['rouge_l'].p:.4f}",
        "worse",
    ]
    loss = found["loss, nats a token"]
    assert loss[2] == f"{-gain['loss'].value:+.3f}"  # a gain is positive, the loss grew
    assert (loss[2][0], loss[5]) == ("+", "worse")


def test_the_other_way_round_worse_is_better(here):
    (table,) = sections("bolder", "HEAD")[SCORES].tables
    assert {line.name: line.cells[-1].mark for line in table.lines}["ROUGE-L, %"] is Mark.BETTER


def test_answers_stand_side_by_side_the_largest_change_first(here):
    section = sections("HEAD", "bolder")[ANSWERS]
    changes = [abs(float(before.score) - float(after.score)) for before, after in map(_answers, section.conversations)]
    assert changes == sorted(changes, reverse=True)
    assert len(changes) > 20
    first = section.conversations[0]
    assert first.prompt == prompt(int(first.id, 16))
    assert section.notes[0].startswith("bolder against HEAD, of 30 answers by ROUGE-L: ")


def _answers(conversation):
    return conversation.answers


def test_an_answer_that_was_cut_off_says_so(project):
    _replace_items([{**row, "stopped": False} for row in scored(ITEMS, 0.3, 2)])
    section = sections()[ANSWERS]
    assert section.notes[-1] == "✂ was cut off at eval_max_new_tokens"
    before, after = section.conversations[0].answers
    assert after.text.endswith(" ✂")
    assert not before.text.endswith("✂")
    assert "".join(text for text, _ in after.changes) == after.text


def test_what_the_stages_measured_is_there_in_time_memory_and_direction(here):
    found = sections("HEAD", "bolder")
    assert lines(found["Time and memory"].tables[0])["train, time"] == ["300 s", "150 s (-50 %)"]
    figures = found["Other figures"].tables[0]
    assert lines(figures)["train val_loss"] == ["1.8", "2.9 (+61 %)"]
    assert {line.name: line.cells[1].mark for line in figures.lines}["train val_loss"] is Mark.WORSE


def test_a_plot_that_differs_is_drawn_and_the_others_are_named(here):
    section = sections("HEAD", "bolder")["Curves"]
    assert [chart.title for chart in section.charts] == ["Training loss", "Validation loss"]
    assert section.notes == ["the same in all: Lengths"]  # of the GPU there is no number
    validations = section.charts[1].svg
    assert validations.count('aria-roledescription="point"') == 3  # two of one build, and the only one of the other


def test_code_is_told_by_stage_and_whether_it_has_run(project):
    Path("code/steps/step.py").write_text("two = 2\nthree = 3\n")
    Path("code/steps/more.py").write_text("four = 4\n")
    Path("notes.md").write_text("of no concern\n")
    section = sections()["Code"]
    assert lines(section.tables[0]) == {
        "train": ["2 files", "+2 -1", "code/steps/step.py (+2 -1), code/steps/more.py (untracked)", "not yet"]
    }
    assert section.notes == ["workspace: no stage depends on 1 file more that changed"]
    dvc("repro", "--quiet", "train")
    assert lines(sections()["Code"].tables[0])["train"][-1] == "yes"


def test_rows_are_followed_from_split_to_split(project):
    splits = {"train": range(5, 112), "val": range(100, 105), "test": range(112, 150), "probe": range(140, 145)}
    write_prepared(splits)
    shutil.copytree("recipe/prepare/data", "data", dirs_exist_ok=True, copy_function=_replace)
    section = sections()["Data"]
    found = lines(section.tables[2])
    assert list(section.tables[2].head) == ["split", "in both", "new", "gone", "from another split", "to another split"]
    assert found["train"] == ["95", "0", "5", "12", "0"]
    assert found["test"] == ["28", "5", "0", "5", "2"]
    assert "! workspace was trained on 2 test conversations of HEAD: on these its answers are no test" in section.notes


def _replace(source, target):
    Path(target).unlink(missing_ok=True)  # DVC links to its cache
    return shutil.copy(source, target)


def test_of_differing_test_sets_what_both_answered_is_paired(project):
    write_evaluated(scored(ITEMS, 0.9, 3)[:20])
    dvc("repro", "--quiet", "evaluate")
    section = sections()[SCORES]
    assert section.notes[0].startswith("workspace against HEAD: the test sets differ (30 and 20 conversations).")
    assert "the 20 conversations that both answered" in section.notes[0]
    assert "on the 20 that both answered, p " in document().lead[0]
    rows = scored(ITEMS, 0.7, 1)[:20], scored(ITEMS, 0.9, 3)[:20]
    gain = gate_compare(Contest(*({row["id"]: row for row in each} for each in rows))).gain
    assert lines(section.tables[0])["ROUGE-L, %"][4] == f"{gain['rouge_l'].p:.4f}"


def test_without_a_conversation_in_common_nothing_is_paired(project):
    rows = [{**row, "id": f"{number:04x}"} for number, row in enumerate(scored(ITEMS, 0.9, 3))]
    _replace_items(rows)
    found = sections()
    assert found[SCORES].notes[0].endswith("nothing is paired: the test sets have no conversation in common")
    assert found[ANSWERS].same == "no answers can be set side by side"
    assert {cell for line in found[SCORES].tables[0].lines for cell in [line.cells[4].text]} == {"–"}


def test_of_another_tokenizer_the_scores_of_tokens_are_not_paired(project):
    _replace_items([{**row, "tokens": row["tokens"] + 1, "nats": row["nats"] + 1} for row in scored(ITEMS, 0.7, 1)])
    gain = document().sections[2].tables[0]
    tested = {line.name for line in gain.lines if line.cells[4].text != "–"}
    assert "ROUGE-L, %" in tested
    assert "loss, nats a token" not in tested


def _replace_items(rows):
    path = Path("models/evaluated/items.jsonl")
    path.unlink()
    write_jsonl(path, rows)


def test_a_build_of_before_the_answers_were_kept_is_compared_as_far_as_it_goes(here):
    found = document("old", "HEAD")
    assert found.lead[0].startswith("HEAD against old: ROUGE-L 50.0 → 67.3 % (+17.3, not paired")
    assert any(remark.startswith("old made no models/evaluated/items.jsonl") for remark in found.remarks)
    notes = {section.title: section for section in found.sections}[SCORES].notes
    assert notes[0] == "HEAD against old: nothing is paired: the answers of old are not at hand"


def test_answers_that_are_gone_from_the_cache_are_said_with_the_way_to_get_them(project, tmp_path):
    shutil.rmtree(".dvc/cache")
    said = " ".join(printed(tmp_path, "HEAD", "bolder").split())
    assert (
        "models/evaluated of HEAD is not in DVC's cache: `dvc fetch --all-commits models/evaluated` brings it" in said
    )
    assert "models/evaluated of bolder is not in DVC's cache: `dvc exp pull origin bolder` brings it" in said
    assert "lora_rank" in said


def test_files_that_cannot_be_read_are_said(project):
    Path("metrics/train.json").write_text("{")
    Path("pins.yaml").write_text("a: [")
    Path("dvc.yaml").write_text("- no stages\n")
    found = document("HEAD", "workspace")
    assert any(remark.startswith("pins.yaml of workspace cannot be read") for remark in found.remarks)
    run("git", "checkout", "dvc.yaml")
    found = document("HEAD", "workspace")
    assert any(remark.startswith("metrics/train.json of workspace cannot be read") for remark in found.remarks)


def test_metrics_that_were_made_with_other_parameters_are_told(project):
    set_params(lora_rank=99, system_prompt="of no stage")
    (remark,) = document().remarks
    assert remark.startswith("train of workspace last ran with lora_rank 16, which is not what its params.yaml or")


def test_what_a_stage_measured_before_its_inputs_changed_is_left_out(project):
    write_prepared({"train": range(90), "val": range(100, 110), "test": range(110, 140), "probe": range(140, 145)})
    dvc("repro", "--quiet", "prepare")
    found = document()
    (remark,) = found.remarks
    assert remark.startswith("train of workspace did not run since what they read was made anew")
    by_title = {section.title: section for section in found.sections}
    assert lines(by_title["Other figures"].tables[0]) == {}
    assert by_title["Other figures"].notes == ["train measured something for HEAD alone"]
    assert by_title["Curves"].notes[0] == "plots/train_loss.tsv: only HEAD has it"


def test_nothing_is_touched(here, tmp_path):
    before = _everything(here)
    printed(tmp_path, "old", "HEAD", "bolder", "workspace", "--all")
    assert _everything(here) == before
    assert len(before) > 30


def _everything(folder):
    files = (path for path in folder.rglob("*") if path.is_file() and ".dvc/tmp" not in str(path))
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_ino) for path in files}


def test_in_a_pipe_it_is_plain_and_fits_a_hundred_columns(here, tmp_path):
    command = [sys.executable, "-m", "ollamake", "compare", "HEAD", "bolder", "--html", str(tmp_path / "page.html")]
    result = subprocess.run(command, capture_output=True, text=True, env=BARE)
    assert result.returncode == 0, result.stderr
    assert "\x1b" not in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 100
    assert result.stderr == f"with curves and every answer that changed: {tmp_path / 'page.html'}\n"


def test_no_heavy_library_is_imported(here, tmp_path):
    code = (
        "import sys; from pathlib import Path; from ollamake.compare.commands import run; "
        f"run(['HEAD', 'bolder'], Path({str(tmp_path / 'page.html')!r}), everything=False); "
        "print(*(name for name in ('torch', 'transformers', 'datasets') if name in sys.modules), file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=BARE,
    )
    assert result.stderr.splitlines()[1:] == [""]


def test_an_error_is_told_with_its_hint(here):
    result = RUNNER.invoke(app, ["compare", "nowhere"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: nowhere is nothing that git or DVC knows\nhint: ")


def test_many_builds_stand_in_tables_that_fit(project, tmp_path):
    for rank in (1, 2, 3):
        set_params(lora_rank=rank)
        commit(f"rank {rank}")
        run("git", "tag", f"rank-{rank}")
    said = printed(tmp_path, "model@v1.0.0", "rank-1", "rank-2", "rank-3", "bolder")
    rows = [line.split() for line in said.splitlines() if line.split()[:1] == ["lora_rank"]]
    assert rows == [["lora_rank", "16", "1", "2", "3"], ["lora_rank", "16", "4"]]
    scores = [line for line in said.splitlines() if line.strip().startswith("ROUGE-L")]
    assert len(scores) == 2
    assert scores[1].rstrip().endswith("▼")


def test_a_table_of_builds_is_cut_into_parts_that_all_have_the_reference():
    table = of_builds(["a", "b", "c", "d"], [Line("x", [Cell(text) for text in "1234"])])
    assert [list(part.head) for part in table.parts(2)] == [["", "a", "b", "c"], ["", "a", "d"]]
    assert [[cell.text for cell in part.lines[0].cells] for part in table.parts(2)] == [["1", "2", "3"], ["1", "4"]]


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([100, 110], "110 (+10 %)"),
        ([100, 101], "101 (+1.0 %)"),
        ([100, 350], "350 (×3.5)"),
        ([0, 5], "5"),
        ([4, -2], "-2"),
        ([None, 3], "3"),
        ([3, None], "–"),
    ],
)
def test_a_number_is_written_with_its_change(values, shown):
    line = numbers("x", values, str)
    assert line.cells[1].text == shown
    assert line.differs


def test_the_words_that_are_new_are_found():
    assert words("git add .", "git push .") == [("git ", False), ("push", True), (" .", False)]
    assert words("same", "same") == [("same", False)]
    assert words("gone", "") == []


def test_json_of_the_metrics_may_hold_lists_and_words(project):
    path = Path("metrics/train.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "notes": ["a"], "verdict": "none", "ok": True}))
    assert {line.name for line in sections()["Other figures"].tables[0].lines} == {"train val_loss", "train steps"}

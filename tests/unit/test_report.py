"""What the report says: numbers as the stages before it wrote them, and no section about what there is not."""

import json
import re
from pathlib import Path

import pytest

from ollamake.report.answers import split_page
from ollamake.report.build import build
from ollamake.report.markdown import code, plain, table
from ollamake.scoring.names import figure
from stages.report import facts, main
from tests.unit.reported import BASE, Compared, contest, converted, params, split, standard, write, write_workspace

SECTIONS = [
    "Trained on what",
    "How it was trained",
    "Scores",
    "Answers side by side",
    "What got better, what got worse",
    "Served as trained",
    "How to run it",
    "How to make it again",
]


def report(folder: Path, found=None, settings=None, **changes) -> str:
    write_workspace(folder, found or standard(), **changes)
    return build(facts(settings or params())).markdown


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def gate(folder):
    return json.loads((folder / "metrics/gate.json").read_text())


def cells(text, first):
    """The cells of the rows that begin with that cell, without bold."""
    rows = [line[2:-2].replace("**", "").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return [row[1:] for row in rows if row[0] == first]


def headings(text):
    return re.findall(r"^## (.+)$", text, flags=re.MULTILINE)


def test_a_plain_build_has_its_sections_and_no_others(here):
    assert headings(report(here, standard(released=False))) == SECTIONS


def test_the_lead_says_what_it_is_how_good_and_in_which_file(here):
    lead = report(here).partition("\n## ")[0]
    before, after = (figure("rouge_l", gate(here)[model]["rouge_l"]) for model in ("base", "tuned"))
    assert lead.startswith("# wishes-shell\n\n`smollm2:135m`, fine-tuned on 953 conversations of `data/wishes.jsonl`")
    assert f"ROUGE-L {after} % (95 % interval" in lead
    assert f"before training {before} %." in lead
    assert "Served as `model-Q8_0.gguf`, 144.8 MB, which 254 checks" in lead


def test_every_score_stands_with_its_interval_as_the_gate_saw_it(here):
    text, found = report(here), gate(here)
    assert len(found["tuned"]) > 10
    for name, label in (("loss", "loss, nats a token"), ("rouge_l", "ROUGE-L, %"), ("exact_match", "exact match, %")):
        (base, tuned, gain, p), (release, lead, lead_p) = cells(text, label)
        for shown, model in ((base, "base"), (tuned, "tuned"), (release, "release")):
            low, high = found["intervals"][model][name]
            assert shown == f"{figure(name, found[model][name])} [{figure(name, low)}, {figure(name, high)}]"
        assert gain.split()[0] == figure(name, found["gain"][name], "+")
        assert lead.split()[0] == figure(name, found["lead"][name], "+")
        assert (p, lead_p) == (f"{found['p'][name]:.4f}", f"{found['lead_p'][name]:.4f}")


def test_the_verdict_names_what_was_asked_and_what_the_gate_remarked(here):
    text = report(here)
    assert "**The gate passed.** It decides by ROUGE-L: at least 10.0 % better than the base model" in text
    assert "at most 2.0 % worse than the release" in text
    assert f"- {plain(gate(here)['remarks'][0])}" in text


def test_without_a_release_no_word_of_a_lead(here):
    text = report(here, standard(released=False))
    assert "Against the shipped release" not in text
    assert "| score | release |" not in text


def test_a_score_that_the_release_lacks_is_a_dash(here):
    found = contest(metric="mine")
    for row in found.release.values():
        del row["scores"]["mine"]
    text = report(here, Compared.of(found))
    assert len(cells(text, "mine")) == 1
    assert "nan" not in text


def test_tasks_have_a_section_where_rows_carry_them(here):
    text = report(here, standard(tasks=("files", "net")))
    assert headings(text)[3] == "Task by task"
    assert [len(row) for row in cells(text, "files (15)")] == [3]
    assert cells(text, "all (30)")[0][1] == figure("rouge_l", gate(here)["tuned"]["rouge_l"]) + " %"


def test_a_judge_has_a_section_where_there_is_one(here):
    counts = {"items": 50, "win": 30, "tie": 12, "loss": 8, "order_disagreements": 5}
    score = {"score": 0.72, "score_low": 0.583, "score_high": 0.826}
    text = report(here, judge={"judge_model": "llama3.2:3b", "digest": "ab" * 32, **counts, **score})
    assert "`llama3.2:3b` (digest `abababababab`) compared 50 answers" in text
    assert "30 won, 12 tied and 8 lost" in text
    assert "score 72% (95 % interval 58% to 83%" in text


def test_data_and_training_are_those_of_the_metrics(here):
    text = report(here)
    assert "1,263 rows, of which 960 train, 145 val, 121 test, 37 probe" in text
    assert cells(text, "train") == [["953", "43,838", "10,483", "44", "97"]]
    assert "- 3 × a duplicate, or nearly one" in text
    assert "- 7 × control token (train)" in text
    assert cells(text, "`lora_rank`") == [["16"]]
    assert cells(text, "`gradient_accumulation_steps`") == [["4"]]
    assert "the model of step 240 is shipped" in text
    assert "overfitting since step 240" in text


def test_what_the_method_has_not_is_not_named(here):
    text = report(here, settings=params(method="full", max_steps=100))
    assert cells(text, "`lora_rank`") == cells(text, "`num_epochs`") == []
    assert cells(text, "`max_steps`") == [["100"]]


def test_a_teacher_is_named(here):
    teacher = {"teacher": "llama3.2:3b", "train": {"answered": 940}, "val": {"answered": 140}}
    assert "those of `llama3.2:3b` (940 train, 140 val)" in report(here, distill=teacher)


def test_every_file_is_proved_and_compared(here):
    text = report(here)
    section = text.partition("## Served as trained")[2].partition("\n## ")[0]
    agreement = ["97.2% of 176", "11 of 16", "0.0463", "0.2658"]
    assert cells(section, "F16")[0] == [*agreement, "9"]
    assert cells(section, "Q8_0")[1] == ["144.8 MB", "5.250", "41.0%", "12.0%", "70.0%", "51"]
    assert cells(section, "Q4_0")[1][:2] == ["91.7 MB", "8.200"]
    assert cells(section, "stops")[0][1:] == ["2", "2", "2"]
    assert cells(section, "matrices")[0][1:] == ["7", "–", "–"]


def test_what_could_not_be_measured_is_a_dash(here):
    figures = converted(144_810_880, 5.25, {"stops": 2})
    bare = {key: value for key, value in figures.items() if "perplexity" not in key and key != "tokens_per_second"}
    text = report(here, settings=params(gguf_quantization="Q8_0"), convert={"Q8_0": bare, "seconds": 9.0})
    assert cells(text, "Q8_0")[1] == ["144.8 MB", "–", "41.0%", "12.0%", "70.0%", "–"]


def test_the_commands_name_the_model_the_file_and_the_system_prompt(here):
    text = report(here, settings=params(system_prompt="It's one\n```\ncommand"))
    assert "\nollama run wishes-shell\n" in text
    assert "ollama create wishes-shell -f models/export/Modelfile" in text
    assert (
        "````sh\nllama-cli -m models/gguf/model-Q8_0.gguf --jinja --temp 0 -sys 'It'\"'\"'s one\n```\ncommand'\n````"
        in text
    )


def test_samples_and_the_largest_flips_are_there(here):
    text = report(here)
    assert len(re.findall(r"^### \d+\. ", text, flags=re.MULTILINE)) == 4
    flips = (here / "models/flips.md").read_text()
    better = re.findall(r"^### (`.+)$", flips.partition("## Better than the base")[2], flags=re.MULTILINE)
    assert len(better) > 2
    shown = text.partition("### Better than the base")[2].partition("\n## ")[0]
    assert re.findall(r"^#### (`.+)$", shown, flags=re.MULTILINE) == better[:2]


def test_no_path_of_this_machine_is_told(here):
    write_workspace(here, standard())
    write(
        here / "models/base.json", json.dumps({**BASE, "name": "/home/ada/models/mine", "source": {"kind": "folder"}})
    )
    samples = (here / "models/samples.md").read_text().replace("smollm2:135m", "/home/ada/models/mine")
    write(here / "models/samples.md", samples)
    main(params(data_source="/home/ada/wishes.jsonl"))
    for name in ("report.md", "report.html"):
        text = (here / "models" / name).read_text()
        assert "mine" in text
        assert "wishes.jsonl" in text
        assert "/home" not in text
        assert str(here) not in text


def test_rows_of_an_empty_split_are_left_out(here):
    text = report(here, tokenize={"train": split(953), "val": split(0), "test": split(120)})
    assert cells(text, "val") == []


def test_a_heading_inside_a_fence_begins_no_part():
    page = "# A\n\n## one\n\n````text\nprompt  x\n```\n## no part\n````\n\n## two\n"
    assert [part.splitlines()[0] for part in split_page(page)] == ["# A", "## one", "## two"]


@pytest.mark.parametrize("text", ["a|b", r"a\|b", "<b>", "`x`", "![i](u)", "*a*_b_", "&lt;", "``", "\\"])
def test_texts_read_back_as_they_are(text):
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark").enable("table")
    tokens = parser.parse(table(["a", "b"], [[plain(text), code(text)]]))
    first, second = [token for token in tokens if token.type == "inline"][2:]
    assert "".join(child.content for child in first.children) == text
    assert [child.type for child in second.children] == ["code_inline"]
    assert second.children[0].content == text

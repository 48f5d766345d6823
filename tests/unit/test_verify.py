"""A bit that flips on the disk is found, named with what mends it, and neither served nor released."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from ollamake.cli import app
from ollamake.files import read_json, sha256, write_json
from ollamake.ollama.address import parse_address
from ollamake.ollama.http_server import HttpServer
from ollamake.recorded import recorded
from ollamake.release import lock
from ollamake.release.bill import files_of, read_bill
from ollamake.release.create import create
from ollamake.release.errors import ReleaseError
from ollamake.release.record import bill_path, record_path
from ollamake.verify.examination import examine_all
from ollamake.verify.part import Flaw
from ollamake.verify.show import show
from stages import fetch
from tests.faults.rot import flip
from tests.released import built_workspace, dvc, export_model, go_to, workspace
from tests.standin import running

__all__ = ["built_workspace", "workspace"]
GGUF, DATA = Path("models/gguf/model-F16.gguf"), Path("data/prepared/train.jsonl")
BASE = Path(".ollamake/base/tiny/config.json")

NIGHTLY = pytest.mark.nightly
pytestmark = pytest.mark.row("R3.8")


def flaws() -> list[Flaw]:
    return [flaw for result in examine_all() for flaw in result.flaws]


def places() -> set[str]:
    return {flaw.where for flaw in flaws()}


def run_remedy(remedy: str) -> None:
    """Do what a person copies: the first command, and where it takes another one, the last, which needs no remote."""
    commands = remedy.split("`")[1::2]
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "DVC_NO_ANALYTICS": "1"}
    for command in dict.fromkeys((commands[0], commands[-1])):
        subprocess.run(["bash", "-c", command], check=True, capture_output=True, env=environment)


def object_of(out: str, file: str = "") -> Path:
    """The object in the cache of an output, or of a file in a folder that is one."""
    md5 = recorded()[out]
    if file:
        entries = json.loads(Path(".dvc/cache/files/md5", md5[:2], md5[2:]).read_text())
        md5 = next(entry["md5"] for entry in entries if entry["relpath"] == file)
    return Path(".dvc/cache/files/md5", md5[:2], md5[2:])


def test_a_build_that_nobody_touched_is_whole(workspace: Path) -> None:
    done = CliRunner().invoke(app, ["verify"])
    assert done.exit_code == 0, done.output
    assert "all as recorded" in done.output
    for part in ("base model", "prepare", "convert", "DVC's cache", "GGUF to serve"):
        assert part in done.output
    assert done.output.count("✓") == 7
    assert "releases" in done.output
    assert "– skipped: none was made yet" in done.output


@pytest.mark.parametrize(
    "find",
    [
        pytest.param(lambda: GGUF, id="GGUF"),
        pytest.param(lambda: Path("metrics/gate.json"), id="metrics"),
        pytest.param(lambda: object_of("models/gguf", GGUF.name).absolute(), id="object of a folder"),
        pytest.param(lambda: DATA, id="data", marks=NIGHTLY),
        pytest.param(lambda: Path("models/gguf/serving.json"), id="serving.json", marks=NIGHTLY),
        pytest.param(lambda: object_of(str(DATA)).absolute(), id="object", marks=NIGHTLY),
        pytest.param(lambda: object_of("models/gguf").absolute(), id="list of a folder", marks=NIGHTLY),
    ],
)
def test_a_flipped_bit_is_found_named_and_mended_by_what_is_said(workspace: Path, find: Callable[[], Path]) -> None:
    file = find()
    flip(file)
    found = [flaw for flaw in flaws() if flaw.where == str(file)]
    assert found, places()
    run_remedy(found[0].remedy)
    assert flaws() == []


@pytest.mark.parametrize("mend", [True, pytest.param(False, marks=NIGHTLY)])
def test_dvc_brings_an_altered_object_back_until_it_is_removed(workspace: Path, mend: bool) -> None:
    """Why the remedy begins with `rm`: what lies in the cache is taken for what its name says."""
    dvc("config", "cache.type", "hardlink")
    shutil.rmtree("models/gguf")
    dvc("checkout", "--quiet", "--force")
    flip(GGUF)
    assert {str(GGUF), str(object_of("models/gguf", GGUF.name).absolute())} <= places()
    assert "{}" in dvc("status", "convert", "--json")
    if mend:
        run_remedy(next(flaw for flaw in flaws() if flaw.where == str(GGUF)).remedy)
    else:
        dvc("repro", "--quiet", "--force", "--single-item", "convert")
    assert (flaws() == []) is mend


def test_every_altered_file_is_named_at_once_with_exit_code_1(workspace: Path) -> None:
    for file in (GGUF, DATA, BASE):
        flip(file)
    (GGUF.parent / "more.gguf").write_bytes(b"GGUF")
    done = CliRunner().invoke(app, ["verify"])
    assert done.exit_code == 1
    for said in (f"✗ {GGUF}: md5 is ", f"✗ {DATA}: md5 is ", f"{BASE}: sha256 is ", "was not written by convert"):
        assert said in done.output
    assert "✗ 2 altered" in done.output


@pytest.mark.parametrize("name", ["models/base.json", "dvc.lock", "models/gguf/serving.json"])
@pytest.mark.parametrize("kept_share", [0.0, 0.5])
def test_a_record_that_can_no_longer_be_read_is_a_flaw_and_no_crash(
    workspace: Path, name: str, kept_share: float
) -> None:
    text = Path(name).read_text()
    Path(name).unlink()
    Path(name).write_text(text[: round(len(text) * kept_share)])
    done = CliRunner().invoke(app, ["verify"])
    assert done.exit_code == 1
    assert isinstance(done.exception, SystemExit)
    assert f"{name}: " in done.output or f"{Path(name).parent}: " in done.output


def test_what_is_not_here_is_skipped_or_missing_and_never_fine(workspace: Path) -> None:
    shutil.rmtree("data/prepared")
    shutil.rmtree(".ollamake")
    (GGUF.parent / "template.gotmpl").unlink()
    results = {result.part.name: result for result in examine_all()}
    assert "`dvc checkout` brings them" in results["prepare"].part.skipped
    assert "tiny is not in the store" in results["base model"].part.skipped
    [flaw] = results["convert"].flaws
    assert (flaw.where, flaw.what) == ("models/gguf/template.gotmpl", "is not there")
    assert results["GGUF to serve"].flaws


def test_without_a_list_in_the_cache_a_folder_is_still_verified_as_a_whole(workspace: Path) -> None:
    shutil.rmtree(".dvc/cache")
    assert flaws() == []
    flip(GGUF)
    assert "models/gguf" in places()


def test_before_any_build_all_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    results = list(examine_all())
    assert all(result.part.skipped for result in results)
    console = Console(record=True, width=120)
    show(results, console)
    said = console.export_text()
    assert "there is no dvc.yaml here" in said
    assert said.splitlines()[-1] == "nothing was verified: there is nothing here yet"


@pytest.mark.nightly
def test_the_weights_of_the_base_are_hashed_and_the_remedy_brings_them_back(
    fetch_workspace: Path, tiny_base: Path
) -> None:
    """A folder with another template shares the weights with the first one, so that both have to go."""
    asked = fetch.Params(base_model=str(tiny_base), base_model_revision="pinned", chat_template="chatml")
    fetch.main(asked)
    record = read_json(Path("models/base.json"))
    weights = Path(".ollamake/base", record["key"], "model.safetensors")
    flip(weights)
    [flaw] = [flaw for flaw in flaws() if flaw.where == str(weights)]
    remedy = flaw.remedy.strip("`").removesuffix("dvc repro --force --single-item fetch")
    subprocess.run(["bash", "-c", remedy], check=True)
    fetch.main(asked)
    assert [one for one in flaws() if "base" in one.where] == []


@pytest.mark.parametrize("what", ["cache", "base", "data", "GGUF"])
def test_a_release_of_altered_files_is_refused(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(lock, "require_current", lambda: None)  # which sees none of this
    file = {"cache": object_of("models/gguf", GGUF.name), "base": BASE, "data": DATA, "GGUF": GGUF}[what]
    with running(tmp_path / "server") as standin, HttpServer(parse_address(standin.url)) as server:
        monkeypatch.setenv("OLLAMA_HOST", standin.url)
        export_model()
        flip(file)
        with pytest.raises(ReleaseError, match="not what was recorded") as failure:
            create(server, None, "minor")
    assert str(file) in failure.value.problem
    assert "`python -m ollamake verify`" in failure.value.hint
    assert not list(Path("releases").glob("1.0.0*"))


@pytest.mark.row("R6.10")
def test_a_release_names_all_it_was_made_of_and_verify_holds_it_to_that(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "require_current", lambda: None)
    with running(tmp_path / "server") as standin, HttpServer(parse_address(standin.url)) as server:
        monkeypatch.setenv("OLLAMA_HOST", standin.url)
        export_model()
        made = create(server, None, "minor")
    bill = read_bill("1.0.0")
    model = bill["metadata"]["component"]
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert model["hashes"] == [{"alg": "SHA-256", "content": sha256(GGUF)}]
    assert model["pedigree"]["commits"] == [{"uid": made.git_commit}]
    assert model["licenses"] == [{"license": {"name": "apache-2.0"}}]
    properties = {one["name"]: one["value"] for one in model["properties"]}
    assert properties["ollamake:param:lora_rank"] == "8"
    assert {f"ollamake:param:{name}" for name in made.params} <= set(properties)
    files = dict(files_of(bill))
    assert {path: sha256(path) for path in (GGUF, DATA, BASE)}.items() <= files.items()
    packages = {one["name"]: one["purl"] for one in bill["components"] if one["type"] == "library"}
    assert packages["torch"] == "pkg:pypi/torch@2.13.0"
    assert len(packages) > 100
    references = [one["bom-ref"] for one in [model, *bill["components"]]]
    assert len(references) == len(set(references))
    assert flaws() == []

    flip(bill_path("1.0.0"), 200)
    assert places() == {"releases/1.0.0.sbom.json"}
    flip(bill_path("1.0.0"), 200)
    record = read_json(record_path("1.0.0"))
    write_json(record_path("1.0.0"), {**record, "system": "You are somebody else."})
    assert places() == {"releases/1.0.0.json"}
    write_json(record_path("1.0.0"), record)
    flip(DATA)
    released = next(flaw for flaw in flaws() if "released otherwise" in flaw.remedy)
    assert released.where == str(DATA)
    go_to("two")  # another build lies here now, and that is no flaw of the release
    assert [flaw for flaw in flaws() if "released otherwise" in flaw.remedy] == []

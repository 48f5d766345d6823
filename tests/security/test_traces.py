"""What a build leaves behind: no secret of the environment it ran in, no name of a person, a machine or a folder."""

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ollamake import params
from ollamake.resolve.gguf_file import GgufFile
from ollamake.resolve.safety import PICKLES
from tests.contract.graph import ROOT, stages
from tests.pipeline.conftest import Project
from tests.security.canaries import MARK, SECRETS, found_in, history_of
from tests.standin import running

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pipeline")]  # one worker builds once
SHOWN = ("models/tuned", "models/gguf", "models/export", "models/evaluated", "models/baseline", "metrics", "plots")
PAGES = tuple(f"models/{page}" for page in ("report.md", "report.html", "samples.md", "flips.md", "judge.md"))
# Weights, and a vocabulary in which any word may stand.
BINARY = (".safetensors", ".gguf")
PATHS = re.compile(r"(?<![\w.:/<*\\])/(?:[\w.+~-]+/)+[\w.+~-]+|\b[A-Za-z]:\\\w+|file://")
PICKLE = re.compile(rb"\x80[\x02-\x05]|PK\x03\x04.{0,80}data\.pkl", re.DOTALL)


def exported(folder: Path, *more: str) -> list[Path]:
    """Every file that leaves this machine with a model."""
    files = [file for name in (*SHOWN, *more) for file in (folder / name).rglob("*") if file.is_file()]
    return files + [folder / name for name in (*PAGES, "dvc.lock")]


def words_of(file: Path) -> str:
    """What a file says in words: a text, or the strings among the metadata of weights."""
    if file.suffix == ".gguf":
        gguf = GgufFile(file)
        values = [gguf.get(key) for key in gguf._reader.fields]
        assert len(values) > 10
        return "\n".join(value for value in values if isinstance(value, str))
    if file.suffix == ".safetensors":
        content = file.read_bytes()
        return content[8 : 8 + int.from_bytes(content[:8], "little")].decode()
    return file.read_text()


def leaks(file: Path, text: str, *folders: Path) -> list[str]:
    """The paths and names of this machine that a text holds."""
    names = [MARK, *map(str, folders), str(Path.home())]
    found = [name for name in names if len(name) > 4 and name in text] + PATHS.findall(text)
    if re.search(rf"(?<![\w.-]){re.escape(socket.gethostname())}(?![\w.-])", text):
        found.append(socket.gethostname())
    return [f"{file.name}: {name}" for name in found]


def without_parameter(file: Path, base: Path) -> str:
    """The words of a file, of dvc.lock without base_model: what stands in params.yaml is written there as it is."""
    text = words_of(file)
    if file.name != "dvc.lock":
        return text
    assert f"base_model: {base}\n" in text
    return text.replace(f"base_model: {base}\n", "")


def base_of(project: Project) -> Path:
    """The folder of the base model, which may be that of another of the processes that run the tests."""
    return Path(params.read(project.folder / "params.yaml")["base_model"])


@pytest.mark.row("R6.1")
def test_no_secret_of_the_environment_stands_in_what_a_build_leaves_or_says(built):
    assert MARK in (built.folder / ".env").read_text()
    hits, searched = found_in(built.folder, MARK, but=(built.folder / ".env",))
    assert hits == []
    assert searched > 500  # the cache, the store of checkpoints, logs and DVC's own notes among them
    assert MARK.encode() not in history_of(built.folder)
    said = (built.folder.parent / "said.txt").read_text()
    assert {name for name in stages() if f"-m stages.{name}" in said} >= {"train", "convert"}
    assert MARK not in said
    hits, _ = found_in(built.folder.parent / f"home-{MARK}", *SECRETS.values())
    assert hits == []


@pytest.mark.row("R6.1")
def test_git_passes_over_the_file_of_secrets():
    assert subprocess.run(["git", "check-ignore", "--quiet", ".env"], cwd=ROOT, check=False).returncode == 0


@pytest.mark.row("R6.9")
def test_nothing_that_is_exported_names_a_folder_a_person_or_a_machine(built):
    base = base_of(built)
    files = exported(built.folder)
    assert len(files) > 30
    found = []
    for file in files:
        found += leaks(file, without_parameter(file, base), built.folder, base)
    assert found == []
    weights = [file.read_bytes() for file in files if file.suffix in BINARY]
    assert len(weights) >= 2
    assert [word for word in (MARK, str(built.folder), str(base)) for one in weights if word.encode() in one] == []


@pytest.mark.parametrize("text", ["in /home/ann/data/a.jsonl", '"/tmp/x/y"', r"C:\Users", "file:///etc", "(/opt/a/b)"])
def test_a_path_of_a_machine_is_found_where_it_stands(text):
    assert leaks(Path("page"), text)


@pytest.mark.row("R6.2")
def test_a_build_leaves_no_pickle(built):
    outs = [built.folder / name for name in (*SHOWN, "models/checkpoints", "data", ".checkpoints", ".dvc/cache")]
    files = [file for folder in outs for file in folder.rglob("*") if file.is_file()]
    assert len(files) > 100
    assert [file for file in files if file.suffix in PICKLES] == []
    assert [file for file in files if PICKLE.match(file.read_bytes()[:120])] == []


@pytest.mark.nightly
@pytest.mark.row("R6.9")
@pytest.mark.row("R6.1")
def test_a_release_names_no_folder_no_person_and_no_secret(built, tmp_path):
    start = built.run("git", "rev-parse", "HEAD").stdout.strip()
    with running(tmp_path / "models") as server:
        environment = {**SECRETS, "OLLAMA_HOST": server.url, "USER": f"user-{MARK}", "LOGNAME": f"user-{MARK}"}
        try:
            said = built.run("dvc", "repro", **environment).stdout
            built.run("git", "add", "--all")
            built.run("git", "commit", "--quiet", "--allow-empty", "-m", "served")
            created = built.run(sys.executable, "-m", "ollamake", "release", "create", **environment)
            files = [*exported(built.folder, "releases"), built.folder / "models/export/receipt.json"]
            base = base_of(built)
            texts = {file: without_parameter(file, base) for file in files}
        finally:
            built.run("git", "reset", "--hard", "--quiet", start)
            built.run("git", "tag", "--delete", *built.run("git", "tag").stdout.split())
    assert sum("releases" in file.parts for file in files) > 3
    assert [found for file, text in texts.items() for found in leaks(file, text, built.folder, base)] == []
    assert [file for file, text in texts.items() if "releases" in file.parts and server.url in text] == []
    assert MARK not in said + created.stdout + created.stderr

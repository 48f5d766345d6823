"""The overrides of the modes: flat, explained, checked before anything runs, and written as DVC reads them."""

import re
import shutil
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from typer.testing import CliRunner

from ollamake import params
from ollamake.cli import app
from ollamake.errors import ParamsError
from ollamake.files import write_json
from ollamake.modes.presets import arguments, overrides
from ollamake.modes.tables import SCORES, show_changes
from tests.contract.graph import ROOT
from tests.released import built_workspace, set_params

__all__ = ["built_workspace"]

PRESETS = sorted(path.stem for path in (ROOT / "modes").glob("*.yaml"))


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(ROOT / "modes", tmp_path / "modes")
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_are_presets() -> None:
    assert PRESETS == ["design", "testing"]


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_fits_params_yaml_and_changes_something(name: str) -> None:
    chosen = overrides(name, [])
    content = params.read()
    assert {key for key, value in chosen.items() if value == content[key]} <= {"early_stopping_patience"}


@pytest.mark.parametrize("name", PRESETS)
def test_every_override_is_explained_beside_it_or_in_the_line_above(name: str) -> None:
    lines = (ROOT / f"modes/{name}.yaml").read_text().splitlines()
    assert lines[0].startswith(f"# `make {name}`: ")
    assert [line for line in lines[1:] if " # " not in line and not line.startswith("gate_max_regression")] == []


@pytest.mark.usefixtures("workspace")
def test_what_a_person_sets_goes_over_the_preset() -> None:
    chosen = overrides("design", ["max_steps=3", "packing=true", "ollama_model=a/b:c"])
    assert (chosen["max_steps"], chosen["packing"], chosen["ollama_model"]) == (3, True, "a/b:c")
    assert chosen["eval_max_examples"] == 24


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("lora_rank=sixteen", "lora_rank: input should be a valid integer, but it is 'sixteen' (stage train)"),
        ("lora_rnk=8", "lora_rnk: no stage reads this parameter; did you mean lora_rank?"),
        ("lora_rank", "--set-param: is no key=value: lora_rank"),
        ("lora_rank=[8", "--set-param: is no key=value: lora_rank=[8"),
        ("lora_rank=8,16", "but it is '8,16'"),
        (r'gguf_quantization="\ud800"', r'--set-param: is no key=value: gguf_quantization="\ud800"'),
        ("lora_rank=" + "9" * 5000, "--set-param: is no key=value: lora_rank=999"),
        ("lora_rank=2026-02-30", "--set-param: is no key=value: lora_rank=2026-02-30"),
    ],
)
def test_a_wrong_override_is_refused_before_any_work(given: str, said: str) -> None:
    result = CliRunner().invoke(app, ["mode", "design", "--set-param", given])
    assert result.exit_code == 1
    assert said in result.stderr


def test_an_override_of_endless_brackets_is_refused() -> None:
    with pytest.raises(ParamsError, match=r"is no key=value: lora_rank=\[\[\["):
        overrides("design", ["lora_rank=" + "[" * 20_000])


def test_a_wrong_line_of_params_yaml_is_refused_first(workspace: Path) -> None:
    path = workspace / "params.yaml"
    path.write_text(re.sub(r"^lora_rank: 16", "lora_rank: many", path.read_text(), flags=re.MULTILINE))
    with pytest.raises(ParamsError, match=r"params\.yaml: .*\n.*lora_rank"):
        overrides("design", [])


@pytest.mark.parametrize(
    "value",
    ["Q8_0 Q4_K_M", "it's, {odd} = $1 \\ #x", "\\'\\", "", "a/b:c", True, 0.00001, -1000.0, 7, "7", "true", "none"],
)
def test_an_override_reaches_dvc_as_the_value_that_was_checked(value: object) -> None:
    flag, text = arguments({"key": value})
    assert flag == "-S"
    [parsed] = OverridesParser.create().parse_overrides([text])
    assert parsed.value() == value
    assert type(parsed.value()) is type(value)


def test_every_mode_is_a_target_of_make() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for name in ("design", "engineering", "testing", "deployment", "maintenance"):
        assert f"\tpython -m ollamake mode {name}\n" in makefile


@pytest.mark.usefixtures("workspace")
def test_without_a_repository_there_are_no_experiments(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("data/sources").mkdir(parents=True)
    shutil.copyfile(ROOT / "data/sources/command-line.yaml", "data/sources/command-line.yaml")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(Path.cwd().parent))
    result = CliRunner().invoke(app, ["mode", "design"])
    assert result.exit_code == 1
    assert "hint: experiments need a git repository with a commit: `git init && " in result.stderr


def test_what_changed_since_the_last_commit_is_shown(
    built_workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(shutil.copytree(built_workspace, tmp_path / "workspace", symlinks=True))
    set_params(lora_rank=77)
    for path in SCORES:
        write_json(path, {"loss": 1.25})
    show_changes()
    shown = capfd.readouterr()
    assert re.search(r"params\.yaml +lora_rank +8 +77", shown.out)
    assert re.search(r"metrics/evaluate\.json +loss +- +1\.25", shown.out)
    assert "ERROR" not in shown.err

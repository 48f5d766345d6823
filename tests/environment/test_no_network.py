"""No network at all: what is on this machine is enough, and what is not is told at once."""

import shutil
import sys

import pytest

from tests.environment.copied import STAGES
from tests.faults.network import ALONE, WITHOUT_NETWORK, lacking
from tests.laws.outputs import different, outputs

HUB = {"HF_HUB_OFFLINE": "0"}  # as a person has it


@pytest.fixture
def alone() -> list[str]:
    if why := lacking(*ALONE):
        pytest.skip(why)
    return [*WITHOUT_NETWORK]


@pytest.mark.row("R3.4")
@pytest.mark.slow
def test_a_base_model_of_the_hub_is_told_to_be_out_of_reach(copied, alone):
    local = copied.digests("fetch")
    copied.set(base_model="HuggingFaceTB/SmolLM2-360M-Instruct")
    failed = copied.run(*alone, sys.executable, "-m", "stages.fetch", ok=False, **HUB)
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: ")
    assert "hint: " in failed.stderr
    assert "Traceback" not in failed.stderr
    copied.run("git", "checkout", "params.yaml")
    shutil.rmtree(copied.folder / ".ollamake/base")
    copied.run(*alone, sys.executable, "-m", "stages.fetch", **HUB)
    assert copied.digests("fetch") == local


@pytest.mark.row("R3.4")
@pytest.mark.slow
@pytest.mark.nightly
def test_the_whole_pipeline_runs_without_a_network_from_a_base_model_on_this_machine(built, copied, alone):
    copied.forget(*STAGES)
    copied.run(*alone, "dvc", "repro", "--force", **HUB)
    assert different(outputs(copied.folder), outputs(built.folder)) == []

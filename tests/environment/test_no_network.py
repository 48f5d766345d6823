"""No network at all: what is on this machine is enough, and what is not is told at once."""

import shutil
import sys

import pytest

from tests.environment.copied import STAGES
from tests.faults.network import ALONE, ONLINE, WITHOUT_NETWORK, lacking
from tests.laws.outputs import different, outputs


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
    # The hub's library may ask again for ten minutes: `timeout` would end that with another code.
    failed = copied.run("timeout", "60", *alone, sys.executable, "-m", "stages.fetch", ok=False, **ONLINE)
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: ")
    assert "hint: " in failed.stderr
    assert "Traceback" not in failed.stderr
    copied.run("git", "checkout", "params.yaml")
    shutil.rmtree(copied.folder / ".ollamake/base")
    copied.run(*alone, sys.executable, "-m", "stages.fetch", **ONLINE)
    assert copied.digests("fetch") == local


@pytest.mark.row("R3.4")
@pytest.mark.slow
@pytest.mark.nightly
def test_the_whole_pipeline_runs_without_a_network_from_a_base_model_on_this_machine(built, copied, alone):
    copied.forget(*STAGES)
    copied.run(*alone, "dvc", "repro", "--force", **ONLINE)
    assert different(outputs(copied.folder), outputs(built.folder)) == []

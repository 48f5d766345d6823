"""A training that gets less memory than it needs: it goes on with smaller batches, or says what needs less and ends."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ollamake.training.memory import is_out_of_memory
from tests.faults.again import CURVES, digests, forget, remove, written
from tests.faults.kills import Victim
from tests.pipeline.conftest import environment

SHARES = (0.9, 0.8, 0.7, 0.6, 0.5)  # with less, Python may turn in circles while it imports the libraries
PATIENCE_SECONDS = 600


@pytest.mark.row("R2.9")
def test_machine_code_that_finds_no_room_counts_as_out_of_memory_and_other_troubles_with_it_do_not():
    assert is_out_of_memory(RuntimeError("could not create a primitive"))
    assert not is_out_of_memory(RuntimeError("could not create a primitive descriptor for a matmul primitive"))


def train(folder: Path, limit_bytes: int | str = "unlimited") -> tuple[int, str, int]:
    """Run the stage with no more address space than that; return its exit code, what it said, and its peak in bytes."""
    with subprocess.Popen(
        ["prlimit", f"--as={limit_bytes}", sys.executable, "-m", "stages.train"], cwd=folder, env=environment(),
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        peak, deadline = 0, time.monotonic() + PATIENCE_SECONDS
        while process.poll() is None:
            if time.monotonic() > deadline:
                process.kill()
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak = max([peak, *(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmPeak"))])
            time.sleep(0.02)
        return process.returncode, process.communicate()[1], peak * 1024


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.row("R2.9")
@pytest.mark.skipif(not psutil.LINUX, reason="needs /proc and RLIMIT_AS")
@pytest.mark.xdist_group("pipeline")
def test_with_less_memory_than_it_needs_training_ends_with_a_result_or_a_remedy(victim: Victim) -> None:
    reference, outs = victim.digests(), written(victim.folder, "train")
    forget(victim.folder, "train")
    code, said, peak = train(victim.folder)
    assert code == 0, said
    failed = 0
    for share in SHARES:
        remove(victim.folder, "train")
        code, said, _ = train(victim.folder, int(peak * share))
        assert "Traceback" not in said, f"at {share:.0%}: {said}"
        assert code in (0, 1, -signal.SIGABRT), f"at {share:.0%}: {said}"
        if code == -signal.SIGABRT:  # libraries in Rust end the process themselves, and say no more than this
            assert re.search(r"^memory allocation of \d+ bytes failed", said, re.MULTILINE), f"at {share:.0%}: {said}"
        elif code:
            assert "memory" in said, f"at {share:.0%}: {said}"
            assert "`python -m ollamake plan` estimates" in said, f"at {share:.0%}: {said}"
        left = digests(victim.folder, *outs)
        if code:
            failed += 1
            left = {name: found for name, found in left.items() if not name.startswith(CURVES)}
        if code or "out of memory" not in said:  # with smaller batches the last bits differ
            assert left.items() <= reference.items(), f"at {share:.0%}: {said}"
    assert failed
    victim.project.set(per_device_batch_size=1)
    victim.build()
    victim.project.set(per_device_batch_size=4)
    victim.build()
    assert victim.digests() == reference

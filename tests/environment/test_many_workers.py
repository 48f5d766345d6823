"""Several workers of DVC's queue at once: each experiment gives the bytes that it gives alone."""

import time

import pytest
from ruamel.yaml import YAML

from tests.counts import times

WORKERS, EACH = 4, times(1, release=3)
PATIENCE_SECONDS = 3600


@pytest.mark.row("R3.6")
@pytest.mark.slow
@pytest.mark.nightly
def test_experiments_of_many_workers_have_the_same_bytes_as_one_after_the_other(copied):
    seeds = range(1, WORKERS * EACH + 1)
    together = [f"together-{seed}" for seed in seeds]
    copied.run("git", "commit", "--quiet", "--all", "--allow-empty", "-m", "before")
    for seed, name in zip(seeds, together, strict=True):
        copied.run("dvc", "exp", "run", "--queue", "-n", name, "-S", f"train_seed={seed}")
    copied.run("dvc", "queue", "start", "--jobs", str(WORKERS))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while statuses := unfinished(copied):
        assert time.monotonic() < deadline, statuses
        time.sleep(1)
    results = []
    for seed, name in zip(seeds, together, strict=True):
        # Without the run cache, or the queue's results would be taken out of it.
        copied.forget("train")
        copied.run("dvc", "exp", "run", "--temp", "-n", f"alone-{seed}", "-S", f"train_seed={seed}")
        results.append(kept(copied, name))
        assert results[-1] == kept(copied, f"alone-{seed}")
    assert all(results)
    assert len({result["models/tuned"] for result in results}) == len(results), "each seed trains another model"


def unfinished(project) -> list[str]:
    """The tasks of the queue that wait or run. A failed one is an error of the test."""
    lines = project.run("dvc", "queue", "status").stdout.splitlines()
    assert not [line for line in lines if "Failed" in line]
    return [line for line in lines if "Queued" in line or "Running" in line]


def kept(project, experiment: str) -> dict[str, str]:
    """The hashes of the model files of an experiment, from its dvc.lock."""
    text = project.run("git", "show", f"{revision(project, experiment)}:dvc.lock").stdout
    stages = YAML(typ="safe").load(text)["stages"]
    outs = [out for stage in ("train", "evaluate", "convert") for out in stages[stage]["outs"]]
    return {out["path"]: out["md5"] for out in outs if out["path"].startswith("models/")}


def revision(project, experiment: str) -> str:
    listed = project.run("git", "for-each-ref", "--format=%(refname)", "refs/exps").stdout.split()
    return next(name for name in listed if name.endswith(f"/{experiment}"))

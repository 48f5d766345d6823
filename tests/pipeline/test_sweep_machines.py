"""Several machines: two clones with caches of their own share one study, and bring their experiments together."""

import pytest

from ollamake.sweep.report_data import read_results
from tests import postgresql
from tests.sweeping import PATIENCE_SECONDS, Repository, build, wait

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A repository that was pushed, with its data, to where other machines clone it from."""
    folder = tmp_path_factory.mktemp("machines")
    repository = build(folder / "first/repository", folder / "first/control")
    repository.do("git", "clone", "--quiet", "--bare", ".", str(folder / "origin.git"))
    repository.do("dvc", "remote", "add", "--quiet", "--default", "shared", str(folder / "data"))
    repository.write_sweep(space={"lora_rank": {"choices": [8, 16, 32]}})
    repository.do("git", "commit", "--quiet", "--all", "--message", "a remote")
    repository.do("git", "push", "--quiet", str(folder / "origin.git"), "HEAD")
    repository.do("dvc", "push", "--quiet")
    return folder / "origin.git"


def machine(origin, folder):
    """Return a clone that is set up as docs/sweeps.md says."""
    (folder / "control").mkdir(parents=True)
    clone = Repository(folder / "repository", folder / "control")
    Repository(folder, folder).do("git", "clone", "--quiet", str(origin), str(clone.path))
    clone.do("dvc", "pull", "--quiet")
    return clone


def share(machines, url):
    """Have all machines work on the study, each at a trial of its own at the start; return what they trained."""
    for one in machines:
        for rank in (8, 16, 32):
            (one.control / f"hang-{rank}").touch()
        one.process = one.start("run", "--storage", url)
        wait(lambda one=one: any(line.startswith("hangs") for line in one.ran), "a trial on each machine")
    for one in machines:
        for path in one.control.glob("hang-*"):
            path.unlink()
    for one in machines:
        assert one.process.wait(PATIENCE_SECONDS) == 0, (one.control / "said").read_text()
    return [[int(line.split()[1]) for line in one.ran if line.startswith("train")] for one in machines]


@pytest.fixture(params=["journal", "postgresql"])
def url(request, tmp_path):
    if request.param == "journal":
        yield f"journal:{tmp_path}/sweeps.log"
    else:
        with postgresql.running() as server:
            yield server.url()


def test_two_machines_share_a_study_and_no_trial_is_done_twice(origin, tmp_path, url):
    machines = [machine(origin, tmp_path / name) for name in ("one", "two")]
    trained = share(machines, url)
    assert all(trained), "both took part"
    assert sorted(trained[0] + trained[1]) == [8, 16, 32]
    results = read_results(url, "ranks")
    assert sorted(trial.params["lora_rank"] for trial in results.complete) == [8, 16, 32]
    assert not [trial for state in ("running", "fail", "pruned") for trial in results.by_state[state]]
    assert not [left for one in machines for left in one.leftovers()]
    for one in machines:
        assert postgresql.PASSWORD not in (one.control / "said").read_text()

    if url.startswith("journal:"):
        for one in machines:
            one.do("dvc", "exp", "push", "--quiet", "origin")
        machines[0].do("dvc", "exp", "pull", "--quiet", "origin")
        assert machines[0].experiments() == sorted(trial.user_attrs["experiment"] for trial in results.complete)
        foreign = next(trial for trial in results.complete if trial.params["lora_rank"] in trained[1])
        machines[0].sweep("apply", "--storage", url, "--trial", str(foreign.number))
        assert f'"lora_rank": {foreign.params["lora_rank"]}' in (machines[0].path / "models/tuned").read_text()
        report = machines[0].sweep("report", "--storage", url).strip()
        assert (machines[0].path / report).read_text().count("<td>finished</td>") == 3

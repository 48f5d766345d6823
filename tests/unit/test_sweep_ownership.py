"""What a sweep finds of others of its name: another storage's study, an earlier sweep's experiments, dead slots."""

import subprocess
from pathlib import Path

import optuna
import pytest
from filelock import FileLock

from ollamake.sweep.begin import _refuse_taken_names
from ollamake.sweep.driver import Driver
from ollamake.sweep.errors import SweepError
from ollamake.sweep.graph import Graph
from ollamake.sweep.ownership import IDENTITY, new_identity, refuse_foreign, take_possession
from ollamake.sweep.run import reason
from ollamake.sweep.show import run_line
from ollamake.sweep.slot import Slot
from ollamake.sweep.snapshot import Snapshot, git
from ollamake.sweep.spec import Spec
from ollamake.sweep.storage import open_storage
from ollamake.sweep.trial import Sweep

SPEC = Spec.model_validate(
    {"name": "s", "objective": {"loss": "minimize"}, "trials": 3, "space": {"lora_rank": {"choices": [4, 8]}}}
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("DVC_ROOT", "OLLAMAKE_SWEEP_STORAGE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the sweep."""
    path = tmp_path / ".ollamake/sweeps/s"
    path.mkdir(parents=True)
    return path


def study(url: str | None = None) -> optuna.Study:
    made = optuna.create_study(storage=open_storage(url, "s"), study_name="s")
    made.set_user_attr(IDENTITY, new_identity())
    return made


def snapshot(folder: Path) -> Snapshot:
    return Snapshot(folder, "b" * 40, "t" * 40, "cache")


def leave(folder: Path, number: int) -> None:
    """Leave what a driver that died leaves of trial `number`."""
    (folder / "slots/0/code/.checkpoints").mkdir(parents=True)
    (folder / "slots/0/trial").write_text(str(number))
    (folder / f"checkpoints/{number}/step-1").mkdir(parents=True)


def commit(message: str) -> str:
    """Commit nothing in the current folder, a repository after that, and return the commit."""
    own = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "init", "--quiet"], check=True)
    subprocess.run(["git", *own, "commit", "--quiet", "--allow-empty", "--message", message], check=True)
    return git("rev-parse", "HEAD").strip()


def test_a_study_in_another_storage_does_not_get_the_folder_of_one_here(folder: Path) -> None:
    take_possession(snapshot(folder), None, study())
    leave(folder, 0)
    url = f"journal:{folder.parent}/shared.log"

    for other in (None, study(url)):
        with pytest.raises(SweepError, match="belongs to another study") as refused:
            refuse_foreign(folder, url, other)
        assert "the journal file in this checkout" in str(refused.value)
    assert (folder / "slots/0/trial").read_text() == "0"


def test_a_journal_of_a_version_that_kept_no_record_has_its_folder_too(folder: Path) -> None:
    study()

    with pytest.raises(SweepError, match="belongs to another study"):
        refuse_foreign(folder, "grpc://host:13000", None)


def test_a_study_that_is_reached_by_another_address_keeps_its_folder(folder: Path) -> None:
    shared = study(f"journal:{folder.parent}/shared.log")
    take_possession(snapshot(folder), f"journal:{folder.parent}/shared.log", shared)
    leave(folder, 0)

    refuse_foreign(folder, "grpc://host:13000", shared)
    take_possession(snapshot(folder), "grpc://host:13000", shared)

    assert (folder / "slots/0/trial").exists()


def test_a_study_that_begins_anew_finds_nothing_of_the_old_one(folder: Path) -> None:
    take_possession(snapshot(folder), None, study())
    leave(folder, 7)
    (folder / "journal.log").rename(folder / "damaged.log")
    again = study()

    refuse_foreign(folder, None, None)
    take_possession(snapshot(folder), None, again)

    assert not (folder / "slots/0").exists()
    assert not (folder / "checkpoints").exists()


def test_a_slot_of_a_trial_that_the_study_does_not_have_is_cleared(folder: Path) -> None:
    leave(folder, 7)
    (folder / "checkpoints/7/step-1").rmdir()

    Driver(Sweep(SPEC, study(), snapshot(folder), Graph({}), print))._take_over()

    assert not (folder / "slots/0").exists()


def test_experiments_of_an_earlier_sweep_are_refused_and_the_studys_own_are_not() -> None:
    rev = commit("start")
    git("update-ref", f"refs/exps/{rev[:2]}/{rev[2:]}/s-3", rev)
    made, foreign = (optuna.trial.create_trial(value=1.0, user_attrs={"rev": found}) for found in (rev, "0" * 40))

    _refuse_taken_names(SPEC, [made])
    for trials in ([], [foreign]):
        with pytest.raises(SweepError, match="earlier sweep of this name are here, such as s-3"):
            _refuse_taken_names(SPEC, trials)


def test_an_experiment_does_not_take_the_place_of_another(folder: Path) -> None:
    earlier = commit("start")
    ref = f"refs/exps/{earlier[:2]}/{earlier[2:]}/s-0"
    later = commit("more")
    git("update-ref", ref, later)
    slot = Slot(snapshot(folder), 0, FileLock(folder / "0.lock"))
    git("clone", "--quiet", ".", str(slot.code))
    git("update-ref", ref, earlier, cwd=slot.code)

    with pytest.raises(SweepError, match="rejected"):
        slot.publish(ref)

    assert git("rev-parse", ref).strip() == later


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("ERROR: \n", "it said nothing"),
        ("error: \n", "it said nothing"),
        ("", "it said nothing"),
        ("Running\nERROR: no space\n", "no space"),
        ("error: a.json: is broken\nhint: mend it\nERROR: failed\n", "a.json: is broken\nhint: mend it"),
    ],
)
def test_a_trial_always_has_a_reason_to_fail(said: str, why: str) -> None:
    assert reason(said) == why


def test_the_command_of_a_trial_means_the_same_in_a_shell() -> None:
    value = 'it costs $5 `echo x` "quoted" it\'s'
    line = run_line({"lora_rank": 16, "system_prompt": value}).replace("dvc exp run", "printf '%s\\n'")

    ran = subprocess.run(["/bin/sh", "-c", line], check=True, capture_output=True, text=True)

    flag, rank, _, prompt = ran.stdout.splitlines()
    assert (flag, rank) == ("-S", "lora_rank=16")
    assert prompt == "system_prompt='" + value.replace("'", r"\'") + "'"

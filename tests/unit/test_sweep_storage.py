"""Where a study lives: found again, shared, freed of the dead; what cannot be used is said before any work."""

from concurrent.futures import ThreadPoolExecutor

import optuna
import pytest

from ollamake.sweep.errors import SweepError
from ollamake.sweep.heartbeat import DEAD_SECONDS, Heartbeat
from ollamake.sweep.report_data import find_study
from ollamake.sweep.storage import open_storage, own_studies
from ollamake.sweep.url import describe
from tests import postgresql

RUNNING, FAIL = optuna.trial.TrialState.RUNNING, optuna.trial.TrialState.FAIL


@pytest.fixture(scope="module")
def server():
    with postgresql.running() as found:
        yield found


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.delenv("OLLAMAKE_SWEEP_STORAGE", raising=False)
    optuna.logging.disable_default_handler()


@pytest.fixture(params=["checkout", "journal", "postgresql"])
def url(request, tmp_path):
    if request.param == "checkout":
        return None
    if request.param == "journal":
        return f"journal:{tmp_path}/shared.log"
    return request.getfixturevalue("server").url(request.node.name.replace("[", "-").rstrip("]")[-60:])


def begin(url, name="lora"):
    return optuna.create_study(storage=open_storage(url, name), study_name=name, load_if_exists=True)


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_what_one_process_writes_another_reads(url):
    study = begin(url)
    trial = study.ask()
    trial.set_user_attr("overrides", {"lora_rank": 8})
    study.tell(trial, 0.5)
    found = find_study(url, "lora")
    assert found.best_value == 0.5
    assert found.trials[0].user_attrs == {"overrides": {"lora_rank": 8}}


def test_a_queued_trial_goes_to_one_of_many(url):
    study = begin(url)
    for number in range(8):
        study.enqueue_trial({"x": number})

    def work(_):
        mine = begin(url)
        return [mine.ask().suggest_int("x", 0, 7) for _ in range(2)]

    with ThreadPoolExecutor(4) as pool:
        drawn = [x for found in pool.map(work, range(4)) for x in found]
    assert sorted(drawn) == list(range(8))


def test_a_trial_without_signs_of_life_is_freed_once(url):
    study = begin(url)
    dead, alive = study.ask().number, study.ask().number
    clock = Clock()
    watching, other, theirs = (Heartbeat(open_storage(url, "lora"), "lora", clock) for _ in range(3))
    for _ in range(3):
        assert theirs.beat(alive)
        assert watching.free_dead() == other.free_dead() == []
        clock.now += DEAD_SECONDS / 2 - 1
    theirs.beat(alive)
    clock.now += DEAD_SECONDS / 2
    freed = [trial.number for each in (watching, other) for trial in each.free_dead()]
    assert freed == [dead]
    assert [trial.state for trial in find_study(url, "lora").trials] == [FAIL, RUNNING]
    assert not theirs.beat(dead), "its driver learns that it is given up"


def test_the_clocks_of_other_machines_do_not_matter(monkeypatch):
    study = begin(None)
    number, clock = study.ask().number, Clock()
    watching, theirs = (Heartbeat(open_storage(None, "lora"), "lora", clock) for _ in range(2))
    for seconds in (9e9, 5.0, 4.0):  # a clock that is ahead by centuries, and one that goes backwards
        monkeypatch.setattr("time.time", lambda now=seconds: now)
        theirs.beat(number)
        assert watching.free_dead() == []
        clock.now += DEAD_SECONDS - 1


def test_machines_that_begin_at_once_make_the_tables_once(server):
    url = server.url("at-once")
    with ThreadPoolExecutor(4) as pool:
        studies = list(pool.map(lambda _: begin(url), range(4)))
    assert {study.study_name for study in studies} == {"lora"}


def test_a_server_that_restarts_costs_no_trial(server):
    study = begin(server.url("restart"))
    trial = study.ask()
    server.control("stop")
    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(study.tell, trial, 1.0)
        server.control("start")
        told.result()
    assert study.best_value == 1.0


def test_the_environment_names_the_storage_too(tmp_path, monkeypatch):
    monkeypatch.setenv("OLLAMAKE_SWEEP_STORAGE", f"journal:{tmp_path}/shared.log")
    begin(None)
    assert (tmp_path / "shared.log").exists()
    assert own_studies() == []


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://me:hunter2@host/db", "kind"),
        ("sqlite:///a.db", "kind"),
        ("hunter2", "kind"),
        ("postgresql://me:hunter2@127.0.0.1:1/db", "cannot be used: .*refused"),
        ("postgresql://me:hunter@2hunter2@127.0.0.1:1/db", "cannot be read"),
        ("postgresql://me:hun:ter/2@host:hunter2/db", "cannot be read"),
        ("postgresql:hunter2", "cannot be read"),
        ("journal:/no/such/disk/study.log", "not there"),
        ("journal:.", "is a folder"),
        ("grpc://", "cannot be read"),
        ("grpc://host:hunter2", "cannot be read"),
    ],
)
def test_a_storage_that_cannot_be_used_is_an_error_with_a_way_on_and_without_the_password(url, said):
    with pytest.raises(SweepError, match=said) as caught:
        open_storage(url, "lora")
    assert caught.value.hint
    assert "hunter2" not in str(caught.value)


def test_a_wrong_password_is_said_and_not_shown(server):
    with pytest.raises(SweepError, match="authentication failed") as caught:
        open_storage(server.url("postgres", "hunter2"), "lora")
    assert caught.value.where == "postgresql://sweeper@/postgres"
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (None, "the journal file in this checkout"),
        ("postgresql://me:hunter2@host:5432/db?sslmode=require", "postgresql://me@host:5432/db"),
        ("postgresql://host/db?password=hunter2", "postgresql://host/db"),
        ("postgresql://me:hunter2@ho@st/db", "the storage"),
        ("journal:/shared/a.log", "journal:/shared/a.log"),
        ("grpc://host:13000", "grpc://host:13000"),
        ("me:hunter2@host", "the storage"),
    ],
)
def test_a_storage_is_described_without_its_password(url, shown):
    assert describe(url) == shown


def test_half_a_line_of_a_machine_that_lost_power_does_not_spoil_the_journal(tmp_path):
    url = f"journal:{tmp_path}/shared.log"
    study = begin(url)
    study.tell(study.ask(), 1.0)
    with (tmp_path / "shared.log").open("ab") as stream:
        stream.write(b'{"op_code":4,"worker')
    again = begin(url)
    again.tell(again.ask(), 2.0)
    assert [trial.value for trial in find_study(url, "lora").trials] == [1.0, 2.0]


@pytest.mark.parametrize("text", ["my notes\n", "my notes", "12\n", '{"a": 1}\n', "\n\n"])
def test_a_journal_that_is_none_is_refused_and_left_as_it_is(tmp_path, text):
    (tmp_path / "notes.log").write_text(text)
    with pytest.raises(SweepError, match="journal cannot be used"):
        open_storage(f"journal:{tmp_path}/notes.log", "lora")
    assert (tmp_path / "notes.log").read_text() == text


@pytest.mark.parametrize("name", ["../lora", "a/b", "", ".hidden", "a b"])
def test_a_name_that_would_leave_the_folder_is_refused(name):
    with pytest.raises(SweepError, match="name of a study"):
        open_storage(None, name)


def test_looking_for_a_study_makes_none(tmp_path):
    with pytest.raises(SweepError, match="there is no study typo"):
        find_study(None, "typo")
    assert not (tmp_path / ".ollamake").exists()


def test_of_several_shared_studies_one_must_be_named(tmp_path):
    url = f"journal:{tmp_path}/shared.log"
    begin(url, "one")
    assert find_study(url, None).study_name == "one"
    begin(url, "two")
    with pytest.raises(SweepError, match="several studies") as caught:
        find_study(url, None)
    assert "one, two" in caught.value.hint

"""Checkpoints on disk: whole, told to be damaged, or gone; and one trainer at a time."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

from ollamake.base import Base
from ollamake.errors import TrainingError
from ollamake.files import write_json
from ollamake.training import checkpoint, fingerprint
from ollamake.training.checkpoint import checkpoints, damage, newest, prune, reserved, seal
from tests.contract.graph import ROOT
from tests.training import settings

FILES = ("adapter_model.safetensors", "optimizer.pt", "rng_state.pth", "scheduler.pt", "trainer_state.json")


def cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: max(1, int(len(content) * share))])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "1 %": lambda path: cut(path, 0.01),
    "half": lambda path: cut(path, 0.5),
    "99 %": lambda path: cut(path, 0.99),
    "another byte": flip,
    "deleted": Path.unlink,
}


def write(folder: Path, step: int) -> Path:
    path = folder / f"checkpoint-{step}"
    (path / "shards").mkdir(parents=True)
    for name in (*FILES, "shards/0.distcp"):
        (path / name).write_bytes(f"{name} of step {step} ".encode() * 100)
    seal(path)
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return tmp_path / "0123456789abcdef"


@pytest.mark.row("R2.7")
@pytest.mark.parametrize("damaged", DAMAGES)
@pytest.mark.parametrize("name", [*FILES, "shards/0.distcp", "manifest.json"])
def test_a_damaged_checkpoint_is_told_of_and_the_one_before_it_is_used(folder, capsys, name, damaged):
    older, newer = write(folder, 9), write(folder, 10)
    DAMAGES[damaged](newer / name)
    assert newest(folder) == older
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert told.startswith(f"checkpoint-10 is left out: {Path(name).name if damaged == 'deleted' else name} ")
    assert checkpoints(folder) == [older]


def test_a_checkpoint_that_was_being_written_is_not_used(folder, capsys):
    (folder / "checkpoint-3").mkdir(parents=True)
    (folder / "checkpoint-3/optimizer.pt").write_bytes(b"half")
    assert newest(folder) is None
    assert capsys.readouterr().err == "checkpoint-3 is left out: manifest.json is missing\n"


def test_a_checkpoint_of_another_training_is_not_used_even_where_it_should_not_be(folder, capsys):
    other = write(folder.with_name("fedcba9876543210"), 4)
    folder.mkdir()
    other.rename(folder / "checkpoint-4")
    assert newest(folder) is None
    assert "belongs to another training" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["[]", "{}", "null", '"text"', '{"manifest": []}', "{"])
def test_a_manifest_of_another_shape_is_damage(folder, content):
    path = write(folder, 1)
    (path / "manifest.json").write_text(content)
    assert damage(path).startswith("manifest.json ")


def test_whole_checkpoints_say_of_what_they_are(folder):
    path = write(folder, 100)
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["fingerprint"] == folder.name
    assert set(manifest["files"]) == {*FILES, "shards/0.distcp"}
    assert manifest["versions"]["torch"].startswith("2.")
    assert damage(path) == ""


def test_the_two_newest_are_kept(folder):
    for step in (8, 9, 10, 100):
        write(folder, step)
    (folder / "best").mkdir()
    prune(folder)
    assert [path.name for path in checkpoints(folder)] == ["checkpoint-100", "checkpoint-10"]
    assert (folder / "best").is_dir()


def test_the_folder_is_removed_at_the_end_and_stays_after_a_failure(folder):
    with pytest.raises(RuntimeError), reserved("a") as given:
        write(given, 1)
        raise RuntimeError
    with reserved("a") as given:
        assert given == Path(".checkpoints/a")
        assert newest(given) == given / "checkpoint-1"
    assert sorted(path.name for path in Path(".checkpoints").iterdir()) == ["workspace.lock"]


def test_an_experiment_in_a_copy_keeps_its_checkpoints_in_the_checkout(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "checkout"))
    with reserved("a") as given:
        assert given == tmp_path / "checkout/.checkpoints/a"
    assert Path(".checkpoints/workspace.lock").is_file()


def test_what_other_trainings_left_is_told_and_after_two_weeks_removed(folder, capsys):
    for name, days in (("old", 15), ("young", 13)):
        write(Path(".checkpoints") / name, 1)
        Path(f".checkpoints/{name}.lock").touch()
        Path(f".checkpoints/{name}/checkpoint-1/optimizer.pt").write_bytes(bytes(3_000_000))
        os.utime(f".checkpoints/{name}", (then := time.time() - days * 24 * 3600, then))
    with reserved("a"):
        left = sorted(path.name for path in Path(".checkpoints").iterdir())
    assert left == ["a", "a.lock", "workspace.lock", "young", "young.lock"]
    assert capsys.readouterr().err == (
        "checkpoints of trainings with other parameters, data, code or library versions: "
        "3 MB in .checkpoints, kept for 14 days\n"
    )


HOLDER = """
import sys, time
from ollamake.training.checkpoint import reserved
with reserved(sys.argv[1]):
    print("holds", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@contextmanager
def holder(fingerprint: str, seconds: float) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDER, fingerprint, str(seconds)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout.readline() == "holds\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("other", ["a", "b"])
def test_a_second_trainer_in_the_workspace_names_the_first_and_gives_up(folder, monkeypatch, capsys, other):
    monkeypatch.setattr(checkpoint, "WAIT_SECONDS", 0.3)
    with holder("a", 60) as process:
        told = f"process {process.pid} is training here.*\n.*kill {process.pid}"
        with pytest.raises(TrainingError, match=told), reserved(other):
            pass
    assert capsys.readouterr().err == f"waiting for process {process.pid}, which is training here, to end\n"


def test_the_same_training_in_another_workspace_waits_for_the_first_to_end(folder, tmp_path, monkeypatch, capsys):
    checkout = str(tmp_path / "checkout")
    monkeypatch.setenv("DVC_ROOT", checkout)
    (tmp_path / "copy").mkdir()

    def end_it(self: FileLock, acquire=FileLock.acquire, **how: object) -> object:
        if how == {"timeout": checkpoint.WAIT_SECONDS}:  # it waits from here on
            process.kill()
        return acquire(self, **how)

    with holder("a", 600) as process:
        monkeypatch.chdir(tmp_path / "copy")
        with reserved("b"):
            assert "waiting" not in capsys.readouterr().err
        monkeypatch.setattr(FileLock, "acquire", end_it)
        with reserved("a"):
            assert process.wait(60) == -signal.SIGKILL
    assert f"waiting for process {process.pid}" in capsys.readouterr().err


@pytest.mark.row("R2.9")
def test_a_killed_trainer_holds_nothing_and_is_told_of_once(folder, capsys):
    with holder("a", 60) as process:
        pass
    with reserved("a"):
        said = capsys.readouterr().err
    assert said.startswith(
        f"process {process.pid}, which trained here before, was killed: by a person, or by the system"
    )
    assert "a smaller per_device_batch_size or max_length needs less" in said
    with pytest.raises(RuntimeError), reserved("a"):
        raise RuntimeError
    with reserved("a"):
        assert "killed" not in capsys.readouterr().err


@pytest.mark.row("R2.8")
@pytest.mark.parametrize("left", ["28\0\0\0", "\0\0\0\0", ""])
def test_a_lock_that_lost_power_has_emptied_tells_of_no_killed_trainer(folder, capsys, left):
    with reserved("a"):
        pass
    Path(".checkpoints/workspace.lock").write_text(left)
    with reserved("a"):
        assert capsys.readouterr().err == ""


@pytest.fixture
def named(folder, tmp_path):
    tokens = [tmp_path / name for name in ("train.arrow", "packs.arrow", "val.arrow")]
    for path in tokens:
        path.write_bytes(path.name.encode())
    write_json(Path("pins.yaml"), {"torch": "2.13.0"})
    base = Base(tmp_path, {"name": "tiny", "files": {"model.safetensors": "00"}})
    return base, tokens, settings()


def test_the_fingerprint_is_another_for_all_that_decides_the_result(named, monkeypatch):
    base, tokens, given = named
    first = fingerprint.fingerprint(base, tokens, given)
    assert fingerprint.fingerprint(base, tokens, settings()) == first
    seen = {first}
    for changes in ({"lora_rank": 5}, {"train_seed": 3}, {"learning_rate": 0.011}, {"val_every_steps": 2}):
        seen.add(fingerprint.fingerprint(base, tokens, settings(**changes)))
    seen.add(fingerprint.fingerprint(Base(base.folder, {**base.record, "files": {}}), tokens, given))
    for path in (*tokens, Path("pins.yaml")):
        before = path.read_bytes()
        path.write_bytes(before + b" ")
        seen.add(fingerprint.fingerprint(base, tokens, given))
        path.write_bytes(before)
    monkeypatch.setattr(fingerprint, "versions", lambda: {"torch": "0"})
    seen.add(fingerprint.fingerprint(base, tokens, given))
    code = fingerprint.code()
    monkeypatch.setattr(fingerprint, "code", lambda: code[1:])
    seen.add(fingerprint.fingerprint(base, tokens, given))
    assert len(seen) == 12


def test_the_fingerprint_is_the_same_for_what_decides_nothing(named):
    base, tokens, given = named
    first = fingerprint.fingerprint(base, tokens, given)
    other = settings(checkpoint_seconds=7, dataloader_workers=2, report_to="wandb", profile=True)
    assert fingerprint.fingerprint(base, tokens, other) == first
    assert set(type(given).model_fields) > fingerprint.WITHOUT_INFLUENCE


def test_the_fingerprint_reads_the_code_of_training():
    names = {str(path.relative_to(ROOT)) for path in fingerprint.code()}
    assert {"stages/train.py", "ollamake/training/loss.py", "ollamake/device.py"} <= names
    assert len(names) > 15

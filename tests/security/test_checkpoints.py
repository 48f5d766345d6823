"""Checkpoints hold pickles that transformers writes: they are read as numbers only, once their sha256 was right."""

from pathlib import Path

import pytest
import torch

from ollamake.training import checkpoint
from tests.unit.test_resume import at, tune, workspace

__all__ = ["tune", "workspace"]
pytestmark = [pytest.mark.slow, pytest.mark.row("R6.2")]
SHORT = {"max_steps": 2, "val_every_steps": 0, "gradient_accumulation_steps": 1}


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.write_text, (self.path, "boom")


@pytest.fixture
def proven(monkeypatch):
    """The checkpoints that were found whole, in the course of a training."""
    found, examine = [], checkpoint.damage

    def noted(folder):
        problem = examine(folder)
        found.extend([folder] if not problem else [])
        return problem

    monkeypatch.setattr(checkpoint, "damage", noted)
    return found


def test_a_checkpoint_is_read_as_numbers_only_and_after_its_digests(tune, proven, monkeypatch):
    read, load = [], torch.load

    def noted(file, *args, **options):
        whole = Path(file).parent.resolve() in [folder.resolve() for folder in proven]
        read.append((Path(file).name, options.get("weights_only"), whole))
        return load(file, *args, **options)

    monkeypatch.setattr(torch, "load", noted)
    tune(at("step_end", 1), **SHORT)
    assert {name for name, _, _ in read} == {"optimizer.pt", "rng_state.pth", "scheduler.pt"}
    assert {(weights_only, whole) for _, weights_only, whole in read} == {(True, True)}


@pytest.mark.parametrize("name", ["optimizer.pt", pytest.param("rng_state.pth", marks=pytest.mark.nightly)])
def test_a_pickle_that_runs_code_does_not_run_it_even_where_its_digest_is_right(tune, monkeypatch, tmp_path, name):
    planted, examine = [], checkpoint.damage

    def plant(folder):
        torch.save(Bomb(tmp_path / "owned"), folder / name)
        (folder / checkpoint.MANIFEST).unlink()
        checkpoint.seal(folder)
        planted.append(folder)
        return examine(folder)

    monkeypatch.setattr(checkpoint, "damage", plant)
    with pytest.raises(Exception, match="Weights only load failed"):
        tune(at("step_end", 1), **SHORT)
    assert planted
    assert not (tmp_path / "owned").exists()
    torch.load(planted[0] / name, weights_only=False)  # read without care it does run: the test could fail
    assert (tmp_path / "owned").exists()

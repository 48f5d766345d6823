"""What this machine has: a GPU that torch can use, memory, bfloat16, disks."""

from dataclasses import dataclass

from ollamake.doctor.hardware import CPU, GPU_BF16, cpu_has_bf16, read_build, read_driver
from ollamake.doctor.room import machine_memory


@dataclass(frozen=True)
class Machine:
    """Where the models are computed: `gpu` is its name, empty for the CPU; memory is the GPU's, else the machine's.

    `memory_bytes` is all there is, `free_bytes` what is free now.
    """

    gpu: str
    memory_bytes: int
    free_bytes: int
    bf16: bool

    @property
    def name(self) -> str:
        """The GPU, or `this machine`."""
        return self.gpu or "this machine"


def this_machine() -> Machine:
    """Return what the stages will find, without importing torch."""
    import os

    driver = read_driver()
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if driver and driver.gpus and not hidden and read_build().cuda:
        gpu = driver.gpus[0]
        return Machine(gpu.name, gpu.memory_bytes, gpu.free_bytes, gpu.capability >= GPU_BF16)
    total, free = machine_memory()
    return Machine("", total, free, cpu_has_bf16(CPU))

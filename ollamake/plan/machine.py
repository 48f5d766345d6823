"""What this machine has: a GPU that torch can use, memory, bfloat16, disks."""

from dataclasses import dataclass

from ollamake.doctor.hardware import CPU, GPU_BF16, cpu_has_bf16, read_build, read_driver, visible
from ollamake.doctor.limits import machine_memory


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
    gpus = visible(read_driver())
    if gpus and read_build().cuda:
        gpu = gpus[0]
        return Machine(gpu.name, gpu.memory_bytes, gpu.free_bytes, gpu.capability >= GPU_BF16)
    total, free = machine_memory()
    return Machine("", total, free, cpu_has_bf16(CPU))

"""Several processes: the train stage starts itself once for each of them, and ends them together.

torchrun does the starting. Here stand its command line, made from the settings, and what it leaves open: that a signal
ends in the exit code it stands for, and that a failure is told once, by the process that failed first.
"""

import ctypes
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

from ollamake.errors import ParamsError, TrainingError
from ollamake.orphan import LAST_WORDS
from ollamake.training.settings import Settings

PORT = "29500"
STOPPING = (signal.SIGTERM, signal.SIGINT)
PR_SET_PDEATHSIG = 1


def world_size(settings: Settings) -> int:
    """Return the number of processes on all machines."""
    return settings.num_processes * settings.num_nodes


def launches(settings: Settings, environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether this process is there to start others; False for one of these, and where one is all there are."""
    return world_size(settings) > 1 and "WORLD_SIZE" not in environment


def is_main(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether this process is the one that writes and prints."""
    return environment.get("RANK", "0") == "0"


def refuse_unsuitable(settings: Settings) -> None:
    """Raise ParamsError when the settings, this machine and the number of processes do not go together."""
    refuse_other_number(settings, os.environ)
    if world_size(settings) > 1:
        refuse_unshareable(settings)
        refuse_machine(settings)


def refuse_other_number(settings: Settings, environment: Mapping[str, str]) -> None:
    """Raise ParamsError when a launcher has started another number of processes than the settings say."""
    wanted = world_size(settings)
    started = int(environment.get("WORLD_SIZE", wanted))
    if started != wanted:
        raise ParamsError(
            f"num_processes × num_nodes is {settings.num_processes} × {settings.num_nodes}, "
            f"but the launcher started {started} process{'es' if started > 1 else ''}",
            where="params.yaml",
            hint="`dvc repro` and `python -m stages.train` start as many as it says; by hand on one machine: "
            f"`torchrun --nproc_per_node {settings.num_processes} -m stages.train`",
        )


def refuse_unshareable(settings: Settings) -> None:
    """Raise ParamsError for a method whose weights cannot be shared out."""
    zero_3 = settings.distributed == "deepspeed" and settings.deepspeed_stage == 3
    if settings.method == "qlora" and (settings.distributed == "fsdp" or zero_3):
        raise ParamsError(
            f"distributed: {settings.distributed} cannot share out the quantized weights of method qlora",
            where="params.yaml",
            hint="`dvc exp run -S distributed=ddp` keeps all of them on every GPU; `-S method=lora` can be shared out",
        )


def refuse_machine(settings: Settings) -> None:
    """Raise ParamsError when this machine has not what the processes of the settings need."""
    if settings.distributed == "deepspeed" and find_spec("deepspeed") is None:
        raise ParamsError(
            "distributed: deepspeed needs the package deepspeed, which is not installed",
            where="params.yaml",
            hint="`pip install deepspeed`, or `dvc exp run -S distributed=fsdp`, which comes with torch",
        )
    from torch import cuda

    gpus = cuda.device_count()
    if not gpus and settings.distributed != "ddp":
        raise ParamsError(
            f"distributed: {settings.distributed} needs GPUs; without, accelerate would run ddp and not say so",
            where="params.yaml",
            hint="`dvc exp run -S distributed=ddp`",
        )
    if 0 < gpus < settings.num_processes:
        raise ParamsError(
            f"num_processes is {settings.num_processes}, and this machine has {gpus} GPU{'s' if gpus > 1 else ''}",
            where="params.yaml",
            hint=f"`dvc exp run -S num_processes={gpus}" + ("`" if gpus > 1 else " -S distributed=none`"),
        )


def launch(settings: Settings, module: str) -> None:
    """Run `module` in as many processes as this machine is to have, and return when all have ended well.

    Exits with the words of the first that failed, or with the code of the signal that they ended on: SIGTERM and SIGINT
    go on to all of them. Raises TrainingError when one was killed.
    """
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    arguments = torchrun_arguments(settings, os.environ)
    logging.disable(logging.CRITICAL)  # torchrun's own account of a failure
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // settings.num_processes)))
    with TemporaryDirectory(prefix="ollamake-processes-") as folder, signals_handed_on():
        os.environ[LAST_WORDS] = folder
        try:
            run(parse_args([*arguments, "--log_dir", folder, "-m", module]))  # type: ignore[no-untyped-call]
        except ChildFailedError as error:
            # Those that failed later were still running when torchrun ended them for the sake of the first.
            end = min(failure.timestamp for failure in error.failures.values()) + 1
            first = {rank: failure.exitcode for rank, failure in error.failures.items() if failure.timestamp <= end}
            end_as(first, Path(folder))


@contextmanager
def signals_handed_on() -> Iterator[None]:
    """Hand SIGTERM and SIGINT on to the processes that this one has started, which know how to end on them.

    torchrun itself would wait half a minute for them, and not at all when a signal comes twice, as it does from dvc.
    """
    import psutil

    def hand_on(number: int, _frame: object) -> None:
        processes = psutil.Process().children()
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        if not processes:
            sys.exit(128 + number)

    before = {number: signal.signal(number, hand_on) for number in STOPPING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def torchrun_arguments(settings: Settings, environment: Mapping[str, str]) -> list[str]:
    """Return torchrun's options; nothing is shown of all but the first process of a machine.

    Raises ParamsError when `environment` does not say which of several machines this is.
    """
    # Of the signals that torchrun knows, it gets those that nobody else takes care of.
    processes = ["--nproc_per_node", str(settings.num_processes), "--local_ranks_filter", "0"]
    processes += ["--signals_to_handle", "SIGHUP,SIGQUIT"]
    if settings.num_nodes == 1:
        return ["--standalone", "--local_addr", "127.0.0.1", *processes]
    if missing := [name for name in ("NODE_RANK", "MASTER_ADDR") if not environment.get(name)]:
        raise ParamsError(
            f"num_nodes is {settings.num_nodes}, but the environment does not say {' and '.join(missing)}",
            where="params.yaml",
            hint="on every machine: `NODE_RANK=<0, 1, …> MASTER_ADDR=<address of machine 0> python -m stages.train`",
        )
    node, port = environment["NODE_RANK"], environment.get("MASTER_PORT", PORT)
    address = ["--master_addr", environment["MASTER_ADDR"], "--master_port", port]
    return ["--nnodes", str(settings.num_nodes), "--node_rank", node, *address, *processes]


def end_as(exit_codes: Mapping[int, int], folder: Path) -> NoReturn:
    """Exit as the processes did: with the code of a signal that stopped them, or the words of the first that failed.

    `exit_codes` are by rank, negative for signals, in the order in which they were seen. A killed process has no last
    words, and those of the others say only that they miss it; SIGTERM is also what torchrun ends the others with.
    """
    codes = {rank: 128 - code if code < 0 else code for rank, code in exit_codes.items()}
    failed = {rank: code for rank, code in codes.items() if code - 128 not in STOPPING}
    for rank, code in failed.items():
        if code > 128:
            raise TrainingError(
                f"process {rank} of the training was killed ({signal.Signals(code - 128).name})",
                hint="`dvc repro` goes on from the last checkpoint. SIGKILL often means that memory ran out: halve "
                "per_device_batch_size and double gradient_accumulation_steps",
            )
    if not failed:
        sys.exit(next(iter(codes.values())))
    words = sorted(folder.glob("*.words"))
    sys.exit(words[0].read_text(encoding="utf-8", errors="replace").rstrip() if words else 1)


@contextmanager
def one_of_several() -> Iterator[None]:
    """Be one of the processes that `launch` started: end when it ends, and leave it to say what went wrong.

    Changes nothing for a process that was started otherwise.
    """
    folder = os.environ.get(LAST_WORDS)
    if folder:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        yield
    except Exception:
        if folder:
            path = f"{folder}/{time.time_ns()}-{os.environ['RANK']}.words"
            os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), sys.stderr.fileno())
        raise

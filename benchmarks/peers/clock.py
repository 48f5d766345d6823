"""Run a module as `python -m` does, and write down what it trains on and when each optimizer step ends.

    python -m benchmarks.peers.clock EVENTS MODULE [ARGUMENT ...]

The same eyes for every trainer, none of which takes part: the batches are seen where token ids enter the model (in
`torch.nn.Embedding`), the steps by torch's own hook on every optimizer. EVENTS becomes lines of JSON, read by
`benchmarks.steps`; times are of CLOCK_MONOTONIC, which all processes of a machine share.
"""

import functools
import json
import runpy
import sys
import threading
import time
from pathlib import Path
from typing import Any

LOOK_SECONDS = 0.02
HOOK = "register_optimizer_step_post_hook"


class Events:
    """Writes what happens, a line each, at once: a run that fails leaves what it did."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("w", buffering=1, encoding="utf-8")

    def write(self, **event: Any) -> None:
        """Append one event."""
        self._stream.write(json.dumps(event) + "\n")


def watch(events: Events) -> None:
    """Wait until the module has loaded torch, then look on.

    Importing torch here would undo what a trainer sets before: OpenMP reads its settings once, when it loads.
    """
    optimizers, embedding = "torch.optim.optimizer", "torch.nn.modules.sparse"
    while not (hasattr(sys.modules.get(optimizers), HOOK) and hasattr(sys.modules.get(embedding), "Embedding")):
        time.sleep(LOOK_SECONDS)
    getattr(sys.modules[optimizers], HOOK)(functools.partial(_step, events))
    table = sys.modules[embedding].Embedding
    table.forward = _seen(table.forward, events)


def _step(events: Events, *_: Any) -> None:
    import torch

    device = {}
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        device = {"device_bytes": torch.cuda.max_memory_reserved()}
    events.write(kind="step", time=time.monotonic(), processor=time.process_time(), **device)


def _seen(forward: Any, events: Events) -> Any:
    @functools.wraps(forward)
    def seen(self: Any, ids: Any) -> Any:
        import torch

        if not torch.compiler.is_compiling():
            if not torch.is_grad_enabled():
                events.write(kind="evaluation")
            elif ids.dim() > 1:
                events.write(kind="batch", ids=ids.tolist())
        return forward(self, ids)

    return seen


def main() -> None:
    path, module = Path(sys.argv[1]), sys.argv[2]
    threading.Thread(target=watch, args=(Events(path),), daemon=True).start()
    sys.argv = [module, *sys.argv[3:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

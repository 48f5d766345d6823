"""Looking closer at a training: a profile of a few steps, and a short run that stops at the first NaN."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import TrainerCallback

from ollamake.errors import TrainingError
from ollamake.training.journal import logs_folder, stamp
from ollamake.training.load import peak_memory_mb
from ollamake.training.log import TrainingLog

# Steps left out, because they allocate and compile, and steps looked at.
WARM_UP, PROFILED = 3, 3
ROWS = 40


class Profiling(TrainerCallback):
    """Writes a trace for chrome://tracing or Perfetto and tables of time and memory of a few steps to logs/."""

    def __init__(self, log: TrainingLog) -> None:
        self.log = log

    def on_train_begin(self, args: Any, _state: Any, _control: Any, **_: Any) -> None:
        """Start counting steps."""
        self.device = args.device
        activities = [torch.profiler.ProfilerActivity.CPU]
        if self.device.type == "cuda":
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        schedule = torch.profiler.schedule(wait=WARM_UP - 1, warmup=1, active=PROFILED, repeat=1)
        self.profiler = torch.profiler.profile(
            activities=activities, schedule=schedule, on_trace_ready=self._write, profile_memory=True
        )
        self.profiler.start()
        self.log.closing.callback(self.profiler.stop)

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Count a step."""
        self.profiler.step()

    def _write(self, profiler: Any) -> None:
        folder = logs_folder() / f"profile-{stamp()}"
        folder.mkdir(parents=True, exist_ok=True)
        profiler.export_chrome_trace(str(folder / "trace.json.gz"))
        events = profiler.key_averages()
        busy = self.device.type
        table = events.table(sort_by=f"self_{busy}_time_total", row_limit=ROWS, max_name_column_width=60)
        (folder / "time.txt").write_text(table, encoding="utf-8")
        table = events.table(sort_by=f"self_{busy}_memory_usage", row_limit=ROWS, max_name_column_width=60)
        summary = torch.cuda.memory_summary(self.device) if busy == "cuda" else ""
        peak = f"at most {peak_memory_mb(self.device):,.0f} MB so far\n\n"
        (folder / "memory.txt").write_text(peak + table + summary, encoding="utf-8")
        self.log.note(f"profile of {PROFILED} steps in {folder}")


@contextmanager
def stopping_at_nan() -> Iterator[None]:
    """Look at the result of every operation on the way back. Raises TrainingError at the first that is no number."""
    print("debug: a short training that stops at the first NaN; `debug: false` trains in full", file=sys.stderr)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Anomaly Detection has been enabled", category=UserWarning)
        detector = torch.autograd.detect_anomaly()
    try:
        with detector:
            yield
    except RuntimeError as error:
        if "returned nan values" not in str(error):
            raise
        raise TrainingError(
            f"debug: {error}",
            where="logs",
            hint="above stands which operation made it; lower learning_rate, or `dvc exp run -S precision=fp32`",
        ) from error

"""How far training has come: a bar on a terminal, elsewhere a line now and then; and all of it in the journal."""

import sys
import time
from collections.abc import Mapping
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback

from ollamake.training.log import TrainingLog

LINE_SECONDS = 30.0

# What is said of an entry of the history, in this order.
SAID = {
    "loss": "loss {:.4f}",
    "eval_loss": "validation loss {:.4f}",
    "overfitting_gap": "gap {:+.4f}",
    "learning_rate": "learning rate {:.3g}",
    "grad_norm": "gradient norm {:.3g}",
    "tokens_per_second": "{:,.0f} tokens/s",
    "memory_mb": "{:,.0f} MB",
    "gpu_percent": "GPU {:.0f} %",
}
ON_A_LINE = {key: SAID[key] for key in ("loss", "eval_loss", "tokens_per_second")}
# Beside the bar, on a terminal of 80 columns.
BESIDE_THE_BAR = {"loss": "loss {:.3f}", "eval_loss": "val. {:.3f}", "tokens_per_second": "{:,.0f} tok/s"}


def described(entry: Mapping[str, Any], words: Mapping[str, str]) -> str:
    """Return the figures of an entry that there are `words` for."""
    return ", ".join(words[key].format(entry[key]) for key in words if key in entry)


class Screen(Protocol):
    """Where a person sees the progress, in steps and in batches of a validation."""

    def start(self, done: int, total: int) -> None:
        """Begin."""

    def step(self, done: int, figures: Mapping[str, Any]) -> None:
        """Show that `done` steps are done."""

    def validating(self, done: int, total: int) -> None:
        """Show that `done` of `total` batches are validated."""

    def say(self, text: str) -> None:
        """Show a line that stays."""

    def end(self) -> None:
        """Show no more."""


class Bar:
    """A bar with the time left, and another one below it during a validation."""

    progress: Progress | None = None

    def start(self, done: int, total: int) -> None:
        """Begin."""
        columns = TextColumn("{task.description}"), BarColumn(bar_width=12), MofNCompleteColumn()
        left = TextColumn("{task.fields[figures]}"), TextColumn("left:"), TimeRemainingColumn()
        self.progress = Progress(*columns, *left, console=Console(stderr=True))
        self.training = self.progress.add_task("train", total=total, completed=done, figures="")
        self.validation = self.progress.add_task("validate", total=None, visible=False, figures="")
        self.progress.start()

    def step(self, done: int, figures: Mapping[str, Any]) -> None:
        """Move the bar."""
        if self.progress:
            self.progress.update(self.training, completed=done, figures=described(figures, BESIDE_THE_BAR))

    def validating(self, done: int, total: int) -> None:
        """Move the second bar; all done, it goes."""
        if self.progress:
            self.progress.update(self.validation, completed=done, total=total, visible=done < total)

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        if self.progress:
            self.progress.console.print(text, markup=False, highlight=False)

    def end(self) -> None:
        """Leave the bar as it stands, and give the terminal back."""
        if self.progress:
            self.progress.stop()


class Lines:
    """A line every LINE_SECONDS, for a log or a pipe."""

    def start(self, done: int, total: int) -> None:
        """Start the clock."""
        self.first, self.total = done, total
        self.started = self.said = time.monotonic()

    def step(self, done: int, figures: Mapping[str, Any]) -> None:
        """Say how far it is, when it is time to."""
        now = time.monotonic()
        if done > self.first and now - self.said >= LINE_SECONDS:  # a resumed training may have no step left to take
            self.said = now
            left = (now - self.started) / (done - self.first) * (self.total - done)
            self.say(f"train: step {done} of {self.total}, about {left:.0f} s left: {described(figures, ON_A_LINE)}")

    def validating(self, done: int, total: int) -> None:
        """Say nothing: the loss comes when all is done."""

    def say(self, text: str) -> None:
        """Print the line."""
        print(text, file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the lines as they stand."""


class Narrator(TrainerCallback):
    """Tells what happens, on the screen in short and in the journal in full."""

    def __init__(self, log: TrainingLog, beginning: str) -> None:
        """`beginning` is what the journal says first."""
        self.log, self.beginning = log, beginning
        self.screen: Screen = Bar() if sys.stderr.isatty() else Lines()

    def on_train_begin(self, args: Any, state: Any, _control: Any, train_dataloader: Any, model: Any, **_: Any) -> None:
        """Say what is about to be done."""
        trainable, whole = (model.num_parameters(only_trainable=only) for only in (True, False))
        self.log.note(
            f"{self.beginning}\n{len(train_dataloader.dataset):,} examples, {state.max_steps:,} steps, on "
            f"{args.device} in {args.world_size} process(es), {trainable:,} of {whole:,} parameters train"
        )
        if state.global_step:
            self.log.note(f"goes on after step {state.global_step}")
        self.figures: dict[str, Any] = {}
        self.batches = 0
        self.log.closing.callback(self.screen.end)
        self.screen.start(state.global_step, state.max_steps)

    def on_log(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Tell the figures of a step or a validation."""
        entry = state.log_history[-1]
        if figures := described(entry, SAID):
            self.log.note(f"step {entry['step']} of {state.max_steps}: {figures}")
            self.figures |= entry
            self.screen.step(entry["step"], self.figures)

    def on_prediction_step(self, _args: Any, _state: Any, _control: Any, eval_dataloader: Any, **_: Any) -> None:
        """Move the bar of the validation."""
        self.batches += 1
        self.screen.validating(self.batches, len(eval_dataloader))

    def on_evaluate(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Say what the validation came to, and that it is the last where it is."""
        self.batches = 0
        self.screen.say(f"train: step {state.global_step} of {state.max_steps}: {described(self.figures, ON_A_LINE)}")
        if "stopped_early" in state.log_history[-1]:
            last = "ends early: the last validations brought no gain (early_stopping_patience)"
            self.screen.say(f"train: {last}")
            self.log.note(f"step {state.global_step}: {last}")

    def on_save(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Note the checkpoint."""
        self.log.note(f"step {state.global_step}: checkpoint")

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """Leave the screen."""
        self.screen.end()

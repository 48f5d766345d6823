"""What training says while it runs: a progress bar for people, figures for DVCLive."""

import time
from typing import Any

from dvclive import Live
from transformers import ProgressCallback, TrainerCallback

# The Trainer's name of a figure, and the name of the file in plots/train/metrics that it goes to.
FIGURES = {
    "loss": "train_loss",
    "eval_loss": "val_loss",
    "learning_rate": "learning_rate",
    "grad_norm": "gradient_norm",
}


class TrainingLog(Live):
    """DVCLive with this project's paths, which touches neither dvc.yaml nor the experiment."""

    def __init__(self, metrics_file: str, plots_dir: str) -> None:
        self._metrics_file, self._plots_dir = metrics_file, plots_dir
        super().__init__(dir=plots_dir, dvcyaml=None, save_dvc_exp=False, report=None)

    @property
    def metrics_file(self) -> str:
        """Where the summary goes."""
        return self._metrics_file

    @property
    def plots_dir(self) -> str:
        """Under which folder the series go, each to `metrics/<name>.tsv`."""
        return self._plots_dir


class StepCallback(TrainerCallback):
    """Logs by optimizer step. The stock callbacks count their own calls, so an evaluation shifts every later step."""

    def __init__(self, log: Live) -> None:
        self.log = log
        self.tokens, self.started = 0, 0.0

    def on_step_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Start the clock of a step, so that an evaluation between two steps does not count as training."""
        self.tokens, self.started = state.num_input_tokens_seen, time.monotonic()

    def on_step_end(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Write how fast the step was, in tokens without padding."""
        self.log.step = state.global_step
        seconds = max(time.monotonic() - self.started, 1e-9)
        self.log.log_metric("tokens_per_second", round((state.num_input_tokens_seen - self.tokens) / seconds, 1))

    def on_log(self, _args: Any, state: Any, _control: Any, logs: dict[str, float], **_: Any) -> None:
        """Write the figures of this step."""
        self.log.step = state.global_step
        for name, figure in FIGURES.items():
            if name in logs:
                self.log.log_metric(figure, logs[name])


class TrainingBar(ProgressCallback):
    """The stock bar, with its time left, and the last losses behind it in place of a line for each step."""

    def on_log(self, _args: Any, _state: Any, _control: Any, logs: dict[str, float], **_: Any) -> None:
        """Show the losses."""
        shown = {figure: f"{logs[name]:.3f}" for name, figure in FIGURES.items() if name in logs and "loss" in name}
        if self.training_bar is not None and shown:
            self.training_bar.set_postfix(shown)

"""What looks on while a model trains: when to validate and to stop, what to record, and whom to tell."""

import time
from functools import partial
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from ollamake.base import Base
from ollamake.errors import TrainingError
from ollamake.training.best import KeepBest, save_model
from ollamake.training.load import gpu_percent, peak_memory_mb
from ollamake.training.log import TrainingLog
from ollamake.training.model import tuned_bytes
from ollamake.training.profile import Profiling
from ollamake.training.progress import Narrator
from ollamake.training.reporters import reporter
from ollamake.training.samples import Greedy, Sampling, choose
from ollamake.training.settings import Settings
from ollamake.training.watch import divergence, out_of_patience, validations


class Measuring(TrainerCallback):
    """Adds speed, memory and the overfitting gap to the Trainer's history, hands it to the log, and stops a divergence.

    The history is what checkpoints hold. All that is shown, decided and summed up comes from there.
    """

    def __init__(self, log: TrainingLog, settings: Settings) -> None:
        self.log, self.settings = log, settings

    def on_train_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Take up the curves where the checkpoint left them."""
        self.log.restart(state.log_history)
        self._start(state)

    def _start(self, state: Any) -> None:
        self.started, self.tokens = time.monotonic(), state.num_input_tokens_seen

    def on_log(self, args: Any, state: Any, _control: Any, logs: dict[str, Any], model: Any = None, **_: Any) -> None:
        """Complete the entry. `logs` is what other callbacks are given, a copy of it in the history."""
        entry = state.log_history[-1]
        if "loss" in entry:
            seconds = max(time.monotonic() - self.started, 1e-9)
            tokens = state.num_input_tokens_seen
            logs |= {"tokens_per_second": round((tokens - self.tokens) / seconds, 1)}
            logs |= {"memory_mb": peak_memory_mb(args.device), **gpu_percent(args.device)}
            entry |= {"seconds": round(seconds, 4), "tokens": tokens}
        elif "eval_loss" in entry:
            logs["overfitting_gap"] = validations(state.log_history)[-1].gap
        entry |= logs
        self.log.add(entry)
        if problem := divergence(state.log_history, model.config.get_text_config().vocab_size):
            raise diverged(entry["step"], problem, self.settings)
        self._start(state)

    def on_evaluate(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Note how long it took, with all that was done about it; it does not count as training."""
        state.log_history[-1]["seconds"] = round(time.monotonic() - self.started, 4)
        self._start(state)

    def on_save(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Start the clock of the next step after the checkpoint."""
        self._start(state)


class Validating(TrainerCallback):
    """Says when to validate: every so many steps or at the end of each epoch, and after the last step of all.

    It is at a step's own end even for epochs: a checkpoint of that step would otherwise come before the validation, and
    a training that resumes from there would go without.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def on_step_end(self, _args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ask for a validation when it is time."""
        every = self.settings.val_every_steps
        due = state.global_step % every == 0 if every else float(state.epoch).is_integer()
        control.should_evaluate = due or state.global_step >= state.max_steps

    def on_evaluate(self, _args: Any, state: Any, control: Any, **_: Any) -> None:
        """End the training when the validations have brought no gain for too long."""
        losses = [one.val_loss for one in validations(state.log_history)]
        patience, min_delta = self.settings.early_stopping_patience, self.settings.early_stopping_min_delta
        if out_of_patience(losses, patience, min_delta) and state.global_step < state.max_steps:
            state.log_history[-1]["stopped_early"] = True
            control.should_training_stop = True


def diverged(step: int, problem: str, settings: Settings) -> TrainingError:
    """Return the error that names the step, what was seen, and what helps."""
    return TrainingError(
        f"training diverged at step {step}: {problem}",
        where="plots/train/metrics/train_loss.tsv",
        hint=f"lower learning_rate (`dvc exp run -S learning_rate={settings.learning_rate / 10:g}`), raise "
        "warmup_ratio, lower max_grad_norm; `-S precision=fp32` tells whether rounding is to blame",
    )


def attach(trainer: Any, base: Base, val: Path, settings: Settings, log: TrainingLog) -> None:
    """Add the callbacks to `trainer`. `val` is the file of the validation rows."""
    beginning = "settings: " + ", ".join(f"{name} {value}" for name, value in settings)
    callbacks: list[TrainerCallback] = [Measuring(log, settings), Validating(settings)]
    if settings.keep_best:
        save, model_bytes = partial(save_model, trainer, base), tuned_bytes(trainer.model, base)
        callbacks.insert(0, KeepBest(settings.keep_best, save, model_bytes))
    if settings.val_samples:
        greedy = Greedy(base.end_ids, settings.val_samples_max_new_tokens)
        callbacks.insert(0, Sampling(choose(val, settings.val_samples), greedy, log))
    if log.writes:
        callbacks.append(Narrator(log, beginning))
    if settings.report_to != "none":
        callbacks.append(reporter(settings.report_to))
    if settings.profile and log.writes:
        callbacks.append(Profiling(log))
    for callback in callbacks:
        trainer.add_callback(callback)

"""A Trainer that goes on, byte for byte, from where a signal, a kill or a crash stopped it."""

import random
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate.utils import broadcast_object_list
from peft import PeftModel
from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import ExportableState

from ollamake.files import require_space
from ollamake.training.checkpoint import PREFIX, newest, prune, seal
from ollamake.training.distributed import refuse_unshared
from ollamake.training.interruption import Interruption

# Writing checkpoints takes at most a twentieth of the time.
PAUSE_FACTOR = 20


class Resumable(Trainer):
    """Put before one of TRL's trainers: saves and loads as the Trainer does, and closes the gaps that it leaves.

    Expects `positions`, a count that goes into every checkpoint. The gaps: an evaluation that a checkpoint came before
    is not made up for, a training that had ended goes on, and pickles are written that nobody reads.
    """

    positions: int
    checkpointing: "CheckpointCallback | None" = None

    def resume(self, checkpoint_seconds: float) -> None:
        """Train, from the newest whole checkpoint in `args.output_dir` on if there is one.

        Leaves with SystemExit after a signal, when what was done is in a checkpoint. Raises DiskError when checkpoints
        do not fit on the disk.
        """
        folder = Path(self.args.output_dir)
        found = broadcast_object_list([newest(folder) if self.is_world_process_zero() else None])[0]
        if found:
            refuse_unshared(found, self.accelerator)
        self.checkpoint_seconds, self.write_seconds = checkpoint_seconds, 0.0
        self.checkpoint_bytes = 3 * sum(part.nbytes for part in self.model.parameters() if part.requires_grad)
        require_space(folder, 3 * self.checkpoint_bytes, "the checkpoints")  # two are kept while a third is written
        self.kept_step = int(found.name.removeprefix(PREFIX)) if found else 0
        if found and self.is_world_process_zero():
            print(f"going on from step {self.kept_step:,}", file=sys.stderr)
        with Interruption() as interruption:
            self.checkpointing = CheckpointCallback(self, interruption)
            self.add_callback(self.checkpointing)
            self.train(resume_from_checkpoint=str(found) if found else None)
            if self.checkpointing.told_to_stop():
                sys.exit(interruption.exit_code)

    def get_batch_samples(self, *args: Any, **options: Any) -> Any:
        """Return the batches of a step, unless the processes that read them have followed a signal already."""
        with self.stopping():
            return super().get_batch_samples(*args, **options)

    def evaluate(self, *args: Any, **options: Any) -> Any:
        """Evaluate, without a draw from the generators of training: then it can be done again after a resume."""
        with self.stopping(), generators_kept():
            return super().evaluate(*args, **options)

    @contextmanager
    def stopping(self) -> Iterator[None]:
        """Stop in place of an error that comes of a signal, which the readers of batches have followed already."""
        try:
            yield
        except (RuntimeError, OSError, EOFError):  # torch's own, and those of the connection to one that went in it
            if self.checkpointing is None or not self.checkpointing.interruption.came():
                raise
            if self.accelerator.num_processes > 1:  # a checkpoint takes them all, and they are not all here
                sys.exit(self.checkpointing.interruption.exit_code)
            self.checkpointing.stop()

    def _run_epoch(self, *args: Any, **options: Any) -> None:
        if not self.control.should_training_stop:  # a checkpoint of the last step leaves nothing to train
            super()._run_epoch(*args, **options)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if self.state.global_step == self.kept_step:  # nothing to keep yet, or kept as well as now
            return
        folder = Path(self.args.output_dir) / f"{PREFIX}{self.state.global_step}"
        started = time.monotonic()
        require_space(folder, self.checkpoint_bytes, "a checkpoint")
        if self.is_world_process_zero():
            shutil.rmtree(folder, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            seal(folder)
            prune(folder.parent)
            self.checkpoint_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        self.accelerator.wait_for_everyone()  # a process that ended now would have the launcher end the first one too
        self.kept_step, self.write_seconds = self.state.global_step, time.monotonic() - started

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Write the weights. The Trainer's own adds the tokenizer and a pickle of its arguments."""
        model = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        # Both as they are in memory: PEFT would ask the hub for the vocabulary, transformers rename what it has merged.
        form = {"save_embedding_layers": False} if isinstance(model, PeftModel) else {"save_original_format": False}
        model.save_pretrained(output_dir, state_dict=state_dict, is_main_process=self.args.should_save, **form)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write none; TRL has one beside every checkpoint."""


class CheckpointCallback(TrainerCallback, ExportableState):
    """Says when to write a checkpoint, and stops after one when a signal has come. To be the last of the callbacks.

    A checkpoint is always of a finished step: what has been accumulated towards the next one is left out.
    """

    def __init__(self, trainer: Resumable, interruption: Interruption) -> None:
        self.trainer, self.interruption = trainer, interruption
        self.written = time.monotonic()
        self.finished = Finished.step(trainer)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds of this callback."""
        return {"args": {}, "attributes": {"positions": self.trainer.positions}}

    def on_train_begin(self, _args: Any, state: Any, control: Any, **_: Any) -> None:
        """Take over where the checkpoint was: perhaps within an evaluation, perhaps at the end."""
        self.trainer.positions = state.stateful_callbacks["CheckpointCallback"]["attributes"]["positions"]
        flow = state.stateful_callbacks["TrainerControl"]["args"]
        control.should_training_stop = flow["should_training_stop"]
        self.finished = Finished.step(self.trainer)
        if flow["should_evaluate"]:
            control.should_evaluate = True
            self.trainer.evaluate()

    def on_step_end(self, _args: Any, _state: Any, control: Any, **_: Any) -> None:
        """Have a checkpoint written after this step, its log and its evaluation, if it is time."""
        self.finished = Finished.step(self.trainer)
        control.should_save = self.due()

    def on_epoch_end(self, _args: Any, _state: Any, control: Any, **_: Any) -> None:
        """Stop here at the latest: after the last step of all there is no other chance."""
        control.should_save = self.told_to_stop()

    def on_save(self, _args: Any, _state: Any, _control: Any, **_: Any) -> None:
        """Stop if that was asked for."""
        self.written = time.monotonic()
        if self.told_to_stop():
            self.leave()

    def on_substep_end(self, _args: Any, _state: Any, _control: Any, **_: Any) -> None:
        """Stop within a step: with a checkpoint of the step before."""
        if self.trainer.accelerator.num_processes > 1 or not self.interruption.number:
            return  # several processes agree at the end of the step
        self.stop()

    def on_prediction_step(self, _args: Any, _state: Any, _control: Any, **_: Any) -> None:
        """Stop within an evaluation: with a checkpoint that asks for all of it again."""
        if not self.trainer.is_in_train:
            return
        if self.told_to_stop():
            self.stop()

    def due(self) -> bool:
        """Tell whether to write a checkpoint now; the same in all processes."""
        pause = max(self.trainer.checkpoint_seconds, PAUSE_FACTOR * self.trainer.write_seconds)
        late = self.agree(int(time.monotonic() - self.written >= pause))
        return self.told_to_stop() or bool(late)

    def told_to_stop(self) -> bool:
        """Tell whether a signal has come to any process; the same in all. One that comes meanwhile counts next time."""
        agreed = self.agree(self.interruption.number)
        self.interruption.hear(agreed)
        return bool(agreed)

    def agree(self, number: int) -> int:
        """Return the highest `number` that any process has."""
        accelerator = self.trainer.accelerator
        if accelerator.num_processes == 1:
            return number
        return int(accelerator.gather(torch.tensor([number], device=accelerator.device)).max())

    def stop(self) -> None:
        """Leave with a checkpoint of the last finished step."""
        self.finished.restore(self.trainer)
        self.trainer._save_checkpoint(self.trainer.model, trial=None)  # noqa: SLF001 - the hook that saves
        self.leave()

    def leave(self) -> None:
        """End this process so that it can be gone on from."""
        state = self.trainer.state
        if state.is_world_process_zero:
            print(
                f"\n{self.interruption.name} after step {state.global_step:,} of {state.max_steps:,}: "
                "`dvc repro` goes on from there",
                file=sys.stderr,
            )
        sys.exit(self.interruption.exit_code)


class Finished(NamedTuple):
    """What a step that is not finished has changed already: the random generators and the counts of tokens."""

    generators: "Generators"
    tokens: int
    positions: int

    @classmethod
    def step(cls, trainer: Resumable) -> "Finished":
        """Return them as they are at the end of a step."""
        return cls(Generators.now(), trainer.state.num_input_tokens_seen, trainer.positions)

    def restore(self, trainer: Resumable) -> None:
        """Put them back."""
        self.generators.restore()
        trainer.state.num_input_tokens_seen, trainer.positions = self.tokens, self.positions


class Generators(NamedTuple):
    """The states of the random generators that training draws from: Python's, numpy's, torch's and the GPU's."""

    python: Any
    numpy: Any
    cpu: torch.Tensor
    cuda: torch.Tensor | None

    @classmethod
    def now(cls) -> "Generators":
        """Return the states as they are."""
        cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
        return cls(random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda)

    def restore(self) -> None:
        """Put the states back."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.cpu)
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda)


@contextmanager
def generators_kept() -> Iterator[None]:
    """Put the random generators back afterwards as they were."""
    before = Generators.now()
    yield
    before.restore()

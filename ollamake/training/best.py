"""The models of lowest validation loss: kept while training goes on, and shipped when it is over."""

import shutil
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from ollamake.base import Base
from ollamake.files import atomic_folder, require_space, write_json
from ollamake.training.checkpoint import KEPT
from ollamake.training.distributed import gathered_weights
from ollamake.training.model import save_tuned
from ollamake.training.samples import choose, page
from ollamake.training.settings import Settings
from ollamake.training.watch import best_steps, validations

Save = Callable[[Path], None]


def kept(folder: Path, step: int) -> Path:
    """Return where the model of `step` lies while training goes on, in the folder of its checkpoints."""
    return folder / "best" / f"step-{step}"


class KeepBest(TrainerCallback):
    """Saves each model that is among the `count` best so far, and lets go of those that no longer are.

    What a checkpoint counts among the best stays as long as the checkpoint: a training that is killed goes on from
    there, and need not see what came after in the same way (on a GPU it does not).
    """

    def __init__(self, count: int, save: Save, model_bytes: int) -> None:
        self.count, self.save, self.model_bytes = count, save, model_bytes
        self.known: deque[list[int]] = deque(maxlen=KEPT)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Keep what the checkpoint knows of. Raises DiskError when there is no room for all that is to come."""
        # Those that are the best, one that is being written, and what is shipped of them at the end.
        require_space(Path(args.output_dir), (2 * self.count + 1) * self.model_bytes, "the best models")
        self.on_save(args, state, control)

    def on_evaluate(self, args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Save the model if it is one of the best."""
        best = self._best(state)
        if state.global_step in best:
            self.save(kept(Path(args.output_dir), state.global_step))
            self._forget(args, state, best)

    def on_save(self, args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Let go of what only checkpoints know of that are gone."""
        self.known.append(self._best(state))
        self._forget(args, state, [])

    def _best(self, state: Any) -> list[int]:
        return best_steps(validations(state.log_history), self.count)

    def _forget(self, args: Any, state: Any, best: list[int]) -> None:
        if state.is_world_process_zero:
            staying = {kept(Path(args.output_dir), step) for steps in (best, *self.known) for step in steps}
            for folder in kept(Path(args.output_dir), 0).parent.glob("*step-*"):
                if folder not in staying:
                    shutil.rmtree(folder)


def save_model(trainer: Any, base: Base, folder: Path) -> None:
    """Write the model as it is now to `folder`; to be called by every process, because each may hold a part."""
    weights = gathered_weights(trainer)
    if trainer.is_world_process_zero():
        save_tuned(trainer.model, base, folder, weights)


def ship(trainer: Any, base: Base, settings: Settings, val: Path, tuned: Path, checkpoints: Path) -> int:
    """Put the model of lowest validation loss at `tuned`, the next best into `checkpoints`; return the step it is of.

    With `keep_best` 0 it is the last model. `checkpoints` also gets index.json, which tells of every validation and
    where its model is, and samples.md.
    """
    history = trainer.state.log_history
    seen = validations(history)
    best = best_steps(seen, settings.keep_best)
    if not best:
        save_model(trainer, base, tuned)
    shipped = best[0] if best else seen[-1].step
    if trainer.is_world_process_zero():
        folder = Path(trainer.args.output_dir)
        if best:
            with atomic_folder(tuned) as partial:
                shutil.copytree(kept(folder, shipped), partial, dirs_exist_ok=True)
        with atomic_folder(checkpoints) as partial:
            for step in best[1:]:
                shutil.copytree(kept(folder, step), partial / f"step-{step}")
            places = {step: checkpoints / f"step-{step}" for step in best} | {shipped: tuned}
            index = [{**one._asdict(), "model": str(places[one.step]) if one.step in places else None} for one in seen]
            write_json(partial / "index.json", {"shipped": shipped, "validations": index})
            if settings.val_samples:
                text = page(choose(val, settings.val_samples), history, settings.val_samples_max_new_tokens)
                (partial / "samples.md").write_text(text, encoding="utf-8")
    return shipped

"""Fine-tuning with TRL's SFTTrainer on rows that are already tokenized and masked."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ollamake.base import Base
from ollamake.device import pick_device
from ollamake.quiet import quiet_loading
from ollamake.training.settings import Settings


@dataclass(frozen=True)
class Tokens:
    """The Arrow files that training reads: `train` and `val` with `input_ids` and `labels`, `packs` with `rows`."""

    train: Path
    packs: Path
    val: Path


def fine_tune(
    base: Base,
    tokens: Tokens,
    settings: Settings,
    tuned: Path,
    log: Any,
    checkpoints: Path | None = None,
    published: Path | None = None,
) -> dict[str, Any]:
    """Train, write the result whole to `tuned`, and return what the run came to.

    `log` is an `ollamake.training.log.TrainingLog`. `checkpoints` is the folder to go on from and to write to; without
    one, a training that is stopped starts over. `published`, by default a folder beside `tuned`, gets the next best
    models, what each validation came to, and answers from each. Returns losses in nats a supervised token, seconds,
    counts of tokens and the share of padding. Raises ParamsError for what the base model or the hardware cannot do, and
    TrainingError for a training that diverges.
    """
    with quiet_loading():
        from ollamake.training.best import ship
        from ollamake.training.memory import recorded, until_it_fits
        from ollamake.training.watch import summary

    with TemporaryDirectory(prefix="ollamake-train-") as scratch:
        folder = checkpoints or Path(scratch)
        trainer = until_it_fits(partial(train, base, tokens, folder, log), settings, folder)
        shipped = ship(trainer, base, settings, tokens.val, tuned, published or tuned.with_name("checkpoints"))
    return {
        **summary(trainer.state.log_history),
        "shipped_step": shipped,
        "per_device_batch_size": trainer.args.per_device_train_batch_size,
        "gradient_accumulation_steps": trainer.args.gradient_accumulation_steps,
        "out_of_memory": [shortage._asdict() for shortage in recorded(trainer.state.log_history)],
        "padding_fraction": round(trainer.padding_fraction, 4),
        "trainable_parameters": trainer.model.num_parameters(only_trainable=True),
    }


def train(
    base: Base, tokens: Tokens, checkpoints: Path, log: Any, settings: Settings, shortages: Sequence[Any] = ()
) -> Any:
    """Return a Trainer that has trained to the end, from the newest checkpoint on where there is one.

    `shortages` are of memory, and led to the batch size of `settings`. Raises OutOfMemoryError for the next one.
    """
    from ollamake.training.memory import Remembering, guarded
    from ollamake.training.profile import stopping_at_nan

    with quiet_loading():
        trainer = make_trainer(base, tokens, settings, checkpoints, log)
    trainer.add_callback(Remembering(shortages))
    with stopping_at_nan() if settings.debug else nullcontext():
        guarded(trainer, lambda: trainer.resume(settings.checkpoint_seconds))
    return trainer


def make_trainer(base: Base, tokens: Tokens, settings: Settings, folder: Path, log: Any) -> Any:
    """Return a Trainer that is ready to train, with its model, its data and its callbacks."""
    from transformers import AutoTokenizer, ProgressCallback

    from ollamake.training.adapter import adapter_config, prepare_adapter
    from ollamake.training.arguments import training_arguments
    from ollamake.training.callbacks import attach
    from ollamake.training.examples import training_examples, validation_examples
    from ollamake.training.loss import SupervisedTrainer
    from ollamake.training.model import load_model
    from ollamake.training.optimizer import choose_optimizer
    from ollamake.training.rated import require_rows_of

    require_rows_of(settings.task, tokens.train, tokens.val)
    device = pick_device()
    arguments = training_arguments(settings, device, folder)
    step = arguments.train_batch_size * arguments.world_size * arguments.gradient_accumulation_steps
    training = training_examples(tokens.train, tokens.packs, settings.train_order, step, settings.train_seed)
    validation = validation_examples(tokens.val)
    options: dict[str, Any] = {
        "args": arguments,
        "train_dataset": training,
        "eval_dataset": validation,
        "processing_class": AutoTokenizer.from_pretrained(base.folder),
    }
    if settings.task in ("dpo", "kto"):
        from ollamake.training.preference import preference_trainer

        trainer = preference_trainer(base, tokens, settings, device, **options)
    else:
        model = load_model(base, settings, device)
        if arguments.world_size > 1:
            training.fill_up(arguments.train_batch_size * arguments.world_size)
            validation.fill_up(arguments.eval_batch_size * arguments.world_size)
        trainer = SupervisedTrainer(
            model=model,
            peft_config=adapter_config(settings),
            label_smoothing=settings.label_smoothing,
            sharded=settings.distributed in ("fsdp", "deepspeed"),
            **options,
        )
    prepare_adapter(trainer.model, settings)
    trainer.optimizer_cls_and_kwargs = choose_optimizer(settings)
    trainer.remove_callback(ProgressCallback)
    attach(trainer, base, tokens.val, settings, log)
    return trainer

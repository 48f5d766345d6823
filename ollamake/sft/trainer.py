"""LoRA fine-tuning with TRL's SFTTrainer on rows that are already tokenized and masked."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ollamake.base import Base
from ollamake.device import computes_in_bf16, pick_device, weights_dtype
from ollamake.errors import ParamsError, TrainingError
from ollamake.files import atomic_folder, require_space
from ollamake.quiet import quiet_loading

if TYPE_CHECKING:
    from stages.train import Params


@dataclass(frozen=True)
class Tokens:
    """The Arrow files that training reads: `train` and `val` with `input_ids` and `labels`, `packs` with `rows`."""

    train: Path
    packs: Path
    val: Path


def fine_tune(base: Base, tokens: Tokens, params: "Params", adapter: Path, log: Any) -> dict[str, Any]:
    """Train an adapter, write it whole to `adapter`, and return what the run came to.

    `log` is an `ollamake.sft.log.TrainingLog`. Returns losses in nats a supervised token, seconds, counts of tokens
    and the share of padding. Raises ParamsError for packed rows and a base model that would mix them.
    """
    from transformers import AutoTokenizer, ProgressCallback

    from ollamake.sft.batch import collate
    from ollamake.sft.examples import training_examples, validation_examples
    from ollamake.sft.log import StepCallback, TrainingBar
    from ollamake.sft.loss import SupervisedTrainer

    device = pick_device()
    with TemporaryDirectory(prefix="ollamake-train-") as scratch:
        arguments = _arguments(params, device, scratch)
        step = arguments.train_batch_size * arguments.world_size * arguments.gradient_accumulation_steps
        training = training_examples(tokens.train, tokens.packs, params.train_order, step, params.train_seed)
        with quiet_loading():
            trainer = SupervisedTrainer(
                model=_load(base, params, device, packed=training.packed),
                args=arguments,
                data_collator=collate,
                train_dataset=training,
                eval_dataset=validation_examples(tokens.val),
                processing_class=AutoTokenizer.from_pretrained(base.folder),
                peft_config=_lora(params),
                callbacks=[StepCallback(log)],
            )
        trainable = trainer.model.num_parameters(only_trainable=True)
        require_space(adapter.parent, 4 * trainable, "the adapter")
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(TrainingBar)
        started = time.monotonic()
        result = trainer.train()
        seconds = time.monotonic() - started
        evaluations = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
        refuse_divergence([result.training_loss, *evaluations])
        _save(trainer.model, base, adapter)
    return {
        "train_loss": result.training_loss,
        "val_loss": evaluations[-1],
        "steps": result.global_step,
        "tokens": trainer.state.num_input_tokens_seen,
        "padding_fraction": round(trainer.padding_fraction, 4),
        "trainable_parameters": trainable,
        "seconds": round(seconds, 1),
    }


def refuse_divergence(losses: Sequence[float]) -> None:
    """Raise TrainingError unless every loss is a number."""
    if not all(math.isfinite(loss) for loss in losses):
        raise TrainingError(
            "training diverged: the loss is no number any more",
            where="plots/train/metrics/train_loss.tsv",
            hint="lower learning_rate, or raise warmup_ratio; `precision: fp32` tells whether rounding is to blame",
        )


def refuse_missing_modules(model: Any, modules: str) -> None:
    """Raise ParamsError when a name in `lora_target_modules` fits no layer; PEFT only minds when none of them does."""
    from torch.nn import Linear

    layers = {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, Linear)}
    missing = [] if modules == "all-linear" else [name for name in modules.split() if name not in layers]
    if missing:
        raise ParamsError(
            f"lora_target_modules: the base model has no layer named {', '.join(missing)}",
            where="params.yaml",
            hint=f"all-linear, or some of: {' '.join(sorted(layers))} (with spaces between)",
        )


def _load(base: Base, params: "Params", device: Any, *, packed: bool) -> Any:
    from transformers import AutoModelForCausalLM

    from ollamake.sft.isolation import require_isolation

    model = AutoModelForCausalLM.from_pretrained(base.folder, dtype=weights_dtype(params.precision, device))
    refuse_missing_modules(model, params.lora_target_modules)
    if packed:
        require_isolation(model)
    return model


def _lora(params: "Params") -> Any:
    from peft import LoraConfig

    modules = params.lora_target_modules
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=params.lora_rank,
        lora_alpha=params.lora_alpha,
        lora_dropout=params.lora_dropout,
        target_modules=modules if modules == "all-linear" else modules.split(),
    )


def _arguments(params: "Params", device: Any, scratch: str) -> Any:
    from trl import SFTConfig

    arguments = SFTConfig(
        output_dir=scratch,
        learning_rate=params.learning_rate,
        lr_scheduler_type=params.lr_scheduler if params.lr_scheduler != "constant" else "constant_with_warmup",
        warmup_steps=params.warmup_ratio,  # transformers 5 reads a value below 1 as a share of all steps
        weight_decay=params.weight_decay,
        max_grad_norm=params.max_grad_norm,
        num_train_epochs=params.num_epochs,
        max_steps=params.max_steps or -1,
        per_device_train_batch_size=params.per_device_batch_size,
        per_device_eval_batch_size=params.per_device_batch_size,
        gradient_accumulation_steps=params.gradient_accumulation_steps,
        seed=params.train_seed,
        bf16=computes_in_bf16(params.precision, device),
        use_cpu=device.type == "cpu",
        activation_checkpointing=False,  # TRL turns it on, at a quarter of the speed
        eval_strategy="epoch",
        save_strategy="no",
        logging_steps=1,
        logging_nan_inf_filter=False,  # it would show a diverged step as a loss of 0
        max_length=None,  # tokenize has dropped what is too long
        dataset_kwargs={"skip_prepare_dataset": True},
        train_sampling_strategy="sequential",  # the examples are in the order of their epoch
        remove_unused_columns=False,
        dataloader_pin_memory=device.type == "cuda",
        report_to="none",
    )
    # One process, one device: several GPUs are for `accelerate launch`, never for DataParallel inside one process.
    arguments._n_gpu = min(arguments.n_gpu, 1)  # noqa: SLF001
    return arguments


def _save(model: Any, base: Base, adapter: Path) -> None:
    model.peft_config["default"].base_model_name_or_path = base.record["name"]  # not a path of this machine
    with atomic_folder(adapter) as partial:
        model.save_pretrained(partial, save_embedding_layers=False)  # LoRA adds no word to the vocabulary
        (partial / "README.md").unlink(missing_ok=True)  # PEFT's model card is an empty form

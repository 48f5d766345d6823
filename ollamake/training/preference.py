"""Learning from judgements with TRL's own trainers: which of two answers is better (dpo), or a thumb (kto)."""

import warnings
from functools import partial
from typing import Any

from datasets import Dataset
from torch import tensor
from trl import DPOTrainer, KTOTrainer
from trl.trainer.utils import disable_dropout_in_model

from ollamake.base import Base
from ollamake.errors import ParamsError
from ollamake.training.adapter import adapter_config, moves_base
from ollamake.training.model import load_model
from ollamake.training.rated import RatedRows, collate_thumbs
from ollamake.training.resumable import Resumable
from ollamake.training.settings import Settings

Means = list[tuple[str, float, int]]


class JudgedTrainer(Resumable):
    """What DpoTrainer and KtoTrainer share: rows as they are, and means over all rows however batches are cut.

    TRL would tokenize the rows again, averages the micro-batches of a step and of a validation whatever their size, and
    counts tokens in a place that no checkpoint holds.
    """

    # What compute_loss returns is a share of the step's mean, not the mean of a micro-batch.
    loss_is_scaled_for_ga = True

    def __init__(self, *, train_dataset: RatedRows, eval_dataset: RatedRows, **options: Any) -> None:
        # TRL takes no dataset but one of its own kind, and looks at its first row.
        super().__init__(train_dataset=Dataset.from_dict({"prompt": [""]}), eval_dataset=eval_dataset, **options)
        self.train_dataset = train_dataset
        self.positions = 0

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset  # of token ids: there is nothing to tokenize

    @property
    def padding_fraction(self) -> float:
        """The share of the positions computed in training that held no token."""
        return float(1 - self.state.num_input_tokens_seen / self.positions)

    def get_batch_samples(self, *args: Any, **options: Any) -> Any:
        """Return the micro-batches of a step, and how many rows they hold on all devices."""
        batches, _ = super().get_batch_samples(*args, **options)
        rows = tensor([sum(self.rows(batch) for batch in batches)], device=self.args.device)
        return batches, int(self.accelerator.gather(rows).sum())

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **options: Any) -> Any:
        """Take a step as TRL does, and count the tokens in the state, which checkpoints hold."""
        mask = inputs["attention_mask"]
        counts = tensor([[int(mask.sum()), mask.numel()]], device=self.args.device)
        tokens, positions = self.accelerator.gather(counts).sum(dim=0).tolist()
        self._total_train_tokens = self.state.num_input_tokens_seen
        self.state.num_input_tokens_seen += tokens
        self.positions += positions
        return super().training_step(model, inputs, *args, **options)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: int | None = None
    ) -> Any:
        """Return the mean loss of the rows, in training as their share of the mean over the step."""
        with warnings.catch_warnings():
            # TRL 1.16 asks transformers 5.23 for an attribute by its old name, in every step.
            warnings.filterwarnings("ignore", message=".*gradient_checkpointing", category=FutureWarning)
            loss = super().compute_loss(model, inputs, return_outputs)
        if num_items_in_batch is None:
            return loss
        # DDP averages over the processes
        return loss * self.rows(inputs) * self.accelerator.num_processes / num_items_in_batch

    def evaluation_loop(self, *args: Any, **options: Any) -> Any:
        """Evaluate; every figure is a mean over all rows at once."""
        self.evaluated: Means = []
        output = super().evaluation_loop(*args, **options)
        output.metrics.update(self.summary({name: _mean(self.evaluated, name) for name, _, _ in self.evaluated}))
        return output

    def prediction_step(self, model: Any, inputs: dict[str, Any], *args: Any, **options: Any) -> Any:
        """Return the loss of a batch, and note what TRL says of it with the rows that it speaks of."""
        rows = self.rows(inputs)
        loss, *nothing = super().prediction_step(model, inputs, *args, **options)
        mean = self.accelerator.gather(loss.detach()).mean().item()
        self.evaluated += [("loss", mean, rows), *self.figures(inputs)]
        return loss, *nothing

    def rows(self, inputs: dict[str, Any]) -> int:
        """Return the number of judgements in a batch."""
        raise NotImplementedError


class DpoTrainer(JudgedTrainer, DPOTrainer):
    """Raises the chosen answer over the rejected one, measured against the base model."""

    def rows(self, inputs: dict[str, Any]) -> int:
        """Return the number of pairs: the chosen answers come first, then as many rejected ones."""
        return len(inputs["input_ids"]) // 2

    def figures(self, inputs: dict[str, Any]) -> Means:
        """Return what TRL has just noted of a batch."""
        latest = self._metrics["eval"]
        return [(name, latest[name][-1], self.rows(inputs)) for name in ("rewards/accuracies", "rewards/margins")]

    def summary(self, means: dict[str, float]) -> dict[str, float]:
        """Return the figures of a validation: loss, share of pairs put in the right order, by how much on average."""
        return {
            "eval_loss": means["loss"],
            "eval_rewards_accuracy": means["rewards/accuracies"],
            "eval_rewards_margin": means["rewards/margins"],
        }


class KtoTrainer(JudgedTrainer, KTOTrainer):
    """Raises answers with a thumb up and lowers those with a thumb down, measured against the base model."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.data_collator: Any = partial(collate_thumbs, self.data_collator)

    def rows(self, inputs: dict[str, Any]) -> int:
        """Return the number of answers."""
        return len(inputs["label"])

    def figures(self, inputs: dict[str, Any]) -> Means:
        """Return what TRL has just noted of a batch, which need not hold both kinds of answers."""
        latest, thumbs = self._metrics["eval"], self.accelerator.gather(inputs["label"])
        counts = {"rewards/chosen": int(thumbs.sum()), "rewards/rejected": int((~thumbs).sum())}
        return [(name, latest[name][-1], count) for name, count in counts.items() if count]

    def summary(self, means: dict[str, float]) -> dict[str, float]:
        """Return the figures of a validation: loss, and how much higher a thumb up is rewarded than a thumb down."""
        margin = {"eval_rewards_margin": means["rewards/chosen"] - means["rewards/rejected"]} if len(means) > 2 else {}
        return {"eval_loss": means["loss"], **margin}


def _mean(noted: Means, name: str) -> float:
    values = [(value, rows) for key, value, rows in noted if key == name]
    return sum(value * rows for value, rows in values) / sum(rows for _, rows in values)


def preference_trainer(base: Base, tokens: Any, settings: Settings, device: Any, **options: Any) -> Any:
    """Return TRL's trainer of the task for the rows of `tokens` (an `ollamake.training.trainer.Tokens`).

    `options` are the Trainer's own, with the order of the rows in `train_dataset` and `eval_dataset`. Raises
    ParamsError for packed rows and for an adapter that does not fit the model.
    """
    if options["train_dataset"].packed:
        raise ParamsError(
            f"packing: answers are compared one by one in the task {settings.task}",
            where="params.yaml",
            hint="`dvc exp run -S packing=false`",
        )
    model = load_model(base, settings, device)
    refuse_adapter_on_head(model, settings.lora_target_modules.split())
    # TRL would switch off LoRA's dropout too. Only that of the base model, if any, makes the reference noisy.
    disable_dropout_in_model(model)
    options |= {
        name: RatedRows(file, settings.task, options[name])
        for name, file in (("train_dataset", tokens.train), ("eval_dataset", tokens.val))
    }
    return (DpoTrainer if settings.task == "dpo" else KtoTrainer)(
        model=model,
        ref_model=load_model(base, settings, device) if changes_base(settings) else None,
        peft_config=adapter_config(settings),
        **options,
    )


def refuse_adapter_on_head(model: Any, modules: list[str]) -> None:
    """Raise ParamsError for an adapter on the output layer: TRL computes log-probabilities past it."""
    for name, module in model.named_modules():
        if module is model.get_output_embeddings() and name in modules:
            raise ParamsError(
                f"lora_target_modules: {name} cannot have an adapter in the tasks dpo and kto",
                where="params.yaml",
                hint="all-linear is every linear layer but this one",
            )


def changes_base(settings: Settings) -> bool:
    """Tell whether the model without its adapter is another than the base model, so that a copy has to be kept.

    PiSSA and OLoRA move a part of the base weights into the adapter, and trained biases stay when it is switched off.
    """
    return settings.method == "full" or settings.lora_bias != "none" or moves_base(settings)

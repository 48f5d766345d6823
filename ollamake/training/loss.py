"""TRL's trainer with a loss that computes logits only where there is something to learn."""

import math
from typing import Any

import torch
from datasets import Dataset
from torch.nn.functional import cross_entropy
from trl import SFTTrainer

from ollamake.labels import IGNORE_INDEX
from ollamake.training import batch
from ollamake.training.attention import Rows
from ollamake.training.cross_entropy import linear_cross_entropy
from ollamake.training.examples import Examples
from ollamake.training.fused import fuse
from ollamake.training.isolation import isolate, plain_head, refuse_packing
from ollamake.training.resumable import Resumable


class SupervisedTrainer(Resumable, SFTTrainer):
    """An SFTTrainer for `ollamake.training.examples.Examples`, without padding where the model can do without.

    TRL's own loss runs the output matrix over every position, prompts and padding included, for its entropy figure:
    43 % of a step on a CPU with the default data, where a quarter of the tokens carry loss.
    """

    def __init__(
        self,
        *,
        model: Any,
        train_dataset: Examples,
        eval_dataset: Examples,
        label_smoothing: float = 0.0,
        sharded: bool = False,
        **options: Any,
    ) -> None:
        """Take the model as it was loaded; `sharded` tells that each process will hold a part of its weights only.

        Raises ParamsError for packed rows and a model that would mix them.
        """
        if not sharded and not getattr(model, "is_quantized", False):
            model.to(options["args"].device)  # before the checks, which would take long for a large model on a CPU
        self.flat = isolate(model)
        if train_dataset.packed and not self.flat:
            refuse_packing(model)
        self.head = None if sharded else plain_head(model)
        # TRL takes no dataset but one of its own kind, though there is nothing that it would do with it.
        super().__init__(
            model=model,
            train_dataset=Dataset.from_dict({"labels": [[]]}),
            eval_dataset=eval_dataset,
            data_collator=batch.flat if self.flat else batch.padded,
            **options,
        )
        self.train_dataset = train_dataset
        self.smoothing = label_smoothing
        self.positions = 0
        if not sharded:
            fuse(self.model)

    @property
    def padding_fraction(self) -> float:
        """The share of the positions computed in training that held no token."""
        return float(1 - self.state.num_input_tokens_seen / self.positions)

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **options: Any) -> Any:
        """Take a step as TRL does, and count its tokens; TRL cannot tell them from padding."""
        counts = torch.tensor([[int(inputs["lengths"].sum()), inputs["input_ids"].numel()]], device=self.args.device)
        tokens, positions = self.accelerator.gather(counts).sum(dim=0).tolist()
        self.state.num_input_tokens_seen += tokens
        self.positions += positions
        return super().training_step(model, inputs, *args, **options)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the cross entropy in nats, summed over the supervised tokens and divided by `num_items_in_batch`."""
        lengths, labels = inputs.pop("lengths"), inputs.pop("labels")
        targets = labels[:, 1:]
        # The columns in which any row of the batch has a token to learn; position t predicts token t + 1.
        positions = (targets != IGNORE_INDEX).any(dim=0).nonzero().squeeze(1)
        if self.flat:
            inputs["rows"] = Rows(lengths.tolist(), labels.device)
            self._scale_noise(lengths)
        kept = targets[:, positions].flatten()
        total, outputs = self._total(model, inputs, positions, kept)
        count = (kept != IGNORE_INDEX).sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            total = total * self.accelerator.num_processes  # the count is that of all processes; DDP averages over them
        loss = total / count
        return (loss, outputs) if return_outputs else loss

    def _scale_noise(self, lengths: torch.Tensor) -> None:
        """Keep NEFTune's noise as strong as in a padded batch: it goes down with the square root of the length.

        transformers would take the sum of all rows for the length of one.
        """
        if self.neftune_noise_alpha and self.model.training:
            louder = math.sqrt(int(lengths.sum()) / int(lengths.max()))
            self.model.get_input_embeddings().neftune_noise_alpha = self.neftune_noise_alpha * louder

    def _total(self, model: Any, inputs: dict[str, Any], positions: torch.Tensor, targets: torch.Tensor) -> Any:
        """Return the summed loss over `positions` and the model's outputs."""
        smoothing = self.smoothing if self.model.training else 0.0
        if self.head is None:
            outputs = model(**inputs, use_cache=False, logits_to_keep=positions)
            logits = outputs.logits.flatten(0, 1).float()
            return cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing), outputs
        with self.head.skipped():
            outputs = model(**inputs, use_cache=False, logits_to_keep=positions)
        supervised = targets != IGNORE_INDEX
        hidden = outputs.logits.flatten(0, 1)[supervised]
        kind = torch.get_autocast_dtype(hidden.device.type) if self.args.bf16 else hidden.dtype
        with torch.autocast(hidden.device.type, enabled=False):
            return linear_cross_entropy(
                hidden.to(kind), self.head.matrix.weight.to(kind), targets[supervised], smoothing
            ), outputs

    def evaluation_loop(self, *args: Any, **options: Any) -> Any:
        """Evaluate; the loss is over all supervised tokens at once, so that no batch size changes it."""
        self.evaluated = [0.0, 0]
        output = super().evaluation_loop(*args, **options)
        nats, tokens = self.evaluated
        output.metrics["eval_loss"] = nats / tokens
        return output

    def prediction_step(self, model: Any, inputs: dict[str, Any], *_: Any, **__: Any) -> Any:
        """Return the loss of a batch, and add it to the whole with its number of supervised tokens."""
        inputs = self._prepare_inputs(inputs)
        count = (inputs["labels"][:, 1:] != IGNORE_INDEX).sum()
        with torch.no_grad(), self.compute_loss_context_manager():
            loss = self.compute_loss(model, inputs)
        # Not for_metrics, which drops what accelerate has added to the last batch: there is nothing (Examples.fill_up).
        totals = self.accelerator.gather(torch.stack([loss * count, count]).unsqueeze(0)).sum(dim=0)
        self.evaluated[0] += totals[0].item()
        self.evaluated[1] += int(totals[1].item())
        return loss.detach(), None, None

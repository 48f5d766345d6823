"""TRL's trainer with a loss that computes logits only where there is something to learn."""

from typing import Any

from datasets import Dataset
from torch import no_grad, stack, tensor
from torch.nn.functional import cross_entropy
from trl import SFTTrainer

from ollamake.labels import IGNORE_INDEX
from ollamake.sft.examples import Examples


class SupervisedTrainer(SFTTrainer):
    """An SFTTrainer for `ollamake.sft.examples.Examples` in the batches of `ollamake.sft.batch.collate`.

    TRL's own loss runs the output matrix over every position, prompts and padding included, for its entropy figure:
    43 % of a step on a CPU with the default data, where a quarter of the tokens carry loss.
    """

    def __init__(self, *, train_dataset: Examples, eval_dataset: Examples, **options: Any) -> None:
        # TRL takes no dataset but one of its own kind, though there is nothing that it would do with it.
        super().__init__(train_dataset=Dataset.from_dict({"labels": [[]]}), eval_dataset=eval_dataset, **options)
        self.train_dataset = train_dataset
        self.positions = 0

    @property
    def padding_fraction(self) -> float:
        """The share of the positions computed in training that held no token."""
        return float(1 - self.state.num_input_tokens_seen / self.positions)

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **options: Any) -> Any:
        """Take a step as TRL does, and count its tokens; TRL cannot tell them from padding in packed rows."""
        counts = tensor([[int(inputs.pop("lengths").sum()), inputs["input_ids"].numel()]], device=self.args.device)
        tokens, positions = self.accelerator.gather(counts).sum(dim=0).tolist()
        self.state.num_input_tokens_seen += tokens
        self.positions += positions
        return super().training_step(model, inputs, *args, **options)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the cross entropy in nats, summed over the supervised tokens and divided by `num_items_in_batch`."""
        targets = inputs.pop("labels")[:, 1:]
        # The columns in which any row of the batch has a token to learn; position t predicts token t + 1.
        positions = (targets != IGNORE_INDEX).any(dim=0).nonzero().squeeze(1)
        outputs = model(**inputs, use_cache=False, logits_to_keep=positions)
        kept = targets[:, positions].flatten()
        total = cross_entropy(outputs.logits.flatten(0, 1).float(), kept, ignore_index=IGNORE_INDEX, reduction="sum")
        count = (kept != IGNORE_INDEX).sum() if num_items_in_batch is None else num_items_in_batch
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            total = total * self.accelerator.num_processes  # the count is that of all processes; DDP averages over them
        loss = total / count
        return (loss, outputs) if return_outputs else loss

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
        del inputs["lengths"]
        count = (inputs["labels"][:, 1:] != IGNORE_INDEX).sum()
        with no_grad(), self.compute_loss_context_manager():
            loss = self.compute_loss(model, inputs)
        totals = self.accelerator.gather_for_metrics(stack([loss * count, count]).unsqueeze(0)).sum(dim=0)
        self.evaluated[0] += totals[0].item()
        self.evaluated[1] += int(totals[1].item())
        return loss.detach(), None, None

"""TRL's trainer with a loss that computes logits only where there is something to learn."""

from typing import Any

from torch import no_grad, stack
from torch.nn.functional import cross_entropy
from trl import SFTTrainer

from ollamake.labels import IGNORE_INDEX


class SupervisedTrainer(SFTTrainer):
    """An SFTTrainer for rows with `labels`.

    TRL's own loss runs the output matrix over every position, prompts and padding included, for its entropy figure:
    43 % of a step on a CPU with the default data, where a quarter of the tokens carry loss.
    """

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
        count = (inputs["labels"][:, 1:] != IGNORE_INDEX).sum()
        with no_grad(), self.compute_loss_context_manager():
            loss = self.compute_loss(model, inputs)
        totals = self.accelerator.gather_for_metrics(stack([loss * count, count]).unsqueeze(0)).sum(dim=0)
        self.evaluated[0] += totals[0].item()
        self.evaluated[1] += int(totals[1].item())
        return loss.detach(), None, None

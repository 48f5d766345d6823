"""Greedy answers to the prompts, many at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ollamake.progress import Advance
from ollamake.scoring.items import Item, batches


@dataclass(frozen=True)
class Answer:
    """What a model said; `new_tokens` counts the one that ended the answer, `stopped` says whether there was one."""

    text: str
    stopped: bool
    new_tokens: int


@dataclass(frozen=True)
class Greedy:
    """How to answer: always the likeliest token, until one of `end_ids` or `max_new_tokens`."""

    end_ids: frozenset[int]
    max_new_tokens: int
    batch_size: int

    def answer(self, model: Any, tokenizer: Any, items: Sequence[Item], advance: Advance) -> list[Answer]:
        """Return one answer an item, in their order."""
        answers: dict[str, Answer] = {}
        for batch in batches(items, lambda item: item.prompt_length, lambda count, _: count <= self.batch_size):
            for item, ids in zip(batch, self._continuations(model, batch), strict=True):
                answers[item.id] = self._read(tokenizer, ids)
            advance(len(batch))
        return [answers[item.id] for item in items]

    def _continuations(self, model: Any, batch: Sequence[Item]) -> list[list[int]]:
        import torch
        from transformers import GenerationConfig

        padding = min(self.end_ids)
        # Set on the model too: `generate` fills whatever the argument leaves open from what came with the model, and
        # a repetition penalty from there would change greedy answers as well.
        model.generation_config = GenerationConfig(
            max_new_tokens=self.max_new_tokens, do_sample=False, eos_token_id=sorted(self.end_ids), pad_token_id=padding
        )
        longest = max(item.prompt_length for item in batch)
        gaps = [longest - item.prompt_length for item in batch]
        prompts = torch.tensor([[padding] * gap + item.prompt_ids for gap, item in zip(gaps, batch, strict=True)])
        mask = torch.tensor([[0] * gap + [1] * (longest - gap) for gap in gaps])
        generated = model.generate(
            input_ids=prompts.to(model.device),
            attention_mask=mask.to(model.device),
            generation_config=model.generation_config,
        )
        ids: list[list[int]] = generated[:, longest:].tolist()
        return ids

    def _read(self, tokenizer: Any, ids: Sequence[int]) -> Answer:
        # After its end token, a row of a batch is padded for as long as another row goes on.
        end = next((index for index, token in enumerate(ids) if token in self.end_ids), None)
        text = tokenizer.decode(ids[:end], skip_special_tokens=True)
        return Answer(text, end is not None, len(ids) if end is None else end + 1)

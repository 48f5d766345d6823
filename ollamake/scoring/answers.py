"""Greedy answers to the prompts, many at a time, and the same ones as if each were asked alone."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from ollamake.progress import Advance
from ollamake.scoring.items import Item, batches

# Tokens of prompts and answers held at once, whatever eval_batch_size says: with keys and values of 130 kB a token (8
# billion weights in bfloat16) these take 2 GB.
BATCH_TOKENS = 16384
# A batch is thinned out when so much of it has ended: rows that are done cost as much as others, a stop a little.
ENDED_SHARE = 1 / 8


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
        """Return one answer an item, in their order. On a CPU the model computes in fp32 from then on."""
        answers: dict[str, Answer] = {}
        with _alike_in_every_batch(model):
            for batch in batches(items, lambda item: item.prompt_length, self._fits):
                for item, ids in zip(batch, self._continuations(model, batch, advance), strict=True):
                    answers[item.id] = self._read(tokenizer, ids)
        return [answers[item.id] for item in items]

    def _fits(self, count: int, longest: int) -> bool:
        return count <= self.batch_size and count * (longest + self.max_new_tokens) <= BATCH_TOKENS

    def _continuations(self, model: Any, batch: Sequence[Item], advance: Advance) -> list[list[int]]:
        """Return what follows each prompt; in rows that ended before others, end tokens follow the end."""
        import torch

        ends = torch.tensor(sorted(self.end_ids), device=model.device)
        longest = max(item.prompt_length for item in batch)
        shared, cache = _read_once(model, batch)
        ids, mask = (rows.to(model.device) for rows in _aligned(batch, shared, longest, padding=min(self.end_ids)))
        said: list[list[int]] = [[] for _ in batch]
        rows = list(range(len(batch)))
        while rows:
            ids, cache = self._generate(model, ids, mask, cache, most=longest + self.max_new_tokens)
            for row, answer in zip(rows, ids[:, longest:].tolist(), strict=True):
                said[row] = answer
            full = ids.shape[1] == longest + self.max_new_tokens
            going_on = (~torch.isin(ids[:, -1], ends) & (not full)).nonzero().squeeze(1)
            advance(len(rows) - len(going_on))
            rows = [rows[place] for place in going_on.tolist()]
            if rows:
                cache.batch_select_indices(going_on)
                ids, mask = ids[going_on], mask[going_on]
                mask = torch.nn.functional.pad(mask, (0, ids.shape[1] - mask.shape[1]), value=1)
        return said

    def _generate(self, model: Any, ids: Any, mask: Any, cache: Any, most: int) -> tuple[Any, Any]:
        """Return the rows with what is said until some of them have ended, or all have `most` tokens; and the cache."""
        import torch
        from transformers import GenerationConfig

        ends = torch.tensor(sorted(self.end_ids), device=model.device)

        def thinned(ids: torch.Tensor, _scores: Any, **_: Any) -> torch.Tensor:
            share = torch.isin(ids[:, -1], ends).float().mean()
            return (share >= ENDED_SHARE).expand(len(ids))

        # Set on the model too: `generate` fills whatever the argument leaves open from what came with the model, and
        # a repetition penalty from there would change greedy answers as well.
        model.generation_config = GenerationConfig(
            max_new_tokens=most - ids.shape[1],
            do_sample=False,
            eos_token_id=sorted(self.end_ids),
            pad_token_id=min(self.end_ids),
            return_dict_in_generate=True,
        )
        found = model.generate(
            input_ids=ids,
            attention_mask=mask,
            past_key_values=cache,
            generation_config=model.generation_config,
            stopping_criteria=[thinned],
        )
        return found.sequences, found.past_key_values

    def _read(self, tokenizer: Any, ids: Sequence[int]) -> Answer:
        end = next((index for index, token in enumerate(ids) if token in self.end_ids), None)
        text = tokenizer.decode(ids[:end], skip_special_tokens=True)
        return Answer(text, end is not None, len(ids) if end is None else end + 1)


def _read_once(model: Any, batch: Sequence[Item]) -> tuple[int, Any]:
    """Return the number of tokens that all prompts begin with, a system prompt mostly, and their keys and values."""
    import torch
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    # The last token of a prompt gives the first one of its answer, so it is read with each prompt.
    columns = zip(*(item.prompt_ids[:-1] for item in batch), strict=False)
    shared = [column[0] for column in takewhile(lambda column: len(set(column)) == 1, columns)]
    # A sliding window counts places in the row: the gap behind what is shared would narrow it.
    if len(batch) == 1 or not shared or any(layer.is_sliding for layer in cache.layers):
        return 0, None
    model(input_ids=torch.tensor([shared], device=model.device), past_key_values=cache, logits_to_keep=1)
    cache.batch_repeat_interleave(len(batch))
    return len(shared), cache


def _aligned(batch: Sequence[Item], shared: int, longest: int, padding: int) -> tuple[Any, Any]:
    """Return the prompts and their attention mask, both of shape (rows, longest): what is shared, a gap, the rest."""
    import torch

    gaps = [longest - item.prompt_length for item in batch]
    prompts = [item.prompt_ids for item in batch]
    ids = [ids[:shared] + [padding] * gap + ids[shared:] for gap, ids in zip(gaps, prompts, strict=True)]
    return torch.tensor(ids), torch.tensor([[1] * shared + [0] * gap + [1] * (longest - gap - shared) for gap in gaps])


@contextmanager
def _alike_in_every_batch(model: Any) -> Iterator[None]:
    """Compute in fp32 on a CPU, so that an answer does not depend on what else is in its batch.

    Other batches sum in another order. In bfloat16 that moves the lead of the likeliest token over the second by up to
    0.25 nats, and 14 of 100 test prompts had another answer in a batch of 32 than alone; in fp32 by 3e-5 nats, where
    the smallest lead was 0.02, and none had. Alone that costs nothing, in batches about half as much time again
    (docs/LOG.md). A GPU answers as `precision` says: there twice the memory is too much to take.
    """
    import torch

    if model.device.type != "cpu":
        yield
        return
    model.float()
    with torch.autocast("cpu", enabled=False):
        yield

"""Answers to the same few validation prompts at every validation, so that a person sees what the model learns."""

import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch
from transformers import GenerationConfig, TrainerCallback

from ollamake.training.log import TrainingLog
from ollamake.training.watch import History

COLUMNS = ("id", "input_ids", "prompt_length", "prompt", "reference")
WIDTH, LABEL_WIDTH = 100, 14
CUT = " ✂"

# Control characters as the pictures that Unicode has of them: a terminal that shows the page obeys none.
_PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"} | {127: 0x2421}


@dataclass(frozen=True)
class Prompt:
    """The token ids that lead up to an answer, its question, and the answer that the data has."""

    id: str
    ids: list[int]
    question: str
    reference: str


def choose(val: Path, count: int) -> list[Prompt]:
    """Return the `count` rows of the lowest ids, which are hashes of the content: nobody picked them."""
    with pa.memory_map(str(val)) as source:
        table = pa.ipc.open_file(source).read_all().select(COLUMNS)
        rows = table.take(pc.select_k_unstable(table["id"], min(count, len(table)), [("id", "ascending")])).to_pylist()
    return [
        Prompt(row["id"], row["input_ids"][: row["prompt_length"]], row["prompt"], row["reference"]) for row in rows
    ]


@dataclass(frozen=True)
class Greedy:
    """How to answer: always the likeliest token, until one of `end_ids` or `max_new_tokens`; nothing is drawn."""

    end_ids: frozenset[int]
    max_new_tokens: int

    def answers(self, model: Any, tokenizer: Any, prompts: Sequence[Prompt]) -> list[str]:
        """Return an answer for each prompt; one that was cut off ends with a sign of that."""
        padding = min(self.end_ids)
        longest = max(len(prompt.ids) for prompt in prompts)
        gaps = [longest - len(prompt.ids) for prompt in prompts]
        ids = torch.tensor([[padding] * gap + prompt.ids for gap, prompt in zip(gaps, prompts, strict=True)])
        mask = torch.tensor([[0] * gap + [1] * (longest - gap) for gap in gaps])
        with answering(model, self._generation(padding)) as generation:
            generated = model.generate(
                input_ids=ids.to(model.device), attention_mask=mask.to(model.device), generation_config=generation
            )
        return [self._read(tokenizer, line) for line in generated[:, longest:].tolist()]

    def _generation(self, padding: int) -> Any:
        ends = sorted(self.end_ids)
        length = self.max_new_tokens
        return GenerationConfig(max_new_tokens=length, do_sample=False, eos_token_id=ends, pad_token_id=padding)

    def _read(self, tokenizer: Any, ids: Sequence[int]) -> str:
        end = next((place for place, token in enumerate(ids) if token in self.end_ids), None)
        return str(tokenizer.decode(ids[:end], skip_special_tokens=True)) + ("" if end is not None else CUT)


@contextmanager
def answering(model: Any, generation: Any) -> Iterator[Any]:
    """Yield `generation` with `model` ready to answer by it and by nothing else; then leave the model as it was.

    `generate` fills what the argument leaves open from what came with the model, a repetition penalty for example.
    """
    own, training = model.generation_config, model.training
    model.generation_config = generation
    model.eval()
    try:
        with torch.no_grad():
            yield generation
    finally:
        model.train(training)
        model.generation_config = own


class Sampling(TrainerCallback):
    """Answers the prompts at each validation. The answers go to the Trainer's history, which checkpoints hold.

    Every process answers, because none may hold the whole model; all come to the same.
    """

    def __init__(self, prompts: Sequence[Prompt], greedy: Greedy, log: TrainingLog) -> None:
        self.prompts, self.greedy, self.log = prompts, greedy, log

    def on_evaluate(
        self, args: Any, state: Any, _control: Any, model: Any = None, processing_class: Any = None, **_: Any
    ) -> None:
        """Answer, and note the answers."""
        with torch.autocast(args.device.type, torch.bfloat16, enabled=args.bf16):
            texts = self.greedy.answers(model, processing_class, self.prompts)
        state.log_history[-1]["samples"] = texts
        for prompt, text in zip(self.prompts, texts, strict=True):
            self.log.note(f"step {state.global_step}: {prompt.question!r} -> {text!r} (reference {prompt.reference!r})")


def page(prompts: Sequence[Prompt], history: History, max_new_tokens: int) -> str:
    """Return all answers in Markdown, those that stayed the same from one validation to the next in one line."""
    answered = [entry for entry in history if "samples" in entry]
    head = f"""# What the model learnt to answer

Validation prompts, the {len(prompts)} of the lowest ids, answered greedily at every validation. Ids are hashes of the
content, so nobody picked them.

- ✓ equals the reference but for white space
- ✂ was cut off at `val_samples_max_new_tokens: {max_new_tokens}`
- ↪ goes on from the line above, which is too long for this page
"""
    sections = []
    for number, prompt in enumerate(prompts):
        said = [(entry["step"], entry["samples"][number]) for entry in answered]
        sections.append(_section(number + 1, prompt, said))
    return "\n".join([head, *sections])


def _section(number: int, prompt: Prompt, said: Sequence[tuple[int, str]]) -> str:
    blocks = [_block("prompt", prompt.question), _block("reference", prompt.reference)]
    for text, same in groupby(said, key=lambda one: one[1]):
        steps = [step for step, _ in same]
        span = f"{steps[0]}" if len(steps) == 1 else f"{steps[0]}-{steps[-1]}"
        mark = " ✓" if text.split() == prompt.reference.split() else ""
        blocks.append(_block(f"step {span}{mark}", text))
    body = "\n".join(blocks)
    # A fence ends at a line of as many backticks, so it has one more than any run inside.
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", body)), default=0))
    return f"## {number}. `{prompt.id}`\n\n{fence}text\n{body}\n{fence}\n"


def _block(label: str, text: str) -> str:
    lines = text.strip().translate(_PICTURES).split("\n")
    rows = [row for line in lines for row in textwrap.wrap(line, WIDTH, subsequent_indent="↪ ") or [""]]
    indent = max(LABEL_WIDTH, len(label) + 1)
    return "\n".join(f"{'' if place else label:<{indent}}{row}".rstrip() for place, row in enumerate(rows))

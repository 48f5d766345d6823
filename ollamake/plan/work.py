"""What each stage has to do, in numbers: tokens, steps, answers. Times, memory and disk are computed from these."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ollamake.plan.shape import Shape
from ollamake.plan.tokens import Tokens

DEBUG_STEPS = 10  # ollamake.training.arguments
LOSS_TOKENS, ANSWER_TOKENS = 2048, 16384  # computed at once, in ollamake.scoring.loss and .answers
# Answers that convert asks of a file: the probe, and what every chat template is tried with.
FIXTURES = 8
LONGEST_ANSWER = 2.5  # of a batch, when the others have ended and left it, in mean answers


@dataclass(frozen=True)
class Training:
    """A training: its micro-batches and steps, the `tokens` of all steps and those of validations, `read`.

    `batch` are the tokens of the largest micro-batch, `batch_supervised` those that carry loss in the largest of
    training or validation. `trainable` counts weights, `calls` the forward passes that answer validation prompts. A
    preference pair is two rows.
    """

    shape: Shape
    trainable: int
    content: Mapping[str, Any]
    bf16: bool
    steps: int
    batches: int
    tokens: float
    supervised: float
    batch: float
    batch_supervised: float
    read: float
    calls: int


@dataclass(frozen=True)
class Scoring:
    """The scoring of a model, with an adapter of `trainable` weights beside it or none.

    `read` are the tokens of whole conversations and prompts, `calls` the forward passes that each give every row of a
    batch a token, `held` the most tokens whose keys and values are kept, `prompts` those of them that are read at once,
    `at_once` those whose logits are computed for the loss.
    """

    shape: Shape
    trainable: int
    bf16: bool
    read: float
    at_once: float
    calls: int
    answered: float
    prompts: float
    held: float


@dataclass(frozen=True)
class Conversion:
    """The conversion of a model: its GGUF files, F16 among them, and the tokens that each is asked for in its proof."""

    shape: Shape
    trainable: int
    names: tuple[str, ...]
    answered: float


def training(content: Mapping[str, Any], shape: Shape, tokens: Tokens, *, bf16: bool) -> Training:
    """Return the work of train."""
    split, rows = tokens.train, tokens.packs or tokens.train.rows
    pairs = 2 if content["task"] in ("dpo", "kto") else 1
    size, processes = content["per_device_batch_size"], content["num_processes"] * content["num_nodes"]
    per_epoch = max(math.ceil(rows / (size * processes)), 1)
    steps_per_epoch = math.ceil(per_epoch / content["gradient_accumulation_steps"])
    steps = min(content["max_steps"] or math.inf, content["num_epochs"] * steps_per_epoch)
    steps = int(min(steps, DEBUG_STEPS) if content["debug"] else steps)
    epochs = steps / steps_per_epoch
    batch = pairs * (min(size * content["max_length"], split.tokens) if tokens.packs else split.largest_batch(size))
    longest = min(size, tokens.val.rows) * tokens.val.longest
    every = content["val_every_steps"]
    validations = math.ceil(steps / every) if every else math.ceil(epochs)
    full = content["method"] == "full"
    return Training(
        shape=shape,
        trainable=shape.parameters if full else shape.adapter(content["lora_rank"], content["lora_target_modules"]),
        content=content,
        bf16=bf16,
        steps=steps,
        batches=math.ceil(epochs * per_epoch),
        tokens=epochs * split.tokens * pairs / processes,
        supervised=epochs * split.supervised * pairs / processes,
        batch=batch,
        # Validation goes through the longest rows first, so its largest batch has more tokens than those of training.
        batch_supervised=max(batch, pairs * longest) * split.supervised / max(split.tokens, 1),
        read=validations * tokens.val.tokens * pairs / processes,
        calls=validations * bool(content["val_samples"]) * content["val_samples_max_new_tokens"],
    )


def scoring(content: Mapping[str, Any], shape: Shape, tokens: Tokens, *, tuned: bool, bf16: bool) -> Scoring:
    """Return the work of evaluate, or of baseline where it is not the `tuned` model."""
    split, new = tokens.test, content["eval_max_new_tokens"]
    items = min(content["eval_max_examples"] or split.rows, split.rows)
    together = max(min(content["eval_batch_size"], ANSWER_TOKENS / (split.longest + new), items), 1)
    adapted = tuned and content["method"] != "full"
    # A tuned model ends its answers about where those of the data end, a base model hardly ever.
    length = min(split.supervised / max(split.rows, 1), new) if tuned else new
    longest = min(LONGEST_ANSWER * length, new)
    return Scoring(
        shape=shape,
        trainable=shape.adapter(content["lora_rank"], content["lora_target_modules"]) if adapted else 0,
        bf16=bf16,
        read=2 * items * split.mean,
        at_once=min(LOSS_TOKENS, items * split.mean),
        calls=math.ceil(items / together) * new,
        answered=items * length,
        prompts=together * split.longest,
        held=together * (split.longest + longest),
    )


def conversion(content: Mapping[str, Any], shape: Shape) -> Conversion:
    """Return the work of convert."""
    full = content["method"] == "full"
    names = tuple(dict.fromkeys(("F16", *content["gguf_quantization"].split())))
    return Conversion(
        shape=shape,
        trainable=0 if full else shape.adapter(content["lora_rank"], content["lora_target_modules"]),
        names=names,
        answered=(content["parity_prompts"] + FIXTURES) * content["parity_max_new_tokens"],
    )

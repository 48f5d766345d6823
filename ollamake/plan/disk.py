"""How much room on the disk a stage needs: what it leaves, and what it needs beside that while it runs."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ollamake.plan.shape import Shape
from ollamake.plan.tokens import Tokens
from ollamake.plan.work import Conversion, Training

FP32, MOMENTS = 4, 8
CHECKPOINTS = 3  # two are kept while a third is written
ARROW = 11  # bytes of a token in data/tokenized: its id and its label, and the texts beside them
# Bytes of a parameter in a GGUF file, by the first letters of its type's name.
GGUF = {"F": 2.02, "B": 2.02, "Q8": 1.08, "Q6": 0.84, "Q5": 0.72, "Q4": 0.6, "IQ4": 0.58, "Q3": 0.5, "Q2": 0.42}


class Room(NamedTuple):
    """Bytes: `kept` in the workspace and DVC's cache, which share them where links work; `meanwhile` beside them."""

    kept: float = 0.0
    meanwhile: float = 0.0


NOTHING = Room()


def of_fetch(shape: Shape) -> Room:
    """Return the room that the base model takes; what is downloaded may have to be expanded."""
    return Room(shape.stored_bytes, shape.stored_bytes)


def of_tokens(tokens: Tokens) -> Room:
    """Return the room of the tokenized rows."""
    return Room(ARROW * (tokens.train.tokens + tokens.val.tokens + tokens.test.tokens))


def of_training(work: Training) -> Room:
    """Return the room of the tuned model, and of checkpoints and the best models meanwhile."""
    full, best = work.content["method"] == "full", work.content["keep_best"]
    tuned = work.shape.stored_bytes if full else FP32 * work.trainable
    checkpoints = CHECKPOINTS * (FP32 + MOMENTS) * work.trainable
    return Room(tuned * max(best, 1), checkpoints + (best + 1) * tuned)


def of_conversion(work: Conversion, content: Mapping[str, Any]) -> Room:
    """Return the room of the GGUF files asked for, and of F16, of which they are made, meanwhile."""
    count, asked = work.shape.parameters, content["gguf_quantization"].split()
    kept = sum(gguf_bytes(name, count) for name in asked)
    return Room(kept, 0.0 if "F16" in asked else gguf_bytes("F16", count))


def gguf_bytes(name: str, parameters: int) -> float:
    """Return about how large a GGUF file of a quantization is."""
    return next(size for start, size in GGUF.items() if name.startswith(start)) * parameters

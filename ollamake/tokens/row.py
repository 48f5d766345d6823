"""One training row, and why there may be none."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A conversation, or a piece of text, as the model sees it.

    `input_ids` and `labels` have one entry a token; a label is the token itself where it carries loss, else
    IGNORE_INDEX. `input_ids[:prompt_length]` is the generation prompt of the last answer, `prompt` its question and
    `reference` its text. `truncated` tells whether something was taken away to make it fit.

    Where answers are judged, `rejected_ids` is the worse answer to the same prompt, up to its end token, or `desirable`
    tells whether the thumb is up.
    """

    input_ids: list[int]
    labels: list[int]
    prompt_length: int
    prompt: str
    reference: str
    truncated: bool = False
    rejected_ids: list[int] | None = None
    desirable: bool | None = None


class UnencodableError(Exception):
    """The record cannot become a training row; the message is the reason it is counted under."""


CONTROL = "control token in the text"
LONG = "longer than max_length"
LONG_PROMPT = "prompt longer than max_length"
MELTED = "prompt and answer share a token"
REFUSED = "refused by the chat template"
REWRITTEN = "the template writes an answer in another way than it asks for it"
EMPTY = "nothing that the tokenizer knows"
SAME = "chosen and rejected come to the same tokens"
# What the task has no use for.
DOWN = "an answer with a thumb down"
TEXT = "a text, which answers nothing"
NO_REJECTED = "no rejected answer"
THUMB_ONLY = "a thumb, but no rejected answer"
NO_THUMB = "no thumb"
REJECTED_ONLY = "a rejected answer, but no thumb"

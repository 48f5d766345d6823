"""One training row, and why there may be none."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A conversation, or a piece of text, as the model sees it.

    `input_ids` and `labels` have one entry a token; a label is the token itself where it carries loss, else
    IGNORE_INDEX. `input_ids[:prompt_length]` is the generation prompt of the last answer, `prompt` its question and
    `reference` its text. `truncated` tells whether something was taken away to make it fit.
    """

    input_ids: list[int]
    labels: list[int]
    prompt_length: int
    prompt: str
    reference: str
    truncated: bool = False


class UnencodableError(Exception):
    """The record cannot become a training row; the message is the reason it is counted under."""


CONTROL = "control token in the text"
LONG = "longer than max_length"
LONG_PROMPT = "prompt longer than max_length"
MELTED = "prompt and answer share a token"
REFUSED = "refused by the chat template"
REWRITTEN = "the template writes an answer in another way than it asks for it"
EMPTY = "nothing that the tokenizer knows"

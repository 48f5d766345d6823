"""What is trained, and which records are of use for it."""

from collections.abc import Mapping
from typing import Any, Literal

from ollamake.tokens.row import DOWN, NO_REJECTED, NO_THUMB, REJECTED_ONLY, TEXT, THUMB_ONLY

# sft learns answers, pretrain every token, dpo which of two answers is better, kto from thumbs.
Task = Literal["sft", "pretrain", "dpo", "kto"]
JUDGED: tuple[Task, ...] = ("dpo", "kto")


def reason_against(record: Mapping[str, Any], task: Task) -> str:
    """Return why the task has no use for a record, empty if it has."""
    if task not in JUDGED:
        return DOWN if record.get("desirable") is False else ""
    if "text" in record:
        return TEXT
    rejected, thumb = "rejected" in record, "desirable" in record
    if task == "dpo":
        return "" if rejected else THUMB_ONLY if thumb else NO_REJECTED
    return "" if thumb else REJECTED_ONLY if rejected else NO_THUMB

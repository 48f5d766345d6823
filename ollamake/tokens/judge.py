"""What tokenize refuses: rows longer than the base model reads, splits that are no good to train or score on."""

from pathlib import Path

from ollamake.base import Base
from ollamake.errors import DataError, ParamsError
from ollamake.tokens.row import (
    CONTROL,
    DOWN,
    EMPTY,
    LONG,
    LONG_PROMPT,
    MELTED,
    NO_REJECTED,
    NO_THUMB,
    REFUSED,
    REJECTED_ONLY,
    REWRITTEN,
    SAME,
    TEXT,
    THUMB_ONLY,
)
from ollamake.tokens.tally import Tally

ADVICE = {
    CONTROL: "take the model's control tokens out of the texts, or out of system_prompt",
    LONG: "raise max_length, or change too_long: truncate_left drops the oldest turns, truncate_right cuts answers",
    LONG_PROMPT: "raise max_length",
    MELTED: "take the white space off the beginnings of the answers",
    EMPTY: "take the empty texts out",
    REWRITTEN: "name a template in chat_template whose generation prompt begins the answers that it writes; "
    "`system_prompt: ''` helps where the template drops the system text of earlier turns (Mistral v0.3)",
    REFUSED: "`system_prompt: ''` if the template takes no system message",
    SAME: "raise max_length if answers are cut (too_long: truncate_right), or take pairs that are alike out",
    TEXT: "`task: pretrain` learns from texts, the others from answers",
    DOWN: "`task: kto` learns from thumbs down too, the others leave such answers out",
    NO_REJECTED: "`task: sft` suits them; dpo takes rows with chosen and rejected",
    THUMB_ONLY: "`task: kto` suits them; dpo takes rows with chosen and rejected",
    NO_THUMB: "`task: sft` suits them; kto takes rows with a thumb, such as label: true or false",
    REJECTED_ONLY: "`task: dpo` suits them; kto takes rows with a thumb, such as label: true or false",
}


def refuse_length(max_length: int, base: Base) -> None:
    """Raise ParamsError when the base model was not made for so long a sequence."""
    if max_length > base.context_length:
        raise ParamsError(
            f"max_length is {max_length}, but {base.record['name']} reads {base.context_length} tokens at most",
            where="params.yaml",
            hint=f"`dvc exp run -S max_length={base.context_length}`, or a base model with a longer context",
        )


def refuse_split(name: str, tally: Tally, source: Path, max_rejected_fraction: float) -> None:
    """Raise DataError when a split is empty, has lost too many of its rows, or has rows that nothing is learnt from."""
    if tally.unlearnable:
        listed = ", ".join(tally.unlearnable_ids) + (", …" if tally.unlearnable > len(tally.unlearnable_ids) else "")
        raise DataError(
            f"{name}: {tally.unlearnable} of {tally.rows} rows have no token that carries loss: {listed}",
            where=str(source),
            hint="a conversation needs an answer of the assistant; correct these records, then `dvc repro`",
        )
    if tally.rows and tally.dropped_fraction <= max_rejected_fraction:
        return
    if not tally.dropped:
        hint = f"raise {name}_fraction, or bring more records"
        raise DataError(f"{name}: it is empty", where=str(source), hint=hint)
    reason = max(tally.dropped, key=lambda reason: (reason != DOWN, tally.dropped[reason]))
    raise DataError(
        f"{tally.line(name)}; max_rejected_fraction allows {max_rejected_fraction:.1%}",
        where=str(source),
        hint=next(advice for start, advice in ADVICE.items() if reason.startswith(start)),
    )

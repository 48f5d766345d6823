"""The served model answers the test conversations again, as a user would ask it, but greedily as in the record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ollamake.errors import DataError, ServerError
from ollamake.files import read_jsonl
from ollamake.modes.subject import Subject
from ollamake.ollama.server import Answer, Server
from ollamake.progress import progress
from ollamake.scoring.own import open_metric

TEST = Path("data/prepared/test.jsonl")
SILENT_IN_A_ROW = 3  # unanswered questions that are the server's fault, not one answer's
Row = dict[str, Any]


@dataclass(frozen=True)
class Answered:
    """Rows as in an items.jsonl: the `recorded` ones and the `served` ones, in the same order.

    `other_prompts` counts conversations that have another number of tokens in the server than in the record, which are
    left out; `unanswered` those to which it gave no whole answer, scored as empty ones.
    """

    recorded: list[Row]
    served: list[Row]
    other_prompts: int
    unanswered: int


def ask(server: Server, subject: Subject) -> Answered:
    """Return the scores of the served model on what the record scored. Raises DataError for nothing in common."""
    conversations = {row["id"]: row["messages"] for row in read_jsonl(TEST) if row.get("messages")}
    rows = [row for row in subject.items if row["id"] in conversations]
    answers = _answers(server, subject, [conversations[row["id"]][:-1] for row in rows])
    kept = [(row, answer) for row, answer in zip(rows, answers, strict=True) if _same_prompt(row, answer)]
    if not kept:
        raise DataError(
            f"none of the {len(subject.items)} recorded conversations is here with the prompt that {subject.tag} sees",
            where=str(TEST),
            hint="`python -m ollamake release whence VERSION` names the commit of a release: `git checkout` it, "
            "then `dvc checkout`",
        )
    recorded = [row for row, _ in kept]
    references = [conversations[row["id"]][-1]["content"] for row in recorded]
    served = _scored(recorded, [answer for _, answer in kept], references, subject.params)
    return Answered(recorded, served, len(rows) - len(kept), sum(answer is None for _, answer in kept))


def _answers(server: Server, subject: Subject, prompts: Sequence[list[dict[str, str]]]) -> list[Answer | None]:
    found: list[Answer | None] = []
    with progress(f"{subject.tag}, answers", len(prompts)) as advance:
        for prompt in prompts:
            try:
                found.append(server.answer(subject.tag, prompt, subject.params["eval_max_new_tokens"]))
            except ServerError:
                found.append(None)
                if found[-SILENT_IN_A_ROW:] == [None] * SILENT_IN_A_ROW:
                    raise
            advance(1)
    return found


def _same_prompt(row: Row, answer: Answer | None) -> bool:
    return answer is None or answer.prompt_tokens == row["prompt_tokens"]


def _scored(
    recorded: Sequence[Row], answers: Sequence[Answer | None], references: Sequence[str], params: Mapping[str, Any]
) -> list[Row]:
    from ollamake.scoring.metrics import agreements  # datasets and evaluate load here

    texts = [answer.text if answer else "" for answer in answers]
    own = open_metric(params["eval_metric"])
    values = own.score(texts, references).items if own else {}
    found = []
    for number, (row, answer, agreement) in enumerate(
        zip(recorded, answers, agreements(texts, references), strict=True)
    ):
        scores = agreement.scores | {name: round(each[number], 6) for name, each in values.items()}
        said = {"prediction": texts[number], "stopped": bool(answer and answer.done_reason == "stop")}
        found.append({**row, **said, "scores": scores, "statistics": agreement.statistics})
    return found

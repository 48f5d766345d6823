"""What became of the rows, and whether enough of them have an answer."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ollamake.asking.answers import Answer, Refusal
from ollamake.asking.model import Model
from ollamake.distill.rows import EMPTY, UNFINISHED
from ollamake.distill.teacher import UNFIT
from ollamake.errors import DataError

IDS_SHOWN = 3
SAID_CHARACTERS = 200
ADVICE = {
    UNFINISHED: "raise teacher_max_new_tokens, and teacher_num_ctx with it",
    UNFIT: "raise teacher_num_ctx",
    EMPTY: "ask it by hand (`ollama run`), or name another `teacher`",
}


@dataclass
class Tally:
    """The rows of a split: plain texts, which pass as they are, answered ones, and rejected ones by the reason."""

    rows: int = 0
    texts: int = 0
    answered: int = 0
    answer_tokens: int = 0
    versions: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    ids: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    said: dict[str, str] = field(default_factory=dict)

    def add(self, row_id: str, reply: Answer | Refusal, fault: str) -> None:
        """Count a conversation and the reply to it, which has this fault or none."""
        if isinstance(reply, Answer) and not fault:
            self.answered += 1
            self.answer_tokens += reply.tokens
            self.versions[reply.server_version] += 1
            return
        self.rejected[fault] += 1
        if len(self.ids[fault]) < IDS_SHOWN:
            self.ids[fault].append(row_id)
        if isinstance(reply, Refusal):
            self.said.setdefault(fault, reply.said)

    def merge(self, other: "Tally") -> None:
        """Add what is rejected in another split."""
        self.rejected.update(other.rejected)
        self.said = {**other.said, **self.said}
        for reason, ids in other.ids.items():
            self.ids[reason] = [*self.ids[reason], *ids][:IDS_SHOWN]

    def lines(self) -> list[str]:
        """Return a line for each reason, the most frequent first."""
        return [
            f"  {count} × {reason} (such as {', '.join(self.ids[reason])})"
            + (f': "{self.said[reason][:SAID_CHARACTERS]}"' if reason in self.said else "")
            for reason, count in sorted(self.rejected.items(), key=lambda item: (-item[1], item[0]))
        ]

    def metrics(self) -> dict[str, Any]:
        """Return the counts for metrics/distill.json."""
        counts = {"rows": self.rows, "texts": self.texts, "answered": self.answered}
        return {**counts, "answer_tokens": self.answer_tokens, "rejected": dict(sorted(self.rejected.items()))}

    def judge(self, where: str, conversations: int, max_rejected_fraction: float) -> None:
        """Raise DataError, with a table of the reasons, when too many of the conversations are without an answer."""
        if (rejected := self.rejected.total()) > max_rejected_fraction * conversations:
            raise self._failure(
                f"{rejected} of {conversations} conversations have no usable answer of the teacher; "
                f"max_rejected_fraction allows {max_rejected_fraction:.1%}",
                where,
            )

    def require_one(self, where: str) -> None:
        """Raise DataError when nothing is left of a split that had rows."""
        if self.rows and not self.answered + self.texts:
            raise self._failure(f"none of the {self.rows} conversations has a usable answer of the teacher", where)

    def _failure(self, problem: str, where: str) -> DataError:
        [(commonest, _)] = self.rejected.most_common(1)
        advice = next((text for start, text in ADVICE.items() if commonest.startswith(start)), "name another `teacher`")
        return DataError("\n".join([problem, *self.lines()]), where=where, hint=f"{advice}; then `dvc repro`")


def metrics_of(teacher: Model, tallies: Mapping[str, Tally]) -> dict[str, Any]:
    """Return the content of metrics/distill.json: who answered, how it was asked, and the counts of each split."""
    versions = sum((tally.versions for tally in tallies.values()), Counter[str]())
    about = {"digest": teacher.digest, "options": teacher.options, "server_versions": dict(sorted(versions.items()))}
    return {"teacher": teacher.name, **about, **{name: tally.metrics() for name, tally in tallies.items()}}

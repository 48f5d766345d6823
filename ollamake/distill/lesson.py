"""The whole work: ask the teacher what it has not answered yet, then write the rows with its answers, in their order.

This is sequence-level knowledge distillation (Kim and Rush 2016, arXiv:1606.07947): in place of the reference, the
student is trained on the answer that the teacher gives to the prompt, at temperature 0 the likeliest that it finds.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ollamake.asking.answers import Answer, Answers, Refusal
from ollamake.asking.parallel import ask_all
from ollamake.chat import Message
from ollamake.distill.rows import Row, fault_of, line_of, prompt_key, prompt_of, read_rows, with_answer
from ollamake.distill.tally import Tally
from ollamake.errors import DataError
from ollamake.progress import progress

PREFERENCE = ("rejected", "desirable")

Ask = Callable[[Sequence[Message]], Answer | Refusal]


class Question(NamedTuple):
    """A prompt, its sha256, and the first row that has it."""

    key: bytes
    prompt: list[Message]
    row_id: str


@dataclass
class Lesson:
    """The prepared files by the names of their splits, and what the teacher has said to their prompts so far."""

    splits: Mapping[str, Path]
    system_prompt: str
    answers: Answers
    max_rejected_fraction: float

    def survey(self) -> tuple[int, int]:
        """Return the number of conversations, and that of prompts to ask.

        Raises DataError for rows whose answers are to be kept, and when there is no conversation.
        """
        conversations = 0
        for path in self.splits.values():
            for row in read_rows(path):
                if any(key in row for key in PREFERENCE):
                    raise _preference(path, row)
                conversations += "messages" in row
        if not conversations:
            raise DataError(
                "there are only plain texts, which nobody answers",
                where=self._where,
                hint="set `teacher: none`, or bring conversations",
            )
        return conversations, sum(question.key not in self.answers for question in self._questions())

    def ask(self, ask: Ask, parallel: int, title: str) -> None:
        """Have every prompt answered, `parallel` of them at once. Raises DataError as soon as too many cannot be."""
        conversations, missing = self.survey()
        tally = Tally()

        def note(question: Question, reply: Answer | Refusal) -> None:
            tally.add(question.row_id, reply, fault_of(reply))
            tally.judge(self._where, conversations, self.max_rejected_fraction)

        def unanswered() -> Iterator[Question]:
            for question in self._questions():
                if question.key in self.answers:
                    note(question, self.answers[question.key])
                else:
                    yield question

        with progress(title, missing) as advance:
            for question, reply in ask_all(lambda asked: ask(asked.prompt), unanswered(), parallel):
                self.answers.add(question.key, reply)
                advance(1)
                note(question, reply)

    def write(self, folder: Path) -> dict[str, Tally]:
        """Write the rows of each split to a file of the same name in `folder`; return what became of them.

        Raises DataError when too many are without an answer.
        """
        tallies = {name: self._write(path, folder / path.name) for name, path in self.splits.items()}
        together, conversations = Tally(), 0
        for name, tally in tallies.items():
            tally.require_one(str(self.splits[name]))
            together.merge(tally)
            conversations += tally.rows - tally.texts
        together.judge(self._where, conversations, self.max_rejected_fraction)
        return tallies

    def _write(self, source: Path, target: Path) -> Tally:
        tally = Tally()
        with target.open("wb") as stream:
            for row in read_rows(source):
                tally.rows += 1
                if prompt := prompt_of(row, self.system_prompt):
                    reply = self.answers[prompt_key(prompt)]
                    fault = fault_of(reply)
                    tally.add(row["id"], reply, fault)
                    if isinstance(reply, Answer) and not fault:
                        stream.write(line_of(with_answer(row, reply)))
                else:
                    tally.texts += 1
                    stream.write(line_of(row))
        return tally

    def _questions(self) -> Iterator[Question]:
        """Yield each prompt once: rows that share it share the answer."""
        seen = set[bytes]()
        for path in self.splits.values():
            for row in read_rows(path):
                if prompt := prompt_of(row, self.system_prompt):
                    key = prompt_key(prompt)
                    if key not in seen:
                        seen.add(key)
                        yield Question(key, prompt, row["id"])

    @property
    def _where(self) -> str:
        return " and ".join(map(str, self.splits.values()))


def _preference(path: Path, row: Row) -> DataError:
    return DataError(
        f"row {row['id']} has a rejected or a rated answer, and a teacher's would take the place of the other one",
        where=str(path),
        hint="set `teacher: none` for the tasks dpo and kto, or take such rows out of the data",
    )

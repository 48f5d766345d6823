"""One sitting with the judge: every pair is put to it in both orders."""

from collections.abc import Sequence
from dataclasses import dataclass

from ollamake.asking.answers import Answer, Answers, Refusal
from ollamake.asking.model import Model
from ollamake.asking.parallel import ask_all
from ollamake.asking.sitting import sitting
from ollamake.errors import ServerError
from ollamake.judge.pairs import Pair
from ollamake.judge.question import Question
from ollamake.judge.server import JudgeServer
from ollamake.judge.verdicts import Verdict, verdict
from ollamake.progress import progress


@dataclass(frozen=True)
class Session:
    """A judge, and what it has said so far; `parallel` questions are put to it at once."""

    server: JudgeServer
    judge: Model
    version: str
    answers: Answers
    parallel: int

    def rule(self, pairs: Sequence[Pair], criteria: str, instructions: str) -> list[Verdict]:
        """Return the verdict on each pair. Raises ServerError when the judge cannot be had, or gives no verdict."""
        asked = [pair for pair in pairs if not pair.same]
        questions = [Question(pair, first, criteria, instructions) for pair in asked for first in (True, False)]
        self._ask_missing(questions)
        replies = [self.answers[question.key] for question in questions]
        verdicts = {
            pair.id: verdict(pair, questions[place : place + 2], replies[place : place + 2])
            for pair, place in zip(asked, range(0, len(questions), 2), strict=True)
        }
        if asked and all(each.fault for each in verdicts.values()):
            raise self._useless(verdicts[asked[0].id].fault, len(asked))
        return [verdicts.get(pair.id, Verdict(pair)) for pair in pairs]

    def _ask_missing(self, questions: Sequence[Question]) -> None:
        """Put those questions to the judge that it has not answered yet."""
        missing = {question.key: question for question in questions if question.key not in self.answers}
        with (
            sitting(self.server, self.judge, self.answers),
            progress(f"rulings of {self.judge.name}", len(missing)) as advance,
        ):
            for question, reply in ask_all(self._ask, missing.values(), self.parallel):
                self.answers.add(question.key, reply)
                advance(1)

    def _ask(self, question: Question) -> Answer | Refusal:
        return self.server.rule(self.judge, question.messages, self.version)

    def _useless(self, fault: str, count: int) -> ServerError:
        return ServerError(
            f"{self.judge.name} gave no verdict on any of {count} pairs; its reply to the first {fault}",
            where=self.server.url,
            hint="raise judge_max_new_tokens or judge_num_ctx, or name another `judge_model`; then `dvc repro judge`",
        )

"""One sitting with the judge: what it ruled is kept as it comes, so that no question is asked twice."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from ollamake.distill.answers import Answer, Answers
from ollamake.distill.asking import ask_all
from ollamake.errors import ServerError
from ollamake.judge.pairs import Pair
from ollamake.judge.question import Question
from ollamake.judge.server import UNFIT, Judge, JudgeServer
from ollamake.judge.verdicts import Verdict, verdict
from ollamake.ollama.names import listed_name
from ollamake.progress import progress


@dataclass(frozen=True)
class Session:
    """A judge, and what it has said so far; `parallel` questions are put to it at once."""

    server: JudgeServer
    judge: Judge
    version: str
    answers: Answers
    parallel: int

    def rule(self, pairs: Sequence[Pair], criteria: str, instructions: str) -> list[Verdict]:
        """Return the verdict on each pair. Raises ServerError when the judge cannot be had, or gives no verdict."""
        asked = [pair for pair in pairs if not pair.same]
        questions = [Question(pair, first, criteria, instructions) for pair in asked for first in (True, False)]
        replies = self._replies(questions)
        verdicts = {
            pair.id: verdict(pair, questions[place : place + 2], replies[place : place + 2])
            for pair, place in zip(asked, range(0, len(questions), 2), strict=True)
        }
        if asked and all(each.fault for each in verdicts.values()):
            raise self._useless(verdicts[asked[0].id].fault, len(asked))
        return [verdicts.get(pair.id, Verdict(pair)) for pair in pairs]

    def _replies(self, questions: Sequence[Question]) -> list[Answer]:
        """Return the reply to each question, asking those that have none yet."""
        before, unfit = self.answers.end(), dict[bytes, Answer]()
        missing = {question.key: question for question in questions if question.key not in self.answers}
        try:
            with progress(f"rulings of {self.judge.name}", len(missing)) as advance:
                for question, reply in ask_all(self._ask, missing.values(), self.parallel):
                    if reply.done_reason == UNFIT:
                        unfit[question.key] = reply  # not on disk: a server may come that takes it
                    else:
                        self.answers.add(question.key, reply)
                    advance(1)
        except (ServerError, KeyboardInterrupt):
            kept = f"{len(self.answers)} rulings are kept; `dvc repro judge` asks for the others only"
            print(kept, file=sys.stderr)
            raise
        if missing and self.server.digest(listed_name(self.judge.name)) != self.judge.digest:
            self.answers.forget_from(before)
            raise ServerError(
                f"{self.judge.name} was replaced while it judged, so what it said is not kept",
                where=self.server.url,
                hint="`dvc repro judge` asks the model that has the name now",
            )
        return [unfit.get(question.key) or self.answers[question.key] for question in questions]

    def _ask(self, question: Question) -> Answer:
        return self.server.rule(self.judge, question.messages, self.version)

    def _useless(self, fault: str, count: int) -> ServerError:
        return ServerError(
            f"{self.judge.name} gave no verdict on any of {count} pairs; its reply to the first {fault}",
            where=self.server.url,
            hint="raise judge_max_new_tokens or judge_num_ctx, or name another `judge_model`; then `dvc repro judge`",
        )

import pytest

from ollamake.ollama.served import Prompt
from ollamake.ollama.server import Answer, Token
from ollamake.ollama.verify import ends


def prompt(answer: str, *, stopped: bool = True) -> Prompt:
    messages = [{"role": "user", "content": "q"}]
    return Prompt(messages=messages, rendered="q", token_ids=[1], answer=answer, stopped=stopped)


def answer(text: str, done_reason: str, *, end_logprob: float = -20.0) -> Answer:
    """An answer in two tokens, "ls" and the rest, where the answer could have ended with that log probability."""
    rest = text.removeprefix("ls").encode()
    tokens = Token(b"ls", ((b"ls", -0.1),)), Token(rest, ((rest, -0.01), (b"", end_logprob)))
    return Answer(text, tokens, 1, done_reason)


def test_answers_that_end_where_the_recorded_ones_did_are_counted() -> None:
    finding = ends([(prompt("ls"), answer("ls", "stop")), (prompt("ls -l", stopped=False), answer("ls -l", "length"))])
    assert (finding.enough, str(finding)) == (True, "2 of 2")


def test_where_no_answer_tells_how_answers_end_nothing_is_proved() -> None:
    finding = ends([(prompt("ls"), answer("pwd", "stop"))])
    assert (finding.enough, str(finding)) == (False, "0 of 0")
    assert finding.details == ("no answer came word for word, so none tells how answers end",)


@pytest.mark.parametrize(("end_logprob", "judged"), [(-20.0, 1), (-0.5, 0)])
def test_an_answer_that_runs_on_past_its_end_fails_unless_it_was_a_near_tie(end_logprob: float, judged: int) -> None:
    good = (prompt("ls"), answer("ls", "stop"))
    finding = ends([good, (prompt("ls"), answer("ls ls ls", "length", end_logprob=end_logprob))])
    assert (finding.enough, finding.passed, finding.total) == (not judged, 1, 1 + judged)


def test_an_answer_that_goes_on_for_a_word_and_stops_by_itself_is_no_missed_stop() -> None:
    good = (prompt("ls"), answer("ls", "stop"))
    assert ends([good, (prompt("ls"), answer("ls -l", "stop"))]).enough

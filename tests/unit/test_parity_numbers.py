"""What counts as agreement, and which token a log-probability belongs to."""

import math

import pytest

from ollamake.errors import ParityError
from ollamake.gguf import agreement
from ollamake.gguf.quantizations import QUANTIZATIONS
from ollamake.gguf.reference import Judgement
from ollamake.gguf.runtime import Runtime, Transcript, place


def told(*ids):
    return [{"id": token, "logprob": -float(place)} for place, token in enumerate(ids)]


def measured(answer, choices, logprobs=None):
    numbers = (-1.0,) * len(answer)
    transcript = Transcript((1,), tuple(answer), numbers if logprobs is None else logprobs, "", stopped=False)
    return agreement.measure([transcript], [Judgement(tuple(choices), numbers)])


def failed(agreed, name="F16"):
    return [finding.subject for finding in agreement.check(agreed, QUANTIZATIONS[name]) if not finding.passed]


def test_each_log_probability_is_placed_at_its_token():
    assert place([5, 6, 7], told(5, 6, 7)) == (-0.0, -1.0, -2.0)
    assert place([5, 8, 9, 6], told(5, 9, 6)) == (-0.0, None, -1.0, -2.0)


def test_a_log_probability_that_may_belong_to_either_of_two_tokens_is_left_out():
    """Byte 9 ends the first character and stands inside the second."""
    assert place([8, 9, 7, 9, 6], told(9, 6)) == (None, None, None, None, -1.0)


def test_log_probabilities_of_other_tokens_are_refused():
    with pytest.raises(ParityError, match="not in its answer"):
        place([5, 6], told(7))


@pytest.mark.parametrize(("tokens", "predicted"), [([5, 6], 3), ([], 0)])
def test_an_answer_with_missing_tokens_is_refused(monkeypatch, tokens, predicted):
    reply = {"tokens": tokens, "tokens_predicted": predicted, "completion_probabilities": [], "content": ""}
    monkeypatch.setattr(Runtime, "_post", lambda *_: {**reply, "stop_type": "eos"})
    with pytest.raises(ParityError, match=f"tells {len(tokens)} of the {predicted} tokens"):
        Runtime.__new__(Runtime).answer([1], 8)


def test_a_handful_of_tokens_proves_nothing():
    assert failed(measured([7] * 10, [7] * 10)) == []
    assert failed(measured([7] * 9, [7] * 9)) == ["answered tokens to measure"]


def test_one_near_tie_is_excused_and_no_more():
    share = "share of answered tokens that the trained model would choose too"
    assert failed(measured([7] * 10, [8] + [7] * 9)) == []
    assert failed(measured([7] * 10, [8, 8] + [7] * 8)) == [share]
    assert share in failed(measured([7] * 10, [8] * 10), "Q4_0")


def test_an_answer_without_any_log_probability_is_within_no_bound():
    agreed = measured([7] * 10, [7] * 10, (None,) * 10)
    assert math.isnan(agreed.mean_abs_dlogprob)
    assert len(failed(agreed)) == 2

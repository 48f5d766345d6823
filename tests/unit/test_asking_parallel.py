import threading

import pytest

from ollamake.asking.parallel import ask_all


@pytest.mark.parametrize("parallel", [1, 4, 9])
def test_every_question_is_asked_once_and_gets_its_own_reply(parallel):
    replies = dict(ask_all(lambda number: number * number, range(50), parallel))
    assert replies == {number: number * number for number in range(50)}


def test_so_many_are_asked_at_once_and_no_more():
    meeting, most, now, lock = threading.Barrier(4), 0, 0, threading.Lock()

    def ask(number: int) -> int:
        nonlocal most, now
        with lock:
            now += 1
            most = max(most, now)
        meeting.wait(timeout=10)
        with lock:
            now -= 1
        return number

    assert len(list(ask_all(ask, range(12), 4))) == 12
    assert most == 4


def test_questions_are_drawn_as_they_are_asked_so_that_memory_stays_flat():
    drawn = []

    def questions():
        for number in range(1000):
            drawn.append(number)
            yield number

    stream = ask_all(lambda number: number, questions(), 3)
    for _ in range(10):
        next(stream)
    assert len(drawn) <= 14
    stream.close()


def test_an_error_is_raised_where_the_replies_are_waited_for_and_ends_the_asking():
    asked = []

    def ask(number: int) -> int:
        asked.append(number)
        if number == 5:
            raise ValueError("no")
        return number

    with pytest.raises(ValueError, match="no"):
        list(ask_all(ask, range(100), 2))
    assert len(asked) <= 8


def test_a_slow_answer_does_not_hold_up_an_error():
    released = threading.Event()

    def ask(number: int) -> int:
        if number:
            raise ValueError("no")
        released.wait(timeout=30)
        return number

    with pytest.raises(ValueError, match="no"):
        list(ask_all(ask, range(2), 2))
    assert not released.is_set()
    released.set()


def test_no_questions_are_no_trouble():
    assert list(ask_all(lambda number: number, [], 4)) == []

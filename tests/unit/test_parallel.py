import os
from functools import partial

import pytest

from ollamake.errors import DataError, OllamakeError
from ollamake.parallel import WORTH_STARTING, in_order

MANY = range(WORTH_STARTING * 4)


def square(number):
    return number * number, os.getpid()


def refuse(number, limit):
    if number == limit:
        raise DataError("is too much", where=f"piece {number}", hint="take less")
    return number


def end_abruptly(number):
    os._exit(9)


def test_results_come_in_the_order_of_the_pieces_from_other_processes():
    results = list(in_order(square, iter(MANY), workers=2))
    assert [result for result, _ in results] == [number * number for number in MANY]
    assert os.getpid() not in {pid for _, pid in results}


@pytest.mark.parametrize("count", [0, 1, WORTH_STARTING - 1])
def test_a_few_pieces_start_no_process(count):
    assert list(in_order(square, range(count), workers=2)) == [(n * n, os.getpid()) for n in range(count)]


def test_an_error_in_a_worker_arrives_whole():
    with pytest.raises(DataError) as caught:
        list(in_order(partial(refuse, limit=WORTH_STARTING + 1), MANY, workers=2))
    assert (caught.value.where, caught.value.hint) == (f"piece {WORTH_STARTING + 1}", "take less")


def test_a_worker_that_was_killed_is_said_so():
    with pytest.raises(OllamakeError, match="memory"):
        list(in_order(end_abruptly, MANY, workers=2))


def test_pieces_are_taken_only_as_fast_as_results_are():
    taken = []
    results = in_order(square, (taken.append(number) or number for number in range(1000)), workers=2)
    next(results)
    assert len(taken) < 2 * WORTH_STARTING
    results.close()

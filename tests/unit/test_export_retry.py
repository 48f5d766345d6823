import pytest

from ollamake.ollama.retry import MAX_SECONDS, InterruptedRequestError, patiently


class Clock:
    """Time that passes only in pauses."""

    def __init__(self) -> None:
        self.now, self.pauses = 0.0, list[float]()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


class Request:
    """Fails a number of times."""

    def __init__(self, failures: int, wait_seconds: float = 0.0) -> None:
        self.failures, self.wait_seconds, self.sent = failures, wait_seconds, 0

    def __call__(self) -> str:
        self.sent += 1
        if self.sent <= self.failures:
            raise InterruptedRequestError(f"failure {self.sent}", self.wait_seconds)
        return "done"


@pytest.mark.row("R4.2")
@pytest.mark.parametrize("failures", range(5))
def test_up_to_four_failures_are_forgiven(failures: int) -> None:
    clock = Clock()
    assert patiently(Request(failures), sleep=clock.sleep, clock=clock) == "done"
    assert len(clock.pauses) == failures
    assert all(0.5 * 2**n <= pause <= 2**n for n, pause in enumerate(clock.pauses))


@pytest.mark.row("R4.2")
def test_the_pauses_are_drawn_at_random_so_that_two_exports_do_not_meet_again() -> None:
    clock = Clock()
    for _ in range(50):
        patiently(Request(1), sleep=clock.sleep, clock=clock)
    assert len(clock.pauses) == 50
    assert max(clock.pauses) - min(clock.pauses) > 0.1


@pytest.mark.row("R4.2")
def test_the_fifth_failure_is_raised() -> None:
    clock, request = Clock(), Request(99)
    with pytest.raises(InterruptedRequestError, match="failure 5"):
        patiently(request, sleep=clock.sleep, clock=clock)
    assert request.sent == 5


@pytest.mark.row("R4.2")
def test_no_try_begins_after_two_minutes() -> None:
    clock, request = Clock(), Request(99, wait_seconds=50)
    with pytest.raises(InterruptedRequestError, match="failure 3"):
        patiently(request, sleep=clock.sleep, clock=clock)
    assert clock.now <= MAX_SECONDS


def test_an_upload_may_be_given_more_time() -> None:
    clock = Clock()
    assert patiently(Request(3, wait_seconds=50), max_seconds=3600, sleep=clock.sleep, clock=clock) == "done"


@pytest.mark.row("R4.2")
@pytest.mark.parametrize("wait_seconds", [3600, float("inf")])
def test_no_pause_is_longer_than_two_minutes_however_much_time_there_is(wait_seconds: float) -> None:
    clock = Clock()
    assert patiently(Request(3, wait_seconds), max_seconds=6 * 3600, sleep=clock.sleep, clock=clock) == "done"
    assert clock.pauses == [MAX_SECONDS] * 3


def test_other_errors_are_not_repeated() -> None:
    def broken() -> None:
        calls.append(1)
        raise ValueError("wrong")

    calls: list[int] = []
    with pytest.raises(ValueError, match="wrong"):
        patiently(broken, sleep=lambda _: None)
    assert len(calls) == 1

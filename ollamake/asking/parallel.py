"""Several questions at once, and only so many: the next one is sent when an answer is in."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

Question = TypeVar("Question")
Reply = TypeVar("Reply")


def ask_all(
    ask: Callable[[Question], Reply], questions: Iterable[Question], parallel: int
) -> Iterator[tuple[Question, Reply]]:
    """Yield every question with its reply, in the order in which these come. What `ask` raises is raised here.

    The threads end with the process: an answer that takes minutes must not hold up Ctrl-C, nor an error of another.
    """
    stream = iter(questions)
    waiting: queue.SimpleQueue[Question | None] = queue.SimpleQueue()
    replied: queue.SimpleQueue[tuple[Question, Reply | BaseException]] = queue.SimpleQueue()

    def work() -> None:
        while (question := waiting.get()) is not None:
            try:
                replied.put((question, ask(question)))
            except BaseException as error:  # noqa: BLE001 - raised again where the replies are waited for
                replied.put((question, error))

    for _ in range(parallel):
        threading.Thread(target=work, daemon=True).start()
    try:
        asked = _send(waiting, stream, parallel)
        while asked:
            question, reply = replied.get()
            if isinstance(reply, BaseException):
                raise reply
            asked += _send(waiting, stream, 1) - 1
            yield question, reply
    finally:
        for _ in range(parallel):
            waiting.put(None)


def _send(waiting: "queue.SimpleQueue[Question | None]", stream: Iterator[Question], count: int) -> int:
    sent = 0
    for question in islice(stream, count):
        waiting.put(question)
        sent += 1
    return sent

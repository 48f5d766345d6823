"""A request to stop: SIGTERM or SIGINT (Ctrl-C), kept until training is where it can stop."""

import os
import signal
import time
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# One request often comes twice: from the terminal to every process, and again from the launcher to those it started.
ECHO_SECONDS = 3.0
# A signal to all may come to those that read batches, and end them, a moment before it comes to the one that trains.
HEARD_SECONDS = 0.5


def ignore_signals() -> None:
    """Let no signal stop this process any more: all that one could do to a result in place is to throw it away."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


class Interruption:
    """While entered, the first signal is noted in `number` (0 until then), and a later one ends the process at once.

    torch raises an error, at any instant, for a process that read batches and has gone; not when the signal ended it.
    """

    def __init__(self) -> None:
        self.number = 0
        self._time = 0.0
        self._process = os.getpid()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        from torch.utils.data._utils.signal_handling import _set_SIGCHLD_handler

        _set_SIGCHLD_handler()  # torch would do so when the first of them starts, in place of what is set here
        handlers = {**dict.fromkeys(SIGNALS, self._note), signal.SIGCHLD: self._miss}
        self._before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def name(self) -> str:
        """The name of the signal that came."""
        return signal.Signals(self.number).name

    @property
    def exit_code(self) -> int:
        """The code that stands for it: DVC must see a failure, or it records a half-trained model as finished."""
        return 128 + self.number

    def came(self) -> bool:
        """Tell whether there was a signal, or is one in the next moment. For an error that it may have led to."""
        if not self.number:
            time.sleep(HEARD_SECONDS)
        return bool(self.number)

    def hear(self, number: int) -> None:
        """Note a signal, 0 for none; it may be one that came to another process of the training."""
        if number and not self.number:
            self.number, self._time = number, time.monotonic()

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # in a process that reads batches: Ctrl-C is for the one that trains
            if number != signal.SIGINT:
                os._exit(128 + number)
        elif self.number and time.monotonic() - self._time > ECHO_SECONDS:
            os._exit(128 + number)
        else:
            self.hear(number)

    def _miss(self, _number: int, _frame: FrameType | None) -> None:
        from torch._C import _error_if_any_worker_fails

        try:
            _error_if_any_worker_fails()
        except RuntimeError:
            if not self.came():
                raise

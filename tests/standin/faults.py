"""What can go wrong in a server, to order: each fault strikes the requests of one route, a number of times."""

import threading
import time
from dataclasses import dataclass, field


@dataclass
class Fault:
    """A fault in `route` ("POST /api/create"; a path may be a prefix), for the next `times` requests.

    `status` answers with that code and `message`, without doing anything. In the stream of a creation, `after_lines`
    lets so many lines through first and then sends `message` as an error, or, without one, ends the stream; with
    `cut` the connection breaks instead. `cut` alone breaks it before any answer; in an upload, `body_share` lets that
    part of the file through first, and keeps the whole. `lose_blobs` forgets every uploaded file that no tag uses, as
    a restart may. `delay_seconds` waits first.
    """

    route: str
    times: int = 1
    status: int = 0
    message: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    after_lines: int = -1
    cut: bool = False
    body_share: float = -1.0
    lose_blobs: bool = False
    delay_seconds: float = 0.0


class Faults:
    """The faults that are still to strike, shared by the threads of the server."""

    def __init__(self) -> None:
        self._pending: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        """Order a fault."""
        with self._lock:
            self._pending.append(fault)

    def clear(self) -> None:
        """Cancel what has not struck."""
        with self._lock:
            self._pending.clear()

    def strike(self, route: str) -> Fault | None:
        """Return the first fault ordered for the route, one time fewer."""
        with self._lock:
            fault = next((fault for fault in self._pending if route.startswith(fault.route)), None)
            if fault is None:
                return None
            fault.times -= 1
            if fault.times <= 0:
                self._pending.remove(fault)
        time.sleep(fault.delay_seconds)
        return fault

"""logs/: what happened when, for a person to read afterwards. Outside the graph, and never read by it."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO


def logs_folder() -> Path:
    """Return where logs go: of an experiment's temporary copy, which DVC removes, into the checkout it came from."""
    return Path(os.environ.get("DVC_ROOT", ".")) / "logs"


def stamp() -> str:
    """Return the time in UTC for the name of a file or folder, sortable and to the second."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%SZ}"


class Journal:
    """A file that is written line by line, each with its time, so that a kill loses none of them."""

    def __init__(self, kind: str) -> None:
        self._stream = _create(logs_folder(), f"{kind}-{stamp()}")
        self.path = Path(self._stream.name)

    def write(self, text: str) -> None:
        """Add the lines of `text`."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._stream.writelines(f"{now} {line}\n" for line in text.splitlines())
        self._stream.flush()

    def close(self) -> None:
        """Write no more."""
        self._stream.close()


def _create(folder: Path, name: str) -> TextIO:
    """Open a new file; experiments that start in the same second number theirs."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, 1000):
        path = folder / (f"{name}.log" if number == 1 else f"{name}-{number}.log")
        try:
            return path.open("x", encoding="utf-8")
        except FileExistsError:
            continue
    raise FileExistsError(folder / name)

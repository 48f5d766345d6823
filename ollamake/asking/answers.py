"""The answers of one model on disk: kept as they come, so that no question is asked twice, however a run ends."""

import errno
import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

from filelock import FileLock, Timeout

from ollamake.asking.model import Model
from ollamake.asking.role import Role
from ollamake.base import store
from ollamake.files import read_at, write_json

DAMAGED = (ValueError, KeyError, TypeError, AttributeError)  # a line that a power failure tore: it is asked again


@dataclass(frozen=True)
class Answer:
    """What the model said, why it ended (`stop`, `length`), its length in tokens, and the version of the server."""

    text: str
    done_reason: str
    tokens: int
    server_version: str

    @classmethod
    def read(cls, text: str, end: Mapping[str, Any], server_version: str) -> Self:
        """Return the answer from its text and the last piece of the reply: Ollama leaves out what is empty or 0."""
        return cls(text, str(end.get("done_reason", "")), int(end.get("eval_count", 0)), server_version)


@dataclass(frozen=True)
class Refusal:
    """The server does not answer this question, others maybe; `said` is its text."""

    reason: str
    said: str


class Answers:
    """A file of JSON lines that only grows; in memory is where each answer stands, by the sha256 of its prompt.

    `about` says whose they are, `title` what the model is asked as. One process at a time holds the folder: another
    waits, and then finds the answers there.
    """

    def __init__(self, folder: Path, about: dict[str, Any], title: str) -> None:
        self._folder, self._about, self._title = folder, about, title
        self._lock = FileLock(folder / ".lock")
        self._places: dict[bytes, tuple[int, int]] = {}
        self._refused: dict[bytes, Refusal] = {}  # not on disk: a server may come to take them
        self._file: BinaryIO

    @classmethod
    def of(cls, model: Model, role: Role) -> Self:
        """Return the answers of a model in a role, in the store that trials share."""
        return cls(store() / role.title / model.key, model.record(), role.title)

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            print(
                f"waiting for another run that asks the same {self._title} ({self._folder})",
                file=sys.stderr,
                flush=True,
            )
            self._lock.acquire()
        write_json(self._folder / f"{self._title}.json", self._about)
        self._file = (self._folder / "answers.jsonl").open("a+b", buffering=0)
        self.reread()
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._lock.release()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, prompt: bytes) -> bool:
        return prompt in self._places

    def __getitem__(self, prompt: bytes) -> Answer | Refusal:
        if prompt in self._refused:
            return self._refused[prompt]
        start, length = self._places[prompt]
        return _answer(json.loads(read_at(self._file.fileno(), length, start)))[1]

    def add(self, prompt: bytes, reply: Answer | Refusal) -> None:
        """Append an answer in one write: a killed process leaves a whole line, or a torn last one.

        A refusal is no more than remembered while this run lasts, and counts as no answer: the next run asks again.
        """
        if isinstance(reply, Refusal):
            self._refused[prompt] = reply
            return
        line = json.dumps({"prompt": prompt.hex(), **asdict(reply)}).encode() + b"\n"
        start = self.end()
        if self._file.write(line) < len(line):
            raise OSError(errno.ENOSPC, "No space left on device", str(self._folder))
        self._places[prompt] = start, len(line)

    def end(self) -> int:
        """Return where the next answer will stand."""
        return self._file.seek(0, os.SEEK_END)

    def forget_from(self, end: int) -> None:
        """Remove the answers that were added since `end`, and what was refused."""
        self._refused.clear()
        self._file.truncate(end)
        self._places = {prompt: place for prompt, place in self._places.items() if place[0] < end}

    def reread(self) -> None:
        """Find the answers. What is no whole line is none; at the end it is cut off, or the next would be lost too."""
        self._places.clear()
        end = 0
        with (self._folder / "answers.jsonl").open("rb") as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    with suppress(*DAMAGED):
                        self._places[_answer(json.loads(line))[0]] = end, len(line)
                    end += len(line)
        self._file.truncate(end)


def _answer(row: dict[str, Any]) -> tuple[bytes, Answer]:
    return bytes.fromhex(row.pop("prompt")), Answer(**row)

"""What every kind of base model has in common: a name, an identity, and a way to bring its files."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

Record = dict[str, Any]


@dataclass(frozen=True)
class Origin:
    """Where the files came from, as models/base.json records it."""

    source: dict[str, str]
    revision: str
    license: str


class Source(Protocol):
    """A base model that `base_model` names."""

    @property
    def name(self) -> str:
        """The name that people read."""

    @property
    def identity(self) -> list[str]:
        """What decides the bytes: two equal identities are the same request, which the store can answer."""

    def still_is(self, record: Record) -> bool:
        """Whether `record`, of an earlier request of this identity, is what would be brought now."""

    def bring(self, folder: Path, downloads: Path, *, needs_template: bool = True) -> Origin:
        """Write the model's files into the empty `folder`; what may be reused after a crash goes to `downloads`.

        Without `needs_template` a model that has no chat template is as good as another.
        """


def say(text: str) -> None:
    """Tell the person what is going on, on stderr: stdout is for results."""
    print(text, file=sys.stderr, flush=True)

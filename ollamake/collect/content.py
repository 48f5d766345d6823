"""What every kind of source has in common: it brings files, a licence and an account of where they come from."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ollamake.collect.location import refuse_replaced


@dataclass(frozen=True)
class Brought:
    """The files of a source, in the order in which they are read; those in the folder of raw data are no user's own."""

    files: list[Path]
    license: str = ""
    origin: list[dict[str, Any]] = field(default_factory=list)


class Content(Protocol):
    """Where the rows of a source come from."""

    def bring(self, name: str, raw: Path, downloads: Path) -> Brought:
        """Return the files, after writing into `raw`, under `name`, those that are not the user's own.

        What may be used again after a crash goes to `downloads`. Raises DataError.
        """


@dataclass(frozen=True)
class LocalFiles:
    """The user's own files, which stay where they are."""

    files: tuple[Path, ...]

    @classmethod
    def checked(cls, files: Iterable[Path]) -> "LocalFiles":
        """Return the files in their order. Raises DataError for one that the build would delete."""
        found = tuple(files)
        for file in found:
            refuse_replaced(str(file))
        return cls(found)

    def bring(self, name: str, raw: Path, downloads: Path) -> Brought:  # noqa: ARG002
        """Return the files as they are."""
        return Brought(list(self.files))

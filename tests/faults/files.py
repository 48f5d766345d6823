"""Files that are read and written badly: files.c between a command and the C library, by LD_PRELOAD.

faults = FileFaults.compiled(folder)
subprocess.run(command, env={**os.environ, **faults.environment("read_error", under=[data], at=3)})
faults.count()   # of the errors so far
"""

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.faults.disk import UnavailableError

SOURCE = Path(__file__).with_name("files.c")
Kind = Literal["short", "interrupted", "read_error", "write_error", "no_link"]


@dataclass(frozen=True)
class FileFaults:
    """The compiled library."""

    library: Path

    @classmethod
    def compiled(cls, folder: Path) -> "FileFaults":
        """Compile the library in `folder`. Raises UnavailableError without a C compiler."""
        library = folder / "files.so"
        command = ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, SOURCE, "-ldl"]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            raise UnavailableError("there is no C compiler") from None
        if done.returncode:
            raise UnavailableError(f"the C compiler does not take it: {done.stderr}")
        return cls(library)

    @property
    def log(self) -> Path:
        """The file that has a byte for every error."""
        return self.library.with_suffix(".log")

    def environment(self, kind: Kind, *, under: Iterable[Path], at: int = 0) -> dict[str, str]:
        """Return the environment of a command with this fault in the files of these folders; `at`: the call to fail."""
        self.log.unlink(missing_ok=True)
        return {
            "LD_PRELOAD": str(self.library),
            "FAULT_KIND": kind,
            "FAULT_UNDER": ":".join(str(folder.resolve()) for folder in under),
            "FAULT_AT": str(at),
            "FAULT_LOG": str(self.log),
        }

    def count(self) -> int:
        """Return how many calls have ended with an error since `environment` was asked for."""
        return self.log.stat().st_size if self.log.exists() else 0

"""A base model in a local Hugging Face folder."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from ollamake.files import require_space
from ollamake.resolve.safety import check_small_files, select
from ollamake.resolve.source import Origin, Record, say


@dataclass(frozen=True)
class LocalFolder:
    """A folder as `save_pretrained` or `hf download --local-dir` writes it."""

    path: Path

    @property
    def name(self) -> str:
        """The folder's own name: a whole path would put this machine into every later stage."""
        return self.path.resolve().name

    @property
    def identity(self) -> list[str]:
        """The place, and size and time of every file."""
        states = {file.name: file.stat() for file in sorted(self.path.iterdir()) if file.is_file()}
        files = [f"{name} {state.st_size} {state.st_mtime_ns}" for name, state in states.items()]
        return ["folder", str(self.path.resolve()), *files]

    def still_is(self, record: Record) -> bool:  # noqa: ARG002 (no other record could have this identity)
        """Always: the identity holds the state of every file."""
        return True

    def bring(self, folder: Path, downloads: Path, *, needs_template: bool = True) -> Origin:  # noqa: ARG002
        """Copy the files that make the model, nothing else; a copy has nothing to go on from in `downloads`."""
        small, weights = select([file.name for file in self.path.iterdir() if file.is_file()], str(self.path))
        check_small_files(self.path, str(self.path), needs_template=needs_template)
        names = [*small, *weights]
        require_space(folder, sum((self.path / name).stat().st_size for name in names), "copying the base model")
        say(f"copying the base model from {self.path}")
        for name in names:
            shutil.copyfile(self.path / name, folder / name)
        return Origin({"kind": "folder"}, revision="local", license="unknown")

"""params.yaml as it would be: with `-S key=value` applied in memory, and a file system that shows DVC that content."""

import io
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.fs import LocalFileSystem
from dvc.repo import Repo
from dvc.utils.hydra import apply_overrides

from ollamake import params
from ollamake.errors import ParamsError

SPELLING = "`-S lora_rank=32`, as for `dvc exp run`; params.yaml has every key"


class Proposal(LocalFileSystem):  # type: ignore[misc]
    """The workspace, but for one file of another content."""

    def __init__(self, path: Path, content: bytes) -> None:
        super().__init__()
        self._path, self._content = path.absolute(), content

    def open(self, path: Any, mode: str = "r", **options: Any) -> Any:
        """Open a file as the workspace has it, or the one that is different."""
        if Path(path).absolute() != self._path:
            return super().open(path, mode=mode, **options)
        return io.BytesIO(self._content) if "b" in mode else io.StringIO(self._content.decode())


def propose(overrides: Sequence[str], path: Path = params.PARAMS) -> tuple[bytes, Mapping[str, Any]]:
    """Return the content of params.yaml with `overrides` applied as `dvc exp run -S` would, and the same read.

    Raises ParamsError for an override that DVC refuses, and for values that no stage can use.
    """
    content = params.read(path)
    text = path.read_bytes()
    if overrides:
        with tempfile.TemporaryDirectory(prefix="ollamake-plan-") as folder:
            copy = Path(folder, path.name)
            copy.write_bytes(text)
            _apply(copy, overrides)
            text, content = copy.read_bytes(), params.read(copy)
    params.check(content)
    return text, content


def _apply(copy: Path, overrides: Sequence[str]) -> None:
    try:
        apply_overrides(copy, list(overrides))
    except DvcException as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise ParamsError(f"-S {' '.join(overrides)}: {reason}", hint=SPELLING) from error


def open_repository(content: bytes, path: Path = params.PARAMS) -> Any:
    """Return the DVC repository of the current folder as it would be with `content` in params.yaml.

    Raises ParamsError where DVC cannot read the graph.
    """
    logging.getLogger("dvc").setLevel(logging.WARNING)  # it would say that it restores what is only looked at
    try:
        repository = Repo(fs=Proposal(path, content))
        _ = repository.index.graph
    except DvcException as error:
        raise ParamsError(f"DVC cannot read the graph: {error}", where="dvc.yaml", hint="`dvc status`") from error
    return repository

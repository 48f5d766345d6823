"""A copy of the built project, what its stages write, and what a clean failure is."""

import hashlib
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from ollamake.doctor.runs import PARTIAL
from tests.pipeline.conftest import Project

# Those that have outputs; export has none.
DATA, TRAINING = (
    ("fetch", "collect", "prepare", "distill", "tokenize"),
    ("train", "baseline", "evaluate", "gate", "judge"),
)
STAGES = (*DATA, *TRAINING, "convert", "report")


@dataclass(frozen=True)
class Copied(Project):
    """A working copy that may be broken."""

    @cached_property
    def lock(self) -> dict[str, Any]:
        """The stages of dvc.lock as they were when first asked for."""
        return YAML(typ="safe").load(self.folder / "dvc.lock")["stages"]

    @cached_property
    def graph(self) -> dict[str, Any]:
        """The stages of dvc.yaml."""
        return YAML(typ="safe").load(self.folder / "dvc.yaml")["stages"]

    def outs(self, stage: str) -> list[Path]:
        """The files and folders that DVC keeps for a stage."""
        found = [next(iter(out)) if isinstance(out, dict) else out for out in self.graph[stage].get("outs", [])]
        return [self.folder / out for out in found]

    def digests(self, *stages: str) -> dict[str, str]:
        """The sha256 of every file that these stages declare as an output."""
        paths = [path for stage in stages for out in self.outs(stage) for path in [out, *out.rglob("*")]]
        files = sorted(path for path in paths if path.is_file())
        return {str(file.relative_to(self.folder)): _sha256(file) for file in files}

    def forget(self, stage: str) -> None:
        """Remove the outputs of a stage, and what DVC could restore them from: the next `dvc repro` has to run it."""
        shutil.rmtree(self.folder / ".dvc/cache/runs", ignore_errors=True)
        for out in self.lock[stage].get("outs", []):
            _remove(self.folder / out["path"])
            objects = self.folder / ".dvc/cache/files/md5"
            listed = objects / out["md5"][:2] / out["md5"][2:]
            inside = json.loads(listed.read_bytes()) if out["md5"].endswith(".dir") and listed.is_file() else []
            for md5 in [out["md5"], *(entry["md5"] for entry in inside)]:
                (objects / md5[:2] / md5[2:]).unlink(missing_ok=True)

    def partials(self) -> list[str]:
        """Half-written files and folders that a run has left behind."""
        found = [path for path in self.folder.rglob(".*.partial-*") if PARTIAL.fullmatch(path.name)]
        return [str(path.relative_to(self.folder)) for path in found]

    def require_clean(
        self, failed: subprocess.CompletedProcess[str], stage: str, whole: dict[str, str], lock: bytes
    ) -> None:
        """Assert that `dvc repro` of a stage has failed cleanly: `whole` are the digests of what it writes.

        DVC leaves what a stage has written: that may be there when DVC's own cache took no more, but never half of it.
        """
        said = failed.stdout + failed.stderr
        assert failed.returncode, said
        assert re.search(r"^error: \S|^ERROR: \S", failed.stderr, flags=re.MULTILINE), said
        assert "Traceback" not in said, said
        assert self.digests(stage).items() <= whole.items(), said
        assert self.partials() == [], said
        assert (self.folder / "dvc.lock").read_bytes() == lock, said


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)

"""A copy of the built project, what its stages write, and what a clean failure is."""

import re
import subprocess
from dataclasses import dataclass

from dvc.utils.serialize import load_yaml

from ollamake.doctor.runs import PARTIAL
from tests.contract.graph import stages
from tests.faults.again import CURVES, digests, forget, written
from tests.pipeline.conftest import Project

# A stage's own, or DVC's; that a stage exited with some number is none.
CAUSE = re.compile(r"^error: \S|^ERROR: (?!.*exited with -?\d+$)\S", re.MULTILINE)
STAGES = tuple(name for name, stage in stages().items() if stage.outs)  # all but export


@dataclass(frozen=True)
class Copied(Project):
    """A working copy that may be broken."""

    def digests(self, *stages: str) -> dict[str, str]:
        """The sha256 of every file that these stages have written, without what they measured."""
        return digests(self.folder, *(path for stage in stages for path in written(self.folder, stage)))

    def forget(self, *stages: str) -> None:
        """Make it as if these stages had never run: the next `dvc repro` has to run them."""
        for stage in stages:
            forget(self.folder, stage)

    def partials(self) -> list[str]:
        """Half-written files and folders that a run has left behind."""
        found = [path for path in self.folder.rglob(".*.partial-*") if PARTIAL.fullmatch(path.name)]
        return [str(path.relative_to(self.folder)) for path in found]

    def require_clean(self, failed: subprocess.CompletedProcess[str], stage: str, whole: dict[str, str]) -> None:
        """Assert that a forgotten stage has failed cleanly: `whole` are the digests of what it writes.

        DVC leaves what a stage has written: that may be there when DVC's own cache took no more, but never half of it.
        """
        said = failed.stdout + failed.stderr
        assert failed.returncode, said
        assert CAUSE.search(failed.stderr), said
        assert "Traceback" not in said, said
        left = {name: digest for name, digest in self.digests(stage).items() if not name.startswith(CURVES)}
        assert left.items() <= whole.items(), said
        assert self.partials() == [], said
        assert stage not in load_yaml(str(self.folder / "dvc.lock"))["stages"], said

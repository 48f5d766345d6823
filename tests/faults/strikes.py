"""Every call with which a stage changes the disk, made to fail in turn, and the stage run again.

python -m tests.faults.strikes --stage prepare --action exit --every 1     # in a tiny project
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ollamake.ollama.receipt import SERVED, read_receipt
from ollamake.ollama.settings import RECEIPT
from tests.contract.graph import ROOT
from tests.faults.again import CURVES, STORE, digests, remove, written
from tests.faults.kills import STAGES, Victim, tiny_victim
from tests.pipeline.conftest import environment

ACTIONS = ("error", "exit", "power")
HOOK = f"""import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.faults import failpoints
sys.path.remove({str(ROOT)!r})
failpoints.install()
"""
NEVER = 1_000_000  # more calls than any stage makes


@dataclass(frozen=True)
class Strike:
    """What became of a failpoint: the call that failed, how the stage ended, and what was wrong then and in the end.

    `said` is what the stage said on its stderr, `then` what it said when it ran again, empty where it did not have to.
    """

    stage: str
    action: str
    at: int
    call: str
    code: int
    torn: list[str]
    differs: list[str]
    said: str
    then: str

    def __str__(self) -> str:
        wrong = [f"{name} is torn" for name in self.torn] + [f"{name} differs" for name in self.differs]
        verdict = ", ".join(wrong) or "the same bytes"
        return f"{self.stage}, {self.action} at {self.at} ({self.call}): left with {self.code}, then {verdict}"


@dataclass(frozen=True)
class Range:
    """A stage of a built project, to be struck in the way DVC runs it: without outputs, from the top of the project."""

    victim: Victim
    stage: str

    def undisturbed(self) -> tuple[dict[str, str], int]:
        """Run the stage as it is; return the digests of its outputs, and how many calls it made."""
        self.begin()
        code, calls, said = self._run(0, "error")
        assert code == 0, said
        return self._digests(), len(calls)

    def strikes(self, action: str, reference: Mapping[str, str], ats: Iterable[int]) -> Iterator[Strike]:
        """Strike at each of `ats` in turn, until the stage comes to its end untouched, and run it again each time."""
        for at in ats:
            self.begin()
            code, calls, said = self._run(at, action)
            if len(calls) < at:
                return
            found = {} if action == "power" else self._digests()  # of what a loss of power tears, nothing is promised
            torn, then = self._torn(found, reference), ""
            if code:
                remove(self.victim.folder, self.stage)
                again, _, then = self._run(0, "error")
                assert again == 0, f"after {action} at {at} ({calls[-1]}): {then}"
            end = self._digests()
            differs = sorted({name for name, _ in end.items() ^ reference.items()})
            yield Strike(self.stage, action, at, calls[at - 1], code, torn, differs, said, then)

    def torn_after(self, reference: Mapping[str, str], seed: int) -> list[str]:
        """Let the power go right after the stage has come to its end; return what is there then and not as written.

        `seed` draws what is lost.
        """
        self.begin()
        code, _, said = self._run(NEVER + seed, "power")
        assert code == 0, said
        return self._wrong(self._digests(), reference)

    def begin(self) -> None:
        """Make it as before the stage ran for the first time."""
        remove(self.victim.folder, self.stage)
        shutil.rmtree(self.victim.folder / ".checkpoints", ignore_errors=True)
        if self.stage == "fetch":
            shutil.rmtree(self.victim.folder / STORE, ignore_errors=True)

    def _torn(self, found: Mapping[str, str], reference: Mapping[str, str]) -> list[str]:
        """Return what is there and not as it should be, of a stage that did not come to its end: curves grow."""
        return [name for name in self._wrong(found, reference) if not name.startswith(CURVES)]

    def _wrong(self, found: Mapping[str, str], reference: Mapping[str, str]) -> list[str]:
        """Return what is there and not as it should be; a receipt may say that nothing was proved yet."""
        wrong = [name for name, digest in found.items() if digest != reference.get(name)]
        receipt = read_receipt(self.victim.folder / RECEIPT)
        return [name for name in wrong if name != str(RECEIPT) or receipt is None or receipt.status == SERVED]

    def _digests(self) -> dict[str, str]:
        names = [*written(self.victim.folder, self.stage), *([STORE] if self.stage == "fetch" else [])]
        return digests(self.victim.folder, *names)

    def _run(self, at: int, action: str) -> tuple[int, list[str], str]:
        """Run the stage with the hook; return its exit code, the calls that it made until then, and what it said."""
        with TemporaryDirectory(dir=self.victim.folder.parent) as scratch:
            Path(scratch, "sitecustomize.py").write_text(HOOK)
            log = Path(scratch, "log")
            hooked = {
                **environment(), "PYTHONPATH": scratch, "PYTHONDONTWRITEBYTECODE": "1", "FAILPOINT_STAGE": self.stage,
                "FAILPOINT_AT": str(at), "FAILPOINT_ACTION": action, "FAILPOINT_LOG": str(log),
                "OLLAMA_HOST": self.victim.server,
            }  # fmt: skip
            ran = subprocess.run(
                [sys.executable, "-m", f"stages.{self.stage}"], cwd=self.victim.folder, env=hooked,
                capture_output=True, text=True,
            )  # fmt: skip
            return ran.returncode, log.read_text().splitlines(), ran.stderr


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", action="append", choices=STAGES, required=True, help="may be given several times")
    parser.add_argument("--action", choices=ACTIONS, default="exit")
    parser.add_argument("--every", type=int, default=1, help="strike at each k-th call (default: at all)")
    options = parser.parse_args()
    with TemporaryDirectory(prefix="ollamake-failpoints-") as scratch, tiny_victim(Path(scratch)) as victim:
        struck = []
        for stage in options.stage:
            shots = Range(victim, stage)
            ats = range(1, 1_000_000, options.every)
            for strike in shots.strikes(options.action, shots.undisturbed()[0], ats):
                struck.append(strike)
                print(strike, flush=True)
    wrong = sum(bool(strike.torn or strike.differs) for strike in struck)
    print(f"{len(struck) - wrong} of {len(struck)} the same bytes")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())

"""The build that is to be released: refused unless it is committed, current, through its gate, proved and served."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ollamake import params
from ollamake.files import read_json
from ollamake.ollama.deploy import is_current
from ollamake.ollama.receipt import SERVED, Proved, read_receipt
from ollamake.ollama.served import ServedModel
from ollamake.ollama.server import Server
from ollamake.ollama.settings import RECEIPT, Settings, model_to_serve
from ollamake.ollama.version import require_version
from ollamake.release import lock, repository
from ollamake.release.channels import CHANNELS
from ollamake.release.errors import ReleaseError
from ollamake.release.lock import BUILD

METRICS = Path("metrics")
GATE = METRICS / "gate.json"
ITEMS = Path("models/evaluated/items.jsonl")
SHOWN_FLAWS = 5
EXPORT = "`dvc repro export`, then create the release again"


@dataclass(frozen=True)
class Build:
    """What `dvc repro` built, proved and served, with the commit that holds its recipe."""

    model: ServedModel
    proved: Proved
    commit: str
    data: dict[str, str]
    params: dict[str, Any]

    @property
    def name(self) -> str:
        """The model's name in Ollama without a tag."""
        return self.model.name.rpartition(":")[0]


def read_build(server: Server) -> Build:
    """Return the build in the workspace. Raises ReleaseError, with the next command, unless it may be released."""
    content = params.read()
    params.check(content)
    stages = lock.read_lock()
    repository.require_committed(lock.inputs(stages))
    lock.require_current()
    _require_passed_gate()
    model = model_to_serve(params.select(Settings, content))
    if model.name.rpartition(":")[2] in CHANNELS:
        raise ReleaseError(
            f"ollama_model is {model.written_name}, which `release` keeps for itself: every build would move it",
            where="params.yaml",
            hint=f"take {model.name.rpartition(':')[0]}, then `dvc repro export`",
        )
    return Build(model, _proof(server, model), repository.head(), lock.data_hashes(stages), dict(content))


def require_whole() -> None:
    """Raise ReleaseError unless all that ships, and all that it was made of, is byte for byte what was recorded.

    DVC's cache too: `dvc push` would carry an altered object to every other machine.
    """
    from ollamake.verify.examination import examine_all  # DVC loads here

    if flaws := [flaw for result in examine_all() for flaw in result.flaws]:
        named = [f"{flaw.where}: {flaw.what}" for flaw in flaws[:SHOWN_FLAWS]]
        raise ReleaseError(
            "\n  ".join([f"{len(flaws)} files are not what was recorded", *named]),
            hint="`python -m ollamake verify` names all, and the commands that mend each",
        )


def _require_passed_gate() -> None:
    """A failed gate fails its stage, which is stale then; this is the same question, asked of what it wrote."""
    if not GATE.is_file():
        raise ReleaseError("the gate has not judged this build", where=str(GATE), hint=BUILD)
    if reasons := read_json(GATE)["reasons"]:
        raise ReleaseError("\n  ".join(["the gate is closed", *reasons]), where=str(GATE), hint=BUILD)


def _proof(server: Server, model: ServedModel) -> Proved:
    receipt = read_receipt(RECEIPT)
    if receipt is None or receipt.model != model.written_name or receipt.proved is None or receipt.status != SERVED:
        why = receipt.status if receipt and receipt.model == model.written_name else "no export of this model"
        raise ReleaseError(f"the model is not served and proved: {why}", where=str(RECEIPT), hint=EXPORT)
    if not is_current(server, require_version(server), model, receipt.proved):
        raise ReleaseError(
            f"{model.name} is not, or no longer, what the last export proved at {receipt.proved.server}",
            where=server.url,
            hint=EXPORT,
        )
    return receipt.proved


def scores() -> dict[str, Any]:
    """Return the scores that the gate compared: base, tuned, the release before, with intervals."""
    found: dict[str, Any] = read_json(GATE)
    return found


def judgement() -> dict[str, Any]:
    """Return what a judge said of the build; empty where nobody was asked."""
    with contextlib.suppress(FileNotFoundError):
        found: dict[str, Any] = read_json(METRICS / "judge.json")
        return {} if found["judge_model"] == "none" else found
    return {}


def parity() -> dict[str, Any]:
    """Return how near each GGUF of the build is to the trained model, by the file's quantization."""
    measured = read_json(METRICS / "convert.json")
    return {name: figures for name, figures in measured.items() if isinstance(figures, dict)}


def rows() -> dict[str, int]:
    """Return the number of conversations of each split, as far as the build counted them."""
    with contextlib.suppress(FileNotFoundError, KeyError):
        return dict(read_json(METRICS / "prepare.json")["kept"])
    return {}

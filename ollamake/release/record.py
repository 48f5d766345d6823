"""What is written down of a release, in files that git tracks: enough to tell, prove and serve it again years later.

`releases/1.2.0.json` is for people and tools, `1.2.0.proof.json` what a server is proved with when the GGUF is not at
hand, `1.2.0.items.jsonl` the score of every test item, `1.2.0.sbom.json` what it was made of.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ollamake.files import read_json
from ollamake.ollama.modelfile import Modelfile, Parameter
from ollamake.ollama.served import Proof, ServedModel, Serving
from ollamake.release.errors import ReleaseError
from ollamake.release.version import is_version, numbers

RELEASES = Path("releases")
HASH_DIGITS = 8


class Record(BaseModel):
    """releases/<version>.json. A field that an older ollamake does not know is left alone.

    `content` is the sha256 of what is served (see `content_hash`), `tag` the tag in Ollama that never moves, `data` the
    md5 of every data file in dvc.lock, `rows` their rows, `scores` metrics/gate.json as it stood, `judge`
    metrics/judge.json if a judge ruled, `parity` metrics/convert.json, `tag_digest` and `blobs` what the server that
    made it calls it, `params` params.yaml without the folders of this machine, `sbom` the sha256 of its bill of
    materials, empty for releases from before there were any.
    """

    model_config = ConfigDict(frozen=True)
    version: str
    name: str
    tag: str
    content: str
    created: str
    git_commit: str
    git_tag: str
    base: dict[str, str]
    data: dict[str, str]
    rows: dict[str, int]
    scores: dict[str, Any]
    judge: dict[str, Any] = Field(default_factory=dict)
    items: dict[str, Any]
    parity: dict[str, Any]
    serving: Serving
    template: str
    system: str
    license: str
    parameters: dict[str, Any]
    server_version: str
    tag_digest: str
    blobs: dict[str, str]
    checks: dict[str, str]
    params: dict[str, Any]
    sbom: str = ""


class Evidence(BaseModel):
    """releases/<version>.proof.json: the proof, the metadata of the GGUF without its vocabulary, its first token."""

    model_config = ConfigDict(frozen=True)
    proof: Proof
    header: dict[str, Any]
    begin: str


def record_path(version: str) -> Path:
    """Return where the record of a version lies."""
    return RELEASES / f"{version}.json"


def items_path(version: str) -> Path:
    """Return where the scores of its test items lie."""
    return RELEASES / f"{version}.items.jsonl"


def evidence_path(version: str) -> Path:
    """Return where its proof lies."""
    return RELEASES / f"{version}.proof.json"


def bill_path(version: str) -> Path:
    """Return where its bill of materials lies."""
    return RELEASES / f"{version}.sbom.json"


def read_records() -> list[Record]:
    """Return all releases, the oldest version first. Raises ReleaseError for a record that cannot be read."""
    versions = [path.stem for path in RELEASES.glob("*.json") if is_version(path.stem)]
    return [read_record(version) for version in sorted(versions, key=numbers)]


def read_record(version: str) -> Record:
    """Return the record of a version. Raises ReleaseError."""
    numbers(version)
    path = record_path(version)
    if not path.is_file():
        raise ReleaseError(f"there is no release {version}", hint="`python -m ollamake release list` shows all")
    try:
        return Record.model_validate(read_json(path))
    except (ValueError, ValidationError) as error:
        raise _damaged(path, error) from error


def newest() -> Record:
    """Return the release of the highest version. Raises ReleaseError where there is none."""
    records = read_records()
    if not records:
        raise ReleaseError("there is no release yet", hint="`python -m ollamake release create` makes one")
    return records[-1]


def predecessor(record: Record) -> Record | None:
    """Return the release of the version before this one; None for the first."""
    earlier = [other for other in read_records() if numbers(other.version) < numbers(record.version)]
    return earlier[-1] if earlier else None


def read_evidence(record: Record) -> Evidence:
    """Return what the release is proved with. Raises ReleaseError."""
    path = evidence_path(record.version)
    try:
        return Evidence.model_validate(read_json(path))
    except (OSError, ValueError, ValidationError) as error:
        raise _damaged(path, error) from error


def recorded_model(record: Record, gguf: Path) -> ServedModel:
    """Return the release as it is to be served under its own tag; `gguf` is where its file lies, or would lie."""
    return ServedModel(
        written_name=record.tag,
        name=record.tag,
        gguf=gguf,
        serving=record.serving,
        modelfile=Modelfile(str(gguf), record.template, record.system, record.license, record.parameters),
        proof=read_evidence(record).proof,
    )


def content_hash(gguf_sha256: str, modelfile: Modelfile) -> str:
    """Return the sha256 of what answers: the weights, the template, the system prompt and the parameters.

    Not the digest of the tag: servers of other versions store the same model in other bytes. So a release has one name
    on every machine, and anyone can compute it from the record alone.
    """
    parameters: dict[str, Parameter] = dict(modelfile.parameters)
    parts = [gguf_sha256, modelfile.template, modelfile.system, modelfile.license, parameters]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def tag_of(name: str, version: str, content: str) -> str:
    """Return the tag that never moves: name:1.2.0-0a1b2c3d."""
    return f"{name}:{version}-{content[:HASH_DIGITS]}"


def _damaged(path: Path, error: Exception) -> ReleaseError:
    return ReleaseError(
        f"cannot be read: {str(error).splitlines()[0]}", where=str(path), hint=f"`git checkout HEAD -- {path}`"
    )

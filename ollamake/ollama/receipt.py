"""What the last export found: kept beside the Modelfile, so that the next one can tell that nothing has to be done."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ollamake.files import read_json, write_json

SERVED = "served"


class Proved(BaseModel):
    """A model that passed its proof: in which server, under which digest, from which inputs; `checks` counts it.

    `blobs` holds the digests of the GGUF: `uploaded` is the file of models/gguf, `served` what the server made of it
    (since 0.30 it writes its own copy), empty where it does not tell.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    server: str
    version: str
    tag_digest: str
    blobs: dict[str, str]
    inputs: str
    checks: dict[str, str]


class Receipt(BaseModel):
    """models/export/receipt.json: `status` for people, `proved` for the next run. It holds no time, so it diffs well.

    A server that is down leaves the proof of the last run in place: the model may still be in it when it comes back.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    model: str
    status: str
    proved: Proved | None


def read_receipt(path: Path) -> Receipt | None:
    """Return the receipt; None when there is none, or none that can be read: then nothing is known to be served."""
    try:
        return Receipt.model_validate(read_json(path))
    except (OSError, ValueError, ValidationError):
        return None


def write_receipt(path: Path, receipt: Receipt) -> None:
    """Write the receipt unless it is there already."""
    if read_receipt(path) != receipt:
        write_json(path, receipt.model_dump())

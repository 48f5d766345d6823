"""The files that a model in Ollama is made of, by the Modelfile that /api/show writes."""

import re
from pathlib import Path

BLOB = re.compile(r"sha256-(?P<digest>[0-9a-f]{64})")
FROM = re.compile(r"^FROM (.+)$", re.MULTILINE)


def blobs_of(modelfile: str) -> list[Path]:
    """Return the paths after FROM that lead to files of a models folder; the folder is on the server's machine."""
    paths = [Path(value.strip().strip('"')) for value in FROM.findall(modelfile)]
    return [path for path in paths if BLOB.fullmatch(path.name)]


def blob_digest(path: Path) -> str:
    """Return the sha256 in the name of a file of a models folder, as `sha256:…`; empty where it is none."""
    match = BLOB.fullmatch(path.name)
    return f"sha256:{match['digest']}" if match else ""

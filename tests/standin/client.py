"""The `ollama` command, as far as the contract asks it: `ollama serve` and `ollama create NAME -f FILE`.

A stand-in, for machines without Ollama: `install(folder)` writes a script of that name. What it proves is that our side
of the contract tests works, and that an independent reader of Modelfiles understands ours; it proves nothing of Ollama.
"""

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path

import httpx

from tests.standin.http import VERSION
from tests.standin.modelfile import ModelfileError, request

REPOSITORY = Path(__file__).parents[2]
UNREACHABLE = "could not connect to ollama server, run 'ollama serve' to start it"


def install(folder: Path) -> Path:
    """Write the script `ollama` into `folder` and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "ollama"
    script.write_text(
        f'#!/bin/sh\nPYTHONPATH="{REPOSITORY}" exec "{sys.executable}" -m tests.standin.client "$@"\n', encoding="utf-8"
    )
    script.chmod(0o755)
    return script


def main() -> None:
    """Do what the command line says; errors as `Error: …` on stderr, exit code 1."""
    parser = argparse.ArgumentParser(prog="ollama")
    asked = parser.add_subparsers(dest="command", required=True)
    asked.add_parser("serve")
    create = asked.add_parser("create")
    create.add_argument("name")
    create.add_argument("-f", dest="file", type=Path, default=Path("Modelfile"))
    given = parser.parse_args()
    if given.command == "serve":
        _serve()
    try:
        _create(given.name, given.file, f"http://{os.environ['OLLAMA_HOST']}")
    except (ModelfileError, OSError) as error:
        sys.exit(f"Error: {error}")
    except httpx.ConnectError:
        sys.exit(f"Error: {UNREACHABLE}")


def _serve() -> None:
    """Become the stand-in server, so that a signal to this process ends it."""
    port = os.environ["OLLAMA_HOST"].rpartition(":")[2]
    command = [sys.executable, "-m", "tests.standin", "--port", port, "--models", os.environ["OLLAMA_MODELS"]]
    os.execv(sys.executable, [*command, "--version", os.environ.get("STANDIN_VERSION", VERSION)])  # noqa: S606


def _create(name: str, file: Path, url: str) -> None:
    body = request(file.read_bytes())
    source = Path(body.pop("from")[-1]).expanduser()
    path = source if source.is_absolute() else file.absolute().parent / source
    if path.is_file():
        digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
        if httpx.head(f"{url}/api/blobs/{digest}").is_error:
            httpx.post(f"{url}/api/blobs/{digest}", content=path.read_bytes(), timeout=60).raise_for_status()
        body["files"] = {path.name: digest}
    else:  # as the client does: what is no file is the name of a model
        body["from"] = str(source)
    reply = httpx.post(f"{url}/api/create", json={**body, "model": name}, timeout=60)
    last = json.loads(reply.text.splitlines()[-1])
    if "error" in last:
        sys.exit(f"Error: {last['error']}")
    print(last["status"])


if __name__ == "__main__":
    main()

"""Serve the model with Ollama, and prove it again there."""

import os
import sys
from pathlib import Path

from ollamake.errors import OllamakeError
from ollamake.files import read_json
from ollamake.ollama.address import exposure, server_address, why_silent
from ollamake.ollama.deploy import postpone, serve
from ollamake.ollama.receipt import Proved
from ollamake.ollama.served import write_modelfile
from ollamake.ollama.settings import EXPORT, RECEIPT, Settings, model_to_serve
from ollamake.recorded import require_recorded_weights
from ollamake.stage import run

GATE, MODELFILE = Path("metrics/gate.json"), EXPORT / "Modelfile"


class Params(Settings):
    """All of them, as they stand in ollamake/ollama/settings.py: a release serves by the same."""


def main(params: Params) -> None:
    if Path(os.environ.get("DVC_ROOT", ".")).resolve() != Path.cwd().resolve():
        print(
            "not served: a trial must not replace the model in use; `dvc exp apply NAME && dvc repro` serves this one"
        )
        return
    if not read_json(GATE)["passed"]:  # `dvc repro` stops at the gate, --single-item goes past it
        raise OllamakeError("the gate is closed, so nothing is served", where=str(GATE), hint="`dvc repro` tells why")
    model = model_to_serve(params)
    write_modelfile(MODELFILE, model.modelfile)
    address = server_address()
    if said := exposure():
        print(said, file=sys.stderr)
    if why := why_silent(address):
        reason = f"no Ollama server at {address.url} ({why})"
        postpone(model, RECEIPT, reason)
        print(f"not served: {reason}")
        print(f"the model is complete in {model.gguf}; once Ollama runs, `dvc repro export` serves and proves it")
        print(f"or by hand, unproved: ollama create {params.ollama_model} -f {MODELFILE}")
        return
    from ollamake.ollama.http_server import HttpServer  # httpx loads here

    with HttpServer(address) as server:
        _say_served(params.ollama_model, *serve(server, model, RECEIPT, require_recorded_weights))


def _say_served(name: str, proved: Proved, changed: bool) -> None:
    place = f"by Ollama {proved.version} at {proved.server}"
    if changed:
        checks = "".join(f"  {check}: {count}\n" for check, count in proved.checks.items())
        print(f"{name} is served {place}; proved there:\n{checks}try it: ollama run {name}")
    else:
        print(f"{name} is served {place}, proved and unchanged")


if __name__ == "__main__":
    run(Params, main)

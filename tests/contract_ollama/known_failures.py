"""What a person reads for each failure that Ollama is known for, as reviewed text: known_failures.md.

`python -m tests.contract_ollama.known_failures` writes the page anew; read the difference before you commit it.
"""

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ollamake.errors import ServerError
from ollamake.ollama.address import parse_address
from ollamake.ollama.deploy import serve
from ollamake.ollama.http_server import HttpServer
from ollamake.ollama.served import ServedModel
from tests.contract_ollama.workspace import convert, read_model
from tests.standin import StandIn, running
from tests.standin.faults import KNOWN

CANDIDATE = "ollamake-shell:latest-try-0a1b2"
PAGE = Path(__file__).with_suffix(".md")
HEAD = "# What is said when Ollama fails\n\nEach failure was ordered from the stand-in during an export.\n"


def said(standin: StandIn, model: ServedModel, name: str, receipt: Path) -> str:
    """Return the section of the page: what Ollama says, what a person reads, how often it was asked."""
    fault = dataclasses.replace(KNOWN[name])
    _forget(standin, model, receipt)
    standin.faults.add(fault)
    with HttpServer(parse_address(standin.url), sleep=lambda _: None) as server:
        try:
            serve(server, model, receipt)
        except ServerError as error:
            # The candidate's name comes from what the model answers here, which another machine may compute otherwise.
            text = str(error).replace(standin.url, "http://127.0.0.1:11434").replace(model.candidate, CANDIDATE)
        else:
            text = "nothing: the model is served"
    asked = sum(route.startswith(fault.route) for route in standin.requests)
    answer = f" {fault.status}" if fault.status else " in the stream" if fault.after_lines >= 0 else ""
    return (
        f"\n## {name}\n`{fault.route}`{answer}, asked {asked} ×: {fault.message or 'no text'}\n\n    {_shifted(text)}\n"
    )


def sections(page: str) -> dict[str, str]:
    """Return the sections of the page by name."""
    parts = page.split("\n## ")[1:]
    return {part.partition("\n")[0]: f"\n## {part}".rstrip("\n") + "\n" for part in parts}


def written(folder: Path) -> Iterator[str]:
    """Yield the page's parts."""
    convert(folder / "models/gguf")
    model = read_model(folder / "models/gguf", "ollamake-shell")
    yield HEAD
    with running(folder / "server") as standin:
        for name in KNOWN:
            yield said(standin, model, name, folder / "receipt.json")


def _forget(standin: StandIn, model: ServedModel, receipt: Path) -> None:
    standin.faults.clear()
    standin.requests.clear()
    receipt.unlink(missing_ok=True)
    for name in (model.name, model.candidate):
        standin.store.delete(name)
    standin.store.forget_unused()


def _shifted(text: str) -> str:
    return text.replace("\n", "\n    ")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        PAGE.write_text("".join(written(Path(temporary))), encoding="utf-8")

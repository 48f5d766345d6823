"""A folder in which the distill stage runs: prepared rows, and a stand-in server with a tiny model as teacher."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ollamake.files import read_json, read_jsonl
from ollamake.ollama.address import parse_address
from ollamake.ollama.http_server import HttpServer
from stages.distill import Params, main
from tests.contract.graph import ROOT
from tests.contract_ollama.workspace import TEMPLATE, read_model
from tests.standin import StandIn, running

TEACHER = "school/teacher"
CHAT = "POST /api/chat"
SETTINGS = {
    "max_rejected_fraction": 0.5,
    "system_prompt": "",
    "teacher": TEACHER,
    "teacher_max_new_tokens": 100,
    "teacher_num_ctx": 256,
    "teacher_parallel": 4,
    "teacher_seed": 1,
    "teacher_temperature": 0.0,
}


def row(number: int, *messages: tuple[str, str], **fields: object) -> dict[str, object]:
    """A prepared conversation, by default a question and an answer that no teacher gives."""
    said = messages or (("user", f"list the files {number}"), ("assistant", "By hand."))
    return {"id": f"{number:04}", "messages": [{"role": role, "content": text} for role, text in said], **fields}


def rows(first: int, count: int) -> list[dict[str, object]]:
    """Some such rows."""
    return [row(number) for number in range(first, first + count)]


def write(folder: Path, train: list[dict[str, object]], val: list[dict[str, object]]) -> None:
    """Write data/prepared as prepare does."""
    (folder / "data/prepared").mkdir(parents=True, exist_ok=True)
    for name, split in {"train": train, "val": val, "test": rows(900, 2)}.items():
        lines = [json.dumps(one, ensure_ascii=False, separators=(",", ":")) + "\n" for one in split]
        (folder / f"data/prepared/{name}.jsonl").write_text("".join(lines), encoding="utf-8", newline="\n")


@contextmanager
def school(converted: Path, folder: Path, *, template: str = "", **parameters: object) -> Iterator[StandIn]:
    """Serve the tiny model under the name of the teacher; a parameter of None is left out of the model."""
    model = read_model(converted, TEACHER, system="")
    with running(folder) as standin, HttpServer(parse_address(standin.url)) as server:
        server.upload(model.gguf, model.serving.sha256)
        merged = {key: value for key, value in (model.modelfile.parameters | parameters).items() if value is not None}
        written = dataclasses.replace(model.modelfile, template=template or TEMPLATE, parameters=merged)
        server.create(TEACHER, model.serving.sha256, written)
        standin.requests.clear()
        yield standin


def asked(**changes: object) -> Params:
    """The parameters of the stage."""
    return Params.model_validate({**SETTINGS, **changes})


def distill(**changes: object) -> None:
    """Run the stage here."""
    main(asked(**changes))


def distill_apart(folder: Path, host: str, **changes: object) -> "subprocess.Popen[str]":
    """Start the stage in a process of its own, in `folder`."""
    # Tests that run in the background inherit an ignored Ctrl-C; a person's terminal does not ignore it.
    heeding = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
    code = f"{heeding} from stages.distill import Params, main; main(Params.model_validate_json(sys.argv[1]))"
    return subprocess.Popen(
        [sys.executable, "-c", code, asked(**changes).model_dump_json()],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "OLLAMA_HOST": host},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def distilled(name: str) -> list[dict[str, object]]:
    """The rows that the stage wrote."""
    return read_jsonl(Path(f"data/distilled/{name}.jsonl"))


def answers(name: str) -> list[str]:
    """The last texts of those rows."""
    return [one["messages"][-1]["content"] for one in distilled(name)]


def metrics() -> dict[str, object]:
    """The metrics that the stage wrote."""
    return read_json(Path("metrics/distill.json"))


def kept(folder: Path) -> int:
    """How many whole answers the store holds."""
    return sum(path.read_bytes().count(b"\n") for path in folder.glob(".ollamake/teacher/*/answers.jsonl"))

"""A folder in which the tokenize stage runs: the tiny base model, prepared rows, and what the stage makes of them."""

import json
from pathlib import Path

import pyarrow as pa

from ollamake.base import Base
from stages import tokenize

QUESTION = {"role": "user", "content": "list files"}
ANSWER = {"role": "assistant", "content": "ls -l"}
SETTINGS = {
    "max_length": 64,
    "max_rejected_fraction": 0.5,
    "packing": False,
    "system_prompt": "",
    "task": "sft",
    "too_long": "drop",
}


def row(number, *messages, **fields):
    """A prepared conversation, by default a question and its answer."""
    asked = {**QUESTION, "content": f"{QUESTION['content']} {number}"}
    return {"id": f"{number:04}", "messages": list(messages) or [asked, ANSWER], **fields}


def run(folder: Path, base: Path, monkeypatch, train, val=None, test=None, **changes):
    """Run the stage in `folder` on these rows; val and test hold one good row unless given."""
    splits = {"train": train, "val": [row(1)] if val is None else val, "test": [row(2)] if test is None else test}
    for name, rows in splits.items():
        path = folder / tokenize.SPLITS[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(one, ensure_ascii=False) + "\n" for one in rows]
        path.write_text("".join(lines), encoding="utf-8", newline="\n")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(tokenize, "open_base", lambda _: Base(base, {"name": "tiny"}))
    tokenize.main(tokenize.Params(**{**SETTINGS, **changes}))


def read(folder: Path, name: str):
    """Return the rows of a file of the stage."""
    with pa.memory_map(str(folder / f"data/tokenized/{name}.arrow")) as source:
        return pa.ipc.open_file(source).read_all().to_pylist()

"""What uses a parameter that may be any text: run with the text on tiny data, and held to take it for what it is."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest

from ollamake.base import Base, open_base
from ollamake.errors import BaseModelError, ParamsError
from ollamake.files import read_json, read_jsonl
from stages import collect, fetch, prepare
from tests.arrow import write_tokens
from tests.bad_input.corpus import LINES
from tests.bad_input.test_content import PARAMS
from tests.hub import HubHandler, serving
from tests.training import settings
from tests.unit.test_judge import judge, row, says, write_answers
from tests.unit.tokenizing import ANSWER, QUESTION, read, run

Use = Callable[[str, pytest.FixtureRequest], None]


def _fetch(**changes: str) -> None:
    fetch.main(fetch.Params(**{"base_model_revision": "pinned", "chat_template": "model", **changes}))


def base_model(text: str, request: pytest.FixtureRequest) -> None:
    """Fetch a folder of that name."""
    shutil.copytree(request.getfixturevalue("tiny_base"), text)
    _fetch(base_model=text)
    assert open_base().record["name"] == text


def base_model_revision(text: str, request: pytest.FixtureRequest) -> None:
    """Ask a hub for a revision of that name."""
    hub = SimpleNamespace(asked=[], seconds=0, status=404, error_code="RevisionNotFound")
    with serving(HubHandler, hub, request.getfixturevalue("monkeypatch")), pytest.raises(BaseModelError) as raised:
        _fetch(base_model="someone/some-model", base_model_revision=text)
    assert raised.value.problem == f"someone/some-model has no revision {text}"
    assert f"/revision/{quote(text)}" in hub.asked[-1]


def chat_template(text: str, request: pytest.FixtureRequest) -> None:
    """Fetch a model with a template of that name."""
    own = request.getfixturevalue("tiny_base")
    shutil.copyfile(own / "chat_template.jinja", f"models/templates/{text}.jinja")
    _fetch(base_model=str(own), chat_template=text)
    assert open_base().record["chat_template"] == text


def data_files(text: str, request: pytest.FixtureRequest) -> None:
    """Collect and prepare the one file of a folder that fits."""
    Path("mine").mkdir()
    for name in (text, "other"):
        Path(f"mine/{name}.jsonl").write_bytes(LINES)
    collect.main(collect.Params(data_source="mine", data_files=f"{text}.jsonl"))
    prepare.main(PARAMS)
    [source] = read_json(Path("data/raw/source.json"))["sources"]
    assert source["files"] == [f"mine/{text}.jsonl"]
    assert len(read_jsonl(Path("data/prepared/train.jsonl"))) > 20


def system_prompt(text: str, request: pytest.FixtureRequest) -> None:
    """Tokenize under it, and tell a judge of it."""
    from tokenizers import Tokenizer

    own = request.getfixturevalue("tiny_base")
    conversation = {"id": "0001", "messages": [QUESTION, ANSWER]}
    run(Path.cwd(), own, request.getfixturevalue("monkeypatch"), [conversation], system_prompt=text)
    [learnt] = read(Path.cwd(), "train")
    assert text in Tokenizer.from_file(str(own / "tokenizer.json")).decode(learnt["input_ids"])
    _judge(text, request, system_prompt=text)


def judge_criteria(text: str, request: pytest.FixtureRequest) -> None:
    """Judge by it."""
    _judge(text, request, judge_criteria=text)


def _judge(text: str, request: pytest.FixtureRequest, **changes: str) -> None:
    standin, prompts = request.getfixturevalue("standin"), []

    def complete(gguf: Path, prompt: str, *_: object) -> dict[str, Any]:
        prompts.append(prompt)
        return {"text": says("neither"), "prompt_tokens": 9, "tokens": 9, "reason": "stop", "logprobs": []}

    request.getfixturevalue("monkeypatch").setattr(standin.models.engine, "complete", complete)
    write_tokens(Path("data/tokenized/test.arrow"), [row(0)])
    for model, answer in {"evaluated": "right", "baseline": "wrong"}.items():
        write_answers(model, [answer])
    assert judge(**changes)["tie"] == 1
    assert [text in prompt for prompt in prompts] == [True, True]


def lora_target_modules(text: str, request: pytest.FixtureRequest) -> None:
    """Look for layers of that name."""
    import torch

    from ollamake.training.model import load_model

    base = Base(request.getfixturevalue("narrow_base"), {"name": "tiny"})
    with pytest.raises(ParamsError, match="no layer named"):
        load_model(base, settings(lora_target_modules=text), torch.device("cpu"))


USES: dict[str, Use] = {
    use.__name__: use
    for use in (
        base_model,
        base_model_revision,
        chat_template,
        data_files,
        system_prompt,
        judge_criteria,
        lora_target_modules,
    )
}

"""What export relies on, request by request: of the stand-in and, by OLLAMAKE_CONTRACT_URL, of Ollama itself."""

import dataclasses
import hashlib
import json
from pathlib import Path

import httpx
import pytest

from ollamake.errors import ServerError
from ollamake.ollama.differences import parts_at_near_tie
from ollamake.ollama.http_server import HttpServer
from ollamake.ollama.refusals import MissingBlobError
from ollamake.ollama.served import ServedModel
from ollamake.ollama.version import require_version
from tests.contract_ollama.workspace import MAX_NEW_TOKENS, SYSTEM, TEMPLATE


@pytest.fixture
def created(server: HttpServer, model: ServedModel) -> str:
    """The name of the tiny model, created in the server."""
    server.upload(model.gguf, model.serving.sha256)
    server.create(model.name, model.serving.sha256, model.modelfile)
    return model.name


def test_the_version_is_one_that_the_proof_can_use(server: HttpServer) -> None:
    assert require_version(server) == server.version()


def test_an_uploaded_file_is_held(server: HttpServer, tmp_path: Path) -> None:
    content = f"not a GGUF {tmp_path}".encode()
    sha256 = hashlib.sha256(content).hexdigest()
    (tmp_path / "file").write_bytes(content)
    assert not server.has_blob(sha256)
    server.upload(tmp_path / "file", sha256)
    assert server.has_blob(sha256)
    server.upload(tmp_path / "file", sha256)  # again: nothing to do


@pytest.mark.row("R4.4")
def test_a_file_that_is_not_what_its_digest_says_is_refused(server: HttpServer, tmp_path: Path) -> None:
    (tmp_path / "file.gguf").write_text(str(tmp_path))
    with pytest.raises(ServerError, match="not the one that convert wrote"):
        server.upload(tmp_path / "file.gguf", "0" * 64)


def test_a_created_model_is_listed_and_a_deleted_one_is_not(server: HttpServer, created: str) -> None:
    digest = server.digest(created)
    assert digest
    assert len(digest) == 64
    assert server.digest(created.upper()) == digest
    server.delete(created)
    assert server.digest(created) is None


def test_the_same_inputs_give_the_same_digest(server: HttpServer, model: ServedModel, created: str) -> None:
    digest = server.digest(created)
    server.create(created, model.serving.sha256, model.modelfile)
    assert server.digest(created) == digest


@pytest.mark.parametrize(
    "change", [{"system": "Other."}, {"template": TEMPLATE + " "}, {"parameters": {"num_ctx": 128}}]
)
def test_other_inputs_give_another_digest(
    server: HttpServer, model: ServedModel, created: str, change: dict[str, object]
) -> None:
    digest = server.digest(created)
    server.create(created, model.serving.sha256, dataclasses.replace(model.modelfile, **change))
    assert server.digest(created) != digest


def test_a_copy_has_the_digest_of_its_source(server: HttpServer, model: ServedModel, created: str) -> None:
    server.copy(created, model.candidate)
    assert server.digest(model.candidate) == server.digest(created)
    server.delete(model.candidate)
    assert server.digest(created)


def test_show_tells_what_was_sent(server: HttpServer, created: str) -> None:
    shown = server.show(created)
    assert shown["template"] == TEMPLATE
    assert shown["system"] == SYSTEM
    assert shown["license"] == "apache-2.0"
    assert shown["details"]["family"] == "llama"
    assert shown["details"]["quantization_level"] == "F16"
    assert shown["model_info"]["llama.rope.freq_base"] == 100000
    assert shown["model_info"]["tokenizer.ggml.add_bos_token"] is False
    lines = {tuple(line.split()) for line in shown["parameters"].splitlines()}
    assert {("stop", '"<|im_end|>"'), ("num_ctx", "256"), ("top_p", "0.9")} <= lines


def test_the_model_adds_its_system_prompt_only_where_there_is_none(server: HttpServer, created: str) -> None:
    user = {"role": "user", "content": "hello"}
    end = "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
    assert server.render(created, [user]) == f"<|im_start|>system\n{SYSTEM}<|im_end|>\n{end}"
    other = {"role": "system", "content": "Be kind."}
    assert server.render(created, [other, user]) == f"<|im_start|>system\nBe kind.<|im_end|>\n{end}"


def test_messages_of_one_role_in_a_row_are_joined(server: HttpServer, created: str) -> None:
    twice = [{"role": "user", "content": "one"}, {"role": "user", "content": "two"}]
    assert "user\none\n\ntwo<|im_end|>" in server.render(created, twice)


def test_answers_are_greedy_whatever_the_model_is_set_to(server: HttpServer, model: ServedModel, created: str) -> None:
    for prompt in model.proof.prompts:
        answer = server.answer(created, prompt.messages, MAX_NEW_TOKENS)
        assert answer.text == prompt.answer or parts_at_near_tie(prompt.answer, answer.tokens)
        assert answer.prompt_tokens == len(prompt.token_ids)
        assert b"".join(token.text for token in answer.tokens).decode() == answer.text
        if answer.text == prompt.answer:
            assert answer.done_reason == ("stop" if prompt.stopped else "length")
        assert all(len(token.likeliest) > 1 for token in answer.tokens)


def test_a_generation_returns_the_token_ids_of_prompt_and_answer(
    server: HttpServer, model: ServedModel, created: str
) -> None:
    first = model.proof.prompts[0]
    question = first.messages[-1]["content"]
    body = {"model": created, "prompt": question, "stream": False, "options": {"num_predict": 1, "temperature": 0}}
    reply = httpx.post(f"{server.url}/api/generate", json=body, timeout=600).json()
    assert reply["context"][: len(first.token_ids)] == first.token_ids


@pytest.mark.row("R4.7")
def test_a_missing_blob_is_an_error_inside_the_stream(server: HttpServer, model: ServedModel) -> None:
    with pytest.raises(MissingBlobError, match="lost the uploaded GGUF"):
        server.create(model.name, hashlib.sha256(model.name.encode()).hexdigest(), model.modelfile)
    assert server.digest(model.name) is None


def test_a_file_that_is_no_gguf_is_refused(server: HttpServer, model: ServedModel, tmp_path: Path) -> None:
    (tmp_path / "file.gguf").write_bytes(b"no GGUF at all, but long enough to look for a header in it")
    sha256 = hashlib.sha256((tmp_path / "file.gguf").read_bytes()).hexdigest()
    server.upload(tmp_path / "file.gguf", sha256)
    with pytest.raises(ServerError, match="cannot read its copy of the GGUF"):
        server.create(model.name, sha256, model.modelfile)
    assert server.digest(model.name) is None


def test_a_template_that_does_not_parse_is_refused(server: HttpServer, model: ServedModel) -> None:
    server.upload(model.gguf, model.serving.sha256)
    with pytest.raises(ServerError, match="cannot parse the chat template"):
        server.create(
            model.name, model.serving.sha256, dataclasses.replace(model.modelfile, template="{{ range .Messages }}")
        )
    assert server.digest(model.name) is None


def test_a_name_that_ollama_does_not_take_is_refused(server: HttpServer, model: ServedModel) -> None:
    server.upload(model.gguf, model.serving.sha256)
    with pytest.raises(ServerError, match="does not take the name"):
        server.create("two words", model.serving.sha256, model.modelfile)


def test_a_parameter_of_the_wrong_type_is_found_at_the_first_answer(
    server: HttpServer, model: ServedModel, created: str
) -> None:
    wrong = dataclasses.replace(model.modelfile, parameters={"temperature": ["hot"]})
    server.create(created, model.serving.sha256, wrong)
    body = {"model": created, "messages": [{"role": "user", "content": "hi"}], "stream": False}
    reply = httpx.post(f"{server.url}/api/chat", json=body, timeout=600)
    assert reply.status_code == 500
    assert json.loads(reply.text)["error"] == 'option "temperature" must be of type float32'


def test_a_prompt_that_does_not_fit_is_refused_and_not_shortened(
    server: HttpServer, model: ServedModel, created: str
) -> None:
    small = dataclasses.replace(model.modelfile, parameters={"num_ctx": 64})
    server.create(created, model.serving.sha256, small)
    turns = [("user", "word " * 100), ("assistant", "b"), ("user", "c")]
    messages = [{"role": role, "content": content} for role, content in turns]
    body = {"model": created, "messages": messages, "stream": False, "options": {"num_predict": 1}}
    shortened = httpx.post(f"{server.url}/api/chat", json=body, timeout=600)
    assert shortened.json()["prompt_eval_count"] <= 64  # what a server does when nobody tells it not to
    with pytest.raises(ServerError, match="does not fit into the model's context"):
        server.answer(created, messages, 4)


def test_deleting_what_is_not_there_is_no_error(server: HttpServer) -> None:
    server.delete("ollamake-nobody/nothing:latest")


def test_asking_for_a_model_that_is_not_there_says_so(server: HttpServer) -> None:
    with pytest.raises(ServerError, match="vanished from the server"):
        server.show("ollamake-nobody/nothing:latest")


def test_an_adapter_ends_in_an_error_in_every_server_and_so_is_never_sent(
    server: HttpServer, model: ServedModel, created: str
) -> None:
    adapters = {"adapter_model.safetensors": "sha256:" + "0" * 64}
    body = {"model": model.candidate, "from": created, "adapters": adapters}
    reply = httpx.post(f"{server.url}/api/create", json=body, timeout=600)
    assert "error" in json.loads(reply.text.splitlines()[-1])
    assert server.digest(model.candidate) is None


def test_safetensors_without_a_configuration_are_refused_inside_the_stream(
    server: HttpServer, model: ServedModel
) -> None:
    server.upload(model.gguf, model.serving.sha256)
    body = {"model": model.name, "files": {"model.safetensors": f"sha256:{model.serving.sha256}"}}
    reply = httpx.post(f"{server.url}/api/create", json=body, timeout=600)
    assert (reply.status_code, "error" in json.loads(reply.text.splitlines()[-1])) == (200, True)
    assert server.digest(model.name) is None


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"model": ""}, 400, "invalid model name"),
        ({"model": "two words", "from": "a"}, 400, "invalid model name"),
        ({"model": "a"}, 400, "neither 'from' or 'files' was specified"),
        ({"model": "a", "files": {}}, 400, "unknown type"),
        ({"model": "a", "files": {"/model.gguf": "sha256:" + "0" * 64}}, 400, "file path must be relative"),
        ({"model": "a", "files": {"model.gguf": ""}}, 400, "invalid digest format"),
        ({"model": "a", "from": "two words"}, 400, "invalid model name"),
    ],
)
def test_what_is_wrong_with_the_request_itself_has_a_status(
    server: HttpServer, body: dict[str, object], status: int, said: str
) -> None:
    reply = httpx.post(f"{server.url}/api/create", json=body, timeout=600)
    assert (reply.status_code, reply.json()["error"]) == (status, said)

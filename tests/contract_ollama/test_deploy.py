"""A model reaches the server whole and proved, or what was served before stays."""

import dataclasses
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ollamake.errors import ServerError
from ollamake.files import read_json
from ollamake.ollama import deploy
from ollamake.ollama.address import parse_address
from ollamake.ollama.deploy import postpone, serve
from ollamake.ollama.http_server import HttpServer
from ollamake.ollama.receipt import Receipt, read_receipt
from ollamake.ollama.served import Prompt, ServedModel
from tests.contract_ollama.conftest import OLD
from tests.contract_ollama.workspace import (
    JINJA,
    MAX_NEW_TOKENS,
    PARAMETERS,
    SYSTEM,
    TEMPLATE,
    convert,
    read_model,
)
from tests.standin import StandIn


@pytest.fixture
def receipt(tmp_path: Path) -> Path:
    return tmp_path / "models/export/receipt.json"


def changed(model: ServedModel, **parameters: object) -> ServedModel:
    """The model as after an edit of params.yaml."""
    modelfile = dataclasses.replace(model.modelfile, parameters={**model.modelfile.parameters, **parameters})
    return dataclasses.replace(model, modelfile=modelfile)


def with_first_prompt(model: ServedModel, **fields: object) -> ServedModel:
    """The model with a record that says something else of its first prompt."""
    first, *others = model.proof.prompts
    prompts = [Prompt.model_validate({**first.model_dump(), **fields}), *others]
    return dataclasses.replace(model, proof=model.proof.model_copy(update={"prompts": prompts}))


def test_a_new_model_is_created_proved_and_noted(server: HttpServer, model: ServedModel, receipt: Path) -> None:
    proved, done = serve(server, model, receipt)
    assert done
    assert server.digest(model.name) == proved.tag_digest
    assert server.digest(model.candidate) is None
    assert {check: count.partition(" (")[0] for check, count in proved.checks.items()} == {
        "settings": "5 of 5",
        "metadata": "17 of 17",
        "prompts rendered as in training": "5 of 5",
        "prompts with the token count of training": "5 of 5",
        "answers of the GGUF itself": "5 of 5",
        "answers that end as they should": "5 of 5",
    }
    assert read_receipt(receipt) == Receipt(model=model.written_name, status="served", proved=proved)


def test_a_model_that_is_there_needs_two_requests_and_no_write(
    standin: StandIn, server: HttpServer, model: ServedModel, receipt: Path
) -> None:
    serve(server, model, receipt)
    standin.requests.clear()
    written = receipt.stat().st_mtime_ns
    _, done = serve(server, model, receipt)
    assert not done
    assert standin.requests == ["GET /api/version", "GET /api/tags"]
    assert receipt.stat().st_mtime_ns == written


def test_a_model_that_passed_a_laxer_proof_is_proved_again(
    server: HttpServer, model: ServedModel, receipt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proved, _ = serve(server, model, receipt)
    monkeypatch.setattr(deploy, "PROOF_VERSION", deploy.PROOF_VERSION + 1)
    again, done = serve(server, model, receipt)
    assert done
    assert again.tag_digest == proved.tag_digest


def test_a_removed_model_is_created_again(server: HttpServer, model: ServedModel, receipt: Path) -> None:
    proved, _ = serve(server, model, receipt)
    server.delete(model.name)
    assert serve(server, model, receipt) == (proved, True)
    assert server.digest(model.name) == proved.tag_digest


def test_a_replaced_model_is_created_again(server: HttpServer, model: ServedModel, receipt: Path) -> None:
    proved, _ = serve(server, model, receipt)
    server.create(model.name, model.serving.sha256, changed(model, seed=99).modelfile)
    assert server.digest(model.name) != proved.tag_digest
    assert serve(server, model, receipt) == (proved, True)
    assert server.digest(model.name) == proved.tag_digest


def test_going_back_to_earlier_parameters_serves_the_earlier_model(
    server: HttpServer, model: ServedModel, receipt: Path
) -> None:
    first, _ = serve(server, model, receipt)
    second, done = serve(server, changed(model, num_predict=32), receipt)
    assert done
    assert second.tag_digest != first.tag_digest
    assert serve(server, model, receipt) == (first, True)
    assert server.digest(model.name) == first.tag_digest


def test_another_version_of_the_server_has_to_prove_the_model_again(
    standin: StandIn, server: HttpServer, model: ServedModel, receipt: Path
) -> None:
    serve(server, model, receipt)
    standin.version = "0.33.1"
    proved, done = serve(server, model, receipt)
    assert (proved.version, done) == ("0.33.1", True)


def test_a_server_that_was_down_for_a_while_is_not_asked_to_do_it_again(
    server: HttpServer, model: ServedModel, receipt: Path
) -> None:
    proved, _ = serve(server, model, receipt)
    postpone(model, receipt, "no Ollama server at http://127.0.0.1:9 (connection refused)")
    assert read_json(receipt)["status"] == "not served: no Ollama server at http://127.0.0.1:9 (connection refused)"
    assert serve(server, model, receipt) == (proved, False)
    assert read_json(receipt)["status"] == "served"


def test_a_receipt_that_cannot_be_read_proves_nothing(server: HttpServer, model: ServedModel, receipt: Path) -> None:
    serve(server, model, receipt)
    receipt.write_text(receipt.read_text()[:40])
    _, done = serve(server, model, receipt)
    assert done


def test_the_receipt_of_a_failed_export_says_so(
    standin: StandIn, server: HttpServer, model: ServedModel, receipt: Path
) -> None:
    wrong = with_first_prompt(model, rendered="something else")
    with pytest.raises(ServerError):
        serve(server, wrong, receipt)
    assert read_json(receipt)["status"] == f"not served: the last export to {standin.url} did not finish"


@pytest.mark.usefixtures("standin")  # another build of the engine need not answer word for word
def test_a_model_that_fails_its_proof_does_not_replace_the_one_in_use(
    server: HttpServer, model: ServedModel, receipt: Path
) -> None:
    good, _ = serve(server, model, receipt)
    first = model.proof.prompts[0]
    bad = changed(with_first_prompt(model, rendered=first.rendered.replace("one", "two")), seed=5)
    with pytest.raises(ServerError) as failure:
        serve(server, bad, receipt)
    assert str(failure.value) == (
        f"error: {server.url}: {bad.candidate} does not behave as the model that was trained\n"
        "  ✓ settings: 5 of 5\n"
        "  ✓ metadata: 17 of 17\n"
        "  ✗ prompts rendered as in training: 4 of 5\n"
        "    'hello': differs at character 31\n"
        "      expected: '<|im_start|>system\\nReply with \"two\" word.<|im_end|>\\n<|im_start|>user\\nhe'…\n"
        "      served:   '<|im_start|>system\\nReply with \"one\" word.<|im_end|>\\n<|im_start|>user\\nhe'…\n"
        "  ✓ prompts with the token count of training: 5 of 5\n"
        "  ✓ answers of the GGUF itself: 5 of 5 (5 word for word)\n"
        "  ✓ answers that end as they should: 5 of 5\n"
        f"hint: {model.name} serves what it served before; `ollama run {bad.candidate}` shows the failed one, and "
        "`dvc repro export` tries again"
    )
    assert server.digest(model.name) == good.tag_digest
    assert server.digest(bad.candidate)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"token_ids": [1, 2, 3]},
            "✗ prompts with the token count of training: 4 of 5\n    'hello': 3 tokens in training",
        ),
        ({"stopped": None}, "✗ answers that end as they should: 4 of 5\n    'hello': ended with"),
    ],
)
def test_each_difference_fails_the_proof(
    server: HttpServer, model: ServedModel, receipt: Path, fields: dict[str, object], message: str
) -> None:
    first = model.proof.prompts[0]
    wrong = with_first_prompt(model, **{"stopped": not first.stopped} if "stopped" in fields else fields)
    with pytest.raises(ServerError) as failure:
        serve(server, wrong, receipt)
    assert message in str(failure.value)


def test_another_model_under_the_same_proof_is_found_out(
    server: HttpServer, model: ServedModel, receipt: Path, tmp_path: Path
) -> None:
    """As when a server kept a wrong or damaged file: everything is as it should be but the weights."""
    convert(tmp_path / "models/gguf", seed=1)
    other = read_model(tmp_path / "models/gguf", model.name)
    wrong = dataclasses.replace(other, proof=model.proof)
    with pytest.raises(ServerError) as failure:
        serve(server, wrong, receipt)
    assert "✓ metadata" in str(failure.value)
    assert "✓ prompts rendered as in training: 5 of 5" in str(failure.value)
    assert "✗ answers of the GGUF itself:" in str(failure.value)


def test_changed_settings_are_found_out(server: HttpServer, model: ServedModel, receipt: Path) -> None:
    """As when a server swaps what it was sent for what it thinks fits better."""

    class Swapping(HttpServer):
        def create(self, model: str, gguf_sha256: str, modelfile: object) -> None:
            template = modelfile.template.replace("<|im_start|>assistant", "<|im_start|>bot")
            parameters = {**PARAMETERS, "temperature": 0.1, "stop": ["<|im_end|>", "<|im_start|>"]}
            super().create(model, gguf_sha256, dataclasses.replace(modelfile, template=template, parameters=parameters))

    server.__class__ = Swapping
    with pytest.raises(ServerError) as failure:
        serve(server, model, receipt)
    assert "✗ settings: 3 of 5\n    template: differs at character" in str(failure.value)
    assert (
        '    parameters: stop is "<|im_end|>", "<|im_start|>" instead of [\'<|im_end|>\']; temperature is 0.1 '
        "instead of 0.7\n"
    ) in str(failure.value)


def test_a_candidate_that_another_export_replaced_is_not_given_the_name(
    server: HttpServer, model: ServedModel, receipt: Path
) -> None:
    class Disturbed(HttpServer):
        def show(self, tag: str) -> dict[str, object]:
            shown = super().show(tag)
            self.create(tag, model.serving.sha256, changed(model, seed=3).modelfile)
            return shown

    server.__class__ = Disturbed
    with pytest.raises(ServerError, match="was replaced while it was being proved"):
        serve(server, model, receipt)
    assert server.digest(model.name) is None


@pytest.mark.row("R4.8")
@pytest.mark.usefixtures("standin")
def test_the_name_never_goes_to_what_another_export_has_not_proved_yet(
    server: HttpServer, model: ServedModel, receipt: Path
) -> None:
    """The other one makes its candidate in the moment between the last look at ours and the copy."""
    other = changed(model, seed=3)

    class Raced(HttpServer):
        def copy(self, source: str, destination: str) -> None:
            self.create(other.candidate, other.serving.sha256, other.modelfile)
            super().copy(source, destination)

    server.__class__ = Raced
    proved, _ = serve(server, model, receipt)
    assert server.digest(model.name) == proved.tag_digest


@pytest.mark.row("R4.8")
def test_of_two_exports_at_once_one_wins_and_the_name_leads_to_whole_files(
    standin: StandIn, model: ServedModel, tmp_path: Path
) -> None:
    models = [model, changed(model, num_predict=32)]
    together = threading.Barrier(2)

    def export(number: int) -> str:
        with HttpServer(parse_address(standin.url), sleep=lambda _: None) as server:
            together.wait(60)
            try:
                return serve(server, models[number], tmp_path / f"{number}.json")[0].tag_digest
            except ServerError as error:
                return error.problem

    with ThreadPoolExecutor(2) as pool:
        ends = list(pool.map(export, range(2)))
    names = standin.store.names()
    assert model.name in names
    assert standin.store.digest(model.name) in ends
    for digest in (standin.store.read(model.name) or {}).values():
        assert standin.store.blob(digest).is_file()


class Killed(BaseException):
    """What takes the place of SIGKILL: nothing catches it, and nothing more is asked of the server."""


class Mortal(HttpServer):
    """Ends before its request of this number."""

    asked, last = 0, 10**9

    def _ask(self, *arguments: Any) -> Any:
        self.asked += 1
        if self.asked > self.last:
            raise Killed
        return super()._ask(*arguments)


@pytest.mark.row("R4.9")
@pytest.mark.usefixtures("standin")
def test_an_export_killed_before_any_of_its_requests_leaves_a_proved_model_under_the_name(
    server: HttpServer, model: ServedModel, receipt: Path
) -> None:
    old, new = serve(server, model, receipt)[0].tag_digest, changed(model, num_predict=32)
    prompt = model.proof.prompts[0]
    server.__class__ = Mortal
    held, answers, killed = [], [], 0
    while True:
        server.asked, server.last = 0, killed
        try:
            proved, _ = serve(server, new, receipt)
            break
        except Killed:
            killed += 1
        finally:
            server.last = 10**9
        held.append(server.digest(new.name))
        answers.append(server.answer(new.name, prompt.messages, MAX_NEW_TOKENS).text)
        assert read_json(receipt)["status"] != "served" or killed <= 2
    assert killed >= 20
    assert set(held) == {old, proved.tag_digest}
    assert set(answers) == {prompt.answer}
    assert held == sorted(held, key=[old, proved.tag_digest].index)  # the old one until the copy, the new one from then
    assert server.digests() == {new.name: proved.tag_digest}


@pytest.mark.usefixtures("standin")
def test_what_failed_exports_left_goes_with_the_next_that_succeeds(
    server: HttpServer, model: ServedModel, receipt: Path
) -> None:
    bad = changed(with_first_prompt(model, rendered="something else"), seed=5)
    with pytest.raises(ServerError):
        serve(server, bad, receipt)
    own = f"{model.name}-try-mine"
    server.copy(bad.candidate, own)
    serve(server, model, receipt)
    assert set(server.digests()) == {model.name, own}


@pytest.mark.row("R4.4")
@pytest.mark.parametrize("version", ["0.24.0", "0.33.0"])
def test_a_file_that_lies_truncated_in_the_server_is_found_out_before_the_name_is_given(
    standin: StandIn, model: ServedModel, receipt: Path, version: str
) -> None:
    standin.version = version
    blob = standin.store.blob(f"sha256:{model.serving.sha256}")
    blob.write_bytes(model.gguf.read_bytes()[:-5000])  # Ollama looks for the name only, and says that it has the file
    with HttpServer(parse_address(standin.url), sleep=lambda _: None) as server:
        with pytest.raises(ServerError, match="cannot read its copy of the GGUF") as failure:
            serve(server, model, receipt)
        assert "delete the file that its log names" in failure.value.hint
        assert server.digest(model.name) is None
        blob.unlink(missing_ok=True)
        serve(server, model, receipt)
        assert server.digest(model.name)


def with_jinja(jinja: str, folder: Path, model: ServedModel) -> ServedModel:
    """The model with another chat template in its GGUF."""
    convert(folder / "models/gguf", jinja=jinja)
    return read_model(folder / "models/gguf", model.name)


def test_a_server_may_use_the_template_of_the_gguf_where_both_render_the_same(
    server: HttpServer, model: ServedModel, receipt: Path, tmp_path: Path
) -> None:
    """Servers from 0.30 on prefer it as soon as it speaks of tools."""
    able = "{% if tools %}{{ tools }}{% endif %}" + JINJA
    serve(server, with_jinja(able, tmp_path, model), receipt)
    preferred = server.version() != OLD
    assert server.show(model.name)["template"] == (able if preferred else model.modelfile.template)


@pytest.mark.usefixtures("standin")
def test_a_server_that_uses_a_template_of_the_gguf_that_renders_otherwise_is_found_out(
    server: HttpServer, model: ServedModel, receipt: Path, tmp_path: Path
) -> None:
    other = "{% if tools %}{{ tools }}{% endif %}" + JINJA.replace("assistant", "bot")
    with pytest.raises(ServerError) as failure:
        serve(server, with_jinja(other, tmp_path, model), receipt)
    assert "✓ settings" in str(failure.value)
    assert "✗ prompts rendered as in training: 0 of 5" in str(failure.value)


def test_a_server_that_shows_another_template_is_found_out(
    server: HttpServer, model: ServedModel, receipt: Path
) -> None:
    class Other(HttpServer):
        def show(self, tag: str) -> dict[str, object]:
            return {**super().show(tag), "template": JINJA + " "}

    server.__class__ = Other
    with pytest.raises(ServerError, match="settings: 4 of 5"):
        serve(server, model, receipt)


def test_a_server_that_shows_no_text_for_the_quantization_is_found_out(
    server: HttpServer, model: ServedModel, receipt: Path
) -> None:
    class Other(HttpServer):
        def show(self, tag: str) -> dict[str, object]:
            shown = super().show(tag)
            return {**shown, "details": {**shown["details"], "quantization_level": None}}

    server.__class__ = Other
    with pytest.raises(ServerError, match="settings: 4 of 5"):
        serve(server, model, receipt)


def test_the_receipt_names_the_gguf_that_was_sent_and_the_one_that_is_served(
    server: HttpServer, model: ServedModel, receipt: Path
) -> None:
    serve(server, model, receipt)
    blobs = read_json(receipt)["proved"]["blobs"]
    assert blobs["uploaded"] == f"sha256:{model.serving.sha256}"
    assert re.fullmatch("sha256:[0-9a-f]{64}", blobs["served"])
    if server.version() == OLD:  # later ones write a copy of their own
        assert blobs["served"] == blobs["uploaded"]


def test_only_the_gguf_is_ever_sent_with_everything_that_decides_an_answer(
    standin: StandIn, server: HttpServer, model: ServedModel, receipt: Path
) -> None:
    serve(server, model, receipt)
    assert standin.requests[1:5] == [
        f"HEAD /api/blobs/sha256:{model.serving.sha256}",
        f"HEAD /api/blobs/sha256:{model.serving.sha256}",
        f"POST /api/blobs/sha256:{model.serving.sha256}",
        "POST /api/create",
    ]
    assert standin.creations == [
        {
            "model": model.candidate,
            "stream": True,
            "files": {"model-F16.gguf": f"sha256:{model.serving.sha256}"},
            "template": TEMPLATE,
            "system": SYSTEM,
            "license": "apache-2.0",
            "parameters": {"stop": ["<|im_end|>"], **PARAMETERS},
        }
    ]

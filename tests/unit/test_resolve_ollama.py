"""`base_model: ollama:NAME`: found on disk or by the server's word, imported, pinned; or refused with a way on."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest

from ollamake.errors import BaseModelError
from ollamake.files import read_json, sha256
from ollamake.ollama import bounded_stream, retry
from ollamake.ollama.address import parse_address
from ollamake.ollama.http_server import HttpServer
from ollamake.resolve import ollama_store
from ollamake.resolve.catalog import read_catalog
from ollamake.resolve.ollama_store import find_pulled
from ollamake.resolve.request import parse
from ollamake.resolve.shelf import fetch
from ollamake.resolve.source import Origin
from ollamake.resolve.tokenizer_parity import check_against_llama_cpp
from tests.contract_ollama.tiny_gguf import write_tiny_gguf
from tests.contract_ollama.workspace import JINJA, SYSTEM, TEMPLATE, convert, read_model
from tests.standin import running
from tests.standin.store import Layers, Store

REPOSITORY = Path(__file__).parents[2]
CATALOG = read_catalog(REPOSITORY / "models/catalog.yaml")
SILENT = "http://127.0.0.1:9"
NAME = "llama3.2:1b"
Pull = Callable[..., Layers]


@pytest.fixture(autouse=True)
def only_what_the_test_pulled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("OLLAMA_HOST", SILENT)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf", chat_template=JINJA)


@pytest.fixture
def pull(tmp_path: Path, tiny: Path) -> Pull:
    """Put a model into the store, as `ollama pull` does; `others` are further layers by kind."""

    def put(name: str = NAME, gguf: Path = tiny, **others: str) -> Layers:
        store = Store(tmp_path / "models")
        layers = {"model": store.add_blob(gguf.read_bytes())}
        layers |= {kind: store.add_blob(text.encode()) for kind, text in others.items()}
        store.write(name, layers)
        return layers

    return put


def source(name: str = NAME, revision: str = "pinned"):
    return parse(f"ollama:{name}", revision, CATALOG, Path("/nowhere"))


def told(raised: "pytest.ExceptionInfo[BaseModelError]") -> str:
    return str(raised.value)


# --- end to end ---


def test_a_pulled_model_becomes_a_clean_folder_pinned_by_its_digest(pull: Pull, tmp_path: Path, tiny: Path) -> None:
    layers = pull(template=TEMPLATE, license="LLAMA 3.2 COMMUNITY LICENSE AGREEMENT\n…", params="{}")
    folder = tmp_path / "folder"
    folder.mkdir()
    assert source().bring(folder, tmp_path / "downloads") == Origin(
        {
            "kind": "Ollama store",
            "model": "llama3.2:1b",
            "sha256": sha256(tiny),
            "quantization": "F16",
            "ollama_template": "writes the same prompts",
        },
        revision=layers["model"],
        license="llama3.2",
    )
    assert {file.name for file in folder.iterdir()} == {
        *("chat_template.jinja", "config.json", "generation_config.json", "model.safetensors"),
        *("tokenizer.json", "tokenizer_config.json"),
    }
    check_against_llama_cpp(folder, tiny)
    assert (folder / "chat_template.jinja").read_text() == JINJA
    small = "".join(file.read_text() for file in folder.glob("*.json"))
    assert str(tmp_path) not in small


@pytest.mark.nightly
def test_the_real_smollm2_in_a_store_is_fetched_and_everything_that_is_lost_is_said(
    pull: Pull, tmp_path: Path, smollm2_gguf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    go = "{{ range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n"
    pull("smollm2:135m", smollm2_gguf, template=go, license="Apache License\nVersion 2.0")
    record = fetch(source("smollm2:135m"), tmp_path / "store")
    folder = tmp_path / "store/base" / record["key"]
    assert (record["name"], record["architecture"]) == ("ollama:smollm2:135m", "LlamaForCausalLM")
    assert (record["source"]["quantization"], record["license"]) == ("Q4_1", "apache-2.0")
    assert (record["revision"], record["source"]["ollama_template"]) == (
        f"sha256:{sha256(smollm2_gguf)}",
        "writes other prompts",
    )
    said = capsys.readouterr().err
    assert "its weights were rounded to Q4_1, and what that lost stays lost: for the weights as they were, set" in said
    assert "which is HuggingFaceTB/SmolLM2-135M-Instruct on the hub" in said
    assert "You are a helpful AI assistant named SmolLM" in said  # what Ollama's template leaves out
    assert {file.name: sha256(file) for file in folder.iterdir()} == record["files"]
    check_against_llama_cpp(folder, smollm2_gguf)
    assert fetch(source("smollm2:135m"), tmp_path / "store") == record
    Store(tmp_path / "models").delete("smollm2:135m")
    assert fetch(source("smollm2:135m"), tmp_path / "store") == record
    assert "Ollama no longer has smollm2:135m; it stays as it was fetched" in capsys.readouterr().err


def test_a_model_that_only_the_server_can_find_is_taken_from_where_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert(tmp_path / "gguf")
    model = read_model(tmp_path / "gguf", "me/tiny")
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "nothing"))
    with running(tmp_path / "elsewhere") as standin, HttpServer(parse_address(standin.url)) as server:
        monkeypatch.setenv("OLLAMA_HOST", standin.url)
        server.upload(model.gguf, model.serving.sha256)
        server.create("me/tiny:latest", model.serving.sha256, model.modelfile)
        layers = standin.store.read("me/tiny")
        pulled = find_pulled("me/tiny:latest")
        assert find_pulled("me/other:latest") is None
    assert layers
    assert pulled
    assert pulled.gguf == tmp_path / "elsewhere/blobs" / layers["model"].replace(":", "-")
    assert (pulled.revision, pulled.template, pulled.system) == (layers["model"], TEMPLATE, SYSTEM)
    assert pulled.license == "apache-2.0"


def test_a_changed_tag_is_noticed(pull: Pull, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held = pull()["model"]
    assert source().still_is({"revision": held})
    assert capsys.readouterr().err == ""
    now = pull(gguf=write_tiny_gguf(tmp_path / "new.gguf", seed=1, chat_template=JINJA))["model"]
    assert not source().still_is({"revision": held})
    assert capsys.readouterr().err == f"llama3.2:1b has changed in Ollama: it was {held}, it is {now}\n"
    assert source(revision=held).still_is({"revision": held})  # pinned: what was fetched is what is wanted


# --- what is said before anything is imported ---


def test_a_pinned_digest_is_held_to(pull: Pull, tmp_path: Path) -> None:
    held = pull()["model"]
    other = "sha256:" + "0" * 64
    with pytest.raises(BaseModelError) as raised:
        fetch(source(revision=other), tmp_path / "store")
    assert f"llama3.2:1b in Ollama is {held}, not {other}" in told(raised)
    assert raised.value.where == "params.yaml, base_model_revision"


def test_a_model_that_was_never_pulled_is_named_with_both_ways_on(tmp_path: Path) -> None:
    with pytest.raises(BaseModelError) as raised:
        fetch(source(), tmp_path / "store")
    assert told(raised) == (
        "error: params.yaml, base_model: Ollama on this machine has no model llama3.2:1b\n"
        "hint: `ollama pull llama3.2:1b`, then `dvc repro`; or set base_model to llama3.2:1b, which is "
        "meta-llama/Llama-3.2-1B-Instruct on the hub; OLLAMA_MODELS names the models folder where it is in no usual "
        "place"
    )


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("projector", "it sees or hears, too, and only text can be trained"),
        ("adapter", "it is a model with a LoRA adapter beside it"),
        ("tensor", "it is kept as safetensors for MLX, not as GGUF"),
    ],
)
def test_what_is_no_plain_gguf_is_refused_with_the_hub_id(pull: Pull, tmp_path: Path, kind: str, problem: str) -> None:
    pull(**{kind: "bytes"})
    with pytest.raises(BaseModelError) as raised:
        fetch(source(), tmp_path / "store")
    assert f"llama3.2:1b in Ollama cannot be the base: {problem}" in told(raised)
    assert raised.value.hint == "set base_model to llama3.2:1b, which is meta-llama/Llama-3.2-1B-Instruct on the hub"


def test_a_model_in_the_cloud_has_nothing_to_train_on(tmp_path: Path) -> None:
    store = Store(tmp_path / "models")
    store.write(NAME, {"template": store.add_blob(b"t")})
    with pytest.raises(BaseModelError, match="it has 0 GGUF files; one that runs elsewhere has none"):
        fetch(source(), tmp_path / "store")


def test_senses_inside_the_file_are_refused(pull: Pull, tmp_path: Path) -> None:
    import numpy as np

    more = {"v.patch_embd.weight": np.zeros((2, 2), np.float32)}
    pull(gguf=write_tiny_gguf(tmp_path / "seeing.gguf", chat_template=JINJA, more=more))
    with pytest.raises(BaseModelError, match=r"sees or hears, too \(v.patch_embd.weight\)") as raised:
        fetch(source(), tmp_path / "store")
    assert "meta-llama/Llama-3.2-1B-Instruct" in raised.value.hint


@pytest.mark.parametrize(
    ("name", "way"),
    [
        (NAME, "set base_model to llama3.2:1b, which is meta-llama/Llama-3.2-1B-Instruct on the hub"),
        ("llama3.2:1b-instruct-q4_K_M", "set base_model to llama3.2:1b, which is meta-llama/Llama-3.2-1B-Instruct"),
        ("hf.co/someone/Some-GGUF:Q8_0", "set base_model to the hub id of the model that it was made from"),
    ],
)
def test_an_architecture_that_cannot_be_read_is_refused_with_the_hub_id(
    pull: Pull, tmp_path: Path, name: str, way: str
) -> None:
    from gguf import GGUFWriter

    writer = GGUFWriter(tmp_path / "mamba.gguf", "mamba")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    pull(name, gguf=tmp_path / "mamba.gguf")
    with pytest.raises(BaseModelError, match="has the architecture mamba") as raised:
        fetch(source(name), tmp_path / "store")
    assert raised.value.hint.startswith(way)


def test_a_file_without_a_chat_template_keeps_the_hint_to_name_one(pull: Pull, tmp_path: Path) -> None:
    pull(gguf=write_tiny_gguf(tmp_path / "base.gguf"))
    with pytest.raises(BaseModelError, match="has no chat template") as raised:
        fetch(source(), tmp_path / "store")
    assert "chat_template to the name of a .jinja file" in raised.value.hint


def test_a_damaged_file_is_found_by_its_digest(pull: Pull, tmp_path: Path) -> None:
    layers = pull()
    blob = Store(tmp_path / "models").blob(layers["model"])
    blob.write_bytes(blob.read_bytes() + b"\0" * 32)
    with pytest.raises(BaseModelError, match="is damaged: its sha256 is") as raised:
        fetch(source(), tmp_path / "store")
    assert raised.value.hint == "`ollama pull llama3.2:1b`"


def test_a_pull_that_did_not_finish_is_named(pull: Pull, tmp_path: Path) -> None:
    Store(tmp_path / "models").blob(pull()["model"]).unlink()
    with pytest.raises(BaseModelError, match="the GGUF of llama3.2:1b cannot be read: No such file") as raised:
        fetch(source(), tmp_path / "store")
    assert "`ollama pull llama3.2:1b` on this machine" in raised.value.hint


def test_a_file_of_the_servers_own_user_is_named_with_the_command_that_copies_it(
    pull: Pull, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = Store(tmp_path / "models").blob(pull()["model"])
    opened = Path.open

    def closed(path: Path, *arguments: object, **named: object) -> object:
        if path == blob:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", closed)
    with pytest.raises(BaseModelError, match="Permission denied") as raised:
        fetch(source(), tmp_path / "store")
    assert f"`sudo install -m 644 {blob} models/base.gguf`" in raised.value.hint


@pytest.mark.parametrize("content", ["{", "[]", '{"layers": [{}]}', '{"layers": 3}', "null"])
def test_a_torn_manifest_is_named(pull: Pull, tmp_path: Path, content: str) -> None:
    pull()
    manifest = next((tmp_path / "models/manifests").glob("*/*/*/*"))
    manifest.write_text(content)
    with pytest.raises(BaseModelError, match="the manifest of llama3.2:1b cannot be read") as raised:
        fetch(source(), tmp_path / "store")
    assert raised.value.where == str(manifest)


@pytest.mark.parametrize("digest", ["../../id_rsa", "/etc/passwd", f"sha256:{'0' * 63}/", f"sha256-{'A' * 64}", ""])
def test_a_layer_that_names_a_file_outside_of_the_folder_is_not_read(pull: Pull, tmp_path: Path, digest: str) -> None:
    pull(license="MIT License")
    (tmp_path / "id_rsa").write_text("a key of somebody")
    manifest = next((tmp_path / "models/manifests").glob("*/*/*/*"))
    content = read_json(manifest)
    content["layers"][-1]["digest"] = digest
    manifest.write_text(json.dumps(content))
    with pytest.raises(BaseModelError, match=f"cannot be read: '{digest}' is no sha256"):
        find_pulled(NAME)


# --- where it is looked for ---


@pytest.mark.parametrize(
    ("pulled", "asked"),
    [
        ("llama3.2:1b", "llama3.2:1b"),
        ("llama3.2", "llama3.2:latest"),
        ("library/llama3.2:1b", "LLAMA3.2:1B"),
        ("me/model:v1", "me/model:v1"),
        ("hf.co/someone/Some-Model-GGUF:Q8_0", "hf.co/someone/some-model-gguf:q8_0"),
    ],
)
def test_every_form_of_a_name_finds_the_model(pull: Pull, pulled: str, asked: str) -> None:
    layers = pull(pulled)
    found = find_pulled(asked)
    assert found
    assert found.revision == layers["model"]


def test_the_usual_places_are_looked_at_where_no_folder_is_named(
    pull: Pull, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull()
    monkeypatch.delenv("OLLAMA_MODELS")
    monkeypatch.setattr(ollama_store, "PLACES", (str(tmp_path / "nothing"), "~/models"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_pulled(NAME)


def test_a_folder_that_may_not_be_entered_is_passed_over(pull: Pull, monkeypatch: pytest.MonkeyPatch) -> None:
    pull()

    def refuse(*_: object) -> Iterator[Path]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "glob", refuse)
    assert find_pulled(NAME) is None


@pytest.mark.parametrize(
    "header",
    [b"Content-Length: 999999999\r\n\r\n", b"Content-Encoding: gzip\r\n\r\n", b"Content-Length: 4\r\n\r\nnull"],
)
def test_a_server_that_sends_without_an_end_or_something_else_has_no_model(
    monkeypatch: pytest.MonkeyPatch, header: bytes
) -> None:
    monkeypatch.setattr(bounded_stream, "MAX_BYTES", 1 << 20)
    monkeypatch.setattr(retry, "MAX_TRIES", 1)
    blocks: list[int] = []

    def answer(listener: socket.socket) -> None:
        for _ in range(2):  # the question whether anybody listens, and the one for the model
            connection, _ = listener.accept()
            with connection, suppress(ConnectionError):
                if connection.recv(65536):
                    connection.sendall(b"HTTP/1.1 200 OK\r\n" + header)
                    for _ in range(64):
                        connection.sendall(bytes(1 << 20))
                        blocks.append(1 << 20)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{listener.getsockname()[1]}")
        thread = Thread(target=answer, args=[listener], daemon=True)
        thread.start()
        assert find_pulled(NAME) is None
        thread.join(60)
    assert len(blocks) < 60  # what the sockets hold; the rest was not waited for


@pytest.mark.parametrize("shown", [{"modelfile": "FROM me/other\n"}, {"modelfile": ""}, {}])
def test_a_server_that_tells_of_no_file_has_nothing_to_train_on(
    shown: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with running(tmp_path / "server") as standin:
        monkeypatch.setenv("OLLAMA_HOST", standin.url)
        monkeypatch.setattr(standin.models, "show", lambda _: shown)
        with pytest.raises(BaseModelError, match="it has 0 GGUF files"):
            find_pulled(NAME)


def test_a_server_on_another_machine_cannot_lend_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = f"/on/another/machine/blobs/sha256-{'0' * 64}"
    with running(tmp_path / "server") as standin:
        monkeypatch.setenv("OLLAMA_HOST", standin.url)
        monkeypatch.setattr(standin.models, "show", lambda _: {"modelfile": f"FROM {path}\n"})
        with pytest.raises(BaseModelError, match="the GGUF of llama3.2:1b cannot be read: No such file") as raised:
            find_pulled(NAME)
    assert (raised.value.where, "where the server runs on another, copy the file here" in raised.value.hint) == (
        path,
        True,
    )


@pytest.mark.parametrize("line", [f"FROM /m/blobs/sha256-{'1' * 64}", "ADAPTER /m/adapter"])
def test_a_server_that_tells_of_more_than_a_gguf_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str
) -> None:
    with running(tmp_path / "server") as standin:
        monkeypatch.setenv("OLLAMA_HOST", standin.url)
        monkeypatch.setattr(
            standin.models, "show", lambda _: {"modelfile": f"FROM /m/blobs/sha256-{'0' * 64}\n{line}\n"}
        )
        with pytest.raises(BaseModelError, match="cannot be the base"):
            find_pulled(NAME)


@pytest.mark.parametrize(
    ("typed", "revision", "problem"),
    [
        ("two words", "pinned", "a model in Ollama must be"),
        ("", "pinned", "a model in Ollama must be"),
        ("gpt-oss:120b-cloud", "pinned", "must not have the tag 120b-cloud, with which Ollama means a place"),
        (NAME, "main", "a model in Ollama has no revision main"),
    ],
)
def test_a_name_or_a_revision_that_cannot_be_is_refused(typed: str, revision: str, problem: str) -> None:
    with pytest.raises(BaseModelError, match=problem):
        source(typed, revision)


def test_two_spellings_of_a_tag_are_one_request() -> None:
    assert source("library/llama3.2:1b").identity == source("Llama3.2:1B").identity
    assert source("llama3.2:3b").identity != source().identity

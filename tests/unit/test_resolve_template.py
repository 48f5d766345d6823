import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from ollamake.base import open_base, store
from ollamake.chat import ChatTemplate
from ollamake.errors import BaseModelError, ConversionError
from ollamake.files import read_json, sha256, write_json
from ollamake.gguf import go_template
from ollamake.gguf.fixtures import CONVERSATIONS
from ollamake.resolve.template import named_template
from ollamake.tokens.encode import Encoder
from ollamake.tokens.vocabulary import Vocabulary
from stages.fetch import Params, main

REPOSITORY = Path(__file__).parents[2]
QUESTION, ANSWER = {"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Me."}
# What a base model without a template of its own may be given: it ends answers with the token that ends its texts.
PLAIN = """{{ bos_token }}{% for message in messages %}{{ message['role'] + ': ' + message['content'] }}
{%- if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"""


@pytest.fixture
def without_template(tiny_base, tmp_path):
    folder = shutil.copytree(tiny_base, tmp_path / "a base model")
    (folder / "chat_template.jinja").unlink()
    return folder


def fetch(base_model, chat_template):
    main(Params(base_model=str(base_model), base_model_revision="pinned", chat_template=chat_template))
    return open_base()


def written(name, text):
    Path("models/templates", f"{name}.jinja").write_text(text)
    return name


@pytest.mark.usefixtures("fetch_workspace")
def test_the_named_template_takes_the_place_of_the_model_s_own_and_the_weights_are_shared(tiny_base):
    own, tuned = fetch(tiny_base, "model"), fetch(tiny_base, "chatml")
    assert (tuned.folder / "chat_template.jinja").read_text() == Path("models/templates/chatml.jinja").read_text()
    assert (own.folder / "model.safetensors").samefile(tuned.folder / "model.safetensors")
    different = {name for name in own.record["files"] if own.record["files"][name] != tuned.record["files"][name]}
    assert different == {"chat_template.jinja"}
    assert tuned.record["key"] != own.record["key"]
    assert (tuned.record["chat_template"], own.record.get("chat_template")) == ("chatml", None)
    assert {file.name: sha256(file) for file in tuned.folder.iterdir()} == tuned.record["files"]


@pytest.mark.usefixtures("fetch_workspace")
def test_another_text_under_the_same_name_is_another_base_model_and_the_first_text_the_first_one(tiny_base):
    first = fetch(tiny_base, written("mine", PLAIN)).record
    second = fetch(tiny_base, written("mine", PLAIN + "\n")).record
    assert first["key"] != second["key"]
    assert fetch(tiny_base, written("mine", PLAIN)).record == first
    assert fetch(tiny_base, "mine.jinja").record == first


@pytest.mark.usefixtures("fetch_workspace")
def test_a_second_fetch_with_a_template_touches_nothing(tiny_base):
    fetch(tiny_base, "chatml")
    times = {file: file.stat().st_mtime_ns for file in store().rglob("*") if file.suffix != ".lock"}
    fetch(tiny_base, "chatml")
    assert {file: file.stat().st_mtime_ns for file in store().rglob("*") if file.suffix != ".lock"} == times


@pytest.mark.usefixtures("fetch_workspace")
def test_weights_that_are_damaged_in_the_store_are_brought_back_under_both_names(tiny_base):
    own, tuned = fetch(tiny_base, "model"), fetch(tiny_base, "chatml")
    (own.folder / "model.safetensors").write_bytes(b"torn")
    assert (tuned.folder / "model.safetensors").read_bytes() == b"torn"
    fetch(tiny_base, "chatml")
    assert sha256(tuned.folder / "model.safetensors") == tuned.record["files"]["model.safetensors"]


@pytest.mark.usefixtures("fetch_workspace")
def test_where_a_file_can_have_one_name_only_the_weights_are_copied(tiny_base, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    own, tuned = fetch(tiny_base, "model"), fetch(tiny_base, "chatml")
    assert not (own.folder / "model.safetensors").samefile(tuned.folder / "model.safetensors")
    assert {file.name: sha256(file) for file in tuned.folder.iterdir()} == tuned.record["files"]


@pytest.mark.usefixtures("fetch_workspace")
def test_a_base_model_without_a_template_becomes_usable_with_one(without_template):
    with pytest.raises(BaseModelError, match="has no chat template") as raised:
        fetch(without_template, "model")
    assert "chat_template" in raised.value.hint
    base = fetch(without_template, written("plain", PLAIN))
    text = ChatTemplate.of(base.folder).render([QUESTION, ANSWER])
    ids = Tokenizer.from_file(str(base.folder / "tokenizer.json")).encode(text, add_special_tokens=False).ids
    assert set(ids) & base.end_ids
    with pytest.raises(BaseModelError, match="has no chat template"):
        fetch(without_template, "model")


@pytest.mark.usefixtures("fetch_workspace")
def test_a_template_of_its_own_that_is_no_good_does_not_stand_in_the_way_of_the_named_one(tiny_base, tmp_path):
    folder = shutil.copytree(tiny_base, tmp_path / "odd")
    (folder / "chat_template.jinja").write_text("{{ oops")
    with pytest.raises(BaseModelError, match="the chat template is not valid Jinja: line 1"):
        fetch(folder, "model")
    assert fetch(folder, "chatml").record["chat_template"] == "chatml"
    (folder / "chat_template.jinja").write_text((tiny_base / "chat_template.jinja").read_text())
    assert "chat_template" not in fetch(folder, "model").record


@pytest.mark.usefixtures("fetch_workspace")
def test_a_model_that_came_without_its_template_comes_again_when_it_is_wanted(tiny_base):
    fetch(tiny_base, "chatml")
    own = fetch(tiny_base, "model")
    assert (own.folder / "chat_template.jinja").read_bytes() == (tiny_base / "chat_template.jinja").read_bytes()


@pytest.mark.usefixtures("fetch_workspace")
@pytest.mark.parametrize("name", ["chatlm", "../chatml", "/etc/passwd", "model.jinja", "chat ml", "$(touch owned)"])
def test_a_template_that_is_not_there_is_told_with_those_that_are(name):
    with pytest.raises(BaseModelError) as raised:
        named_template(name)
    assert raised.value.where == "params.yaml, chat_template"
    assert raised.value.problem == f"there is no {name.removesuffix('.jinja')}.jinja in models/templates"
    assert raised.value.hint == "models/templates has chatml; `model` is the base model's own"


@pytest.mark.usefixtures("fetch_workspace")
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("first line\n{{ oops", "is not valid Jinja: line 2: unexpected end of template"),
        ("{% for %}", "is not valid Jinja: line 1"),
        ("", "leaves the user's words out"),
        ("Hello!", "leaves the user's words out"),
        ("{{ messages[0].content }}", "leaves the assistant's words out"),
        ("{{ raise_exception('not today') }}", "refuses a simple question: not today"),
        ("{{ tools[0].name }}", "refuses a simple question: 'tools' is undefined"),
        ("{{ 'a' + 1 }}", "fails on a simple question: TypeError: can only concatenate str"),
    ],
)
def test_a_template_of_no_use_is_refused_by_what_it_does(text, problem, tiny_base):
    with pytest.raises(BaseModelError) as raised:
        fetch(tiny_base, written("mine", text))
    assert raised.value.problem.startswith(f"the chat template {problem}")
    assert raised.value.where == "models/templates/mine.jinja"
    assert raised.value.hint == "correct the file"
    assert not Path("models/base.json").exists()


@pytest.mark.usefixtures("fetch_workspace")
def test_a_template_that_is_no_text_is_refused():
    Path("models/templates/mine.jinja").write_bytes(b"\xff\xfe{\x00{\x00")
    with pytest.raises(BaseModelError, match="cannot be read as UTF-8 text"):
        named_template("mine")


@pytest.mark.usefixtures("fetch_workspace")
def test_a_byte_order_mark_does_not_get_into_the_prompts(tiny_base):
    Path("models/templates/mine.jinja").write_bytes(b"\xef\xbb\xbf" + PLAIN.encode())
    assert not ChatTemplate.of(fetch(tiny_base, "mine").folder).render([QUESTION]).startswith("\ufeff")


def test_the_chatml_here_writes_what_smollm2_does_where_there_is_a_system_message(smollm2_tokenizer):
    ours = ChatTemplate((REPOSITORY / "models/templates/chatml.jinja").read_text())
    theirs = ChatTemplate.of(smollm2_tokenizer)
    messages = [{"role": "system", "content": "Be brief."}, QUESTION, ANSWER]
    assert ours.render(messages) == theirs.render(messages)
    assert (
        ours.render([QUESTION], add_generation_prompt=True)
        == "<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n"
    )
    expected = {name: ours.render(chat, add_generation_prompt=True) for name, chat in CONVERSATIONS.items()}
    assert go_template.choose(expected, go_template.candidates(""), CONVERSATIONS)


@pytest.mark.usefixtures("fetch_workspace")
def test_a_go_template_beside_the_jinja_one_is_tried_first():
    ours = ChatTemplate(PLAIN, (("bos_token", ""), ("eos_token", "<end>")))
    expected = {name: ours.render(chat, add_generation_prompt=True) for name, chat in CONVERSATIONS.items()}
    turn = '{{ .Role }}: {{ .Content }}{{ if eq .Role "assistant" }}<end>{{ end }}\n'
    go = f"{{{{ range .Messages }}}}{turn}{{{{ end }}}}assistant:"
    Path("models/templates/plain.gotmpl").write_text(go)
    found = go_template.candidates("")
    assert next(iter(found)) == "models/templates/plain.gotmpl"
    assert go_template.choose(expected, found, CONVERSATIONS) == go
    Path("models/templates/plain.gotmpl").write_text("{{ range }")
    with pytest.raises(ConversionError) as raised:
        go_template.choose(expected, go_template.candidates(""), CONVERSATIONS)
    assert raised.value.where == "models/templates/plain.gotmpl"


@pytest.mark.usefixtures("fetch_workspace")
def test_a_template_that_ends_answers_with_no_token_at_which_the_model_stops_is_told_in_tokenize(without_template):
    """As with a base model, for which <|im_end|> is a token like any other."""
    write_json(without_template / "generation_config.json", {"eos_token_id": 0})
    config = read_json(without_template / "tokenizer_config.json")
    write_json(without_template / "tokenizer_config.json", {**config, "eos_token": "<|endoftext|>"})
    base = fetch(without_template, "chatml")
    vocabulary = Vocabulary.of(base.folder)
    encoder = Encoder(ChatTemplate.of(base.folder), vocabulary, base.end_ids, "", max_length=64, too_long="drop")
    with pytest.raises(BaseModelError, match="none of the model's end tokens") as raised:
        list(encoder.encode([[QUESTION, ANSWER]]))
    assert "{{ eos_token }} in a template of your own (chat_template in params.yaml)" in raised.value.hint
    plain = fetch(without_template, written("plain", PLAIN))
    [[row]] = replace(encoder, template=ChatTemplate.of(plain.folder)).encode([[QUESTION, ANSWER]])
    assert row.input_ids[-1] in plain.end_ids or row.input_ids[-2] in plain.end_ids

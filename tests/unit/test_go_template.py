"""The Go template has to write what the Jinja template writes; which file does is found by rendering, never by name."""

from pathlib import Path

import pytest
import trl

from ollamake.chat import ChatTemplate
from ollamake.errors import ConversionError, ParityError
from ollamake.gguf import go_template
from ollamake.gguf.fixtures import CONVERSATIONS
from ollamake.gguf.parity import Question
from ollamake.gguf.prompts import Prompts
from ollamake.gguf.proof import _go_template

SHIPPED = Path(trl.__file__).parent / "chat_templates"  # the templates of the real models, as TRL carries them
ALTERNATING = """{{ bos_token }}{% for message in messages %}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}
{%- if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}
{%- else %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}"""
WITH_SYSTEM = """{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] + '\n\n' %}
{%- set messages = messages[1:] %}{% else %}{% set system = '' %}{% endif %}{{ bos_token }}
{%- for message in messages %}{% if message['role'] == 'user' %}
{{- 'OPEN[INST] ' + (system if loop.PLACE else '') + message['content'] + 'CLOSE[/INST]' }}
{%- else %}{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}"""
ZEPHYR = """{% for message in messages %}<|{{ message['role'] }}|>
{{ message['content'] + eos_token + '\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"""
CHATML = """{% for message in messages %}
{{- '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""
MIXTRAL = WITH_SYSTEM.replace("OPEN", " ").replace("CLOSE", " ").replace("PLACE", "first")
MISTRAL_V3 = WITH_SYSTEM.replace("OPEN", "").replace("CLOSE", "").replace("PLACE", "last")
FAMILIES = {
    "gemma": (SHIPPED / "gemma.jinja", "<bos>", "gemma.gotmpl"),
    "gemma 3": (SHIPPED / "gemma3.jinja", "<bos>", "gemma.gotmpl"),
    "llama 3": (SHIPPED / "llama3.jinja", "<|begin_of_text|>", "llama3.gotmpl"),
    "llama 3.1": (SHIPPED / "llama3_1.jinja", "<|begin_of_text|>", "llama3.1.gotmpl"),
    "llama 3.2": (SHIPPED / "llama3_2.jinja", "<|begin_of_text|>", "llama3.1.gotmpl"),
    "phi 3": (SHIPPED / "phi3.jinja", "<s>", "phi3.gotmpl"),
    "qwen 2.5": (SHIPPED / "qwen2_5.jinja", "", "chatml-default-system.gotmpl"),
    "chatml": (CHATML, "", "chatml.gotmpl"),
    "zephyr": (ZEPHYR, "", "zephyr.gotmpl"),
    "mistral 0.2": (ALTERNATING, "<s>", "mistral-no-system.gotmpl"),
    "mistral 0.3": (MISTRAL_V3, "<s>", "mistral.gotmpl"),
    "mixtral": (MIXTRAL, "<s>", "mistral-first-system.gotmpl"),
}


def prompts_of(source, bos):
    text = source.read_text() if isinstance(source, Path) else source
    return Prompts(ChatTemplate(text, (("bos_token", bos), ("eos_token", "</s>"))), None, frozenset())


def served(prompts):
    return {name: text.removeprefix(prompts.bos) for name, text in prompts.texts(CONVERSATIONS).items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_template_of_each_family_is_found_by_what_it_writes(family):
    source, bos, name = FAMILIES[family]
    prompts = prompts_of(source, bos)
    expected = served(prompts)
    assert len(expected) >= 5
    candidates = go_template.candidates(prompts.default_system)
    assert go_template.choose(expected, candidates, CONVERSATIONS) == candidates[name]


@pytest.mark.parametrize("family", FAMILIES)
def test_no_other_template_would_have_passed(family):
    source, bos, name = FAMILIES[family]
    prompts = prompts_of(source, bos)
    others = go_template.candidates(prompts.default_system)
    del others[name]
    assert len(others) >= 8
    with pytest.raises(ParityError):
        go_template.choose(served(prompts), others, CONVERSATIONS)


def test_the_model_s_own_system_text_is_part_of_the_chosen_template():
    prompts = prompts_of(SHIPPED / "qwen2_5.jinja", "")
    assert prompts.default_system == "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
    chosen = go_template.choose(served(prompts), go_template.candidates(prompts.default_system), CONVERSATIONS)
    assert prompts.default_system in chosen
    assert go_template.SYSTEM_SLOT not in chosen


def test_braces_in_the_system_text_are_written_not_run():
    text = "Answer {{ .Role }} in {{ braces }}."
    jinja = CHATML.replace("{% for", "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\n"
                           + text.replace("{{", "{' + '{") + "<|im_end|>\\n' }}{% endif %}{% for", 1)  # fmt: skip
    prompts = prompts_of(jinja, "")
    assert prompts.default_system == text
    assert go_template.choose(served(prompts), go_template.candidates(text), CONVERSATIONS)


def test_a_template_that_nothing_matches_is_refused_with_the_closest_and_the_place_where_it_differs():
    expected = served(prompts_of(CHATML.replace("assistant", "bot"), ""))
    with pytest.raises(ParityError) as caught:
        go_template.choose(expected, go_template.candidates(""), CONVERSATIONS)
    assert "closest is chatml" in caught.value.problem
    assert "bot" in caught.value.problem
    assert ".gotmpl" in caught.value.hint


def asked(text):
    return [Question([{"role": "user", "content": text}], "", [])]


def test_the_chosen_template_writes_the_user_s_own_prompts_too():
    assert _go_template(prompts_of(CHATML, ""), asked("  an edge ")) == go_template.candidates("")["chatml.gotmpl"]
    rare = CHATML.replace("message['content']", "message['content'] | replace('rare', 'RARE')")
    assert _go_template(prompts_of(rare, ""), asked("common"))
    with pytest.raises(ParityError, match=r"(?s)for 'question 1' it differs.*RARE words.*rare words"):
        _go_template(prompts_of(rare, ""), asked("rare words"))


def test_spaces_around_a_message_that_a_jinja_template_strips_are_refused_in_the_user_s_prompts_only():
    llama = prompts_of(SHIPPED / "llama3.jinja", "<|begin_of_text|>")
    assert _go_template(llama, asked("no edge")) == go_template.candidates("")["llama3.gotmpl"]
    with pytest.raises(ParityError, match="question 1") as caught:
        _go_template(llama, asked("an edge "))
    assert "no Go template can strip them" in caught.value.hint


def test_a_file_that_is_no_go_template_is_named():
    with pytest.raises(ConversionError, match="no Go template"):
        go_template.render("{{ range }", CONVERSATIONS["a question"])


def test_llama_3_2_writes_its_fixed_date_without_a_clock():
    """llama.cpp has a clock; the template that goes into the GGUF must not find it."""
    from ollamake.gguf.prompts import without_clock

    source = (SHIPPED / "llama3_2.jinja").read_text()
    assert "strftime_now" in source
    with_clock = ChatTemplate(without_clock(source), (("bos_token", "<|begin_of_text|>"),))
    with_clock._compiled.globals["strftime_now"] = lambda _: "today"
    text = with_clock.render(CONVERSATIONS["a question"], add_generation_prompt=True)
    assert "Today Date: 26 Jul 2024" in text
    assert text == prompts_of(source, "<|begin_of_text|>").text(CONVERSATIONS["a question"])

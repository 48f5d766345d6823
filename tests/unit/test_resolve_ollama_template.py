"""What is said of Ollama's template beside the chat template of the GGUF."""

import pytest

from ollamake.chat import ChatTemplate
from ollamake.resolve.ollama_template import compare
from tests.contract_ollama.workspace import JINJA, TEMPLATE

BEGIN = ChatTemplate("<s>" + JINJA, (("bos_token", "<s>"),))
REFUSES_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}\n{% endfor %}[assistant]"
)
# As templates were before 2024: written once for each question, the answer in its place.
LEGACY = (
    "{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ end }}<|im_start|>user\n{{ .Prompt }}<|im_end|>\n"
    "<|im_start|>assistant\n{{ .Response }}<|im_end|>\n"
)
# As Llama 3.2 has it in Ollama's library: a look ahead, and a system part of its own.
LOOKS_AHEAD = (
    "{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ end }}"
    "{{- range $i, $_ := .Messages }}{{- $last := eq (len (slice $.Messages $i)) 1 }}"
    '{{- if ne .Role "system" }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n'
    '{{ if and $last (ne .Role "assistant") }}<|im_start|>assistant\n{{ end }}{{ end }}{{ end }}'
)


@pytest.mark.parametrize("template", [TEMPLATE, LEGACY])
def test_templates_that_write_the_same_are_found_equal(template: str) -> None:
    assert compare(template, ChatTemplate(JINJA)).outcome == "writes the same prompts"


def test_the_token_that_begins_a_text_may_be_left_to_the_runtime() -> None:
    assert compare(TEMPLATE, BEGIN).outcome == "writes the same prompts"
    assert compare("<s>" + TEMPLATE, BEGIN).outcome == "writes the same prompts"


def test_the_first_prompts_that_differ_are_shown() -> None:
    found = compare(TEMPLATE.replace("assistant", "bot"), ChatTemplate(JINJA))
    assert found.outcome == "writes other prompts"
    assert found.served.endswith("<|im_start|>bot\n")
    assert found.trained.endswith("<|im_start|>assistant\n")


def test_a_template_of_ollamas_library_is_compared() -> None:
    assert compare(LOOKS_AHEAD, ChatTemplate(JINJA)).outcome == "writes the same prompts"


def test_a_conversation_that_the_chat_template_refuses_is_left_out() -> None:
    go = "{{ range .Messages }}[{{ .Role }}]{{ .Content }}\n{{ end }}[assistant]"
    assert compare(go, ChatTemplate(REFUSES_SYSTEM)).outcome == "writes the same prompts"


@pytest.mark.parametrize("template", ["", JINJA])
def test_without_a_template_of_its_own_ollama_uses_that_of_the_gguf(template: str) -> None:
    assert compare(template, ChatTemplate(JINJA)).outcome == "the GGUF's own"


@pytest.mark.parametrize("template", ["{{ range .Messages }}", "{{ range .Messages }}{{ currentDate }}{{ end }}"])
def test_a_template_that_cannot_be_rendered_here_is_said_to_be_so(template: str) -> None:
    assert compare(template, ChatTemplate(JINJA)).outcome == "not comparable"


@pytest.mark.row("R6.3")
@pytest.mark.parametrize(
    "attack",
    [
        "{{ range 1000000000 }}{{ range 1000000000 }}{{ end }}{{ end }}",
        '{{ define "a" }}{{ template "a" . }}{{ end }}{{ template "a" . }}',
        '{{ printf "%4000000000d" 1 }}',
        '{{ $a := "a" }}{{ range 60 }}{{ $a = print $a $a }}{{ end }}{{ $a }}',
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    ],
    ids=["loops in loops", "a call of itself", "a width", "doubling", "brackets in brackets"],
)
def test_a_hostile_template_of_a_pulled_model_is_stopped(attack: str) -> None:
    assert compare("{{ range .Messages }}{{ end }}" + attack, ChatTemplate(JINJA)).outcome == "not comparable"

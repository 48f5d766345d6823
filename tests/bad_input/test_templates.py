"""Hostile chat templates (reference/reliability.md R5 61, R6.3): stopped at fetch, or on the row that sets them off."""

import resource
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ollamake import limits
from ollamake.chat import ChatTemplate
from ollamake.errors import BaseModelError
from ollamake.files import read_json, write_json
from ollamake.resolve.trial import find_problem
from stages.fetch import Params, main
from tests.bad_input.verdicts import REFUSED
from tests.contract.graph import ROOT
from tests.unit.tokenizing import ANSWER, row, run

pytestmark = [pytest.mark.r5(61, f"{REFUSED}, within 2 s and 512 MB"), pytest.mark.row("R6.3")]
# Time, memory, text, and what the sandbox is for: each in the ways that a template has.
HOSTILE = {
    "a power of ten million digits": "{{ 10**10000000 }}",
    "a power that compiling cannot foresee": "{{ ((messages|length + 9)**10000000) % 7 }}",
    "a range of a billion": "{% for a in range(1000000000) %}{% endfor %}",
    "loops in loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "a hundred million letters": "{{ 'a' * 10**8 }}",
    "ten billion letters": "{{ 'a' * 10**10 }}",
    "a long text by padding": "{{ '%1000000000d' % 1 }}",
    "a long text by a format": "{{ '{:>1000000000}'.format(1) }}",
    "a long text by centring": "{{ 'a'|center(1000000000) }}",
    "a long text by indenting": "{{ 'a\n\nb'|indent(1000000000, true) }}",
    "a long text by a method": "{{ 'a'.ljust(1000000000) }}",
    "a long text by joining": "{{ range(99999)|join('a' * 99999) }}",
    "a long text by replacing": "{{ ('a' * 99999)|replace('a', 'a' * 99999) }}",
    "a text that doubles": "{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x = n.x * 9 %}{% endfor %}",
    "a text that doubles without a product": "{% set a = 'aa' %}" + "{% set a = a ~ a %}" * 40,
    "a megabyte in pieces": "{% for i in range(99999) %}0123456789{% endfor %}",
    "a call without end": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "a call that branches": "{% macro f(n) %}{% if n %}{{ f(n - 1) ~ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "ten thousand brackets": "{{ " + "(" * 10_000 + "1" + ")" * 10_000 + " }}",
    "a way to Python's objects": "{{ messages.__class__.__mro__[1].__subclasses__() }}",
    "a way by a filter": "{{ (messages|attr('__class__')).mro() }}",
    "a way by a format": "{{ '{0.__class__.__mro__}'.format(messages) }}",
    "a change of the messages": "{% set _ = messages.append(1) %}",
    "a file of this machine": "{% include '/etc/passwd' %}",
    "a power for whoever offers tools": "{% if tools %}{{ 10**10000000 }}{% endif %}",
    "a long text for a tool's answer": "{% if messages[-1].role == 'tool' %}{{ 'a' * 10**10 }}{% endif %}",
}
STOPPED = ("takes more", "needs more", "writes more", "calls itself", "reaches for", "fails on")
# Writes a conversation as it should, as long as nobody says much.
UNTIL = "{{% for message in messages %}}{{{{ message.role ~ message.content }}}}{{% if message.content|length > 99 %}}"
UNTIL += "{}{{% endif %}}{{% endfor %}}"
LONG = [{"role": "user", "content": "word " * 40}]
SECONDS_OF_TIME = "takes more than {seconds} seconds to render a conversation that ends with 'word word"
TOO_MUCH = "needs more than {megabytes:,} MB to render a conversation that ends with 'word word"
WAITING = {
    "loops in loops": (HOSTILE["loops in loops"], SECONDS_OF_TIME),
    "a call that branches": ("{{ f(60) }}", SECONDS_OF_TIME),
    "a power": ("{{ (message.content|length ** 9000000) % 7 }}", SECONDS_OF_TIME),
    "a text that doubles": (HOSTILE["a text that doubles without a product"], TOO_MUCH),
    "a product": ("{{ 'a' * message.content|length ** 5 }}", TOO_MUCH),
    "padding": ("{{ '%*d' % (message.content|length ** 4, 1) }}", TOO_MUCH),
    "centring": ("{{ 'a'|center(message.content|length ** 4) }}", TOO_MUCH),
    "replacing": ("{% set a = 'a' * 99999 %}{{ a|replace('a', a) }}", TOO_MUCH),
    "a list": ("{{ [1] * message.content|length ** 4 }}", TOO_MUCH),
    "a megabyte": (
        HOSTILE["a megabyte in pieces"],
        "makes 1,000,194 characters of a conversation that ends with 'word",
    ),
}
# Each takes seconds; one of a kind is enough for every day.
SLOW = {"a power of ten million digits", "a power for whoever offers tools", "loops in loops", "a call that branches"}
FAMILIES = sorted((ROOT / "tests/golden/templates").glob("*.jinja"))
assert len(FAMILIES) == 8


def some_nightly(names):
    return [pytest.param(name, marks=pytest.mark.nightly if name in SLOW else ()) for name in names]


def children_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("attack", some_nightly(HOSTILE))
def test_a_hostile_template_is_stopped_in_a_process_of_its_own(attack):
    before = children_seconds()
    assert find_problem(ChatTemplate(HOSTILE[attack])).startswith(STOPPED)
    assert children_seconds() - before < 3  # of the processor, however busy this machine is


@pytest.fixture
def tighter(monkeypatch):
    """Limits that are reached sooner."""
    monkeypatch.setattr(limits, "SECONDS", 1)
    monkeypatch.setattr(limits, "ADDED_BYTES", 256 << 20)
    limits._clock_of.cache_clear()
    yield
    limits._clock_of.cache_clear()


def waiting(attack):
    branching = HOSTILE["a call that branches"].partition("{{ f(60)")[0]
    return ChatTemplate(branching + UNTIL.format(WAITING[attack][0]))


@pytest.mark.usefixtures("tighter")
@pytest.mark.parametrize("attack", some_nightly(WAITING))
def test_a_template_that_fetch_cannot_see_through_is_stopped_by_the_row_that_sets_it_off(attack):
    stopped_by_its_row(attack)


@pytest.mark.nightly
@pytest.mark.parametrize("attack", WAITING)
def test_a_template_that_waits_for_its_row_is_stopped_by_the_limits_as_they_are_shipped(attack):
    assert (limits.SECONDS, limits.ADDED_BYTES) == (3, 1 << 30)
    stopped_by_its_row(attack)


def stopped_by_its_row(attack):
    template = waiting(attack)
    assert find_problem(template) == ""
    usual = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(BaseModelError) as raised:
        template.render(LONG)
    told = WAITING[attack][1].format(seconds=limits.SECONDS, megabytes=limits.ADDED_BYTES >> 20)
    assert raised.value.problem.startswith(f"the chat template {told}")
    assert raised.value.where == "chat_template.jinja"
    assert raised.value.hint
    assert resource.getrlimit(resource.RLIMIT_AS) == usual
    assert template.render([{"role": "user", "content": "short"}]) == "usershort"


@pytest.mark.usefixtures("tighter")
def test_a_process_that_has_grown_since_its_limits_were_set_renders_as_before():
    template = waiting("a product")
    template.render([ANSWER])
    grown = bytearray(400 << 20)
    large = "x" * (30 << 20)
    assert ChatTemplate("{{ messages[0].content }}").render([{"role": "user", "content": large}]) == large
    assert len(grown) == 400 << 20


def test_a_thread_that_renders_while_another_one_does_leaves_no_limit_behind():
    usual = resource.getrlimit(resource.RLIMIT_AS)

    def render():
        assert ChatTemplate("{{ messages[0].content }}").render([ANSWER]) == ANSWER["content"]

    def start():
        thread = threading.Thread(target=render)
        thread.start()
        thread.join()

    limits.within_limits(start)
    assert resource.getrlimit(resource.RLIMIT_AS) == usual


def test_a_process_that_has_rendered_may_take_its_time_to_end():
    """Python forgets its handlers of signals before it takes down its modules."""
    program = [
        "import time; from ollamake import limits; limits.SECONDS = 0.1; limits.within_limits(list)",
        "class Slow:",
        " def __del__(self):",
        "  while time.process_time() < self.end: pass",
        "  print('done')",
        "slow = Slow(); slow.end = time.process_time() + 1",
    ]
    result = subprocess.run([sys.executable, "-c", "\n".join(program)], capture_output=True, text=True, cwd=ROOT)
    assert (result.returncode, result.stdout) == (0, "done\n"), result.stderr


@pytest.mark.parametrize("family", ["smollm2", pytest.param("llama3", marks=pytest.mark.nightly)])
def test_the_longest_row_that_there_can_be_is_rendered_within_the_limits(family):
    largest = {"role": "user", "content": "é👍" * (8 << 20)}  # four bytes a character in memory
    template = ChatTemplate((ROOT / f"tests/golden/templates/{family}.jinja").read_text(), (("bos_token", "<s>"),))
    assert largest["content"] in template.render([largest, ANSWER])


def test_a_stage_ends_with_the_row_that_sets_a_template_off_and_leaves_nothing(tmp_path, tiny_base, monkeypatch):
    base = shutil.copytree(tiny_base, tmp_path / "base")
    bomb = "{% if messages[0].content|length > 99 %}{{ 'a' * 10**10 }}{% endif %}"
    (base / "chat_template.jinja").write_text(bomb + (base / "chat_template.jinja").read_text())
    with pytest.raises(BaseModelError, match="needs more than 1,024 MB to render a conversation that ends with"):
        run(tmp_path, base, monkeypatch, [row(1), row(2, LONG[0], ANSWER)])
    assert not (tmp_path / "data/tokenized").exists()


@pytest.fixture
def model(tiny_base, tmp_path, fetch_workspace):
    """A whole model, beside a workspace of its own."""
    return shutil.copytree(tiny_base, tmp_path / "model")


def refused(model, problem, chat_template="model"):
    with pytest.raises(BaseModelError, match=problem) as raised:
        main(Params(base_model=str(model), base_model_revision="pinned", chat_template=chat_template))
    assert raised.value.hint
    assert not Path("models/base.json").exists()
    assert not list(Path(".ollamake").rglob("*.jinja")) or chat_template != "model"


def test_a_hostile_template_of_a_model_is_refused_before_its_weights_are_read(model):
    (model / "chat_template.jinja").write_text(HOSTILE["a long text by joining"])
    (model / "model.safetensors").write_bytes(b"not even weights")
    refused(model, "the chat template needs more than 512 MB of memory to render a question")


def test_a_hostile_template_inside_tokenizer_config_is_refused_as_well(model):
    (model / "chat_template.jinja").unlink()
    config = {**read_json(model / "tokenizer_config.json"), "chat_template": HOSTILE["a text that doubles"]}
    write_json(model / "tokenizer_config.json", config)
    refused(model, "the chat template needs more than 512 MB of memory")


def test_a_hostile_template_of_models_templates_is_refused_with_its_file(model):
    Path("models/templates/mine.jinja").write_text(HOSTILE["a hundred million letters"])
    refused(model, "models/templates/mine.jinja: the chat template writes more than 100,000 characters", "mine")


@pytest.mark.parametrize("file", FAMILIES, ids=lambda file: file.stem)
def test_the_templates_of_real_models_pass(file):
    assert find_problem(ChatTemplate(file.read_text(), (("bos_token", "<s>"), ("eos_token", "</s>")))) == ""

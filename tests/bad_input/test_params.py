"""Bad parameters (reference/reliability.md R5, 49 to 55): each a clean failure, before any stage works."""

import ast
import re
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from dvc.utils.serialize import load_yaml

from ollamake import params, preflight
from ollamake.collect import mixture
from ollamake.collect.grammar import load
from ollamake.errors import DataError, OllamakeError, ParamsError
from ollamake.tokens.judge import refuse_length
from tests.bad_input.uses import USES
from tests.bad_input.verdicts import NEVER_RUN, REFUSED
from tests.contract.graph import ROOT, read_yaml
from tests.unit.test_judge import converted, standin

__all__ = ["converted", "standin"]

GOOD = (ROOT / "params.yaml").read_text()
# What a shell would run in each of its ways, were one ever given a parameter.
SHELL = [
    "$(touch owned)",
    "`touch owned`",
    "; touch owned",
    "| touch owned",
    "&& touch owned",
    "x > owned",
    "-x\ntouch owned",
]


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """A workspace with the real parameters, catalog and templates."""
    (tmp_path / "params.yaml").write_text(GOOD)
    for name in ("models/catalog.yaml", "models/templates", "data/sources"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        (tmp_path / name).parent.mkdir(exist_ok=True)
        copy(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return tmp_path


def refused(text, path="params.yaml"):
    """Return the whole message for a params.yaml of `text`, which must come after moments of work."""
    Path(path).write_text(text)
    started = time.process_time()
    with pytest.raises(ParamsError) as raised:
        params.check(params.read())
    assert time.process_time() - started < 5
    assert raised.value.where.startswith("params.yaml")
    assert "git diff params.yaml" in raised.value.hint
    return f"{raised.value.where}: {raised.value.problem}"


def changed(key, value):
    """Return the good parameters with another value of one, and the number of its line."""
    lines = GOOD.splitlines()
    [line] = [number for number, text in enumerate(lines) if text.startswith(f"{key}:")]
    lines[line] = f"{key}: {value}"
    return "\n".join(lines) + "\n", line + 1


@pytest.mark.r5(49, REFUSED)
@pytest.mark.usefixtures("workspace")
def test_a_bomb_of_aliases_is_refused_before_it_opens():
    laughs = [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 10)]
    bomb = "\n".join(["a0: &a0 [lol, lol]", *laughs, GOOD])
    assert refused(bomb).startswith("params.yaml, line 1: has the anchor or alias a0;")


@pytest.mark.r5(50, REFUSED)
@pytest.mark.parametrize(
    "tag",
    ["!!python/object/apply:os.system [touch owned]", "!!python/object:os.system x", "!!python/name:os.system ''"],
)
def test_a_python_object_is_refused_and_nothing_is_run(tag, workspace):
    text, line = changed("lora_rank", tag)
    assert refused(text).startswith(f"params.yaml, line {line}: has the tag tag:yaml.org,2002:python/")
    assert not (workspace / "owned").exists()


@pytest.mark.r5(51, REFUSED)
@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize("text", ["lora_rank:\t16\n", "a: 1\n\tlora_rank: 16\n", "\tlora_rank: 16\n"])
def test_a_tab_is_refused_by_its_line(text):
    line = 1 + text[: text.index("\t")].count("\n")
    assert refused(text).startswith(f"params.yaml, line {line}: is not valid YAML: found character '\\t'")


@pytest.mark.r5(52, REFUSED)
@pytest.mark.usefixtures("workspace")
def test_a_key_that_stands_there_twice_is_refused_by_the_line_of_the_second():
    last = len(GOOD.splitlines()) + 1
    message = refused(f"{GOOD}lora_rank: 8\n")
    assert message.startswith(f'params.yaml, line {last}: is not valid YAML: found duplicate key "lora_rank"')


@pytest.mark.r5(53, f"of the wrong type: {REFUSED}")
@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("packing", "no", "input should be a valid boolean, but it is 'no'"),
        ("packing", "0", "input should be a valid boolean, but it is 0"),
        ("learning_rate", "'1e-4'", "input should be a valid number, but it is '1e-4'"),
        ("learning_rate", "1e-4x", "input should be a valid number, but it is '1e-4x'"),
        ("max_length", "1:30", "input should be a valid integer, but it is '1:30'"),
        ("max_length", "256.0", "input should be a valid integer, but it is 256.0"),
        ("max_length", "yes", "input should be a valid integer, but it is 'yes'"),
        ("max_length", "true", "input should be a valid integer, but it is True"),
        ("max_length", "", "input should be a valid integer, but it is None"),
        ("ollama_model", "2026-01-02", "input should be a valid string, but it is datetime.date(2026, 1, 2)"),
        ("system_prompt", "7", "input should be a valid string, but it is 7"),
    ],
)
def test_a_value_that_yaml_reads_as_another_type_is_refused_by_what_it_is(key, value, problem):
    text, line = changed(key, value)
    assert f"line {line}: {key}: {problem}" in refused(text)


@pytest.mark.r5(53, "read as DVC reads them")
@pytest.mark.parametrize(
    "value", ["1e-4", "1E-4", "017", "0o17", "0x1F", "1_000", "1:30", "no", "yes", "off", "True", "~", "+5", ".5", "1."]
)
def test_every_way_to_write_a_value_is_read_as_dvc_reads_it(value, tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(f"a: {value}\n")
    ours, theirs = params.read(path)["a"], load_yaml(str(path))["a"]
    assert ours == theirs
    assert isinstance(ours, type(theirs))


@pytest.mark.r5(53, f"of the wrong type: {REFUSED}")
@pytest.mark.parametrize("text", ["sources: " + "1" * 5000, "on: 2026-02-31", "? [a, b]\n: 1\n", "? {a: 1}\n: 1\n"])
def test_a_list_of_sources_with_what_python_cannot_hold_is_refused(text, tmp_path):
    (tmp_path / "sources.yaml").write_text(text)
    with pytest.raises(DataError) as raised:
        mixture.parse(load(tmp_path / "sources.yaml"), tmp_path / "sources.yaml")
    assert raised.value.where.startswith(str(tmp_path / "sources.yaml"))
    assert raised.value.hint


@pytest.mark.r5(54, REFUSED)
@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("learning_rate", ".nan", "input should be a finite number, but it is nan"),
        ("learning_rate", ".inf", "input should be a finite number, but it is inf"),
        ("learning_rate", "1e999", "input should be a finite number, but it is inf"),
        ("learning_rate", "-0.001", "input should be greater than 0, but it is -0.001"),
        ("weight_decay", "-.inf", "input should be a finite number, but it is -inf"),
        ("num_epochs", "0", "input should be greater than 0, but it is 0"),
        ("num_epochs", "two", "input should be a valid integer, but it is 'two'"),
        ("per_device_batch_size", "0", "input should be greater than 0, but it is 0"),
        ("gradient_accumulation_steps", "-1", "input should be greater than 0, but it is -1"),
        ("max_length", "0", "input should be greater than or equal to 2, but it is 0"),
        ("lora_rank", "99999999999999999999.5", "input should be a valid integer"),
    ],
)
def test_a_number_that_cannot_be_meant_is_refused_by_its_line(key, value, problem):
    text, line = changed(key, value)
    assert f"line {line}: {key}: {problem}" in refused(text)


@pytest.mark.r5(54, REFUSED)
@pytest.mark.usefixtures("workspace")
def test_an_unknown_key_is_refused_with_the_one_that_was_meant():
    line = len(GOOD.splitlines()) + 1
    meant = f"line {line}: lora_rnk: no stage reads this parameter; did you mean lora_rank?"
    assert meant in refused(f"{GOOD}lora_rnk: 8\n")


@pytest.mark.r5(54, REFUSED)
def test_a_max_length_beyond_the_model_is_refused_with_the_most_that_fits():
    base = SimpleNamespace(context_length=512, record={"name": "tiny"})
    refuse_length(512, base)
    with pytest.raises(ParamsError, match="max_length is 513, but tiny reads 512 tokens at most") as raised:
        refuse_length(513, base)
    assert "max_length=512" in raised.value.hint


def texts():
    return [key for key, value in read_yaml("params.yaml").items() if isinstance(value, str)]


@pytest.mark.r5(55, NEVER_RUN)
@pytest.mark.parametrize("hostile", SHELL)
@pytest.mark.parametrize("key", texts())
def test_a_command_in_a_parameter_is_never_run(key, hostile, workspace):
    """Each is refused by the check, or is one that may be any text."""
    assert refusal({**params.read(), key: hostile}) or key in USES
    assert not list(workspace.rglob("owned*"))


def refusal(content):
    """Return what is said against the parameters, empty when nothing is."""
    try:
        params.check(content)
        preflight.check(content)
    except OllamakeError as error:
        return str(error)
    return ""


@pytest.mark.r5(55, NEVER_RUN)
@pytest.mark.parametrize("hostile", SHELL)
@pytest.mark.parametrize("key", USES)
def test_what_uses_a_parameter_that_may_be_any_text_runs_no_command_in_it(key, hostile, workspace, request):
    USES[key](hostile, request)
    assert not list(workspace.rglob("owned*"))


@pytest.mark.r5(55, NEVER_RUN)
def test_no_parameter_is_put_into_a_command_of_the_graph():
    commands = [entry["cmd"] for entry in read_yaml("dvc.yaml")["stages"].values()]
    assert len(commands) >= 9
    assert [command for command in commands if "$" in command] == []


CALLS = {"system", "popen", "getoutput", "getstatusoutput", "create_subprocess_shell"}
SHELLS = {"sh", "bash", "dash", "zsh", "ksh"}


def shells_in(code):
    """What in the code starts a shell: a call that does, one with `shell=`, a list such as ["bash", "-c", ...]."""
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name)) if name in CALLS:
                yield name
            case ast.Call(keywords=keywords) if any(keyword.arg == "shell" for keyword in keywords):
                yield "shell="
            case ast.List(elts=elements) | ast.Tuple(elts=elements):
                words = [one.value for one in elements if isinstance(one, ast.Constant) and isinstance(one.value, str)]
                if SHELLS & {Path(word).name for word in words} and any(re.fullmatch(r"-\w*c", word) for word in words):
                    yield " ".join(words)


@pytest.mark.parametrize(
    "code",
    ["os.system(x)", "popen(x)", "run(x, shell=y)", "run(['bash', '-c', x])", "run(('env', '/bin/sh', '-ec', x))"],
)
def test_code_that_starts_a_shell_is_found(code):
    assert len(list(shells_in(code))) == 1


@pytest.mark.r5(55, NEVER_RUN)
def test_no_code_of_ours_starts_a_shell():
    files = [*(ROOT / "ollamake").rglob("*.py"), *(ROOT / "stages").glob("*.py")]
    assert len(files) > 80
    assert [(file.name, found) for file in files for found in shells_in(file.read_text())] == []

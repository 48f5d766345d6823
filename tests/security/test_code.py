"""No line of the code reads pickles, runs what data says, or hands a command to a shell."""

import ast
import tomllib
from collections.abc import Iterator

import pytest

from tests.contract.graph import ROOT

pytestmark = pytest.mark.row("R6.2")
MODULES = {"_pickle", "cPickle", "cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "pickle", "shelve", "yaml"}
CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "subprocess.getoutput", "torch.load"}
# Keywords, and the one value that each may have where a call names it.
KEYWORDS = {"trust_remote_code": False, "allow_pickle": False, "shell": False, "weights_only": True}


def findings(code: str) -> Iterator[str]:
    """Yield what a piece of code does that none may do; no comment excuses it."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (f"import {name.name}" for name in node.names if name.name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = {f"{node.module}.{name.name}" for name in node.names}
            if node.module.partition(".")[0] in MODULES:
                yield f"from {node.module}"
            yield from sorted(names & CALLS)
        elif isinstance(node, ast.Call):
            yield from call(node)


def call(node: ast.Call) -> Iterator[str]:
    called = ast.unparse(node.func)
    named = {keyword.arg: keyword.value for keyword in node.keywords}
    if called in CALLS and not (called == "torch.load" and "weights_only" in named):
        yield called
    if called.endswith("YAML") and "typ" in named and ast.unparse(named["typ"]) not in ("'safe'", "'rt'"):
        yield f"YAML(typ={ast.unparse(named['typ'])})"
    for name, value in named.items():
        if name in KEYWORDS and not (isinstance(value, ast.Constant) and value.value is KEYWORDS[name]):
            yield f"{name}={ast.unparse(value)}"
        if name is None and isinstance(value, ast.Dict):  # f(**{"shell": True})
            keys = [key.value for key in value.keys if isinstance(key, ast.Constant)]
            yield from (f"**{{{key}}}" for key in keys if key in KEYWORDS)


def test_nothing_in_the_code_can_run_what_a_file_says():
    files = [file for name in ("ollamake", "stages", "benchmarks") for file in (ROOT / name).rglob("*.py")]
    assert len(files) > 200
    assert {str(file.relative_to(ROOT)): found for file in files if (found := list(findings(file.read_text())))} == {}


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "import yaml",
        "import joblib.numpy_pickle",
        "from torch import load",
        "from os import system",
        "torch.load(path)  # noqa: S614",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=safe)",
        "np.load(path, allow_pickle=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "load(name, trust_remote_code=params.trust)",
        "load(name, **{'trust_remote_code': True})",
        "subprocess.run(text, shell=True)",
        "os.system(text)",
        "eval(text)",
        "exec(text)",
        "YAML(typ='unsafe').load(text)",
    ],
)
def test_a_line_that_could_is_found(code):
    assert list(findings(code))


@pytest.mark.parametrize(
    "code",
    [
        "model.eval()",
        "torch.load(path, weights_only=True)",
        "re.compile(text)",
        "YAML(typ='safe').load(text)",
        "subprocess.run(words, shell=False)",
        "json.load(stream)",
    ],
)
def test_a_line_that_could_not_is_let_be(code):
    assert list(findings(code)) == []


def test_the_linter_has_the_same_rules_on():
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    assert "S" in rules["select"]
    assert {rule for rule in rules["ignore"] if rule.startswith("S")} == {"S603", "S607"}

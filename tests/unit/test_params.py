import sys

import pytest
from pydantic import PositiveInt

import stages
from ollamake import params
from ollamake.errors import ParamsError
from ollamake.ollama.names import ModelName
from ollamake.params import StageParams


class Train(StageParams):
    learning_rate: float
    lora_rank: PositiveInt


def read(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    return params.read(path)


def findings(tmp_path, text):
    return params.findings(read(tmp_path, text), {"train": Train})


def test_a_valid_file_has_no_findings(tmp_path):
    assert findings(tmp_path, "learning_rate: 2e-5\nlora_rank: 16\n") == []


def test_a_number_in_exponent_form_is_a_number_as_it_is_for_dvc(tmp_path):
    assert read(tmp_path, "learning_rate: 2e-5\n")["learning_rate"] == 2e-5


def test_an_unknown_parameter_names_its_line_and_the_one_that_was_meant(tmp_path):
    text = "learning_rate: 0.1\nlora_rank: 16\nlora_rnk: 8\n"
    assert findings(tmp_path, text) == ["line 3: lora_rnk: no stage reads this parameter; did you mean lora_rank?"]


def test_a_mistyped_value_is_named_with_its_line_and_stage(tmp_path):
    [finding] = findings(tmp_path, "learning_rate: 0.1\nlora_rank: sixteen\n")
    assert finding == "line 2: lora_rank: input should be a valid integer, but it is 'sixteen' (stage train)"


def test_a_number_in_quotes_is_refused_because_dvc_would_compare_it_as_text(tmp_path):
    assert len(findings(tmp_path, 'learning_rate: "0.1"\nlora_rank: 16\n')) == 1


def test_all_problems_are_reported_at_once(tmp_path):
    assert len(findings(tmp_path, "learning_rate: high\nlora_rank: -1\nextra: 1\n")) == 3


def test_a_missing_parameter_is_named(tmp_path):
    assert findings(tmp_path, "lora_rank: 16\n") == ["learning_rate: is missing (stage train)"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: '1\n", "is not valid YAML"),
        ("just text\n", "holds no `key: value` lines"),
        ("", "holds no `key: value` lines"),
        ("- a\n- b\n", "holds no `key: value` lines"),
        ("a: 1\nb: [1, 2]\n", "line 2: has a list or a mapping in it; a parameter is one number, word or text"),
        ("a:\n  b: 1\n", "line 2: has a list or a mapping in it"),
        ("a: 1\n---\nb: 1\n", "line 3: has a list or a mapping in it"),
        ("%YAML 1.1\n---\na: no\n", "line 2: has a %YAML directive"),
        ("a: 2026-13-45\n", "is not valid YAML: month must be in 1..12"),
        (f"a: {'9' * 5000}\n", "is not valid YAML: Exceeds the limit"),
        ("a: \x00\n", "is not valid YAML: unacceptable character #x0000"),
        ('a: 1\nb: "x\\ud800"\n', "line 2: has half of a surrogate pair in it"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused_with_its_place(tmp_path, text, problem):
    with pytest.raises(ParamsError, match=problem):
        read(tmp_path, text)


def test_a_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "params.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ParamsError, match="cannot be read"):
        params.read(tmp_path / "params.yaml")


def test_a_validator_of_our_own_speaks_for_itself():
    class Export(StageParams):
        ollama_model: ModelName

    [finding] = params.findings({"ollama_model": "a b"}, {"export": Export})
    assert finding.startswith("ollama_model: must be [namespace/]model[:tag] in letters")
    assert finding.endswith("but it is 'a b' (stage export)")


def test_a_long_value_is_shown_by_its_beginning():
    [finding] = params.findings({"learning_rate": 0.1, "lora_rank": "x" * 5000}, {"train": Train})
    assert "but it is 'xxx" in finding
    assert len(finding) < 200


def test_a_module_among_the_stages_that_declares_no_parameters_is_left_out(tmp_path, monkeypatch):
    (tmp_path / "arithmetic.py").write_text("def half(number):\n    return number / 2\n")
    monkeypatch.setattr(stages, "__path__", [*stages.__path__, str(tmp_path)])
    monkeypatch.setitem(sys.modules, "stages.arithmetic", None)  # taken out again after the test
    monkeypatch.delitem(sys.modules, "stages.arithmetic")
    found = params.schemas()
    assert sys.modules["stages.arithmetic"].half(3) == 1.5
    assert "train" in found
    assert "arithmetic" not in found


def test_the_parameters_of_this_repository_are_valid():
    params.check(params.read())

"""A metric of the user's own, in a file as a user would write it."""

import re
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from ollamake.errors import ParamsError
from ollamake.scoring.own import OwnFile, open_metric

ROOT = Path(__file__).parents[2]
ANSWERS, REFERENCES = ["ls", "rm -rf /", "cat a"], ["ls", "rm a", "cat b"]
HEAD = """
import datasets
import evaluate

class Mine(evaluate.Metric):
    def _info(self):
        text = datasets.Value("string")
        features = datasets.Features({"predictions": text, "references": text})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references):
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a metric with that body into metrics_own, under a name of its own: Python keeps what it has imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def written(name, body, head=HEAD):
        path = Path("metrics_own") / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(head + "".join(f"        {line}\n" for line in body.splitlines()))
        return str(path)

    return written


def score(path):
    return open_metric(path).score(ANSWERS, REFERENCES)


def problem(path):
    with pytest.raises(ParamsError) as caught:
        score(path)
    assert "metrics_own/README.md" in caught.value.hint
    return str(caught.value)


def test_a_list_is_a_number_for_each_answer(write):
    found = score(write("lengths", "return {'words': [len(text.split()) for text in predictions]}"))
    assert found.items == {"lengths_words": [1, 3, 2]}
    assert found.overall == {}


def test_a_score_that_is_called_as_its_file_keeps_that_name(write):
    assert score(write("brevity", "return {'brevity': [1.0] * len(predictions)}")).items == {"brevity": [1, 1, 1]}


def test_a_number_that_is_the_mean_of_the_single_answers_is_as_good_as_a_list(write):
    found = score(write("right", "return {'right': sum(map(str.__eq__, predictions, references)) / len(predictions)}"))
    assert found.items == {"right": [1, 0, 0]}
    assert found.overall == {}


def test_numpys_numbers_and_arrays_are_numbers(write):
    body = (
        "import numpy\nall = numpy.array([len(text) for text in predictions])\nreturn {'each': all, 'max': all.max()}"
    )
    found = score(write("arrays", body))
    assert found.items == {"arrays_each": [2, 8, 5]}
    assert found.overall == {"arrays_max": 8}


def test_a_number_of_all_answers_at_once_stands_alone(write):
    found = score(write("variety", "return {'variety': len(set(predictions)) / 7}"))
    assert found.items == {}
    assert found.overall == {"variety": pytest.approx(3 / 7)}


def test_a_number_that_one_answer_cannot_have_stands_alone(write):
    body = "import statistics\nreturn {'spread': statistics.stdev(map(len, predictions))}"
    assert list(score(write("correlated", body)).overall) == ["correlated_spread"]


def test_a_metric_may_import_its_neighbours(write):
    Path("metrics_own").mkdir()
    Path("metrics_own/known_words.py").write_text("KNOWN = {'ls', 'cat'}\n")
    head = "from .known_words import KNOWN\n" + HEAD
    body = "return {'tool': [float(text.split()[0] in KNOWN) for text in predictions]}"
    assert score(write("importing", body, head)).items == {"importing_tool": [1, 0, 1]}


def test_a_metric_that_draws_gives_the_same_every_time(write):
    path = write("drawing", "import numpy\nreturn {'luck': list(numpy.random.rand(len(predictions)))}")
    assert score(path) == score(path)


def test_a_base_class_that_the_file_imports_is_not_taken_for_the_metric(write):
    head = HEAD.replace("import evaluate", "from evaluate import Metric").replace("evaluate.Metric)", "Metric)")
    head = head.replace("evaluate.MetricInfo", "__import__('evaluate').MetricInfo")
    assert score(write("from_import", "return {'n': [1] * len(predictions)}", head)).items == {
        "from_import_n": [1, 1, 1]
    }


def test_the_file_is_not_copied_into_the_users_home(write):
    score(write("quiet", "return {'n': 1}"))
    assert not Path("home").exists()


def test_none_is_no_metric():
    assert open_metric("none") is None


def test_a_missing_file_is_refused_with_those_that_are_there(write):
    write("there", "return {'n': 1}")
    text = problem("metrics_own/their.py")
    assert "params.yaml: eval_metric names metrics_own/their.py, which is not there" in text
    assert "metrics_own/there.py" in text


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("def broken(:\n", "broken_head.py, line 1: SyntaxError: invalid syntax"),
        ("import no_such_package\n", "broken_head.py, line 1: ModuleNotFoundError: No module named 'no_such_package'"),
        ("x = 1\n\ny = x / 0\n", "broken_head.py, line 3: ZeroDivisionError"),
        ("import evaluate\n", "holds 0 classes made from evaluate.Metric"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_its_line(write, head, said):
    assert said in problem(write("broken_head", "", head))


def test_two_metrics_in_a_file_are_refused(write):
    assert "holds 2 classes" in problem(
        write("two", "return {'n': 1}\n", HEAD + "        pass\n" + HEAD.replace("Mine", "Other"))
    )


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("raises", "return {'n': predictions[9]}", "metrics_own/raises.py, line 12: IndexError"),
        ("nothing", "pass", "returned None, not a dictionary"),
        ("empty", "return {}", "returned {}, not a dictionary"),
        ("bare", "return 0.5", "returned 0.5, not a dictionary"),
        ("text", "return {'n': 'good'}", "its score 'n' is 'good', not a number nor a list of 3"),
        ("unequal", "return {'n': [1, 2]}", "its score 'n' is [1, 2], not a number nor a list of 3"),
        ("texts", "return {'n': ['a', 'b', 'c']}", "its score 'n' is ['a', 'b', 'c'], not"),
        ("infinite", "return {'n': float('nan')}", "its score 'n' is nan, not a number"),
        ("rouge", "return {'l': 0.5}", "would be called rouge_l, which is one of ours: rename the file"),
    ],
)
def test_a_metric_that_gives_no_numbers_is_refused(write, name, body, said):
    assert said in problem(write(name, body))


def test_another_state_of_the_file_is_another_version(write):
    before = open_metric(write("state", "return {'n': 1}")).version
    assert open_metric(write("state", "return {'n': 2}")).version != before
    assert before.startswith("metrics_own/state.py|sha256:")


@pytest.mark.parametrize("name", ["none", "metrics_own/mine.py", "metrics_own/more/mine.py"])
def test_a_file_of_that_folder_may_be_named(name):
    assert TypeAdapter(OwnFile).validate_python(name) == name


@pytest.mark.parametrize(
    "name", ["", "mine.py", "metrics_own/mine", "/etc/metrics_own/x.py", "metrics_own/../x.py", "bleu"]
)
def test_a_file_that_dvc_does_not_watch_is_refused(name):
    with pytest.raises(ValidationError, match="eval_metric|metrics_own|at least 1"):
        TypeAdapter(OwnFile).validate_python(name)


def test_the_example_of_the_guide_works(write):
    [code] = re.findall("```python\n(.*?)```", (ROOT / "metrics_own/README.md").read_text(), flags=re.DOTALL)
    assert score(write("short_enough", "", code)).items == {"short_enough": [1, 0, 1]}

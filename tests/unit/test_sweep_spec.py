"""sweep.yaml is refused before any work, with everything that is wrong with it; what is right is drawn as written."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from ruamel.yaml import YAML

from ollamake import params
from ollamake.overrides import words
from ollamake.sweep.check import World, findings, flatten
from ollamake.sweep.errors import SweepError
from ollamake.sweep.graph import Graph, read_graph
from ollamake.sweep.space import corners, locate, points, suggest
from ollamake.sweep.spec import Spec, read_spec

ROOT = Path(__file__).parents[2]
SPEC: dict[str, Any] = {
    "name": "s",
    "objective": {"loss": "minimize"},
    "trials": 4,
    "space": {"lora_rank": {"choices": [8, 16]}},
}


@pytest.fixture(scope="module")
def graph() -> Graph:
    return read_graph((ROOT / "dvc.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def world(graph: Graph) -> World:
    content = params.read(ROOT / "params.yaml")
    return World(content, params.schemas(), graph, {"loss": 1.6, "rouge_l": 0.4, "gate.gain": 0.1})


def spec(**lines: Any) -> Spec:
    return Spec.model_validate({**SPEC, **lines})


def found(world: World, **lines: Any) -> list[str]:
    return list(findings(spec(**lines), world))


def test_the_sweep_of_this_repository_is_right(world: World) -> None:
    shipped = read_spec(ROOT / "sweep.yaml")

    assert list(findings(shipped, world)) == []
    assert shipped.trials == 12
    assert locate(world.content, shipped.space), "its first trial is the default"


def test_everything_wrong_with_its_form_is_said_at_once(tmp_path: Path) -> None:
    lines = {**SPEC, "sampler": "magic", "trails": 3, "trials": 0, "space": {"lora_rank": {"low": 8, "choices": [1]}}}
    (tmp_path / "sweep.yaml").write_text("")
    with (tmp_path / "sweep.yaml").open("w") as stream:
        YAML().dump(lines, stream)

    with pytest.raises(SweepError) as refused:
        read_spec(tmp_path / "sweep.yaml")

    said = str(refused.value)
    for part in (
        "4 problems",
        "sampler: input should be 'grid'",
        "trails: is no line",
        "trials: ",
        "lora_rank: takes either",
    ):
        assert part in said


@pytest.mark.parametrize("line", [r'fixed: {base_model: "\ud800"}', r'fixed: {"\ud800": 3}', r'sampler: "\ud800"'])
def test_half_of_a_surrogate_pair_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "sweep.yaml").write_text(f"name: s\n{line}\n")
    with pytest.raises(SweepError, match=r"sweep\.yaml, line 2: has half of a surrogate pair"):
        read_spec(tmp_path / "sweep.yaml")


def test_endless_brackets_are_refused(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text("[" * 20_000)
    with pytest.raises(SweepError, match="cannot be read"):
        read_spec(tmp_path / "sweep.yaml")


@pytest.mark.parametrize(
    ("dimension", "problem"),
    [
        ({"low": 3, "high": 2}, "low is 3"),
        ({"low": 0, "high": 2, "log": True}, "above 0"),
        ({"low": 1, "high": 2.5, "int": True}, "whole numbers"),
        ({"choices": [1, 1]}, "stands there twice"),
        ({"choices": [1], "log": True}, "belong to a range"),
        ({"low": 1}, "takes either"),
    ],
)
def test_a_dimension_that_means_nothing_is_refused(dimension: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        spec(space={"lora_rank": dimension})


def test_a_mistyped_parameter_is_named_with_the_one_that_was_meant(world: World) -> None:
    assert found(world, space={"lora_rnk": {"choices": [8]}}) == [
        "lora_rnk: no stage reads this parameter; did you mean lora_rank?"
    ]


def test_a_value_that_a_stage_refuses_is_found_at_any_corner(world: World) -> None:
    space = {"lora_rank": {"choices": [8, 16]}, "learning_rate": {"low": 0.0, "high": 0.1}}

    (problem,) = found(world, space=space)

    assert problem.startswith("learning_rate: input should be greater than 0, but it is 0.0")


def test_a_range_of_numbers_for_a_whole_one_is_refused(world: World) -> None:
    assert "valid integer" in found(world, space={"lora_rank": {"low": 4.5, "high": 8.5}})[0]


def test_a_fixed_value_is_checked_like_a_searched_one(world: World) -> None:
    assert "max_steps" in found(world, fixed={"max_steps": -1})[0]
    assert "searched in `space`, too" in found(world, fixed={"lora_rank": 4})[0]


@pytest.mark.parametrize("name", ["gguf_quantization", "ollama_temperature", "gate_min_gain"])
def test_a_parameter_of_what_comes_after_the_scores_is_refused(world: World, name: str) -> None:
    (problem,) = found(world, fixed={name: world.content[name]})

    assert f"fixed.{name}: changes nothing up to `evaluate`" in problem


def test_a_condition_needs_a_choice_that_stands_before_it(world: World) -> None:
    rank = {"choices": [8, 16], "when": {"method": "lora"}}
    method = {"choices": ["lora", "full"]}

    assert found(world, space={"method": method, "lora_rank": rank}) == []
    assert "stands after it" in found(world, space={"lora_rank": rank, "method": method})[0]
    assert "is not in the space" in found(world, space={"lora_rank": rank})[0]
    wrong = {**rank, "when": {"method": ["qlora"]}}
    assert "'qlora' is none of the choices" in found(world, space={"method": method, "lora_rank": wrong})[0]


def test_a_grid_over_a_range_without_steps_is_refused(world: World) -> None:
    ranged = {"learning_rate": {"low": 0.001, "high": 0.002}}

    assert "no end of them" in found(world, sampler="grid", space=ranged)[0]
    assert found(world, sampler="grid", space={"learning_rate": {"low": 0.001, "high": 0.002, "step": 0.0005}}) == []


@pytest.mark.parametrize(("line", "value"), [("sampler", "cmaes"), ("pruner", "median")])
def test_several_objectives_need_a_sampler_and_a_pruner_that_know_them(world: World, line: str, value: str) -> None:
    two = {"loss": "minimize", "rouge_l": "maximize"}
    ranges = {"learning_rate": {"low": 0.001, "high": 0.002}, "lora_dropout": {"low": 0.0, "high": 0.1}}

    assert found(world, objective=two, space=ranges) == []
    assert found(world, objective=two, space=ranges, **{line: value})[0].startswith(f"{line}: {value}")


def test_a_metric_that_was_never_measured_is_refused_unless_nothing_was(world: World) -> None:
    assert "rouge_l" in found(world, objective={"rouge": "maximize"})[0]
    assert found(world, objective={"gate.gain": "maximize"}) == []
    unbuilt = World(world.content, world.stages, world.graph, {})
    assert found(unbuilt, objective={"rouge": "maximize"}) == []


def test_numbers_of_metrics_are_found_under_dotted_names_and_intervals_are_not() -> None:
    content = {"loss": 1, "tasks": {"math": {"exact": 0.5}}, "intervals": {"loss": [0, 2]}, "good": True, "name": "x"}

    assert flatten(content) == {"loss": 1, "tasks.math.exact": 0.5}


def test_a_parameter_reruns_its_readers_and_all_that_follows(graph: Graph) -> None:
    assert {"gate", "convert", "report", "export"}.isdisjoint(graph.stages)
    assert graph.rerun(["lora_rank"]) == {"train", "evaluate"}
    assert graph.rerun(["eval_batch_size"]) == {"baseline", "evaluate"}
    assert "collect" in graph.readers("data_source"), "it stands in a path"
    assert graph.rerun(["base_model"]) >= {"fetch", "tokenize", "train", "baseline", "evaluate"}
    assert "prepare" not in graph.rerun(["base_model"])


def test_the_curve_for_pruning_is_the_objective_where_training_draws_it(graph: Graph) -> None:
    assert graph.curve("loss") == "plots/train/metrics/val_loss.tsv"
    assert graph.curve("rewards_accuracy") == "plots/train/metrics/rewards_accuracy.tsv"


CONDITIONAL = {
    "method": {"choices": ["lora", "full"]},
    "lora_rank": {"low": 8, "high": 24, "step": 8, "int": True, "when": {"method": "lora"}},
    "packing": {"choices": [True, False]},
}


def test_a_grid_has_every_combination_once_and_leaves_out_what_a_condition_leaves_out() -> None:
    grid = list(points(spec(space=CONDITIONAL).space))

    assert len(grid) == (3 + 1) * 2
    assert {"method": "full", "packing": True} in grid
    assert {"method": "lora", "lora_rank": 16, "packing": False} in grid


@pytest.mark.parametrize(
    ("dimension", "values"),
    [
        ({"low": 10000, "high": 10010, "int": True}, list(range(10000, 10011))),
        ({"low": 12000, "high": 12300, "step": 25, "int": True}, list(range(12000, 12301, 25))),
        ({"low": 0.999, "high": 1.0, "step": 0.00025}, [0.999, 0.99925, 0.9995, 0.99975, 1.0]),
        ({"low": -0.3, "high": 0.3, "step": 0.1}, [-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3]),
    ],
)
def test_a_range_with_steps_has_each_of_its_values(dimension: dict[str, Any], values: list[float]) -> None:
    space = spec(space={"x": dimension}).space

    assert [point["x"] for point in points(space)] == values
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    assert {suggest(study.ask(), space)["x"] for _ in range(100)} == set(values)


def test_corners_are_the_ends_of_the_ranges() -> None:
    assert {point.get("lora_rank") for point in corners(spec(space=CONDITIONAL).space)} == {8, 24, None}


def test_what_is_drawn_lies_in_the_space_and_can_be_typed_again() -> None:
    space = spec(
        space={
            **CONDITIONAL,
            "learning_rate": {"low": 0.0001, "high": 0.01, "log": True},
            "x": {"low": 0, "high": 1, "step": 0.1},
        }
    ).space
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(50):
        point = suggest(study.ask(), space)

        assert ("lora_rank" in point) == (point["method"] == "lora")
        assert 0.0001 <= float(point["learning_rate"]) <= 0.01
        assert len(repr(point["x"])) <= 3
        assert len(repr(point["learning_rate"])) <= 11


def test_the_default_is_found_in_the_space_or_not() -> None:
    space = spec(space=CONDITIONAL).space
    content = {"method": "lora", "lora_rank": 16, "packing": False}

    assert locate(content, space) == content
    assert locate({**content, "method": "full"}, space) == {"method": "full", "packing": False}
    assert locate({**content, "lora_rank": 12}, space) is None
    assert locate({**content, "lora_rank": 32}, space) is None
    assert locate({**content, "packing": 0}, space) is None


@pytest.mark.parametrize(
    "value", [True, 16, 2e-05, 0.1, "q_proj v_proj", "none", "it's", "a\\", 'say "x", {y}=[z]', "a\\'b", "", "1e3", "ü"]
)
def test_an_override_arrives_in_params_yaml_as_it_was_meant(tmp_path: Path, value: object) -> None:
    from dvc.utils.hydra import apply_overrides

    path = tmp_path / "params.yaml"
    path.write_text("known: 1\n")
    assert isinstance(value, bool | int | float | str)

    apply_overrides(str(path), words({"known": value}))

    read = params.read(path)["known"]
    assert read == value
    assert isinstance(read, type(value))

"""`python -m ollamake models`: the facts of models/cards.yaml against each other, and what is made of them."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import typer
from dvc.utils.serialize import modify_yaml
from typer.testing import CliRunner

from ollamake import params
from ollamake.catalog import cards, commands, memory
from ollamake.catalog.cards import find_model, read_models
from ollamake.catalog.choice import Wish, choose, weigh
from ollamake.catalog.commands import parse_memory
from ollamake.catalog.memory import METHODS, best_fit, fit, longest_rows, scoring_bytes, training_bytes
from ollamake.catalog.shape import Shape
from ollamake.cli import app
from ollamake.errors import BaseModelError
from ollamake.files import read_json
from ollamake.plan.forecast import memory_parts
from ollamake.plan.machine import Machine
from ollamake.plan.memory import HEAD_GRADIENT
from ollamake.plan.shape import read_shape
from ollamake.resolve.gguf_import import ARCHITECTURES as FROM_GGUF
from tests import tiny
from tests.conftest import REPOSITORY

MODELS = read_models(REPOSITORY / "models/catalog.yaml", REPOSITORY / "models/cards.yaml")
CONTENT = params.read(REPOSITORY / "params.yaml")
NAMES = [model.name for model in MODELS]
LAPTOP = Machine("", 16 * 10**9, 12 * 10**9, bf16=True)


def model(name: str) -> cards.Model:
    return find_model(name, MODELS)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "models").mkdir()
    for name in ("models/catalog.yaml", "models/cards.yaml", "params.yaml"):
        shutil.copyfile(REPOSITORY / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["models", *arguments])
    assert result.exit_code == code, result.output
    return result.stdout or result.stderr


def test_every_model_of_the_catalog_has_a_card_and_no_card_is_left_over() -> None:
    assert len(MODELS) > 20
    families = {name.partition(":")[0]: found.family for name, found in zip(NAMES, MODELS, strict=True)}
    assert {f"{name}:{size}" for name, family in families.items() for size in family.sizes} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_dimensions_of_a_card_give_the_number_of_parameters_to_the_last(name: str) -> None:
    assert model(name).shape.parameters == model(name).entry.parameters


def test_an_adapter_of_the_default_build_has_as_many_weights_as_were_trained() -> None:
    measured = read_json(REPOSITORY / "metrics/train.json")["trainable_parameters"]
    assert sum(model("smollm2:135m").shape.adapters.values()) * CONTENT["lora_rank"] == measured


def test_a_shape_by_its_dimensions_is_that_of_the_files(tiny_base: Path) -> None:
    heads = (tiny.HEADS, tiny.KEY_VALUE_HEADS, tiny.HIDDEN // tiny.HEADS)
    vocabulary = read_json(tiny_base / "config.json")["vocab_size"]
    told = Shape(
        "LlamaForCausalLM", tiny.LAYERS, tiny.HIDDEN, tiny.FEED_FORWARD, *heads, vocabulary, tied=True, experts=1
    ).planned("tiny")
    read = read_shape("tiny", tiny_base)
    assert replace(told, stored_bytes=read.stored_bytes) == read


@pytest.mark.parametrize("found", MODELS, ids=NAMES)
def test_what_can_come_as_gguf_is_of_a_kind_that_can_be_imported(found: cards.Model) -> None:
    assert not found.family.gguf or found.entry.architecture in FROM_GGUF.values()


def test_models_count_as_served_where_there_is_a_template_of_their_format() -> None:
    templates = [path.name for path in (REPOSITORY / "ollamake/gguf/templates").glob("*.gotmpl")]
    assert len(templates) > 5
    for found in MODELS:
        assert found.served == any(name.startswith(found.entry.chat_format) for name in templates), found.name


def test_the_command_line_offers_what_the_cards_know() -> None:
    assert get_args(commands.Task) == get_args(cards.Task)
    assert get_args(commands.Format) == get_args(cards.Format)
    assert {task for found in MODELS for task in found.tasks} == set(get_args(cards.Task))


@pytest.mark.parametrize("name", NAMES)
def test_less_is_trained_in_less_memory(name: str) -> None:
    full, lora, qlora = (training_bytes(model(name), method, CONTENT, LAPTOP) for method in METHODS)
    assert full > lora > qlora > 0


def test_the_formula_is_weights_and_moments_and_what_a_batch_keeps() -> None:
    gpu = Machine("H200", 150 * 10**9, 150 * 10**9, bf16=True)
    found, content = model("llama3.1:8b"), {**CONTENT, "per_device_batch_size": 1, "max_length": 1}
    count = found.entry.parameters
    # Held in bfloat16 once, and 16 bytes for each weight of the adapter, 0.5 % of them at rank 16.
    assert training_bytes(found, "lora", content, gpu) == pytest.approx(2 * count + 16 * 41_943_040, rel=0.1)
    # Itself, gradient and two moments in fp32, and autocast's copy in bfloat16; and what the output matrix takes.
    head = HEAD_GRADIENT * 128_256 * 4096
    assert training_bytes(found, "full", content, gpu) == pytest.approx(18 * count + head, rel=0.1)
    longer = {**content, "max_length": 1001}
    kept = training_bytes(found, "lora", longer, gpu) - training_bytes(found, "lora", content, gpu)
    assert kept > 1000 * 32 * 4096 * 30  # tokens, layers, width, bytes


def test_the_default_build_took_less_than_the_figure_for_its_worst_batch() -> None:
    measured = read_json(REPOSITORY / "metrics/train.json")["peak_memory_mb"] * 1e6
    worst = training_bytes(model("smollm2:135m"), "lora", CONTENT, LAPTOP)
    assert measured < worst < 2.5 * measured  # its conversations are a fifth as long as max_length allows


def test_what_takes_too_much_is_told_with_both_figures() -> None:
    found = weigh(model("qwen2.5:72b"), Wish(method="full"), LAPTOP, CONTENT)
    assert re.fullmatch(r"full takes [\d.]+ of 16 GB", found.objections[0])
    found = weigh(model("qwen2.5:7b"), Wish(method="qlora"), LAPTOP, CONTENT)
    assert re.fullmatch(r"qlora takes [\d.]+, evaluate [\d.]+, of 16 GB", found.objections[0])


def test_experts_are_not_quantized() -> None:
    found, count = model("mixtral:8x7b"), model("mixtral:8x7b").entry.parameters
    assert found.shape.joined == pytest.approx(0.966 * count, rel=0.01)
    gpu = Machine("H200", 150 * 10**9, 150 * 10**9, bf16=True)
    short = {**CONTENT, "per_device_batch_size": 1, "max_length": 1}
    assert training_bytes(found, "qlora", short, gpu) > 1.9 * count


def best_method(name: str, machine: Machine) -> str:
    found = best_fit(model(name), CONTENT, machine)
    return found.method if found else ""


def test_the_best_method_is_the_first_that_fits() -> None:
    assert best_method("smollm2:135m", LAPTOP) == "full"
    assert best_method("qwen2.5:1.5b", LAPTOP) == "lora"
    assert best_method("qwen2.5:72b", LAPTOP) == ""


def test_what_is_trained_in_four_bits_is_scored_whole_and_has_to_fit_so() -> None:
    found, machine = model("qwen2.5:7b"), Machine("", 25 * 10**9, 25 * 10**9, bf16=True)
    assert training_bytes(found, "qlora", CONTENT, machine) < machine.memory_bytes
    least = fit(found, "qlora", CONTENT, machine)
    assert (least.eval_batch_size, least.stage) == (1, "evaluate")
    assert least.need_bytes > 6 * found.entry.parameters  # in fp32, and stored in bfloat16
    assert best_fit(found, CONTENT, machine) is None
    assert weigh(found, Wish(method="qlora"), machine, CONTENT).objections


def test_scoring_takes_what_plan_says_and_in_smaller_batches_where_they_fit() -> None:
    gpu, found = Machine("L4", 8 * 10**9, 8 * 10**9, bf16=True), model("smollm2:1.7b")
    best = best_fit(found, CONTENT, gpu, ("qlora",))
    assert best is not None
    assert 1 < best.eval_batch_size < CONTENT["eval_batch_size"]
    assert max(scoring_bytes(found, "qlora", CONTENT, gpu).values()) > gpu.memory_bytes >= best.need_bytes
    content = {**CONTENT, "method": "qlora", "eval_batch_size": best.eval_batch_size}
    rows, shape = longest_rows(CONTENT["max_length"]), found.shape.planned(found.name)
    assert best.needs["evaluate"] == sum(memory_parts("evaluate", content, shape, rows, gpu).values())


def test_a_machine_without_a_gpu_has_to_convert_in_the_same_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "conversion_bytes", lambda *_: 17e9)
    assert best_method("smollm2:135m", LAPTOP) == ""
    assert best_method("smollm2:135m", Machine("L4", 16 * 10**9, 16 * 10**9, bf16=True)) == "full"


@pytest.mark.parametrize(
    ("wish", "name", "objection"),
    [
        (Wish(task="code"), "smollm2:135m", "made for chat, instruct, summarize, rewrite"),
        (Wish(task="tools"), "smollm2:1.7b", None),
        (Wish(licence="permissive"), "llama3.2:1b", "licence llama3.2 is not permissive"),
        (Wish(licence="commercial"), "llama3.2:1b", None),
        (Wish(licence="commercial"), "qwen2.5:3b", "licence qwen-research is not commercial"),
        (Wish(language="de"), "tinyllama:1.1b", "its languages are en"),
        (Wish(language="de"), "llama3.2:1b", None),
        (Wish(context=32768), "smollm2:1.7b", "a context of 8,192 tokens"),
        (Wish(context=32768), "qwen2.5:1.5b", None),
        (Wish(format="wheel"), "smollm2:360m", "comes as safetensors or gguf"),
        (Wish(format="wheel"), "smollm2:135m", None),
        (Wish(format="gguf"), "tinyllama:1.1b", "comes as safetensors"),
        (Wish(method="full"), "smollm2:360m", None),
        (Wish(), "neural-chat:7b", "no template for Ollama here writes its prompts yet"),
    ],
)
def test_a_wish_is_held_against_the_facts(wish: Wish, name: str, objection: str | None) -> None:
    machine = Machine("", 80 * 10**9, 80 * 10**9, bf16=True)
    assert weigh(model(name), wish, machine, CONTENT).objections == ((objection,) if objection else ())


def test_the_largest_that_fits_is_the_first_and_on_a_cpu_the_slow_come_last() -> None:
    gpu = Machine("A100", 40 * 10**9, 40 * 10**9, bf16=True)
    best = choose(MODELS, Wish(licence="permissive"), gpu, CONTENT)[0]
    assert (best.model.name, best.fit.method) == ("qwen2.5:14b", "qlora")  # 32b would be trained, and not be scored
    assert best.fit.need_bytes < gpu.memory_bytes
    cpu = Machine("", 40 * 10**9, 40 * 10**9, bf16=True)
    ranked = [found.model.name for found in choose(MODELS, Wish(task="chat"), cpu, CONTENT) if not found.objections]
    assert ranked[0] == "smollm2:1.7b"
    assert ranked.index("qwen2.5:0.5b") < ranked.index("llama3.2:3b")


def test_the_list_fits_a_narrow_screen_and_marks_what_fits(workspace: Path) -> None:
    lines = run("list", "--memory", "16GB", "--cpu").splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in "".join(lines)
    rows = {line.split()[0]: line.split()[-1] for line in lines if line.strip()}
    assert (rows["smollm2:135m"], rows["qwen2.5:1.5b"], rows["qwen2.5:72b"]) == ("full", "lora", "–")
    assert rows["smollm2:1.7b"] == "lora+"


def test_a_model_is_shown_with_terms_sources_and_what_to_run(workspace: Path) -> None:
    text = " ".join(run("show", "meta-llama/Llama-3.2-1B-Instruct").split())
    assert 'shows "Built with Llama", has a name that begins with Llama' in text
    assert "accept the licence at https://huggingface.co/meta-llama/Llama-3.2-1B-Instruct, then `hf auth login`" in text
    assert "in batches of 8 × 256 tokens (params.yaml)" in text
    assert run("show", "phi:2.7b").count("convert` would refuse") == 1


def test_a_mistyped_name_is_told_with_the_ones_most_like_it(workspace: Path) -> None:
    assert "did you mean smollm2:135m" in run("show", "smolm2:135m", code=1)


def test_a_recommendation_says_why_and_what_to_run(workspace: Path) -> None:
    wish = ("--task=code", "--memory=16GB", "--licence=permissive", "--language=de", "--cpu")
    text = run("recommend", *wish)
    assert text.startswith(
        "1. qwen2.5:1.5b, 1.5 B parameters, lora\n   made for code; licence apache-2.0; de is one of"
    )
    assert "`dvc exp run -S base_model=qwen2.5:1.5b -S method=lora`" in text
    assert "of 22 left out: 10 by task" in " ".join(text.split())
    smaller = run("recommend", "--memory=8GB", "--gpu", "--count=1")
    assert "-S method=qlora -S eval_batch_size=32`" in " ".join(smaller.split())


def test_where_nothing_fits_the_nearest_are_told_with_what_they_lack(workspace: Path) -> None:
    text = run("recommend", "--memory=1GB", "--language=th", "--count=1", "--cpu")
    assert text.startswith("none fits all of that; the nearest lack:\n   ")
    assert "of 1 GB" in text
    assert len(text.strip().splitlines()) <= 3


@pytest.mark.parametrize(
    ("text", "size"), [("16GB", 16e9), ("16", 16e9), ("24 GiB", 24 * 2**30), ("800mb", 8e8), ("1.5g", 1.5e9)]
)
def test_a_memory_is_read_in_the_usual_spellings(text: str, size: float) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "much", "-1GB", "16 apples"])
def test_what_is_no_memory_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="write 16GB"):
        parse_memory(text)


def test_a_language_is_two_letters(workspace: Path) -> None:
    assert "ISO 639-1" in run("recommend", "--language", "German", code=2)


def test_cards_that_are_damaged_or_lack_a_model_are_told_with_their_path(workspace: Path) -> None:
    with modify_yaml("models/cards.yaml") as content:
        del content["families"]["phi3"]
    with pytest.raises(BaseModelError, match="knows nothing of phi3") as raised:
        read_models()
    assert raised.value.hint == "`git checkout models/cards.yaml` restores it"
    Path("models/cards.yaml").write_text("families: [")
    with pytest.raises(BaseModelError, match="is not what it should be"):
        read_models()

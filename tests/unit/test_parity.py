"""The gate: a right GGUF passes it, and what else may be wrong is stopped; test_gguf_planted has the table of bugs."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ollamake.base import Base
from ollamake.errors import ConversionError, ParityError
from ollamake.files import read_json, write_json
from ollamake.gguf import metadata, render
from ollamake.gguf.build import parameters
from ollamake.gguf.header import float_weights, read_header
from ollamake.gguf.parity import fixture_questions, probe_questions
from ollamake.gguf.quantizations import QUANTIZATIONS
from ollamake.gguf.quantize import quantize
from ollamake.gguf.reference import TrainedModel
from ollamake.gguf.runtime import Runtime
from ollamake.resolve.tokenizer_parity import llama_cpp_tokenize
from ollamake.resolve.weights_parity import _of_llama_cpp
from tests.unit.planted import conversation, failures, workbench

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bench(tiny_base):
    return workbench(tiny_base)


def rescaled(base: Base, folder: Path, scaling) -> Base:
    shutil.copytree(base.folder, folder)
    write_json(folder / "config.json", {**base.config, "rope_parameters": scaling})
    return Base(folder, base.record)


def test_a_right_f16_file_passes_every_check(bench):
    proof = bench.gate(bench.f16)
    assert proof.agreement.top1_agreement >= 0.98
    assert proof.agreement.tokens >= 30
    assert proof.checks["token ids"] > 240
    assert proof.checks["metadata"] > 12
    assert proof.checks["prompt texts"] == 4 + 8
    assert proof.checks["stops"] >= 2


def test_a_right_q8_0_file_passes_and_is_less_exact_than_f16(bench):
    small = bench.folder / "small.gguf"
    quantize(bench.f16, small, QUANTIZATIONS["Q8_0"].file_type)
    proof = bench.gate(small, "Q8_0")
    assert small.stat().st_size < 0.8 * bench.f16.stat().st_size
    assert proof.agreement.mean_abs_dlogprob > 2 * bench.gate(bench.f16).agreement.mean_abs_dlogprob


@pytest.mark.row("R6.3")
def test_a_template_that_would_not_end_in_llama_cpp_is_stopped_in_a_process_of_its_own(bench, monkeypatch):
    own = bench.prompts.template.source.encode()
    without_end = (
        b"{% if tools %}{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}{% endif %}"
    )
    content, file = bench.f16.read_bytes(), bench.folder / "without_end.gguf"
    assert content.count(own) == 1
    file.write_bytes(content.replace(own, without_end.ljust(len(own))))
    monkeypatch.setattr(render, "CPU_SECONDS", 3)
    with pytest.raises(ParityError, match="llama.cpp cannot run the chat template inside it within 3 s"):
        render.rendered(file, [conversation(1)[:1]])
    # Whoever asks for no more than tokens never runs it.
    with Runtime(file, 512) as runtime:
        assert runtime.answer(bench.prompts.ids("hi"), 2).answer
    with llama_cpp_tokenize(file) as tokenize:
        assert tokenize("hi") == bench.prompts.ids("hi")
    assert _of_llama_cpp(file, bench.prompts.ids("hi"))


def test_the_name_of_the_model_is_all_that_the_file_says_of_where_it_was_made(bench):
    content = bench.f16.read_bytes()
    assert b"tiny fine-tuned" in content
    assert str(bench.folder).encode() not in content
    assert b"scratch" not in content[:4000]


def test_a_lost_rope_scaling_is_named(bench, tmp_path):
    factors = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
    scaling = {"rope_type": "llama3", "rope_theta": 100000.0, **factors}
    with pytest.raises(ParityError) as caught:
        bench.gate(bench.f16, base=rescaled(bench.base, tmp_path / "scaled", scaling))
    assert "metadata: rope_freqs.weight, the scaling of Llama 3.1" in failures(caught)


def test_another_rope_scaling_factor_is_named(bench, tmp_path):
    scaling = {"rope_type": "linear", "rope_theta": 100000.0, "factor": 4.0}
    with pytest.raises(ParityError) as caught:
        bench.gate(bench.f16, base=rescaled(bench.base, tmp_path / "scaled", scaling))
    assert failures(caught)[:2] == ["metadata: llama.rope.scaling.type", "metadata: llama.rope.scaling.factor"]


def test_a_rope_scaling_that_the_converter_drops_is_named(bench, tmp_path):
    scaling = {"rope_type": "dynamic", "rope_theta": 100000.0, "factor": 4.0}
    with pytest.raises(ParityError, match="which llama.cpp computes\n +got +dynamic"):
        bench.gate(bench.f16, base=rescaled(bench.base, tmp_path / "scaled", scaling))


@pytest.mark.parametrize("key", ["block_count", "attention.head_count_kv", "rope.freq_base"])
def test_a_number_that_the_file_does_not_tell_is_named(bench, key):
    values = {name: value for name, value in read_header(bench.f16).metadata.items() if name != f"llama.{key}"}
    found = [*metadata._model(bench.base, values.get), *metadata._rope(bench.base, values.get, set())]
    assert [finding.subject for finding in found if not finding.passed] == [f"llama.{key}"]


def test_a_template_that_ends_answers_with_no_end_token_is_refused(bench, tmp_path):
    folder = tmp_path / "endless"
    shutil.copytree(bench.base.folder, folder)
    for name, end in {
        "generation_config.json": {"eos_token_id": [0]},
        "tokenizer_config.json": {"eos_token": None},
    }.items():
        write_json(folder / name, {**read_json(folder / name), **end})
    with pytest.raises(ParityError, match="none of which is a token at which the model stops"):
        bench.gate(bench.f16, base=Base(folder, bench.base.record))


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.2, 0.9])
def test_a_torn_file_is_no_gguf(bench, share):
    file = bench.folder / "torn.gguf"
    content = bench.f16.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ConversionError, match="not a whole GGUF file") as caught:
        bench.gate(file)
    assert caught.value.where == str(file)


def test_the_front_of_a_file_reads_as_in_the_gguf_library(bench):
    from gguf import GGUFReader

    header, reader = read_header(bench.f16), GGUFReader(bench.f16)
    compared = 0
    for key, value in header.metadata.items():
        field = reader.fields[key]
        theirs = len(field.data) if field.types[0].name == "ARRAY" else field.contents()
        assert value == theirs, key
        compared += 1
    assert compared > 25
    ours = dict(float_weights(bench.f16, header))
    assert len(ours) == len(reader.tensors) >= 20
    for tensor in reader.tensors:
        assert np.array_equal(ours[tensor.name], tensor.data.reshape(-1)), tensor.name


def test_the_parameters_are_counted_from_the_headers(bench):
    assert 3_000_000 < parameters(bench.base) < 4_000_000


def test_fixtures_are_asked_with_the_system_prompt_of_training(bench):
    asked = fixture_questions("Be brief.", bench.prompts)
    assert len(asked) == 7
    assert [question.messages[0]["role"] for question in asked] == ["system"] * 7
    assert asked[1].messages[0]["content"] == "Answer in one word."


def test_a_proof_on_nothing_is_refused(bench):
    with pytest.raises(ParityError, match="no prompt to prove the model on"):
        probe_questions([], "", bench.prompts, 4, 400)


def test_a_probe_row_that_the_template_refuses_is_passed_over_as_in_training(bench):
    source = (
        "{% if messages[0]['content'] == 'no' %}{{ raise_exception('no') }}{% endif %}" + bench.prompts.template.source
    )
    prompts = replace(bench.prompts, template=replace(bench.prompts.template, source=source))
    refused = [{"role": "user", "content": "no"}, {"role": "assistant", "content": "?"}]
    rows = [{"id": "0", "messages": refused}, *({"id": str(n), "messages": conversation(n)} for n in range(1, 6))]
    found = probe_questions(rows, "", prompts, 2, 400)
    assert [question.messages for question in found] == [conversation(1)[:1], conversation(2)[:1]]


def test_a_probe_row_of_text_asks_with_its_first_forty_words(bench):
    rows = [{"id": "0", "text": " one  two\nthree" + " more" * 100}, {"id": "1", "text": "kurz und gut"}]
    first, second = probe_questions(rows, "", bench.prompts, 4, 400)
    assert first.messages == [{"role": "user", "content": "one two three" + " more" * 37}]
    assert second.text == bench.prompts.text([{"role": "user", "content": "kurz und gut"}])


def test_every_token_of_an_answer_is_judged_though_llama_cpp_tells_no_number_inside_a_character(bench):
    prompts = bench.prompts
    prompt = prompts.ids(prompts.text(conversation(0)[:1]))
    with Runtime(bench.f16, 512) as runtime:
        whole = runtime.answer(prompt, 20, grammar='root ::= "😀 漢字"')
        cut = runtime.answer(prompt, 2, grammar='root ::= "😀 漢字"')
    assert whole.text == "😀 漢字"
    assert whole.stopped
    assert prompts.tokenizer.decode(whole.answer[:-1]) == whole.text
    assert len(whole.answer) == 9
    told = [index for index, logprob in enumerate(whole.logprobs) if logprob is not None]
    assert told == [3, 6, 7, 8]
    judged = TrainedModel(bench.base, bench.adapter).judge([whole])[0]
    assert len(judged.first_choices) == 9
    assert [whole.logprobs[index] for index in told] == pytest.approx(
        [judged.logprobs[index] for index in told], abs=0.1
    )
    assert (cut.answer, cut.logprobs, cut.stopped) == (whole.answer[:2], (None, None), False)

"""Every bug that a conversion can have is planted, stopped, and named; docs/parity.md has the table."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from ollamake.base import Base
from ollamake.errors import ParityError
from ollamake.files import write_json
from tests.tiny import HEADS, KEY_VALUE_HEADS, LAYERS
from tests.unit.parity_page import kept, row_of
from tests.unit.planted import Workbench, failures, overwrite, respell, workbench

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("planted")]  # one worker converts once


@pytest.fixture(scope="module")
def bench(tiny_base):
    return workbench(tiny_base)


def changed_weights(bench: Workbench, name: str, change: Callable[[str, np.ndarray], np.ndarray | None]) -> Path:
    """A copy of the file in which `change` puts other numbers in some matrices; at least one."""
    from gguf import GGUFReader

    file, changed = bench.copy(name), 0
    reader = GGUFReader(file, "r+")
    for tensor in reader.tensors:
        if (other := change(tensor.name, tensor.data)) is not None:
            tensor.data[:] = other
            changed += 1
    reader.data.flush()
    assert changed
    return file


def unpermuted(bench: Workbench) -> Path:
    heads = {"attn_q": HEADS, "attn_k": KEY_VALUE_HEADS}

    def turn(name: str, data: np.ndarray) -> np.ndarray | None:
        count = next((count for part, count in heads.items() if part in name), None)
        if count is None:
            return None
        rows, columns = data.shape
        return data.reshape(count, rows // count // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns).copy()

    return changed_weights(bench, "unpermuted", turn)


def without_adapter(bench: Workbench) -> Path:
    base = load_file(bench.base.folder / "model.safetensors")
    adapted = {"ffn_gate": "gate_proj", "ffn_down": "down_proj"}
    names = {
        f"blk.{layer}.{theirs}.weight": f"model.layers.{layer}.mlp.{ours}.weight"
        for layer in range(LAYERS)
        for theirs, ours in adapted.items()
    }
    return changed_weights(bench, "base", lambda name, _: base[names[name]] if name in names else None)


def another_model(bench: Workbench) -> Path:
    draw = np.random.default_rng(9)
    return changed_weights(
        bench, "other", lambda name, data: draw.normal(0, data.std(), data.shape) if name.startswith("blk.") else None
    )


def not_a_number(bench: Workbench) -> Path:
    def spoil(name: str, data: np.ndarray) -> np.ndarray | None:
        return np.where(np.arange(data.size).reshape(data.shape) == 7, np.nan, data) if "attn_out" in name else None

    return changed_weights(bench, "nan", spoil)


def metadata(key: str, layout: str, value: float) -> Callable[[Workbench], Path]:
    return lambda bench: overwrite(bench.copy(key.rpartition(".")[2]), key, layout, value)


def text(old: bytes, new: bytes) -> Callable[[Workbench], Path]:
    return lambda bench: respell(bench.copy("respelled"), old, new)


def windowed(bench: Workbench) -> Base:
    """The base model as one of Mistral's, which sees a part of its context."""
    folder = Path(shutil.copytree(bench.base.folder, bench.folder / "windowed"))
    write_json(folder / "config.json", {**bench.base.config, "sliding_window": 24})
    return Base(folder, {**bench.base.record, "architecture": "MistralForCausalLM"})


@dataclass(frozen=True)
class Bug:
    """What is planted, the check that has to catch it first, and what its message has to say."""

    name: str
    plant: Callable[[Workbench], Path]
    check: str
    says: str
    base: Callable[[Workbench], Base] = lambda bench: bench.base


PRE = b"\x06\0\0\0\0\0\0\0"
BUGS = [
    Bug("q/k not permuted", unpermuted, "matrices: blk.0.attn_q.weight", "q/k not permuted"),
    Bug("the base model's file: no adapter in it", without_adapter, "matrices: blk.0.ffn_gate.weight", "not merged"),
    Bug("the file of another model", another_model, "matrices: blk.0.attn_q.weight", "the matrix of another model"),
    Bug("NaN in a matrix", not_a_number, "weights: every weight is finite", "blk.0.attn_output.weight"),
    Bug(
        "wrong rope theta",
        metadata("llama.rope.freq_base", "<f", 10000.0),
        "metadata: llama.rope.freq_base",
        "expected 100000.0",
    ),
    Bug(
        "wrong rms epsilon, which no answer shows",
        metadata("llama.attention.layer_norm_rms_epsilon", "<f", 1e-6),
        "metadata: llama.attention.layer_norm_rms_epsilon",
        "expected 1e-05",
    ),
    Bug(
        "a context beyond the sliding window, which the file lacks",
        lambda bench: bench.f16,
        "metadata: llama.context_length within the window",
        "expected 24 tokens at most",
        windowed,
    ),
    Bug(
        "wrong BOS token",
        metadata("tokenizer.ggml.bos_token_id", "<I", 0),
        "metadata: tokenizer.ggml.bos_token_id",
        "expected 1",
    ),
    Bug(
        "wrong EOS token",
        metadata("tokenizer.ggml.eos_token_id", "<I", 0),
        "metadata: tokenizer.ggml.eos_token_id",
        "expected 2",
    ),
    Bug(
        "double BOS",
        metadata("tokenizer.ggml.add_bos_token", "<B", 1),
        "metadata: tokenizer.ggml.add_bos_token",
        "got      [1, 1, 9690",
    ),
    Bug(
        "wrong template",
        text(b"<|im_start|>assistant\n", b"<|im_start|>Assistant\n"),
        "metadata: tokenizer.chat_template",
        "|im_start|>Assistant",
    ),
    Bug(
        "missing default system message",
        text(b"messages[0]['role'] != 'system'", b"messages[0]['role'] == 'nobody'"),
        "metadata: tokenizer.chat_template",
        "✗ prompt texts: a question",
    ),
    Bug(
        "wrong pre-tokenizer",
        text(PRE + b"smollm", PRE + b"llama3"),
        "token ids: '  12', split by tokenizer.ggml.pre 'llama3'",
        "split by tokenizer.ggml.pre 'llama3'",
    ),
]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_stopped_and_named(bench, bug):
    with pytest.raises(ParityError) as caught:
        bench.gate(bug.plant(bench), base=bug.base(bench))
    assert bug.check in failures(caught)[:2]
    assert bug.says in caught.value.problem
    lines = [line.strip(" ✗") for line in caught.value.problem.splitlines()]
    place = lines.index(bug.check)
    expected, got = lines[place + 1 : place + 3]
    assert kept("planted bugs", bug.name, bug.check, f"{expected}; {got}") == row_of(
        bug.name, bug.check, f"{expected}; {got}"
    )


def test_the_page_has_no_bug_that_is_not_planted():
    from tests.unit.parity_page import _table

    rows = [line for line in _table("planted bugs")[2:] if line.startswith("| ")]
    assert len(rows) == len(BUGS)

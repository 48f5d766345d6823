"""Whether a file holds the trained model's own matrices: what the numbers only show to be wrong is named here."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ollamake.gguf.findings import Finding
from ollamake.gguf.header import float_weights, read_header
from ollamake.gguf.reference import TrainedModel

EMBEDDING = ("model.embed_tokens", "token_embd.weight")
# Names in a layer: of most architectures of transformers, and in GGUF. What one does not have is not looked at.
LAYER = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.qkv_proj": "attn_qkv",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "self_attn.dense": "attn_output",  # this one and the next two: Phi
    "mlp.fc1": "ffn_up",
    "mlp.fc2": "ffn_down",
}
# llama.cpp's `llama` rotates neighbouring rows of a head, transformers a row and the one half a head further on, so
# the converter reorders these rows (llama.cpp, LlamaModel.permute). Its other architectures are not reordered.
REORDERED = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}
REORDERING = "llama"
# A rounding of fp32 to F16 is off by a 2048th at most; merging in another order may push it to the next number.
RELATIVE, ABSOLUTE = 2e-3, 1e-6
BLOCK = 1 << 20  # numbers compared at once
ROWS = 1024  # of the embedding: the largest matrix of a model, of which a part is enough in memory
ANOTHER = "the matrix of another model"


def check(file: Path, config: dict[str, Any], trained: TrainedModel) -> Iterator[Finding]:
    """Compare the embedding and the matrices of the first and the last layer of an F16 file with the trained model."""
    header = read_header(file)
    held = dict(float_weights(file, header))
    if EMBEDDING[1] in held:
        yield from _embedding(held[EMBEDDING[1]], trained)
    for layer in (0, config["num_hidden_layers"] - 1):
        for name, theirs in LAYER.items():
            matrix, ours = held.get(f"blk.{layer}.{theirs}.weight"), f"model.layers.{layer}.{name}"
            if matrix is None or (weight := trained.weight(ours)) is None:
                continue
            heads = config.get(REORDERED.get(theirs, ""))
            reordered = heads if header.metadata["general.architecture"] == REORDERING else None
            problem = _problem(matrix, weight, partial(trained.weight, ours, adapted=False), reordered)
            yield _finding(ours, f"blk.{layer}.{theirs}.weight", problem)


def _embedding(matrix: Any, trained: TrainedModel) -> Iterator[Finding]:
    end, same = 0, True
    for rows in trained.rows(EMBEDDING[0], ROWS):
        start, end = end, end + rows.size
        same = same and _same(matrix[start:end], rows)
    if end:
        yield _finding(*EMBEDDING, "" if same and end == matrix.size else ANOTHER)


def _finding(ours: str, theirs: str, problem: str) -> Finding:
    detail = f"expected the trained model's {ours}\ngot      {problem}"
    return Finding("matrices", theirs, passed=not problem, detail=detail)


def _problem(matrix: Any, trained: Any, base: Callable[[], Any], heads: int | None) -> str:
    """Return what a matrix is in place of the `trained` one, empty when it is that."""
    if _same(matrix, _reordered(trained, heads)):
        return ""
    if heads and _same(matrix, trained):
        return "its rows as transformers orders them, not in the pairs that llama.cpp rotates (q/k not permuted)"
    if _same(matrix, _reordered(base(), heads)):
        return "the base model's: the adapter was not merged into it"
    return ANOTHER


def _reordered(weight: Any, heads: int | None) -> Any:
    if not heads:
        return weight
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _same(matrix: Any, weight: Any) -> bool:
    import numpy as np

    flat = weight.reshape(-1)
    return matrix.size == flat.size and all(
        np.allclose(matrix[start : start + BLOCK], flat[start : start + BLOCK], RELATIVE, ABSOLUTE)
        for start in range(0, flat.size, BLOCK)
    )

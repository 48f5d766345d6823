"""How many floating-point operations training takes by its formula, and how many this machine does at its best.

python -m benchmarks.flops               # prints the device's name and its measured bf16 rate, in FLOP/s
"""

import json
import time
from collections.abc import Mapping
from typing import Any

# Dense bf16 FLOP/s of NVIDIA's data sheets, without sparsity; the first name that is part of the card's counts.
DATA_SHEETS = {
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10G": 70e12,
    "T4": 65e12,  # fp16: it has no bf16
    "4090": 165e12,
}
SIDES = {"cpu": 2048, "cuda": 8192}
ROUNDS, ROUND_SECONDS = 5, 0.4


def training_flops(config: Mapping[str, Any], *, tokens: int, supervised: int, squares: int, lora_rank: int) -> int:
    """Return the operations of one pass over rows, forward and backward; `lora_rank` 0 stands for full fine-tuning.

    A matrix product takes 2 operations a weight and token forward, and 2 each for the gradients of its input and of
    its weight (Kaplan et al. 2020, arXiv 2001.08361, table 1: 6 in all); a frozen weight needs no gradient, so 4.
    Attention has two products without weights, 4 operations a pair of positions and channel forward and twice that
    backward (Chowdhery et al. 2022, arXiv 2204.02311, appendix B), halved here because a token sees only what came
    before. `squares` is the sum of the squared row lengths. The output matrix counts where a token carries loss, the
    first-layer gradient that nobody needs counts too, recomputed activations never do.
    """
    body, adapters = _body_weights(config, lora_rank)
    frozen = 4 if lora_rank else 6
    heads = config["num_attention_heads"] * _head_size(config)
    attention = config["num_hidden_layers"] * heads * 12 * squares // 2
    output = config["vocab_size"] * config["hidden_size"]
    return frozen * (body * tokens + output * supervised) + 6 * adapters * tokens + attention


def _body_weights(config: Mapping[str, Any], lora_rank: int) -> tuple[int, int]:
    """Return the weights of all linear layers but the output matrix, and those of their adapters."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    queries = config["num_attention_heads"] * _head_size(config)
    keys = config["num_key_value_heads"] * _head_size(config)
    shapes = [(hidden, queries), (hidden, keys), (hidden, keys), (queries, hidden)]
    shapes += [(hidden, inner), (hidden, inner), (inner, hidden)]
    layers = config["num_hidden_layers"]
    weights = sum(rows * columns for rows, columns in shapes)
    return layers * weights, layers * lora_rank * sum(rows + columns for rows, columns in shapes)


def _head_size(config: Mapping[str, Any]) -> int:
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def data_sheet_flops(card: str) -> float | None:
    """Return the bf16 FLOP/s that the data sheet of a card promises, None for a card that is not listed."""
    return next((rate for name, rate in DATA_SHEETS.items() if name in card), None)


def device_name() -> str:
    """Return what the card calls itself, `cpu` without one."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def measure_matmul() -> float:
    """Return the best bf16 rate of a square matrix product on this device, in FLOP/s."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    side = SIDES[device]
    left, right = (torch.randn(side, side, device=device).to(torch.bfloat16) for _ in range(2))
    best = 0.0
    for _ in range(ROUNDS):
        products, started = 0, time.perf_counter()
        while (seconds := time.perf_counter() - started) < ROUND_SECONDS:
            left @ right
            products += 1
            if device == "cuda":
                torch.cuda.synchronize()
        best = max(best, 2 * side**3 * products / seconds)
    return best


if __name__ == "__main__":
    print(json.dumps({"name": device_name(), "flops": measure_matmul()}))

"""Score adapters on the same rows in the same way: nats a supervised token, in bf16 autocast, each batch padded.

python -m benchmarks.peers.score BASE ROWS.arrow [ADAPTER ...]     # prints a JSON list, one loss an adapter
"""

import json
import sys
from typing import Any

BATCH_ROWS = 16


def main() -> None:
    import pyarrow as pa
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base, rows, *adapters = sys.argv[1:]
    with pa.memory_map(rows) as source:
        table = pa.ipc.open_file(source).read_all().select(["input_ids", "labels"])
        pairs = sorted(zip(*table.to_pydict().values(), strict=True), key=lambda pair: len(pair[0]))
    losses = []
    for adapter in adapters:
        model = AutoModelForCausalLM.from_pretrained(base, dtype="float32")
        losses.append(score(PeftModel.from_pretrained(model, adapter).eval(), pairs))
    print(json.dumps(losses))


def score(model: Any, pairs: list[tuple[list[int], list[int]]]) -> float:
    """Return the mean loss over every supervised token of the rows."""
    import torch

    nats, count = 0.0, 0
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = model.to(device)
    for start in range(0, len(pairs), BATCH_ROWS):
        batch = pairs[start : start + BATCH_ROWS]
        ids, labels = padded([row for row, _ in batch], 0), padded([row for _, row in batch], -100)
        mask = torch.arange(ids.shape[1]) < torch.tensor([[len(row)] for row, _ in batch])
        with torch.no_grad(), torch.autocast(device, torch.bfloat16):
            logits = model(input_ids=ids.to(device), attention_mask=mask.long().to(device)).logits
        targets = labels[:, 1:].to(device)
        nats += torch.nn.functional.cross_entropy(
            logits[:, :-1].float().transpose(1, 2), targets, ignore_index=-100, reduction="sum"
        ).item()
        count += int((targets != -100).sum())
    return nats / count


def padded(rows: list[list[int]], fill: int) -> Any:
    from torch import tensor

    longest = max(map(len, rows))
    return tensor([[*row, *[fill] * (longest - len(row))] for row in rows])


if __name__ == "__main__":
    main()

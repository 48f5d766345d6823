"""A workspace whose data a person looks at: a few rows tokenized with SmolLM2, as the stages leave them."""

import json

import pyarrow as pa
from tokenizers import Tokenizer

from ollamake.labels import IGNORE_INDEX
from ollamake.tokens.tables import PACKS_SCHEMA, SCHEMA

COUNTS = {
    "rows": 3,
    "tokens": 1_234_567,
    "supervised_tokens": 300_000,
    "supervised_fraction": 0.243,
    "length_p50": 44,
    "length_p95": 66,
    "length_max": 97,
    "truncated": 5,
    "split": 1,
    "turn_by_turn": 0,
    "dropped": {},
}
PREPARED = {
    "rows": 1_263_012,
    "kept": {"train": 600, "val": 50, "test": 50, "probe": 37},
    "copies": 14,
    "duplicates": 1200,
    "near_duplicates": {"groups": 40, "rows": 112, "largest": 9, "dropped": 3},
    "rejected_fraction": 0.0123,
    "rejected": {"not valid JSON": 12},
    "repaired": {"line ends": 77},
    "left_out": {"beyond max_examples": 500},
    "ignored_fields": {"score": 800},
    "sources": {"chats": {"rows": 1_263_000, "kept": 700}, "docs": {"rows": 12, "kept": 2}},
    "tasks": {"shell": 600, "": 102},
}


def tokenized(tokenizer, id_, asked, answer, task="", rejected=None, desirable=None):
    """One row in ChatML, as tokenize makes it: the answer and its end carry loss."""
    prompt = tokenizer.encode(f"<|im_start|>user\n{asked}<|im_end|>\n<|im_start|>assistant\n", add_special_tokens=False)
    said = tokenizer.encode(f"{answer}<|im_end|>", add_special_tokens=False).ids
    judged = rejected is not None or desirable is not None
    after = [] if judged else tokenizer.encode("\n", add_special_tokens=False).ids
    return {
        "id": id_,
        "input_ids": prompt.ids + said + after,
        "labels": [IGNORE_INDEX] * len(prompt.ids) + said + [IGNORE_INDEX] * len(after),
        "prompt_length": len(prompt.ids),
        "prompt": asked,
        "reference": answer,
        "task": task,
        "rejected_ids": rejected and tokenizer.encode(f"{rejected}<|im_end|>", add_special_tokens=False).ids,
        "desirable": desirable,
    }


def write_arrow(path, rows, schema, rows_per_batch=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for start in range(0, len(rows), rows_per_batch):
            writer.write_batch(pa.RecordBatch.from_pylist(rows[start : start + rows_per_batch], schema=schema))


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def lay_out(folder, tokenizer_folder):
    """Three rows in two batches for each split, two packed rows, metrics, and the base model that made them."""
    tokenizer = Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json"))
    rows = [
        tokenized(tokenizer, "first", "list files", "ls -l", task="shell"),
        tokenized(tokenizer, "second", "good morning 😀", "朝の海😀\n\tnaïve"),
        tokenized(tokenizer, "third", "a \x1b[2J trick", "no"),
    ]
    for split in ("train", "val"):
        write_arrow(folder / f"data/tokenized/{split}.arrow", rows, SCHEMA)
    judged = [
        tokenized(tokenizer, "pair", "list files", "ls -l", rejected="rm -rf /\nsorry 😀"),
        tokenized(tokenizer, "up", "list files", "ls -l", desirable=True),
        tokenized(tokenizer, "down", "list files", "rm", desirable=False),
    ]
    write_arrow(folder / "data/tokenized/test.arrow", judged, SCHEMA)
    write_arrow(folder / "data/tokenized/packs.arrow", [{"rows": [2, 0]}, {"rows": [1]}], PACKS_SCHEMA)
    write_json(folder / "models/base.json", {"key": "smollm2", "name": "SmolLM2", "files": {}})
    store = folder / ".ollamake/base"
    store.mkdir(parents=True)
    (store / "smollm2").symlink_to(tokenizer_folder)
    write_json(folder / "metrics/prepare.json", PREPARED)
    train = COUNTS | {"dropped": {"longer than max_length": 2}, "packs": {"rows": 2, "fill": 0.973}}
    write_json(folder / "metrics/tokenize.json", {"train": train, "val": COUNTS, "test": COUNTS})
    lengths = folder / "plots/tokenize/lengths.csv"
    lengths.parent.mkdir(parents=True)
    lengths.write_text("tokens,conversations\n24,9\n32,261\n40,0\n48,1\n")
    (folder / "data/prepared").mkdir()
    (folder / "data/prepared/report.md").write_text("# Report\n")

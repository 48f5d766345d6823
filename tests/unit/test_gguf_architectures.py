"""Every architecture that can be tuned goes the whole way: fetched, trained, merged, written as GGUF, proved."""

import math
from pathlib import Path

import pytest

from ollamake.base import RECORD, open_base
from ollamake.chat import ChatTemplate
from ollamake.files import read_json, write_json, write_jsonl
from ollamake.gguf import write
from ollamake.quiet import quiet_loading
from ollamake.resolve import shelf
from ollamake.resolve.folder import LocalFolder
from ollamake.resolve.shelf import fetch
from ollamake.tokens.encode import Encoder
from ollamake.tokens.vocabulary import Vocabulary
from stages import convert, train
from tests.architectures import ARCHITECTURES, converter_that_knows, write_model
from tests.arrow import write_packs, write_tokens
from tests.training import settings
from tests.unit.parity_page import kept, row_of

pytestmark = pytest.mark.slow
ASKED = [f"How do I {verb} the {thing}?" for verb in ("list", "copy", "hide") for thing in ("files", "folder", "names")]
CONVERSATIONS = [
    [{"role": "user", "content": text}, {"role": "assistant", "content": f"ls -l {number} {text[9:-1]}"}]
    for number, text in enumerate(ASKED)
]
PARAMETERS = {
    "gguf_quantization": "Q8_0 F16",
    "parity_max_new_tokens": 12,
    "parity_prompts": 6,
    "system_prompt": "",
}


def tune(folder: Path) -> None:
    """Fetch the model in `folder` into the store here, and train an adapter for a few steps."""
    from ollamake.training.log import TrainingLog
    from ollamake.training.model import save_tuned
    from ollamake.training.trainer import Tokens
    from ollamake.training.trainer import train as run

    write_json(RECORD, fetch(LocalFolder(folder), Path(".ollamake")))
    base = open_base()
    encoder = Encoder(
        ChatTemplate.of(base.folder),
        Vocabulary.of(base.folder),
        base.end_ids,
        system_prompt="",
        max_length=256,
        too_long="drop",
    )
    rows = [
        {"id": str(number), "input_ids": row.input_ids, "labels": row.labels}
        for number, made in enumerate(encoder.encode(CONVERSATIONS))
        for row in made
    ]
    for path in (train.TRAIN, train.VAL):
        write_tokens(path, rows)
    write_packs(train.PACKS, [])
    with TrainingLog("metrics/train.json", "plots/train") as log, quiet_loading():
        tokens = Tokens(train.TRAIN, train.PACKS, train.VAL)
        model = run(base, tokens, Path("checkpoints"), log, settings(max_steps=3)).model
    save_tuned(model, base, train.TUNED)
    write_jsonl(convert.PROBE, [{"id": str(n), "messages": messages} for n, messages in enumerate(CONVERSATIONS)])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_is_served_as_it_was_trained(name, smollm2_tokenizer, tmp_path, monkeypatch):
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    if pre := ARCHITECTURES[name].pre:
        monkeypatch.setattr(shelf, "check_convertible", lambda folder: None)
        monkeypatch.setattr(write, "CONVERTER", converter_that_knows(pre, tmp_path / "converter", write.CONVERTER))
    tune(write_model(name, tmp_path / name, tokenizer_from=smollm2_tokenizer))
    convert.main(convert.Params(**PARAMETERS))
    figures = read_json(convert.METRICS)
    exact, small = figures["F16"], figures["Q8_0"]
    assert exact["top1_agreement"] >= 0.98
    assert abs(math.log(exact["perplexity"] / exact["trained_perplexity"])) < 0.02
    assert exact["checks"]["matrices"] >= 9
    known = [name, read_json(RECORD)["architecture"], tokenizer_of(ARCHITECTURES[name])]
    row = kept(
        "architectures",
        *known,
        f"{sum(exact['checks'].values())}",
        f"{exact['top1_agreement']:.1%}",
        f"{exact['mean_abs_dlogprob']:.4f}",
        f"{exact['perplexity'] / exact['trained_perplexity']:.4f}",
        f"{small['top1_agreement']:.1%}",
        f"{small['mean_abs_dlogprob']:.4f}",
    )
    assert row.startswith(row_of(*known)[:-1])  # the numbers are of the machine that wrote them


def tokenizer_of(shape):
    """Say what stands in for the real tokenizer."""
    if not shape.family:
        return "SmolLM2's own"
    return f"{shape.family}'s kind, {'byte-level' if shape.pre else 'SentencePiece'}, 600 tokens"

"""Row R4.10 of the acceptance matrix: the F16 file against the trained model in fp32, at length.

On a tiny model; PARITY_BUILD takes that of a workspace in which `dvc repro` ran, PARITY_PROMPTS and PARITY_TOKENS
another count:

    PARITY_BUILD=. pytest -s -m nightly tests/unit/test_parity_matrix.py
"""

import os
import random
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ollamake.base import Base
from ollamake.files import read_json
from ollamake.gguf import go_template
from ollamake.gguf.build import build
from ollamake.gguf.fixtures import awkward_strings
from ollamake.gguf.prompts import Prompts
from ollamake.gguf.runtime import Runtime
from ollamake.gguf.whole import load_trained
from tests.unit.planted import Workbench, workbench

pytestmark = [pytest.mark.nightly, pytest.mark.row("R4.10")]
PROMPTS, TOKENS = int(os.environ.get("PARITY_PROMPTS", "50")), int(os.environ.get("PARITY_TOKENS", "64"))
CHATS, LIKELIEST, CONTEXT = 40, 200, 1024


@pytest.fixture(scope="module")
def bench(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    if not (named := os.environ.get("PARITY_BUILD")):
        return workbench(tiny_base)
    built, folder = Path(named), tmp_path_factory.mktemp("real")
    record = read_json(built / "models/base.json")
    base, tuned = Base(built / ".ollamake/base" / record["key"], record), built / "models/tuned"
    for made in ("scratch", "out"):
        (folder / made).mkdir()
    f16 = build(base, tuned, Prompts.of(base), ["F16"], folder / "scratch", folder / "out")[0].file
    return Workbench(base, tuned, f16, folder)


def chats() -> list[list[dict[str, str]]]:
    """Conversations of all shapes about awkward things, the same ones each time."""
    drawn = random.Random(7)  # noqa: S311 - no secret is at stake
    texts = [text for text in awkward_strings([]) if text == text.strip() and text]
    found = []
    for number in range(CHATS):
        turns = 1 + 2 * (number % 3)
        roles = [["user", "assistant"][place % 2] for place in range(turns)]
        said = [{"role": role, "content": drawn.choice(texts)} for role in roles]
        found.append([{"role": "system", "content": drawn.choice(texts)}, *said] if number % 4 == 0 else said)
    return found


def test_forty_chats_are_written_by_the_served_template_as_by_that_of_training(bench: Workbench) -> None:
    prompts = bench.prompts
    conversations = {f"chat {number}": messages for number, messages in enumerate(chats())}
    expected = {name: text.removeprefix(prompts.bos) for name, text in prompts.texts(conversations).items()}
    assert len(expected) == CHATS
    assert go_template.choose(expected, go_template.candidates(prompts.default_system), conversations)


def answered(runtime: Runtime, prompt: list[int]) -> tuple[list[int], list[dict[int, float]]]:
    """Return the greedy answer, and at each of its tokens what llama.cpp thinks of the likeliest ones."""
    body: dict[str, Any] = {"prompt": prompt, "n_predict": TOKENS, "temperature": 0.0, "n_probs": LIKELIEST}
    reply = runtime._post("/completion", {"cache_prompt": False, "return_tokens": True, **body})
    told = reply.get("completion_probabilities", [])
    tables = [{one["id"]: one["logprob"] for one in entry["top_logprobs"]} for entry in told]
    # Inside a character llama.cpp tells none; then nobody knows which token the others belong to.
    return reply["tokens"], tables if len(tables) == len(reply["tokens"]) else []


def divergences(logprobs: Any, tables: list[dict[int, float]]) -> Iterator[float]:
    """Yield the Kullback-Leibler divergence of llama.cpp from the model at each token, over the likeliest ones.

    What lies beyond them is one more outcome on both sides, which can only make the number smaller by what it hides.
    """
    import torch

    for row, table in zip(logprobs, tables, strict=True):
        ids = torch.tensor(list(table))
        ours, theirs = row[ids].double(), torch.tensor(list(table.values()), dtype=torch.float64)
        rest_ours, rest_theirs = ((1 - one.exp().sum()).clamp(min=1e-12) for one in (ours, theirs))
        inside = (ours.exp() * (ours - theirs)).sum()
        yield float(inside + rest_ours * (rest_ours.log() - rest_theirs.log()))


def test_greedy_answers_are_those_of_the_trained_model_token_by_token(bench: Workbench) -> None:
    import torch

    prompts, model = bench.prompts, load_trained(bench.base.folder, bench.adapter)
    same, apart = [], []
    with Runtime(bench.f16, CONTEXT) as runtime:
        for number in range(PROMPTS):
            question = [{"role": "user", "content": f"What is {number} + {number * 77}, and why?"}]
            prompt = prompts.ids(prompts.text(question))
            answer, tables = answered(runtime, prompt)
            with torch.inference_mode():
                logits = model(torch.tensor([prompt + answer]), use_cache=False).logits[0]
            logprobs = logits[len(prompt) - 1 : -1].log_softmax(-1)
            same += (logprobs.argmax(-1) == torch.tensor(answer)).tolist()
            apart += divergences(logprobs, tables) if tables else []
    agreed, divergence = statistics.fmean(same), statistics.fmean(apart)
    print(f"\n{PROMPTS} prompts, {len(same)} tokens: {agreed:.4%} equal, KL {divergence:.2e} over {len(apart)} tokens")
    assert len(apart) >= len(same) / 4
    assert agreed >= 0.99
    assert divergence <= 1e-3

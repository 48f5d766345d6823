"""Proof that imported weights answer as the GGUF file does that they came from.

transformers reads GGUF metadata by a table of its own, and what it does not know (a scaled rope, a width of the heads)
becomes a default in silence. Such a model trains, converts back and passes every later proof, only worse than it was.
"""

from pathlib import Path

from ollamake.errors import BaseModelError
from ollamake.resolve.tokenizer_parity import load_tokenizer

# Long enough for a wrong rope to tell, and predictable, so that the likeliest tokens are clear.
PASSAGE = "The days of the week are Monday, Tuesday, Wednesday, Thursday, Friday, Saturday and Sunday. " * 16
MAX_TOKENS, LIKELIEST, THREADS, CONTEXT = 160, 5, 2, 256
# In nats, for each of the likeliest tokens. llama.cpp rounds activations, too, where weights are rounded: on SmolLM2 in
# Q4_1 the five likeliest were up to 0.17 apart (0.25 at one in a thousand), on a random model in F16 0.02.
MAX_NATS_WHOLE, MAX_NATS_ROUNDED = 0.1, 0.5


def check_weights_against_llama_cpp(folder: Path, gguf: Path, *, rounded: bool) -> None:
    """Raise BaseModelError unless transformers on `folder` and llama.cpp on `gguf` agree on what comes after a passage.

    `rounded` weights leave room for the rounding of activations.
    """
    ids = load_tokenizer(folder).encode(PASSAGE, add_special_tokens=False).ids[:MAX_TOKENS]
    original, imported = _of_llama_cpp(gguf, ids), _of_transformers(folder, ids)
    worst = max(abs(imported[token] - logprob) for token, logprob in original.items())
    if not worst <= (MAX_NATS_ROUNDED if rounded else MAX_NATS_WHOLE):
        raise BaseModelError(
            f"transformers does not compute what llama.cpp computes with it: {worst:.2f} nats apart on a likely token",
            where=str(gguf),
            hint="a part of its description is lost; set base_model to the hub id of the original model",
        )


def _of_llama_cpp(gguf: Path, ids: list[int]) -> dict[int, float]:
    from xllamacpp import CommonParams, Server

    from ollamake.chat import HARMLESS

    params = CommonParams()
    params.model.path, params.n_ctx, params.n_parallel, params.n_gpu_layers = str(gguf), CONTEXT, 1, 0
    params.cache_ram_mib, params.verbosity, params.cpuparams.n_threads = 0, 0, THREADS
    params.ui, params.warmup, params.offline = False, False, True
    params.chat_template = HARMLESS
    reply = Server(params).handle_completions(
        {"prompt": ids, "n_predict": 1, "n_probs": LIKELIEST, "temperature": 0.0, "cache_prompt": False}
    )
    likeliest = reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    return {int(token["id"]): float(token["logprob"]) for token in likeliest}


def _of_transformers(folder: Path, ids: list[int]) -> list[float]:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        logits = model(torch.tensor([ids]), logits_to_keep=1).logits[0, -1]
    return list(torch.log_softmax(logits, -1).tolist())

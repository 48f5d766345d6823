"""llama.cpp in this process: the engine that will serve the model, asked for text, token ids and log-probabilities."""

import ctypes
import http.client
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ollamake.chat import HARMLESS, Message
from ollamake.errors import ConversionError, ParityError

SECONDS_PER_REQUEST = 3600  # a long prompt to a large model on a slow CPU
CERTAIN = 1000.0  # a logit bias that no other token can outweigh


@dataclass(frozen=True)
class Transcript:
    """An answer: the ids of its tokens, at least one, and as many log-probabilities (in nats), None where llama.cpp
    tells none; `text` is the answer without the end token, `stopped` tells that there was one. What it took is apart:
    reading the prompt up to the first token, and the tokens after that."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    logprobs: tuple[float | None, ...]
    text: str
    stopped: bool
    prompt_seconds: float = 0.0
    answer_seconds: float = 0.0


class Runtime:
    """A GGUF loaded in llama.cpp, on the CPU and for one request at a time; a context manager.

    `context_tokens` bounds prompt and answer together. `templated` lets llama.cpp run the chat template inside the
    file, which is a stranger's: only in a process with limits (render.py). Raises ConversionError for a file it cannot
    load.
    """

    def __init__(self, file: Path, context_tokens: int, *, templated: bool = False) -> None:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(file)
        params.n_ctx, params.n_parallel, params.n_gpu_layers = context_tokens, 1, 0
        if threads := os.environ.get("OMP_NUM_THREADS"):  # what bounds torch bounds this too; else the physical cores
            params.cpuparams.n_threads = int(threads)
        params.check_tensors = not templated  # refuses NaN and infinity, in quantized blocks too; once is enough
        params.prefill_assistant = False
        if not templated:
            params.chat_template = HARMLESS
        params.cache_ram_mib, params.warmup, params.offline, params.verbosity = 0, False, True, 0
        params.ui, params.endpoint_slots, params.cors_origins = False, False, ""
        try:
            self._server = xllamacpp.Server(params)
        except RuntimeError as error:
            raise ConversionError(
                "llama.cpp cannot load it: it is damaged, holds NaN, or is of an architecture newer than xllamacpp",
                where=str(file),
                hint="`dvc repro --force convert`; if it stays, a newer xllamacpp in the lock file",
            ) from error
        self._address = self._server.listening_address.removeprefix("http://")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._server  # stops its thread and frees the weights
        with suppress(OSError, AttributeError):  # glibc alone keeps freed memory, and has a call that hands it back
            ctypes.CDLL(None).malloc_trim(0)

    def render(self, messages: Sequence[Message]) -> str:
        """Return the generation prompt that the template inside the file makes; for one that was loaded `templated`."""
        text: str = self._post("/apply-template", {"messages": list(messages)})["prompt"]
        return text

    def tokenize(self, text: str, *, add_special: bool) -> list[int]:
        """Return the token ids of `text` and its control tokens; `add_special` adds BOS if the file says so."""
        body = {"content": text, "add_special": add_special, "parse_special": True}
        ids: list[int] = self._post("/tokenize", body)["tokens"]
        return ids

    def answer(self, prompt: Sequence[int], max_new_tokens: int, **options: Any) -> Transcript:
        """Return the greedy answer to a prompt of token ids; the end token counts as its last token.

        `options` are llama.cpp's own, such as a grammar.
        """
        body = {"prompt": list(prompt), "n_predict": max_new_tokens, "temperature": 0.0, "n_probs": 1}
        # A prefix of another prompt is computed in other batches, and differs in the last bits.
        reply = self._post("/completion", {"cache_prompt": False, "return_tokens": True, **body, **options})
        tokens, predicted = reply["tokens"], reply["tokens_predicted"]
        if not tokens or len(tokens) != predicted:
            raise ParityError(f"llama.cpp tells {len(tokens)} of the {predicted} tokens that it answered with")
        return Transcript(
            prompt=tuple(prompt),
            answer=tuple(tokens),
            logprobs=place(tokens, reply.get("completion_probabilities", [])),  # left out when empty
            text=reply["content"],
            stopped=reply["stop_type"] == "eos",
            prompt_seconds=reply["timings"]["prompt_ms"] / 1000,
            answer_seconds=reply["timings"]["predicted_ms"] / 1000,
        )

    def force(self, prompt: Sequence[int], answer: Sequence[int], end: int) -> Transcript:
        """Return `answer` with the log-probabilities that the model has for it, in one request.

        llama-server tells none for the tokens of a prompt, but tells those of an answer as they were before the
        grammar, which here leaves one token at each place. A grammar knows no `end` tokens, with which the answer may
        close: they are what is left when it is through, and the bias says which. Raises ParityError where it answers
        otherwise.
        """
        spelled = " ".join(f"<[{token}]>" for token in answer if token != end)
        # The prompt has just been answered, and need not be read again.
        options = {"grammar": f"root ::= {spelled}", "logit_bias": [[end, CERTAIN]], "cache_prompt": True}
        transcript = self.answer(prompt, len(answer), **options)
        if transcript.answer != tuple(answer):
            raise ParityError(f"llama.cpp says {transcript.answer} where it was made to say {tuple(answer)}")
        return transcript

    def ends_at(self, token: int, prompt: Sequence[int]) -> bool:
        """Tell whether `token`, made certain, ends the answer at once."""
        transcript = self.answer(prompt, 3, logit_bias=[[token, CERTAIN]])
        return transcript.stopped and transcript.answer == (token,)

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        connection = http.client.HTTPConnection(self._address, timeout=SECONDS_PER_REQUEST)
        try:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            content = response.read().decode("utf-8", errors="replace")
        finally:
            connection.close()
        if response.status != http.client.OK:
            raise ParityError(f"llama.cpp answers {response.status} to {path}: {content[:200]}")
        return json.loads(content)


def place(tokens: Sequence[int], told: Sequence[Mapping[str, Any]]) -> tuple[float | None, ...]:
    """Return the log-probability of each token, from the entries (`id`, `logprob`) that llama.cpp has for some of them.

    It has none for a token that leaves the text inside a character: an emoji of four tokens has one, for the last. An
    entry is placed where it falls both counted from the start and from the end; one that may belong to either of two
    tokens is left out. Raises ParityError for entries about other tokens.
    """
    first = _matches(tokens, [entry["id"] for entry in told])
    backwards = _matches(tokens[::-1], [entry["id"] for entry in reversed(told)])
    last = [len(tokens) - 1 - index for index in reversed(backwards)]
    if len(first) != len(told):
        raise ParityError("llama.cpp tells log-probabilities of tokens that are not in its answer")
    placed = {low: entry["logprob"] for low, high, entry in zip(first, last, told, strict=True) if low == high}
    return tuple(placed.get(index) for index in range(len(tokens)))


def _matches(tokens: Sequence[int], wanted: Sequence[int]) -> list[int]:
    """Return the earliest indices at which `wanted` stands in `tokens`, in order; fewer where it does not."""
    found: list[int] = []
    for index, token in enumerate(tokens):
        if len(found) < len(wanted) and token == wanted[len(found)]:
            found.append(index)
    return found

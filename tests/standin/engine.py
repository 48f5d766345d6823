"""Answers of a GGUF, by the embedded llama.cpp: one model in memory at a time, one answer at a time."""

import json
import threading
import urllib.request
from pathlib import Path
from typing import Any

from tests.standin.problem import Problem

DEFAULTS = {"temperature": 0.8, "top_k": 40, "top_p": 0.9, "min_p": 0.0, "seed": -1}
PENALTIES = ("repeat_penalty", "presence_penalty", "frequency_penalty", "repeat_last_n")
PASSED_ON = (*DEFAULTS, *PENALTIES, "stop", "json_schema")
DEFAULT_CONTEXT = 4096


class Engine:
    """The runner of a server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loaded: tuple[Path, int] | None = None
        self._server: Any = None

    def complete(self, gguf: Path, prompt: str, options: dict[str, Any], likeliest: int | None) -> dict[str, Any]:
        """Return `text`, `prompt_tokens`, `tokens`, `reason` (stop or length) and `logprobs` for the prompt."""
        with self._lock:
            self._load(gguf, int(options.get("num_ctx", DEFAULT_CONTEXT)))
            request = {key: {**DEFAULTS, **options}[key] for key in PASSED_ON if key in {**DEFAULTS, **options}}
            limit = int(options.get("num_predict", -1))
            reply = self._server.handle_completions(
                {"prompt": prompt, "n_predict": limit, "n_probs": max(likeliest or 0, 1), "cache_prompt": False}
                | request
            )
        if "choices" not in reply:
            raise Problem(400, reply["error"]["message"])
        choice = reply["choices"][0]
        return {
            "text": choice["text"],
            "prompt_tokens": reply["usage"]["prompt_tokens"],
            "tokens": reply["usage"]["completion_tokens"],
            "reason": choice["finish_reason"],
            "logprobs": [
                _logprob(token, likeliest or 0) for token in (choice.get("logprobs") or {}).get("content", [])
            ],
        }

    def tokenize(self, gguf: Path, text: str, context: int = DEFAULT_CONTEXT) -> list[int]:
        """Return the token ids of the text, special tokens parsed, none added."""
        with self._lock:
            self._load(gguf, context)
            body = json.dumps({"content": text, "add_special": False, "parse_special": True}).encode()
            address = f"{self._server.listening_address}/tokenize"
            with urllib.request.urlopen(urllib.request.Request(address, body), timeout=60) as reply:
                return list(json.load(reply)["tokens"])

    def loaded(self) -> Path | None:
        """Return the GGUF in memory."""
        return self._loaded[0] if self._loaded else None

    def unload(self) -> None:
        """Free the memory."""
        with self._lock:
            self._server = self._loaded = None

    def _load(self, gguf: Path, context: int) -> None:
        if self._loaded == (gguf, context):
            return
        import xllamacpp

        self._server = self._loaded = None
        params = xllamacpp.CommonParams()
        params.model.path, params.n_ctx, params.n_parallel, params.n_gpu_layers = str(gguf), context, 1, 0
        params.cpuparams.n_threads = 1
        params.cache_ram_mib, params.ui, params.warmup, params.verbosity, params.offline = 0, False, False, 0, True
        try:
            self._server, self._loaded = xllamacpp.Server(params), (gguf, context)
        except RuntimeError as error:
            raise Problem(500, f"unable to load model: {gguf}") from error


def _logprob(token: dict[str, Any], likeliest: int) -> dict[str, Any]:
    def plain(entry: dict[str, Any]) -> dict[str, Any]:
        return {key: entry[key] for key in ("token", "logprob", "bytes")}

    return {**plain(token), "top_logprobs": [plain(other) for other in token["top_logprobs"][:likeliest]]}

"""What can go wrong in a server, to order: each fault strikes the requests of one route, a number of times."""

import threading
import time
from dataclasses import dataclass, field


@dataclass
class Fault:
    """A fault in `route` ("POST /api/create"; a path may be a prefix), for the next `times` requests.

    `status` answers with that code and `message`, without doing anything. In the stream of a creation, `after_lines`
    lets so many lines through first and then sends `message` as an error, or, without one, ends the stream; with
    `cut` the connection breaks instead. `cut` alone breaks it before any answer; in an upload, `body_share` lets that
    part of the file through first, and keeps the whole. `lose_blobs` forgets every uploaded file that no tag uses, as
    a restart may. `broken_off` leaves the end of an answer out, as Ollama does after 30 equal tokens. `delay_seconds`
    waits first.
    """

    route: str
    times: int = 1
    status: int = 0
    message: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    after_lines: int = -1
    cut: bool = False
    body_share: float = -1.0
    lose_blobs: bool = False
    broken_off: bool = False
    delay_seconds: float = 0.0


class Faults:
    """The faults that are still to strike, shared by the threads of the server."""

    def __init__(self) -> None:
        self._pending: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        """Order a fault."""
        with self._lock:
            self._pending.append(fault)

    def clear(self) -> None:
        """Cancel what has not struck."""
        with self._lock:
            self._pending.clear()

    def strike(self, route: str) -> Fault | None:
        """Return the first fault ordered for the route, one time fewer."""
        with self._lock:
            fault = next((fault for fault in self._pending if route.startswith(fault.route)), None)
            if fault is None:
                return None
            fault.times -= 1
            if fault.times <= 0:
                self._pending.remove(fault)
        time.sleep(fault.delay_seconds)
        return fault


HEAD, BLOBS, CREATE, SHOW = "HEAD /api/blobs/", "POST /api/blobs/", "POST /api/create", "POST /api/show"
CHAT, COPY, TAGS, DELETE = "POST /api/chat", "POST /api/copy", "GET /api/tags", "DELETE /api/delete"
BLOB = "/usr/share/ollama/.ollama/models/blobs/sha256-" + "1b" * 32


def _refused(route: str, status: int, message: str = "") -> Fault:
    return Fault(route, times=99, status=status, message=message)


def _in_stream(message: str, lines: int = 1) -> Fault:
    return Fault(CREATE, times=99, after_lines=lines, message=message)


# Every failure of reference/ollama.md (the tables of §9, and §2) on the routes that export asks, by a name for it.
KNOWN = {
    # the server as a whole
    "no connection": Fault(TAGS, times=99, cut=True),
    "a key is wanted": _refused(TAGS, 401),
    "not from this host": _refused(TAGS, 403),
    "unknown route": _refused(SHOW, 404),
    "wrong method": _refused(SHOW, 405),
    "busy": _refused(CREATE, 503, "server busy, please try again.  maximum pending requests exceeded"),
    "internal error without a text": _refused(CREATE, 500),
    # blobs
    "look for a malformed digest": _refused(HEAD, 400),
    "upload under a malformed digest": _refused(BLOBS, 400, "invalid digest format"),
    "upload of other bytes": _refused(BLOBS, 400, f'digest mismatch, expected "sha256:{"1" * 64}", got "sha256:a"'),
    "upload onto a full disk": _refused(BLOBS, 500, f"write {BLOB}: no space left on device"),
    "upload into a folder of somebody else": _refused(BLOBS, 500, f"open {BLOB}: permission denied"),
    # create, before its first line
    "create without a body": _refused(CREATE, 400, "missing request body"),
    "create with a torn body": _refused(CREATE, 400, "invalid character 'x' looking for beginning of value"),
    "create with an absolute path": _refused(CREATE, 400, "file path must be relative"),
    "create with an empty digest": _refused(CREATE, 400, "invalid digest format"),
    "create under a bad name": _refused(CREATE, 400, "invalid model name"),
    "create from nothing": _refused(CREATE, 400, "neither 'from' or 'files' was specified"),
    "create from an unknown type": _refused(CREATE, 400, "unknown type"),
    # create, inside its stream
    "registry out of reach": _in_stream(
        'pull model manifest: Get "https://registry.ollama.ai/v2/library/nope/manifests/latest": dial tcp: lookup '
        "registry.ollama.ai: no such host"
    ),
    "not in the registry": _in_stream("pull model manifest: file does not exist"),
    "blob lost": _in_stream(f"open {BLOB}: no such file or directory"),
    "malformed digest": _in_stream("invalid digest format"),
    "no GGUF": _in_stream("supplied file was not in GGUF format"),
    "truncated GGUF": _in_stream("unexpected EOF"),
    "empty GGUF": _in_stream("EOF"),
    "unsupported quantization": _in_stream(
        "unsupported quantization type Q5_K_M - supported types are F32, F16, Q4_K_S, Q4_K_M, Q8_0"
    ),
    "source already quantized": _in_stream("quantization is only supported for F16, BF16 and F32 models"),
    "llama-quantize fails": _in_stream(
        "failed to validate GGUF with llama-quantize without compatibility patches: llama-quantize failed: "
        "exit status 1"
    ),
    "llama-quantize missing": _in_stream(
        "failed to validate GGUF with llama-quantize without compatibility patches: llama-quantize unavailable: "
        "llama-quantize binary not found (checked: /usr/lib/ollama)"
    ),
    "no config.json": _in_stream("open config.json: no such file or directory"),
    "unsupported architecture": _in_stream('unsupported architecture "Qwen9ForCausalLM"'),
    "unknown architecture": _in_stream("unknown architecture"),
    "unknown tokenizer": _in_stream("unknown tokenizer format"),
    "no adapter_config.json": _in_stream("open adapter_config.json: no such file or directory"),
    "two adapters": _in_stream("only one adapter is currently supported"),
    "bad template": _in_stream('template error: template: :1: unexpected "}" in operand', lines=3),
    "disk full": _in_stream(f"write {BLOB}: no space left on device"),
    "text that nobody knows": _in_stream("something nobody has seen before"),
    "stream without success": Fault(CREATE, times=99, after_lines=3),
    "stream cut": Fault(CREATE, times=99, after_lines=3, cut=True),
    # what is asked of the model
    "show without a body": _refused(SHOW, 400, "missing request body"),
    "show of no model": _refused(SHOW, 400, "model is required"),
    "show of a bad name": _refused(SHOW, 400, "invalid model name"),
    "show of a vanished model": _refused(SHOW, 404, "model 'nope:latest' not found"),
    "chat with a vanished model": _refused(CHAT, 404, "model 'nope' not found"),
    "chat with no model": _refused(CHAT, 400, "model is required"),
    "model that does not chat": _refused(CHAT, 400, '"m" does not support chat'),
    "model that does not generate": _refused(CHAT, 400, '"m" does not support generate'),
    "model that does not think": _refused(CHAT, 400, '"m" does not support thinking'),
    "option of a wrong type": _refused(CHAT, 500, 'option "temperature" must be of type float32'),
    "too many log probabilities": _refused(CHAT, 400, "top_logprobs must be between 0 and 20"),
    "raw mode": _refused(CHAT, 400, "raw mode does not support template, system, or context"),
    "prompt too long": _refused(CHAT, 400, "the input length exceeds the context length"),
    "runner crashes": _refused(CHAT, 500, "llama runner process has terminated: exit status 2"),
    "too little memory": _refused(
        CHAT, 500, "model requires more system memory (9.1 GiB) than is available (3.2 GiB)"
    ),
    "answer without an end": Fault(CHAT, times=99, broken_off=True),
    # the name
    "copy from a bad name": _refused(COPY, 400, 'source "x y" is invalid'),
    "copy to a bad name": _refused(COPY, 400, 'destination "x y" is invalid'),
    "copy of a vanished model": _refused(COPY, 404, 'model "nope" not found'),
    "delete of a bad name": _refused(DELETE, 400, 'name "x y" is invalid'),
}  # fmt: skip

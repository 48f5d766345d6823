"""What a server's refusal means and what to do about it: the texts of Ollama 0.12 to 0.33 in words that help."""

import re
from typing import NamedTuple

from ollamake.errors import ServerError

AGAIN = "then `dvc repro`"
LOG = f"read the log of `ollama serve` (`journalctl --unit ollama`), {AGAIN}"
RECONVERT = f"`dvc repro --force --single-item convert`, {AGAIN}"
UPDATE = f"update Ollama, {AGAIN}"


class MissingBlobError(ServerError):
    """The server no longer holds the GGUF that was uploaded a moment ago: uploading it again mends this."""


class Refusal(NamedTuple):
    """A refusal that is known: what Ollama's text looks like, what it means, the way on, whether it may pass."""

    pattern: str
    meaning: str
    hint: str
    passes: bool = False


# What Ollama says to requests that are never sent: torn ones, those without a file or with one of another kind, those
# for a model of the registry, and those that want something quantized.
ANOTHER_REQUEST = (
    "neither 'from' or 'files'|file path must be relative|missing request body|model is required|invalid character"
    "|cannot unmarshal|unexpected end of JSON|pull model manifest|config.json|unknown tokenizer format|adapter"
    "|unsupported quantization|quantization is only supported|raw mode does not|top_logprobs must"
)
UNCHANGED = f"set OLLAMA_HOST to the server itself: what stands between changes requests; {AGAIN}"
TOO_LONG = "exceeds? the .*context|context (length|size)"
KNOWN = (
    Refusal("template error", "the server cannot parse the chat template", UPDATE),
    Refusal("no space left on device", "the server's disk is full", f"free some space there, {AGAIN}"),
    Refusal(
        "permission denied",
        "the server may not write its own models folder",
        f"give the user that runs it the folder (OLLAMA_MODELS), {AGAIN}",
    ),
    Refusal(
        "unsupported (model )?architecture|unknown (model )?architecture",
        "this Ollama cannot run models of this architecture",
        f"update Ollama, or choose another base_model in params.yaml, {AGAIN}",
    ),
    Refusal(
        "llama-quantize (unavailable|binary not found)",
        "this Ollama was installed without llama-quantize, which it takes every GGUF in with",
        f"install the whole of it from https://ollama.com/download, {AGAIN}",
    ),
    Refusal("llama-quantize", "the server's own check of the GGUF failed", UPDATE),
    Refusal(
        "digest mismatch",
        "the GGUF that arrived is not the one that convert wrote: it changed on disk or on the way",
        f"`python -m ollamake verify` tells whether it changed here and what mends it, {AGAIN}",
    ),
    Refusal(
        r"^(unexpected )?EOF$|not in GGUF format|invalid file magic|unknown type|unable to load model",
        "the server cannot read its copy of the GGUF",
        f"delete the file that its log names in its models folder (OLLAMA_MODELS), {AGAIN}; if that does not help, "
        f"{RECONVERT}",
    ),
    Refusal("invalid digest format", "models/gguf names its GGUF by something that is no sha256", RECONVERT),
    Refusal(
        "invalid model name|(name|source|destination) .* is invalid",
        "the server does not take the name",
        "correct ollama_model in params.yaml",
    ),
    Refusal(
        "model .* not found", "the model has vanished from the server", f"did another program delete it? {AGAIN[5:]}"
    ),
    Refusal(
        TOO_LONG,
        "a prompt does not fit into the model's context",
        "raise ollama_num_ctx in params.yaml, then `dvc repro`",
    ),
    Refusal(
        "must be of type",
        "the server does not take one of the parameters",
        "correct it in params.yaml (ollama_…), or update Ollama, then `dvc repro`",
    ),
    Refusal(
        "does not support (chat|generate|completion|thinking)",
        "the server takes the model for one that does not chat",
        f"update Ollama, or choose another base_model in params.yaml, {AGAIN}",
    ),
    Refusal(
        "requires more system memory",
        "the server has too little memory for the model",
        "free some there, or take a smaller gguf_quantization, ollama_num_ctx or base_model in params.yaml, "
        "then `dvc repro`",
    ),
    Refusal("server busy", "the server has more requests than it takes", LOG, passes=True),
    Refusal(ANOTHER_REQUEST, "the server answers another request than the one that was sent", UNCHANGED),
    Refusal(  # after the causes that such a text may name; the server starts another process for the next request
        'Post ".*": EOF|runner (process )?has (unexpectedly )?(terminated|stopped)',
        "the server's own process that runs the model has ended",
        LOG,
        passes=True,
    ),
)
BY_STATUS = {
    401: ("the server wants a key", f"set OLLAMA_API_KEY, {AGAIN}"),
    403: (
        "the server refuses requests from here",
        "a server bound to 127.0.0.1 answers only local names: set OLLAMA_HOST there, or OLLAMA_API_KEY for a proxy",
    ),
    404: ("the server does not know this request", f"is it an Ollama server? Check OLLAMA_HOST, {AGAIN}"),
    405: ("the server does not know this request", f"is it an Ollama server? Check OLLAMA_HOST, {AGAIN}"),
}
LOST_BLOB = re.compile(r"blobs[/\\]sha256-\w+.*(no such file|cannot find)")


def recognize(message: str) -> Refusal | None:
    """Return what is known of the server's text."""
    return next((known for known in KNOWN if re.search(known.pattern, message)), None)


def may_pass(message: str) -> bool:
    """Tell whether another try may succeed: unless the server's text names a cause that it would meet again."""
    known = recognize(message)
    return not LOST_BLOB.search(message) and (known is None or known.passes)


def explain(action: str, message: str, status: int, url: str, version: str = "") -> ServerError:
    """Return the error for a refusal: `action` is what was asked, `message` the server's text, `status` its code.

    A refusal inside a stream that began well has no code of its own: `status` is 200 then. `version` is the server's,
    empty where nobody has asked for it.
    """
    said = f' (Ollama said: "{message[:500]}")' if message else f" (HTTP {status}, no text)"
    if LOST_BLOB.search(message):
        return MissingBlobError(
            f"cannot {action}: the server lost the uploaded GGUF{said}", where=url, hint=f"try again: {AGAIN[5:]}"
        )
    if known := recognize(message):
        meaning = known.meaning.replace("this Ollama", f"Ollama {version}") if version else known.meaning
        return ServerError(f"cannot {action}: {meaning}{said}", where=url, hint=known.hint)
    if 300 <= status < 400:
        return ServerError(
            f"cannot {action}: the server sends us elsewhere, and nothing is sent to a place nobody named{said}",
            where=url,
            hint="set OLLAMA_HOST to the final address",
        )
    meaning, hint = BY_STATUS.get(status, ("the server refused", LOG))
    return ServerError(f"cannot {action}: {meaning}{said}", where=url, hint=hint)

"""The proof in the server: what it was told, how it renders, tokenizes and answers, against what convert recorded.

The settings, the metadata, the prompts and their tokens have to be equal. The answers come from one engine and one
file, but a server is another build of that engine on other hardware, so an answer may part from the recorded one where
two tokens are nearly equally likely.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ollamake.ollama.differences import apart, parameters_apart, parts_at_near_tie
from ollamake.ollama.gguf_header import begin_of_text, read_header
from ollamake.ollama.served import Message, Prompt, ServedModel
from ollamake.ollama.server import Answer, Server

# With near ties allowed for, 20 of 20 answers agreed in both measurements of `differences`, and 2 of 20 when they were
# compared with the answers to other questions. The rest is room for servers that send no log probabilities.
MIN_AGREEING_SHARE = 0.75
# Raise it whenever the proof gets stricter: models that passed an earlier one are then proved again.
PROOF_VERSION = 2


@dataclass(frozen=True)
class Finding:
    """The outcome of one check: how many of how many passed, whether that is enough, and what did not, in full."""

    check: str
    passed: int
    total: int
    enough: bool
    details: tuple[str, ...] = ()
    note: str = ""

    def __str__(self) -> str:
        return f"{self.passed} of {self.total}{self.note}"


def verify(server: Server, tag: str, model: ServedModel, header: dict[str, Any] | None = None) -> list[Finding]:
    """Return what each check found for the tag. Raises ServerError when the server does not answer.

    `header` stands in for that of the GGUF where the file itself is not at hand, as for an earlier release.
    """
    header = read_header(model.gguf) if header is None else header
    shown = server.show(tag)
    findings = [_settings(shown, model, header), _metadata(shown, header)]
    prompts = [(prompt, _as_asked(prompt.messages, model.modelfile.system)) for prompt in model.proof.prompts]
    begin = begin_of_text(header)
    findings.append(_exact("prompts rendered as in training", _rendering(server, tag, prompts, begin)))
    answers = [server.answer(tag, messages, model.proof.max_new_tokens) for _, messages in prompts]
    pairs = list(zip(model.proof.prompts, answers, strict=True))
    findings.append(_exact("prompts with the token count of training", (_count(*pair) for pair in pairs)))
    findings.append(_answers(pairs))
    findings.append(ends(pairs))
    return findings


def _settings(shown: Mapping[str, Any], model: ServedModel, header: Mapping[str, Any]) -> Finding:
    modelfile = model.modelfile
    details = shown.get("details", {})
    # Servers from 0.30 on may prefer the GGUF's own Jinja template and show that; the prompts tell whether both agree.
    preferred = shown.get("template") == header.get("tokenizer.chat_template")
    pairs = {
        "template": (modelfile.template, modelfile.template if preferred else shown.get("template", "")),
        "system": (modelfile.system, shown.get("system", "")),
        "license": (modelfile.license, shown.get("license", "")),
        "quantization": (model.serving.quantization, str(details.get("quantization_level", ""))),
    }
    results = [f"{name}: {apart(*pair)}" if pair[0] != pair[1] else "" for name, pair in pairs.items()]
    return _exact("settings", [*results, parameters_apart(modelfile.parameters, shown.get("parameters", ""))])


def _metadata(shown: Mapping[str, Any], header: Mapping[str, Any]) -> Finding:
    """Compare what the runtime computes with: architecture, context, vocabulary, rope, special tokens."""
    architecture = header["general.architecture"]
    info = shown.get("model_info", {})
    results = ["" if shown.get("details", {}).get("family") == architecture else f"family is not {architecture}"]
    for key, value in header.items():
        if isinstance(value, list) or not key.startswith((f"{architecture}.", "tokenizer.ggml.", "general.arch")):
            continue
        results.append(
            "" if _equal(value, info.get(key)) else f"{key}: {value!r} in the GGUF, {info.get(key)!r} served"
        )
    return _exact("metadata", results)


def _equal(expected: Any, found: Any) -> bool:
    if isinstance(expected, float) and isinstance(found, int | float):
        return abs(expected - found) <= 1e-6 * abs(expected)  # a 32-bit number printed in decimals
    return bool(expected == found)


def _as_asked(messages: Sequence[Message], system: str) -> list[Message]:
    """Leave out the system prompt that the tag itself has to add, as a user does."""
    starts_with_it = bool(system) and messages[0] == {"role": "system", "content": system}
    return list(messages[1:] if starts_with_it else messages)


def _rendering(server: Server, tag: str, prompts: Sequence[tuple[Prompt, list[Message]]], begin: str) -> Iterator[str]:
    for prompt, messages in prompts:
        # The runtime adds the first token itself, so Ollama leaves its text out; the recorded prompt may have it.
        expected, served = (text.removeprefix(begin) for text in (prompt.rendered, server.render(tag, messages)))
        yield "" if expected == served else f"{_name(prompt)}: {apart(expected, served)}"


def _count(prompt: Prompt, answer: Answer) -> str:
    expected = len(prompt.token_ids)
    if answer.prompt_tokens == expected:
        return ""
    return f"{_name(prompt)}: {expected} tokens in training, {answer.prompt_tokens} in the server"


def _same(prompt: Prompt, answer: Answer) -> bool:
    return prompt.answer.strip() == answer.text.strip()


def ends(pairs: Sequence[tuple[Prompt, Answer]]) -> Finding:
    """Return how many answers end as recorded, of those that tell: word for word the same, or past the recorded end."""
    telling = [pair for pair in pairs if _same(*pair) or _runs_on(*pair)]
    return _exact("answers that end as they should", [_end(*pair) for pair in telling])


def _runs_on(prompt: Prompt, answer: Answer) -> bool:
    """Tell whether the server went past the end of the recorded answer, as one that misses the stop token does."""
    passed_the_end = prompt.stopped and answer.text.strip().startswith(prompt.answer.strip())
    return passed_the_end and answer.done_reason != "stop" and not parts_at_near_tie(prompt.answer, answer.tokens)


def _answers(pairs: Sequence[tuple[Prompt, Answer]]) -> Finding:
    differing = [
        f"{_name(prompt)}: {apart(prompt.answer, answer.text)}"
        for prompt, answer in pairs
        if not _same(prompt, answer) and not parts_at_near_tie(prompt.answer, answer.tokens)
    ]
    passed = len(pairs) - len(differing)
    enough = passed >= MIN_AGREEING_SHARE * len(pairs)
    note = f" ({sum(_same(*pair) for pair in pairs)} word for word)"
    return Finding("answers of the GGUF itself", passed, len(pairs), enough, tuple(differing), note)


def _end(prompt: Prompt, answer: Answer) -> str:
    expected = "stop" if prompt.stopped else "length"
    if answer.done_reason == expected:
        return ""
    return f"{_name(prompt)}: ended with {answer.done_reason!r} instead of {expected!r}"


def _exact(check: str, results: Iterator[str] | Sequence[str]) -> Finding:
    """Make a finding of one text for each item, empty where it passed; nothing less than all, and one, is enough."""
    listed = list(results)
    failed = tuple(text for text in listed if text)
    details = failed if listed else ("no answer came word for word, so none tells how answers end",)
    return Finding(check, len(listed) - len(failed), len(listed), bool(listed) and not failed, details)


def _name(prompt: Prompt) -> str:
    question = prompt.messages[-1]["content"]
    return repr(question if len(question) <= 50 else f"{question[:49]}…")
